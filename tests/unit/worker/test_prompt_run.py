"""A script with its two files, run without Airflow: its options, and what becomes of what the files say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.payloads import parse_database
from airflow_provider_caf.worker.basf2 import prompt_run
from airflow_provider_caf.worker.basf2.dropin.caf.backends import LSF, HTCondor
from airflow_provider_caf.worker.basf2.dropin.caf.framework import CAF, Calibration, Collection
from tests.script_site import SCRIPTS, source_and_run, write_data, write_json
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, software  # noqa: F401 - a fixture

FILES = "caf_config.json", "input_data.json"


def parse(*words: str) -> Any:
    return prompt_run.build_parser().parse_args(words)


def test_the_options_are_those_of_the_experiments_tool() -> None:
    args = parse("LSF", *FILES)
    assert {name: value for name, value in vars(args).items() if name != "func"} == {
        "caf_config": "caf_config.json",
        "input_data": "input_data.json",
        "queue": None,
        "global_job_limit": 1000,
        "submission_check_heartbeat": 30,
        "log_level": "INFO",
        "debug_level": None,
        "heartbeat": 60,
        "files_per_subjob": None,
        "max_subjobs": None,
        "dry_run": False,
        "overwrite_db": False,
        "overwrite_workdir": False,
        "permissive": False,
    }


def test_without_a_backend_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prompt_run.main([])
    assert "name a backend" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("named", "permissive", "expected"),
    [
        ("caf_cdc.py", False, ("caf_cdc", ())),
        ("caf_cdc", True, ("caf_cdc", ())),
        ("/scripts/caf_cdc.py", True, ("/scripts/caf_cdc.py", ("/scripts",))),
        ("scripts/a.py", True, (str(Path.cwd() / "scripts/a.py"), (str(Path.cwd() / "scripts"),))),
    ],
)
def test_a_script_is_taken_by_its_name_or_its_path(named: str, permissive: bool, expected: tuple[Any, ...]) -> None:
    found = prompt_run._find_script(CafConfig(caf_script=named), permissive=permissive)
    assert (found.script, found.script_folders) == expected


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({}, "The caf_config names no script"),
        ({"caf_script": "scripts/a.py"}, "names the script by a path: scripts/a.py"),
        ({"caf_scrip": "a"}, "caf_scrip"),
    ],
)
def test_what_cannot_be_meant_is_an_error(
    config: dict[str, Any], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_json(tmp_path / "caf_config.json", config), write_json(tmp_path / "input_data.json", {})
    assert prompt_run.main(["Local", *files]) == 1
    assert text in capsys.readouterr().err


def test_payloads_of_an_earlier_run_are_an_error_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caf_outputdb_results").mkdir()
    write_json(tmp_path / "caf_config.json", {"caf_script": "nothing"})
    write_json(tmp_path / "input_data.json", {})
    assert prompt_run.main(["Local", *FILES]) == 1
    assert "give --overwrite-output-db" in capsys.readouterr().err


def build_calibration() -> Calibration:
    calibration = Calibration("Mean", "CaTest", CalibrationAlgorithm(), ["/data/1.root", "/data/2.root"])
    calibration.add_collection("other", Collection("CaTest", ["/data/3.root"]))
    return calibration


def list_chain(owner: Any) -> list[str]:
    return [getattr(entry, "global_tag", None) or str(entry.filepath) for entry in owner.database_chain]


@pytest.mark.usefixtures("software")
@pytest.mark.parametrize("permissive", [True, False])
def test_databases_are_those_of_the_file(permissive: bool, tmp_path: Path) -> None:
    (tmp_path / "database.txt").touch()
    text = str(tmp_path / "database.txt")
    calibration = build_calibration()
    config = CafConfig.from_json({"database_chain": ["base", "over"], "testing_payloads": text})
    prompt_run._set_databases(calibration, config, permissive)
    testing = [text] if permissive else []
    assert list_chain(calibration) == ["base", "over", *testing]
    assert list_chain(calibration.collections["default"]) == ["base", "over", *testing]
    assert list_chain(calibration.collections["other"]) == ["base", "over"]
    calibration = build_calibration()
    prompt_run._set_databases(calibration, CafConfig(), permissive)
    assert list_chain(calibration) == list_chain(calibration.collections["other"]) == ["first", "second"]


def set_up(
    monkeypatch: pytest.MonkeyPatch,
    *words: str,
    config: CafConfig = CafConfig(),  # noqa: B008 - it cannot change
) -> tuple[CAF, list[Any]]:
    """Set up a script that returns one calibration, and give what it was asked with."""
    asked: list[Any] = []
    settings = SimpleNamespace(
        **{name: name for name in ("name", "expert_username", "description")},
        expert_config={"a": 1},
        input_data_formats=["raw"],
        input_data_names=["x"],
        depends_on=[],
    )
    monkeypatch.setattr(prompt_run, "load_script", lambda script: SimpleNamespace(settings=settings))

    def call_script(module: Any, arguments: Any) -> list[Calibration]:
        asked.append(arguments)
        return [build_calibration()]

    monkeypatch.setattr(prompt_run, "call_script", call_script)
    data = {"x": [["root://host//a.root", [1, 1]]]}
    script = prompt_run._find_script(CafConfig(caf_script="nothing"), permissive=False)
    return prompt_run._set_up(parse(*words), config, script, data), asked


@pytest.mark.usefixtures("software")
def test_the_command_line_stands_over_the_file_and_the_script(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CafConfig.from_json({"backend_args": {"queue": "m"}, "expert_config": {"a": 2, "c": 3}})
    caf, asked = set_up(monkeypatch, "LSF", *FILES, "--max-subjobs", "3", "--heartbeat", "7", config=config)
    assert isinstance(caf.backend, LSF)
    assert caf.backend.backend_args["queue"] == "m"
    (calibration,) = caf.calibrations.values()
    assert [collection.max_collector_jobs for collection in calibration.collections.values()] == [3, 3]
    assert calibration.heartbeat == 7
    assert asked[0].expert_config == {"a": 2, "c": 3}
    assert "The script declares no expert option 'c'" in capsys.readouterr().err
    assert asked[0].input_data == {"x": {"root://host//a.root": IoV(1, 1, 1, 1)}}
    caf, _ = set_up(monkeypatch, "LSF", *FILES, "--queue", "l", "--max-files-per-subjob", "2", config=config)
    assert caf.backend.backend_args["queue"] == "l"
    assert caf.calibrations["Mean"].max_files_per_collector_job == 2


@pytest.mark.usefixtures("software")
def test_a_calibration_that_cannot_run_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Calibration, "find_fault", lambda self: "it has no algorithm")
    with pytest.raises(DefinitionError, match="'Mean' cannot run: it has no algorithm"):
        set_up(monkeypatch, "Local", *FILES)


def test_an_interruption_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prompt_run, "_run", interrupt)
    assert prompt_run.main(["Local", *FILES]) == 130
    assert "interrupted. Jobs that are submitted go on" in capsys.readouterr().err


@pytest.mark.usefixtures("software")
def test_a_prefix_stands_before_the_paths_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.root").touch()
    found = {"x": {f"{tmp_path}/a.root": IoV(1, 1, 1, 1), "root://other//b.root": IoV(1, 1, 1, 1)}}
    monkeypatch.setattr(prompt_run, "find_input_data", lambda *_: found)
    caf, asked = set_up(monkeypatch, "HTCondor", *FILES, "--path-prefix", "root://host:1")
    assert list(asked[0].input_data["x"]) == [f"root://host:1{tmp_path}/a.root", "root://other//b.root"]
    assert isinstance(caf.backend, HTCondor)
    assert caf.backend.backend_args["path_prefix"] == "root://host:1"


EVENTS = {(1, 1): 40, (1, 2): 12, (1, 3): 40}
"""In the second run there are too few for constants of its own."""


@pytest.mark.slow
def test_what_scripts_combine_runs_to_the_end(tmp_path: Path) -> None:
    """As many calibrations as kinds of data, a strategy of its own, changed files, boundaries, two collections."""
    data = write_data(tmp_path / "data", ["raw_physics"], EVENTS)
    write_json(tmp_path / "input_data.json", {**data, "raw_cosmic": []})
    config = {"caf_script": str(SCRIPTS / "combined.py"), "database_chain": [], "requested_iov": [1, 1, 1, 3]}
    write_json(tmp_path / "caf_config.json", config)
    words = ["-m", prompt_run.__name__, "Local", *FILES, "--heartbeat", "1", "--permissive"]
    ended = source_and_run(f"'{sys.executable}' {' '.join(words)}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in (tmp_path / "caf_outputdb_results").iterdir()] == ["Joined_raw_physics"]
    output = tmp_path / "caf_outputdb_results" / "Joined_raw_physics"
    entries = parse_database((output / "database.txt").read_text(), str(output))
    assert sorted((entry.name, tuple(entry.iov)) for entry in entries) == COMBINED
    checked = tmp_path / "calibration_results" / "Check_raw_physics" / "outputdb" / "database.txt"
    assert checked.read_text().startswith("dbstore/Check_raw_physics ")
    reports = sorted((tmp_path / "calibration_results").rglob("pre_algorithm_*.json"))
    assert [json.loads(path.read_text())["total"] for path in reports] == [2.0 * sum(EVENTS.values())] * 2


COMBINED = [
    ("Bounded_raw_physics", (1, 1, 1, 1)),
    ("Bounded_raw_physics", (1, 2, 1, 2)),
    ("Bounded_raw_physics", (1, 3, -1, -1)),
    ("Merged_raw_physics", (1, 1, 1, 1)),
    ("Merged_raw_physics", (1, 2, -1, -1)),
]


@pytest.mark.slow
def test_a_script_of_the_release_runs_to_the_end(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", ["raw_physics"])
    data["raw_physics"].append(["/none", [1, 4]])
    write_json(tmp_path / "input_data.json", data)
    config = {"caf_script": "example_simple.py", "database_chain": [], "requested_iov": [1, 1, 1, 2]}
    write_json(tmp_path / "caf_config.json", config)

    def run(*options: str) -> tuple[int, str]:
        words = ["-m", prompt_run.__name__, "Local", *FILES, "--heartbeat", "1", *options]
        line = f"export PYTHONPATH='{SCRIPTS.parents[1]}':$PYTHONPATH; '{sys.executable}' {' '.join(words)}"
        ended = source_and_run(line, tmp_path)
        return ended.returncode, ended.stderr

    code, told = run("--dry-run", "--max-files-per-subjob", "1")
    assert (code, "TestCalibration: default (2 files); TestCalibrationAlgorithm" in told) == (0, True), told
    assert not (tmp_path / "calibration_results").exists()
    code, told = run("--max-files-per-subjob", "1")
    assert code == 0, told
    # What is left out is told: a folder that is not there, and a run that is not asked for.
    assert "names /none, which is not there" in told
    assert "1 lie outside the requested IoV 1,1,1,2" in told
    assert "TestCalibration_default_Iteration_0: 2 done" in told
    output = tmp_path / "caf_outputdb_results" / "TestCalibration"
    entries = parse_database((output / "database.txt").read_text(), str(output))
    assert [(entry.name, entry.iov) for entry in entries] == [("TestCalibMean", IoV(1, 1, -1, -1))]
    marker = tmp_path / "calibration_results" / "marker"
    marker.touch()
    assert run("--overwrite-output-db")[0] == 0
    assert marker.exists()
    code, told = run("--overwrite-output-db", "--overwrite-working-dir")
    assert (code, marker.exists()) == (0, False), told
    assert json.loads((tmp_path / "calibration_results" / "caf_run.json").read_text()) == {"version": 1}
