"""Importing calibration scripts: what is written, and what stays as it was. Describing them is tested elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.definitions.calibration import Calibration, ExternalCommand
from airflow_provider_caf.definitions.files import load_definitions
from airflow_provider_caf.scripts import importing
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.scripts.folder import ScriptSet, check_set, import_set, name_production
from airflow_provider_caf.scripts.importing import import_script, list_script_folders
from airflow_provider_caf.scripts.script_run import read_script_run


class Scripts:
    """Scripts that are described without being run.

    :param settings: file name → words of the settings over the usual ones; an error is raised.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.asked: list[dict[str, Any]] = []
        self.resources: list[Resources] = []
        self.side = "first"

    def describe(
        self, request: Mapping[str, Any], folder: Path, resources: Resources, transport: object, timeout: float
    ) -> tuple[dict[str, Any], str]:
        """Stand in for `scripts.describe.describe_script`."""
        self.asked.append(dict(request))
        self.resources.append(resources)
        own = self.settings[Path(request["script"]).name]
        if isinstance(own, Exception):
            raise own
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "request.json").write_text(str(len(self.asked)))
        (folder / "arguments.json").write_text(self.side)
        settings = {
            "name": "Test: simple",
            "description": "A test.",
            "input_data_formats": ["raw"],
            "input_data_names": ["events"],
            "depends_on": [],
            "expert_config": {},
            **own,
        }
        calibrations = [] if request["input_data"] is None else [CALIBRATION]
        return {"settings": settings, "calibrations": calibrations, "warnings": ["Look."]}, "printed"


