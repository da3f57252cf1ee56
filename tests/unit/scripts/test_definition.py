"""A described calibration script becomes a definition."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration, ExternalCommand
from airflow_provider_caf.scripts.definition import ScriptImport, build_definition, dump_definition, name_script
from airflow_provider_caf.scripts.importing import find_environment
from airflow_provider_caf.worker.basf2.read_script import describe_chain

COLLECTION = {
    "place": "Fit/physics",
    "job_files": ["steering.py", "collector.path"],
    "collector": ["CaTest"],
    "granularity": "run",
    "files": 2,
    "input_files": None,
    "splitting": {"max_collector_jobs": 1000},
    "output_patterns": ["CollectorOutput.root"],
    "backend_args": {"request_memory": "4 GB"},
    "database_chain": [{"global_tag": "of_the_collection"}],
}
ALGORITHM = {
    "name": "TestCalibrationAlgorithm",
    "strategy": "SequentialRunByRun",
    "is_built_in": True,
    "params": {"iov_coverage": [1, 1, -1, -1]},
    "has_pre_algorithm": False,
}
CALIBRATION = {
    "name": "Fit",
    "depends_on": [],
    "max_iterations": 2,
    "ignored_runs": [[1, 7]],
    "save_payloads": True,
    "database_chain": [{"global_tag": "of_the_calibration"}],
    "collections": {"physics": COLLECTION},
    "algorithms": [ALGORITHM],
}
SETTINGS = {
    "name": "Example: complex",
    "description": "An example.",
    "input_data_formats": ["cdst"],
    "input_data_names": ["physics"],
    "depends_on": ["Example: simple"],
    "expert_config": {},
}
NO_CONFIG = CafConfig()


def describe(*calibrations: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {"settings": {**SETTINGS, **settings}, "calibrations": list(calibrations) or [deepcopy(CALIBRATION)]}


def change(**words: Any) -> dict[str, Any]:
    return {**deepcopy(CALIBRATION), **words}


def build(description: dict[str, Any], config: CafConfig = NO_CONFIG, **words: Any) -> Any:
    """Build a definition, through the text of its file, and return it resolved."""
    order = ScriptImport(script="test.py", folder=Path("/definitions"), config=config)
    name = name_script(description["settings"])
    form = build_definition(description, order, name=name, side_folder="/side", **words)
    text = dump_definition(form, "Made of a test.")
    return CAF.from_json(yaml.safe_load(text)).resolve()


def test_a_calibration_keeps_what_the_script_said() -> None:
    record = build(describe())
    assert record.name == "Example_complex"
    (calibration,) = record.calibrations
    assert isinstance(calibration, Calibration)
    assert (calibration.max_iterations, calibration.save_payloads) == (2, True)
    assert [run.to_json() for run in calibration.ignored_runs] == [[1, 7]]
    assert [entry.value for entry in calibration.databases] == ["of_the_calibration"]
    (collection,) = calibration.collections.values()
    assert collection.command == ["basf2", "steering.py"]
    assert collection.job_files == {
        "steering.py": "/side/Fit/physics/steering.py",
        "collector.path": "/side/Fit/physics/collector.path",
    }
    assert collection.filemaps == ["/side/Fit/physics/files.json"]
    assert (collection.merge, collection.granularity) == (False, "run")
    assert collection.splitting.max_collector_jobs == 1000
    assert collection.backend_args == {"request_memory": "4 GB"}
    assert [entry.value for entry in collection.databases] == ["of_the_collection"]
    (algorithm,) = calibration.algorithms
    assert algorithm.strategy == "SequentialRunByRun"
    assert algorithm.params == {"iov_coverage": [1, 1, -1, -1]}
    assert algorithm.settings == {"arguments": "/side/arguments.json", "calibration": "Fit", "number": 0}
    assert algorithm.pre_algorithm is None


def test_a_dependency_on_another_script_is_an_asset() -> None:
    order = ScriptImport(script="test.py", folder=Path("/definitions"))
    form = build_definition(describe(), order, name="test", side_folder="/side")
    assert form["dag"] == {"tags": ["script", "cdst"], "after": ["Example_simple"]}


def test_files_of_which_nobody_knows_the_runs_are_a_list() -> None:
    described = change(collections={"physics": {**COLLECTION, "input_files": ["/data/a.root"]}})
    (collection,) = build(describe(described)).calibrations[0].collections.values()
    assert (collection.input_files, collection.filemaps) == (["/data/a.root"], [])


def test_a_strategy_of_the_scripts_own_runs_as_a_whole() -> None:
    described = change(algorithms=[{**ALGORITHM, "is_built_in": False, "strategy": "KLMChannelStatus", "params": {}}])
    (algorithm,) = build(describe(described)).calibrations[0].algorithms
    assert algorithm.strategy == "airflow_provider_caf.core.strategies.of_script:ScriptStrategy"
    assert algorithm.settings["runs_strategy"] is True


def test_a_pre_algorithm_gets_copies() -> None:
    described = change(algorithms=[{**ALGORITHM, "has_pre_algorithm": True}])
    (algorithm,) = build(describe(described)).calibrations[0].algorithms
    assert algorithm.pre_algorithm == "airflow_provider_caf.worker.basf2.script_algorithm:run_pre_algorithm"


def test_two_algorithms_of_one_class_have_two_names() -> None:
    algorithms = build(describe(change(algorithms=[ALGORITHM, ALGORITHM]))).calibrations[0].algorithms
    assert [each.name for each in algorithms] == ["TestCalibrationAlgorithm", "TestCalibrationAlgorithm_1"]
    assert [each.settings["number"] for each in algorithms] == [0, 1]


def test_names_that_airflow_cannot_have_are_changed() -> None:
    first, second = change(name="1st: fit"), change(name="2nd fit", depends_on=["1st: fit"])
    record = build(describe(first, second))
    assert [each.name for each in record.calibrations] == ["1st_fit", "2nd_fit"]
    assert record.calibrations[1].dependencies == ["1st_fit"]
    assert record.calibrations[0].algorithms[0].settings["calibration"] == "1st: fit"


def test_names_that_would_become_one_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"'a b' and 'a:b' would both be 'a_b'"):
        build(describe(change(name="a b"), change(name="a:b")))
    with pytest.raises(DefinitionError, match=r"'validation' and 'validation'"):
        build(describe(change(name="validation")))


def test_the_chain_of_the_configuration_counts_instead_of_the_scripts() -> None:
    config = CafConfig.from_json(
        {
            "database_chain": ["first", "last"],
            "testing_payloads": ["/first/database.txt", "/last/database.txt"],
            "backend_args": {"queue": "l"},
        }
    )
    record = build(describe(), config)
    assert [entry.value for entry in record.databases] == ["/last", "/first", "last", "first"]
    (calibration,) = record.calibrations
    assert isinstance(calibration, Calibration)
    assert [calibration.database_chain, *(each.database_chain for each in calibration.collections.values())] == [[], []]
    assert record.backend_args == {"queue": "l"}


def test_the_chain_of_a_configuration_is_what_the_same_calls_in_a_script_give() -> None:
    """The tool calls `use_central_database` for one tag after the other, and `use_local_database` last."""
    tags, payloads = ["online", "data_reprocessing_prompt", "main"], "/testing/database.txt"
    chain = [SimpleNamespace(db_type="central", global_tag=tag) for tag in tags]
    testing = SimpleNamespace(db_type="local", filepath=payloads, payload_dir="/testing")
    config = CafConfig.from_json({"database_chain": tags, "testing_payloads": payloads})
    assert config.build_chain() == describe_chain([*chain, testing])


@pytest.mark.parametrize(("name", "folder"), [("other.txt", "/local"), ("database.txt", "/elsewhere")])
def test_payloads_of_a_local_database_lie_beside_its_text(name: str, folder: str) -> None:
    database = SimpleNamespace(db_type="local", filepath=Path("/local", name), payload_dir=Path(folder))
    with pytest.raises(DefinitionError, match=f"/local/{name} has its payloads in {folder}"):
        describe_chain([database])


def test_testing_payloads_alone_come_in_front_of_the_scripts_own_chains() -> None:
    record = build(describe(), CafConfig.from_json({"testing_payloads": "/testing/database.txt"}))
    (calibration,) = record.calibrations
    assert isinstance(calibration, Calibration)
    (collection,) = calibration.collections.values()
    assert [entry.value for entry in calibration.databases] == ["/testing", "of_the_calibration"]
    assert [entry.value for entry in collection.databases] == ["/testing", "of_the_collection"]


def test_one_splitting_for_all_collections_counts_instead_of_the_scripts() -> None:
    """As `--max-files-per-subjob` and `--max-subjobs` of the tool, of which it takes one."""
    words: dict[str, Any] = {"script": "test.py", "folder": Path()}
    two = change(collections={"physics": COLLECTION, "cosmics": {**COLLECTION, "splitting": {"arguments": [{}]}}})
    owns: list[dict[str, Any]] = [{"max_files_per_collector_job": 3}, {"max_collector_jobs": 7}]
    for own in owns:
        form = build_definition(describe(two), ScriptImport(**words, **own), name="test", side_folder="/side")
        for collection in form["calibrations"][0]["collections"].values():
            kept = ("max_files_per_collector_job", "max_collector_jobs", "arguments")
            assert {word: collection[word] for word in kept if word in collection} == own
    both = ScriptImport(**words, max_files_per_collector_job=3, max_collector_jobs=7)
    with pytest.raises(DefinitionError, match="max_files_per_collector_job and max_collector_jobs"):
        build_definition(describe(), both, name="test", side_folder="/side")


def test_the_arguments_of_the_import_come_before_those_of_the_configuration() -> None:
    """As options of the experiment's tool do: what is nearer to the command counts."""
    config = CafConfig.from_json({"backend_args": {"queue": "of the file", "python": "python3"}})
    order = ScriptImport(script="test.py", folder=Path(), config=config, arguments={"queue": "of the command"})
    form = build_definition(describe(), order, name="test", side_folder="/side")
    assert form["backend_args"] == {"queue": "of the command", "python": "python3"}
    assert find_environment(order)[0].queue == "of the command"


