"""Everything that is known before a job is submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf import Algorithm, Collection
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import CheckpointError, DefinitionError, InputError, TransportError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest, Target
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


def read_collection(lab: Lab, name: str = "default") -> CollectionManifest:
    return CollectionManifest.read(lab.layout().iteration(0).collection(name))


def list_texts(entries: tuple[DatabaseEntry, ...]) -> list[str]:
    return [entry.value for entry in entries]


def test_prepare_counts_files_and_subjobs(lab: Lab) -> None:
    collections = {"muons": lab.copies(max_collector_jobs=2), "electrons": lab.copies(["true"])}
    assert lab.prepare(lab.calibration(collections=collections)) == {
        "muons": {"files": 3, "subjobs": 2},
        "electrons": {"files": 3, "subjobs": 3},
    }


def test_the_manifests_say_what_was_resolved(lab: Lab) -> None:
    pattern = str(lab.files.events[0].parent / "events_*.root")
    lab.prepare(lab.calibration(input_files=[pattern], max_collector_jobs=2, ignored_runs=["1.2"]))
    collection = read_collection(lab)
    assert collection.prefix == "Hits"
    assert collection.granularity == "run"
    assert collection.backend == "local"
    assert [subjob.files for subjob in collection.subjobs] == [
        (str(lab.files.events[0]), str(lab.files.events[1])),
        (str(lab.files.events[2]),),
    ]
    manifest = CalibrationManifest.read(lab.layout())
    assert manifest.prefixes == {"default": "Hits"}
    assert manifest.granularities == {"default": "run"}
    assert manifest.calibration.ignored_runs == [ExpRun(1, 2)]
    assert manifest.find_algorithm("MeanAlgorithm").strategy == "SimpleRunByRun"


def test_preparing_twice_gives_the_same_files(lab: Lab) -> None:
    def read_all() -> dict[str, bytes]:
        folder = lab.layout().folder
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    lab.prepare(lab.calibration())
    before = read_all()
    assert "app.pyz" in before
    lab.prepare(lab.calibration())
    assert read_all() == before


def test_nearer_arguments_win(lab: Lab) -> None:
    layers: dict[str, Any] = {
        "target": Target(connection_args={"max_processes": 1, "memory": 100, "walltime": 60, "cpus": 1}),
        "backend_args": {"memory": 200, "walltime": 120, "cpus": 2},
    }
    collection = lab.copies(backend_args={"cpus": 4})
    calibration = lab.calibration(collections={"default": collection}, backend_args={"walltime": 180, "cpus": 3})
    lab.prepare(calibration, **layers)
    resources = read_collection(lab).resources
    assert (resources.max_processes, resources.memory, resources.walltime, resources.cpus) == (1, 200, 180, 4)


@pytest.mark.parametrize(
    ("words", "whose"),
    [
        ({"target": Target(connection_args={"queu": "x"})}, "the connection"),
        ({"backend_args": {"queu": "x"}}, "the CAF"),
    ],
)
def test_an_unknown_argument_says_whose_it_is(lab: Lab, words: dict[str, Any], whose: str) -> None:
    with pytest.raises(DefinitionError, match=f"of {whose} have an unknown argument 'queu'") as caught:
        lab.prepare(lab.calibration(), **words)
    assert "'queue'" in str(caught.value.hint)


def test_the_chain_of_databases_nearest_first(lab: Lab) -> None:
    own, further, last = ({"local": f"/db/{name}"} for name in ("collection", "calibration", "caf"))
    collections = {"default": lab.copies(database_chain=[own]), "plain": lab.copies()}
    calibration = lab.calibration(collections=collections, database_chain=[further])
    lab.prepare(
        calibration,
        ancestors=("near", "far"),
        database_chain=tuple(DatabaseEntry(kind="local", value=each["local"]) for each in (last, own)),
    )
    near, far = (str(lab.layout().sibling(name).database) for name in ("near", "far"))
    rest = [near, far, "/db/calibration", "/db/caf"]
    assert list_texts(read_collection(lab).database_chain) == [
        near,
        far,
        "/db/collection",
        "/db/calibration",
        "/db/caf",
    ]
    assert list_texts(read_collection(lab, "plain").database_chain) == [*rest, "/db/collection"]
    assert list_texts(CalibrationManifest.read(lab.layout()).database_chain) == [*rest, "/db/collection"]


def test_only_files_of_the_requested_iov_are_taken(lab: Lab) -> None:
    iovs = dict(zip(map(str, lab.files.events), ([1, 1, 1, 2], [1, 2, 1, 3], [2, 1, 2, 1]), strict=True))
    collection = lab.copies(files_to_iovs=iovs)
    calibration = lab.calibration(collections={"default": collection}, requested_iov=IoV(1, 3, 2, 0))
    assert lab.prepare(calibration) == {"default": {"files": 1, "subjobs": 1}}
    assert read_collection(lab).subjobs[0].files == (str(lab.files.events[1]),)


def test_a_requested_iov_that_no_file_has_is_refused(lab: Lab) -> None:
    collection = lab.copies(files_to_iovs={str(path): [1, 1, 1, 9] for path in lab.files.events})
    with pytest.raises(InputError) as caught:
        lab.prepare(lab.calibration(collections={"default": collection}, requested_iov=IoV(5, 0, 5, -1)))
    assert caught.value.what == (
        "None of the 3 input files of collection 'default' of calibration 'vertex' "
        "has data of the requested IoV 5,0,5,-1."
    )
    assert "files_to_iovs" in str(caught.value.hint)


def test_a_template_that_gave_a_relative_path_is_refused(lab: Lab) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies()}))
    record = lab.records["vertex"]
    collection = record.collections["default"].model_copy(update={"input_files": ["data/*.root"]})
    with pytest.raises(InputError, match=r"'data/\*\.root' is not an absolute path"):
        prepare_calibration(
            record.model_copy(update={"collections": {"default": collection}}), Surroundings(), lab.layout()
        )


def test_all_classes_that_cannot_be_used_are_named_at_once(lab: Lab) -> None:
    collections = {
        "first": lab.copies(pre_collector=lab.files.name("no_function")),
        "second": lab.copies(),
    }
    algorithms = [lab.algorithm("NoSuchAlgorithm"), lab.algorithm("MeanAlgorithm", settings={"laest": 3})]
    with pytest.raises(DefinitionError) as caught:
        lab.prepare(lab.calibration(collections=collections, algorithms=algorithms))
    text = str(caught.value)
    assert "3 mistakes in the classes of calibration 'vertex'" in text
    assert "no 'NoSuchAlgorithm'" in text
    assert "no setting 'laest'" in text
    assert "'least'" in text
    assert "'no_function'" in text


def test_a_module_that_ends_the_interpreter_is_told_with_its_output(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "bad_module.py"
    module.write_text("import os, sys\nprint('licence server down', file=sys.stderr, flush=True)\nos._exit(9)\n")
    collection = lab.copies(pre_collector=f"{module}:x")
    with pytest.raises(TransportError, match="classes of calibration 'vertex' ended with exit code 9") as caught:
        lab.prepare(lab.calibration(collections={"default": collection}))
    assert "licence server down" in str(caught.value)


def test_a_python_that_is_not_there_is_told(lab: Lab) -> None:
    with pytest.raises(TransportError, match="/no/such/python"):
        lab.prepare(lab.calibration(), backend_args={"python": "/no/such/python"})


def test_the_setup_of_the_site_runs_before_the_classes_are_loaded(lab: Lab, tmp_path: Path) -> None:
    module = tmp_path / "needs_setup.py"
    module.write_text("import os\nassert os.environ['SITE'] == 'ours', 'no setup'\ndef skim(job): pass\n")
    collection = lab.copies(pre_collector=f"{module}:skim")
    calibration = lab.calibration(collections={"default": collection})
    with pytest.raises(DefinitionError, match="KeyError"):
        lab.prepare(calibration)
    assert lab.prepare(calibration, backend_args={"setup": "export SITE=ours"})


def test_the_granularity_of_the_definition_is_that_of_the_manifest(lab: Lab) -> None:
    collection = lab.copies(granularity="all")
    algorithm = lab.algorithm(strategy="SingleIOV")
    lab.prepare(lab.calibration(collections={"default": collection}, algorithms=algorithm))
    assert read_collection(lab).granularity == "all"


def test_the_collector_says_its_own_granularity(lab: Lab) -> None:
    lab.prepare(
        lab.calibration(collector=lab.files.name("AllCollector"), algorithms=lab.algorithm(strategy="SingleIOV"))
    )
    assert read_collection(lab).granularity == "all"


UNSURE = """
from airflow_provider_caf.worker import Algorithm