CALIBRATION = {
    "name": "Fit",
    "depends_on": [],
    "max_iterations": None,
    "ignored_runs": [],
    "save_payloads": True,
    "database_chain": [],
    "collections": {
        "default": {
            "place": "Fit/default",
            "job_files": ["steering.py"],
            "granularity": "run",
            "input_files": ["/data/a.root"],
            "splitting": {"max_collector_jobs": 2},
            "output_patterns": ["CollectorOutput.root"],
            "backend_args": {},
            "database_chain": [],
        }
    },
    "algorithms": [
        {"name": "Algorithm", "strategy": "SingleIOV", "is_built_in": True, "params": {}, "has_pre_algorithm": False}
    ],
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    """One script, `a.py`."""
    made = Scripts({"a.py": {}})
    monkeypatch.setattr(importing, "describe_script", made.describe)
    return made


def ask(folder: Path, **words: Any) -> ScriptImport:
    return ScriptImport(**{"script": "/scripts/a.py", "folder": folder, "input_data": {"events": []}, **words})


def test_a_definition_and_its_side_files_are_written(scripts: Scripts, tmp_path: Path) -> None:
    imported = import_script(ask(tmp_path, arguments={"setup": ["source setup.sh"]}))
    assert (imported.name, imported.file) == ("Test_simple", tmp_path / "Test_simple.yaml")
    assert (imported.calibrations, imported.warnings, imported.printed) == (("Fit",), ("Look.",), "printed")
    (caf,) = load_definitions(imported.file)
    record = caf.resolve()
    assert record.backend_args == {"setup": ["source setup.sh"]}
    (calibration,) = record.calibrations
    assert isinstance(calibration, Calibration)
    assert Path(str(calibration.algorithms[0].settings["arguments"])).read_text() == "first"
    assert scripts.resources[0].setup == ("source setup.sh",)
    assert scripts.asked[0]["script_folders"] == ["/scripts"]
    assert not list(tmp_path.glob("_draft*"))


def test_importing_again_changes_nothing(scripts: Scripts, tmp_path: Path) -> None:
    first = import_script(ask(tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert import_script(ask(tmp_path)) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_changed_script_gets_side_files_of_its_own(scripts: Scripts, tmp_path: Path) -> None:
    import_script(ask(tmp_path))
    scripts.side = "second"
    import_script(ask(tmp_path))
    # A run that began with the first ones still finds them.
    assert sorted(path.read_text() for path in tmp_path.rglob("arguments.json")) == ["first", "second"]


def test_what_goes_wrong_leaves_the_definition_as_it_was(scripts: Scripts, tmp_path: Path) -> None:
    file = import_script(ask(tmp_path)).file
    before = file.read_bytes()
    scripts.settings["a.py"] = DefinitionError("It is broken.")
    with pytest.raises(DefinitionError, match=r"It is broken\."):
        import_script(ask(tmp_path))
    assert file.read_bytes() == before
    assert not list(tmp_path.glob("_draft*"))


def test_a_definition_that_cannot_be_is_not_written(scripts: Scripts, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="wall_time"):
        import_script(ask(tmp_path, config=CafConfig(backend_args={"wall_time": "1h"})))
    assert not list(tmp_path.glob("*.yaml"))


def test_a_name_with_a_digest_says_what_was_described(scripts: Scripts, tmp_path: Path) -> None:
    names = {import_script(ask(tmp_path, adds_digest=True)).name for _ in range(2)}
    scripts.side = "second"
    names.add(import_script(ask(tmp_path, adds_digest=True)).name)
    assert len(names) == 2
    assert all(name.startswith("Test_simple_") for name in names)


def test_the_validation_runs_beside_the_calibrations(scripts: Scripts, tmp_path: Path) -> None:
    data = {"events": [["/data/e1", [1, 1]]]}
    config = CafConfig.from_json({"requested_iov": [1, 2, 3, 4], "expert_config": {"of the": "calibration"}})
    order = ask(tmp_path, validation="/scripts/v.py", input_data=data, config=config)
    (caf,) = load_definitions(import_script(order).file)
    step = caf.resolve().calibrations[-1]
    assert isinstance(step, ExternalCommand)
    *_, verb, request = step.command
    assert verb == "validate"
    asked = read_json(Path(request), "The request")
    assert (asked["script"], asked["calibrations"]) == ("/scripts/v.py", {"Fit": "../Fit"})
    assert asked["input_data_path"] == "/data/e1"
    assert (asked["requested_iov"], asked["expert_config"]) == ([1, 2, 3, 4], {})


def test_where_caf_comes_from_is_one_of_two(scripts: Scripts, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="Did you mean 'release'"):
        import_script(ask(tmp_path, caf="relase"))


def test_folders_in_which_scripts_find_each_other() -> None:
    assert list_script_folders("/scripts/a.py", ("/more", "/scripts")) == ["/scripts", "/more"]
    assert list_script_folders("caf_cdc", ()) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Scripts]:
    """A folder of four scripts: two on raw data, two on what is made of them."""
    made = Scripts(
        {
            "cdc.py": {"name": "CDC"},
            "time.py": {"name": "SVD time", "depends_on": ["CDC"]},
            "dedx.py": {"name": "dedx", "input_data_formats": ["cdst"]},
            "spot.py": {"name": "Beam spot", "input_data_formats": ["cdst"], "depends_on": ["dedx"]},
        }
    )
    monkeypatch.setattr(importing, "describe_script", made.describe)
    place = tmp_path / "scripts"
    place.mkdir()
    for name in (*made.settings, "_hidden.py"):
        (place / name).write_text("")
    return place, made


def test_a_folder_becomes_dags_in_the_order_of_their_data(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    out = tmp_path / "definitions"
    data = {"events": [["/data", [1, 1]]], "other": []}
    result = import_set(ScriptSet(scripts=folder[0], order=ask(out, input_data=data), production=("make", "cdst")))
    assert not result.failed
    assert [each.name for each in result.imported] == ["CDC", "SVD_time"]
    time = yaml.safe_load((out / "SVD_time.yaml").read_text())
    assert time["dag"]["after"] == ["CDC"]
    production = yaml.safe_load((out / "scripts_cdst_production.yaml").read_text())
    assert production["dag"]["after"] == ["CDC", "SVD_time"]
    assert production["calibrations"][0]["command"] == ["make", "cdst"]
    assert [path.name for path in result.runners] == ["dedx.script.yaml", "Beam_spot.script.yaml"]
    dedx, spot = map(read_script_run, result.runners)
    assert dedx.dag is not None
    assert spot.dag is not None
    assert dedx.dag.after == ["scripts_cdst_production"]
    assert spot.dag.after == ["dedx", "scripts_cdst_production"]
    assert dedx.input_data == {"events": [["/data", [1, 1]]]}


def test_without_a_command_the_production_is_the_sites(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    out = tmp_path / "definitions"
    result = import_set(ScriptSet(scripts=folder[0], order=ask(out)))
    assert not (out / "scripts_cdst_production.yaml").exists()
    dag = read_script_run(result.runners[0]).dag
    assert dag is not None
    assert dag.after == [name_production(folder[0], "cdst")]


def test_a_dependency_on_a_script_that_is_not_there_is_told(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    folder[1].settings["dedx.py"] = DefinitionError("No module named 'x'.")
    checked = check_set(folder[0], ask(tmp_path))
    assert {path.name for path in checked.settings} == {"cdc.py", "time.py", "spot.py"}
    assert set(checked.failed) == {"dedx.py"}
    told = "It depends on 'dedx', which is the name of no usable script of the folder."
    assert checked.warnings == {"cdc.py": ["Look."], "time.py": ["Look."], "spot.py": ["Look.", told]}


def test_one_bad_script_does_not_touch_the_others(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    folder[1].settings["time.py"] = DefinitionError("No module named 'x'.")
    result = import_set(ScriptSet(scripts=folder[0], order=ask(tmp_path / "definitions")))
    assert {name: str(error) for name, error in result.failed.items()} == {"time.py": "No module named 'x'."}
    assert [each.name for each in result.imported] == ["CDC"]


def test_two_scripts_of_one_name_are_both_refused(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    folder[1].settings["time.py"] = {"name": "CDC"}
    result = import_set(ScriptSet(scripts=folder[0], order=ask(tmp_path / "definitions")))
    assert sorted(result.failed) == ["cdc.py", "time.py"]
    assert "time.py have one name in their settings: 'CDC'" in str(result.failed["cdc.py"])


def test_scripts_of_one_format_wait_for_no_production(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    for settings in folder[1].settings.values():
        settings["input_data_formats"] = ["cdst"]
    result = import_set(ScriptSet(scripts=folder[0], order=ask(tmp_path / "definitions"), production=("make",)))
    assert (len(result.imported), result.runners) == (4, ())
    assert not list((tmp_path / "definitions").glob("*production*"))


def test_a_format_that_is_not_known_waits_for_no_production(folder: tuple[Path, Scripts], tmp_path: Path) -> None:
    out = tmp_path / "definitions"
    folder[1].settings["time.py"] = {"name": "SVD time", "input_data_formats": ["new"]}
    result = import_set(ScriptSet(scripts=folder[0], order=ask(out), production=("make",)))
    assert not result.failed
    assert [each.name for each in result.imported] == ["CDC", "SVD_time"]
    assert [path.name for path in result.runners] == ["dedx.script.yaml", "Beam_spot.script.yaml"]
    assert [path.name for path in out.glob("*production*")] == ["scripts_cdst_production.yaml"]


def test_a_folder_without_scripts_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no script in"):
        import_set(ScriptSet(scripts=tmp_path, order=ask(tmp_path)))


def test_two_runs_of_one_script_at_the_same_time_leave_each_other_alone(
    scripts: Scripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks, in the middle of its own description, whether its side files are still there."""
    together = threading.Barrier(4, timeout=60)
    describe = scripts.describe

    def describe_slowly(request: Any, folder: Path, *more: Any) -> Any:
        answer = describe(request, folder, *more)
        together.wait()
        assert (folder / "arguments.json").read_text() == "first"
        together.wait()
        return answer

    monkeypatch.setattr(importing, "describe_script", describe_slowly)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: import_script(ask(tmp_path)), range(4)))
    assert len({each.file for each in done}) == 1
    assert done[0].file.exists()
    assert not list(tmp_path.glob("_draft_*"))
    (side,) = (path for path in (tmp_path / f"_{done[0].name}").iterdir() if path.is_dir())
    assert (side / "arguments.json").read_text() == "first"
    assert [path for path in side.parent.iterdir() if path != side] == []


def test_what_a_killed_description_has_left_goes_after_a_day(scripts: Scripts, tmp_path: Path) -> None:
    old, fresh = tmp_path / "_draft_.old.tmp", tmp_path / "_draft_.fresh.tmp"
    for each in (old, fresh):
        each.mkdir()
    os.utime(old, (1, 1))
    import_script(ask(tmp_path))
    assert (old.exists(), fresh.exists()) == (False, True)