def test_a_validation_is_the_last_step() -> None:
    validation = ("python3", "/side/app.pyz", "validate", "/side/v.json")
    step = build(describe(), validation=validation).calibrations[-1]
    assert isinstance(step, ExternalCommand)
    assert (step.name, step.dependencies, step.save_payloads) == ("validation", ["Fit"], False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"databse_chain": []}, r"unknown field 'databse_chain'[\s\S]*Did you mean 'database_chain'"),
        ({"requested_iov": [1, 2, 3]}, r"\[1, 2, 3\] is not an IoV"),
        ({"requested_iov": [2, 0, 1, 0]}, "ends before it starts"),
        ({"requested_iov": [-1, -1, -1, -1]}, "only the high end may be open"),
        ({"database_chain": "main"}, "database_chain"),
        ([], "not an object"),
    ],
)
def test_a_wrong_configuration_is_refused(config: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        CafConfig.from_json(config)


@pytest.mark.parametrize("path", ["/local/other.txt", "local/database.txt"])
def test_testing_payloads_are_databases(path: str) -> None:
    config = CafConfig.from_json({"testing_payloads": path, "database_chain": []})
    with pytest.raises(DefinitionError, match=f"testing_payloads names '{path}'"):
        config.build_chain()


def test_an_open_low_end_of_the_requested_iov_is_read_as_basf2_does() -> None:
    assert CafConfig.from_json({"requested_iov": [3, -1, 3, -1]}).requested_iov == IoV(3, 0, 3, -1)


def test_everything_of_a_configuration_is_read() -> None:
    config = CafConfig.from_json(
        {"caf_script": "caf_cdc", "requested_iov": [1, 2, 3, 4], "expert_config": {"a": 1}, "database_chain": []}
    )
    assert (config.caf_script, config.requested_iov) == ("caf_cdc", IoV(1, 2, 3, 4))
    assert (config.expert_config, config.database_chain) == ({"a": 1}, ())