class Unsure(Algorithm):
    def calibrate(self):
        return 0
"""


def test_several_prefixes_need_a_choice(lab: Lab, tmp_path: Path) -> None:
    collections = {
        name: Collection(lab.files.name(cls), lab.files.events)
        for name, cls in (("hits", "HitCollector"), ("other", "OtherCollector"))
    }
    module = tmp_path / "unsure.py"
    module.write_text(UNSURE)
    algorithm = f"{module}:Unsure"
    with pytest.raises(DefinitionError, match=r"does not say which collector it reads.*: Hits, Other") as caught:
        lab.prepare(lab.calibration(collections=collections, algorithms=algorithm))
    assert "Set `prefix`" in str(caught.value.hint)
    lab.prepare(lab.calibration(collections=collections, algorithms=Algorithm(algorithm, prefix="Other")))


def test_a_manifest_of_another_release_is_refused(lab: Lab) -> None:
    lab.prepare(lab.calibration())
    file = lab.layout().definition
    file.write_text(json.dumps({**json.loads(file.read_text()), "version": 99}))
    with pytest.raises(CheckpointError, match="has version 99, this program knows 1") as caught:
        CalibrationManifest.read(lab.layout())
    assert "from its `prepare` on" in str(caught.value.hint)


def test_an_algorithm_that_was_not_prepared_is_refused(lab: Lab) -> None:
    lab.prepare(lab.calibration())
    with pytest.raises(CheckpointError, match="was prepared without an algorithm 'Newer'"):
        lab.strategy("Newer")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 1}'])
def test_a_damaged_manifest_is_an_error_that_names_it(lab: Lab, damage: str) -> None:
    lab.prepare(lab.calibration())
    lab.layout().manifest("default").write_text(damage)
    with pytest.raises((InputError, DefinitionError), match="manifest of collection 'default'"):
        lab.open()
