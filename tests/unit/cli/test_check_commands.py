"""`airflow caf lint`, `show`, `schema`, `new`, `plan` and `filemap`, called as Airflow calls them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.cli.filemap import compile_regex, map_by_path
from airflow_provider_caf.cli.output import clean, command, show_text
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.io.filemap import read_filemap
from tests.caf_command import run

if TYPE_CHECKING:
    from tests.unit.conftest import LabFiles

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[3]
DEMO = TOP / "dags" / "definitions" / "demo_calibration.yaml"


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "demo.json"
    calibration = {"name": "first", "collector": "hits:C", "input_data": "events", "algorithms": ["hits:A"]}
    definition = {"name": "demo", "input_data": {"events": [f"{folder}/*.root"]}, "calibrations": [calibration]}
    file.write_text(json.dumps({**definition, **changes}))
    return file


def test_a_new_definition_is_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    assert run("new", "mine", "-o", str(file)) == 0
    assert run("lint", str(file)) == 0
    assert "Good definitions: 1. Mistakes: 0." in capsys.readouterr().out
    assert run("new", "mine", "-o", str(file)) == 1
    assert "is there already" in capsys.readouterr().err
    assert run("new", "a b") == 1


def test_lint_refuses_lines_that_break_the_watching_of_jobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["#SBATCH --clusters=serial", "--qos=x", "-d afterok:1", "#SBATCH --wait", "hello"]
    file = write(tmp_path, backend="Slurm", backend_args={"extra_lines": lines, "environment": {"SBATCH_WAIT": "1"}})
    assert run("lint", str(file)) == 1
    shown = capsys.readouterr().out
    for said in ("'--clusters=serial': on another cluster", "'-d': jobs whose condition fails wait for ever"):
        assert said in shown
    for said in (
        "'--wait': the submit command would not end",
        "'hello' of this definition is no option",
        "SBATCH_WAIT",
    ):
        assert said in shown
    assert "Mistakes: 5." in shown
    # Another system reads them in its own way, and of an unknown one nothing can be said.
    assert run("lint", str(write(tmp_path, backend="local", backend_args={"extra_lines": lines}))) == 0
    assert run("lint", str(write(tmp_path, connection="farm", backend_args={"extra_lines": lines}))) == 0
    calibration = {"name": "first", "backend": "lsf", "backend_args": {"extra_lines": ["#BSUB -K"]}}
    calibration |= {"collector": "hits:C", "input_data": "events", "algorithms": ["hits:A"]}
    assert run("lint", str(write(tmp_path, backend="slurm", calibrations=[calibration]))) == 1
    assert "'-K': the submit command would not end" in capsys.readouterr().out


def test_lint_shows_all_mistakes_of_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("name: a\ncalibrations: []\nbakend: x\n")
    (tmp_path / "b.yaml").write_text("name: [\n")
    (tmp_path / "c.py").write_text("raise RuntimeError('no luck')")
    (tmp_path / "d.py").write_text("import sys\nsys.exit('leave')")
    write(tmp_path)
    assert run("lint", str(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert f"{tmp_path}/a.yaml:3: CAF 'a' has an unknown word 'bakend'." in shown
    assert f"{tmp_path}/b.yaml" in shown
    assert f"{tmp_path}/c.py: RuntimeError: no luck" in shown
    assert f"{tmp_path}/d.py: It ends Python with exit code 'leave'." in shown
    assert "Good definitions: 1. Mistakes: 4." in shown
    assert run("lint", str(tmp_path), "--json") == 1
    mistakes = json.loads(capsys.readouterr().out)
    assert [(Path(each["file"]).name, each["line"]) for each in mistakes][:1] == [("a.yaml", 3)]
    assert run("lint", str(tmp_path / "nowhere")) == 1


def test_show_and_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("show", str(DEMO)) == 0
    shown = capsys.readouterr().out
    assert "gain  1 pass  after alignment, time_offset" in shown
    assert "algorithm AlignmentAlgorithm  SingleIOV" in shown
    assert run("show", str(DEMO), "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "demo_calibration"
    assert run("schema", "-o", str(tmp_path / "schema.json")) == 0
    assert "calibrations" in json.loads((tmp_path / "schema.json").read_text())["properties"]


def test_plan_counts_files_and_subjobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(5):
        (tmp_path / f"{number}.root").touch()
    file = write(tmp_path, job_budget=2)
    assert run("plan", str(file), "--json") == 0
    (planned,) = json.loads(capsys.readouterr().out)
    (collection,) = planned["collections"]
    assert [len(each["files"]) for each in collection["subjobs"]] == [3, 2]
    conf = json.dumps({"input_data": {"events": [f"{tmp_path}/nothing/*.root"]}})
    assert run("plan", str(file), "--conf", conf) == 1
    shown = capsys.readouterr().out
    assert "not found" in shown
    assert "matches no file" in shown


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ('{"input_dat": {}}', "Did you mean 'input_data'"),
        ("{", "--conf cannot be read"),
        ("[1]", "is no JSON object"),
        ('{"calibrations": ["frist"]}', "Did you mean 'first'"),
    ],
)
def test_plan_refuses_a_bad_conf(tmp_path: Path, capsys: pytest.CaptureFixture[str], conf: str, what: str) -> None:
    assert run("plan", str(write(tmp_path)), "--conf", conf) == 1
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "command"), [("slurm", "sbatch "), ("htcondor", "condor_submit "), ("lsf", "bsub")]
)
def test_a_dry_run_shows_what_would_be_submitted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], backend: str, command: str
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.root").touch()
    conf = json.dumps({"backend": backend, "backend_args": {"memory": "2 GB"}})
    before = sorted(tmp_path.iterdir())
    file = write(tmp_path)
    assert run("plan", str(file), "--conf", conf, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert f"collection default, on {backend}" in shown
    assert "3 elements, submitted with" in shown
    assert command in shown
    assert "<work_dir>/demo/plan/first" in shown
    assert sorted(tmp_path.iterdir()) == sorted([*before, file])


def test_a_plan_in_json_is_one_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0.root").touch()
    assert run("plan", str(write(tmp_path)), "--json", "--dry-run") == 0
    (planned,) = json.loads(capsys.readouterr().out)
    assert "1 elements, submitted with" in planned["collections"][0]["dry_run"]


def test_a_plan_fills_in_the_conf_and_shows_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0.root").touch()
    first = {"name": "first", "type": "external_command", "command": ["make it", "{database}"]}
    folder = "{{ dag_run.conf.expert_config.folder }}"
    second = {"name": "second", "collector": "hits:C", "input_files": [f"{folder}/*.root"], "algorithms": ["hits:A"]}
    file = write(
        tmp_path,
        input_data={},
        expert_config={"folder": "/nowhere"},
        database_chain=[{"global_tag": "main"}],
        calibrations=[first, {**second, "depends_on": ["first"]}],
    )
    conf = json.dumps({"expert_config": {"folder": str(tmp_path)}})
    assert run("plan", str(file), "--conf", conf, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "'make it' '{database}'" in shown
    assert "constants from: payloads of first, global_tag main" in shown


def test_a_file_map_goes_on_where_it_was(
    lab_files: LabFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "map.json"
    patterns = [str(file) for file in lab_files.events]
    assert run("filemap", *patterns[:2], "-o", str(target)) == 0
    assert "2 files, 2 of them looked into now" in capsys.readouterr().err
    assert run("filemap", *patterns, "-o", str(target)) == 0
    assert "3 files, 1 of them looked into now" in capsys.readouterr().err
    found = read_filemap(target)
    assert {Path(file).name: (str(each.iov), each.events) for file, each in found.items()} == {
        "events_0.root": ("1,1,1,2", 4),
        "events_1.root": ("1,2,1,3", 3),
        "events_2.root": ("2,1,2,1", 2),
    }


def test_a_file_without_the_tree_is_named_and_the_others_are_kept(
    lab_files: LabFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "map.json"
    assert run("filemap", str(lab_files.events[0]), "-o", str(target), "--tree", "evnets") == 1
    assert "has no tree 'evnets'" in capsys.readouterr().err
    assert run("filemap", str(lab_files.events[0]), "-o", str(target), "--basf2") == 1
    assert "no FileMetaData of basf2" in capsys.readouterr().err


def test_runs_are_taken_from_paths(tmp_path: Path) -> None:
    files = ["/data/e0008/r00012/a.root", "/data/e0008/r00013/b.root"]
    pattern = compile_regex(r"e(?P<exp>\d+)/r(?P<run>\d+)/")
    found = map_by_path(files, pattern)
    assert [str(each.iov) for each in found.values()] == ["8,12,8,12", "8,13,8,13"]
    wide = compile_regex(r"(?P<exp>\d+)\.(?P<run>\d+)-(?P<run_high>\d+)")
    (mapped,) = map_by_path(["/7.1-9.root"], wide).values()
    assert str(mapped.iov) == "7,1,7,9"
    with pytest.raises(InputError, match="1 of 3 files do not match"):
        map_by_path([*files, "/data/other.root"], pattern)


@pytest.mark.parametrize(
    ("regex", "what"),
    [
        (r"e(\d+)", "has not the groups exp and run"),
        (r"e(?P<exp>", "is no regular expression"),
        (r"(?P<exp>\d+)_(?P<run>\d+)_(?P<run_hihg>\d+)", "unknown group 'run_hihg'"),
    ],
)
def test_a_regular_expression_is_checked_first(regex: str, what: str) -> None:
    with pytest.raises(DefinitionError, match=what):
        compile_regex(regex)


@pytest.fixture
def numbered(tmp_path: Path) -> str:
    """Give the pattern of three files whose names have two numbers."""
    for number in range(3):
        (tmp_path / f"7_{number}.root").touch()
    return f"{tmp_path}/*.root"


def test_a_map_made_in_another_way_is_made_again(
    numbered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "map.json"
    there, back = r"(?P<exp>\d+)_(?P<run>\d+)\.root", r"(?P<run>\d+)_(?P<exp>\d+)\.root"
    assert run("filemap", numbered, "-o", str(target), "--regex", there) == 0
    assert run("filemap", numbered, "-o", str(target), "--regex", there) == 0
    assert "3 files, 0 of them looked into now" in capsys.readouterr().err
    assert run("filemap", numbered, "-o", str(target), "--regex", back) == 0
    shown = capsys.readouterr().err
    assert "was made in another way" in shown
    assert "3 files, 3 of them looked into now" in shown
    assert sorted(str(each.iov) for each in read_filemap(target).values()) == ["0,7,0,7", "1,7,1,7", "2,7,2,7"]


def test_a_map_becomes_a_pickle_and_is_read_again(
    numbered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, back = tmp_path / "map.pkl", tmp_path / "map.json"
    words = ("--regex", r"(?P<exp>\d+)_(?P<run>\d+)\.root", "--exclude", "_1")
    assert run("filemap", numbered, "-o", str(made), *words) == 0
    assert run("filemap", "--pickle", str(made), "-o", str(back)) == 0
    assert "2 files, 0 of them looked into now" in capsys.readouterr().err
    found = read_filemap(back)
    assert {Path(file).name: str(each.iov) for file, each in found.items()} == {
        "7_0.root": "7,0,7,0",
        "7_2.root": "7,2,7,2",
    }
    assert found == read_filemap(tmp_path / "map.pkl.json")
    assert run("filemap", "--pickle", str(made), "-o", str(back), "--exclude", "_0") == 0
    assert [Path(file).name for file in read_filemap(back)] == ["7_2.root"]
    for wrong, text in (((), "Give one of them"), ((numbered, "--pickle", str(made)), "Give one of them")):
        assert run("filemap", *wrong, "-o", str(back)) == 1
        assert text in capsys.readouterr().err
    assert run("filemap", "--pickle", str(back), "-o", str(back)) == 1
    assert "is no pickle of a file map" in capsys.readouterr().err
    assert run("filemap", numbered, "-o", "map.txt") == 1
    assert "is no .json, .parquet or .pkl file" in capsys.readouterr().err
    assert run("filemap", numbered, "-o", str(back), "--exclude", "(") == 1
    assert "'(' is no regular expression" in capsys.readouterr().err


def test_parquet_is_asked_for_before_the_work_begins(
    numbered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    before = sorted(tmp_path.iterdir())
    assert run("filemap", numbered, "-o", str(tmp_path / "map.parquet")) == 1
    assert "Parquet needs pyarrow" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_table_has_a_row_for_each_file(numbered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    target = tmp_path / "map.parquet"
    words = ("filemap", numbered, "-o", str(target), "--regex", r"(?P<exp>\d+)_(?P<run>\d+)\.root")
    assert run(*words) == 0
    assert parquet.read_table(target).to_pydict() == {
        "path": sorted(str(file) for file in tmp_path.glob("*.root")),
        "exp_low": [7, 7, 7],
        "run_low": [0, 1, 2],
        "exp_high": [7, 7, 7],
        "run_high": [0, 1, 2],
        "events": [None, None, None],
    }
    assert run(*words) == 0
    assert "3 files, 0 of them looked into now" in capsys.readouterr().err


def test_letters_that_the_terminal_does_not_know_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    command(lambda _: show_text("a ─ b"))(None)
    stream.flush()
    assert stream.buffer.getvalue() == b"a \\u2500 b\n"


def test_an_interruption_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        command(interrupt)(None)
    assert end.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_control_characters_are_not_printed() -> None:
    assert clean("a\x1b[31mb\x9bc\nd\te") == "a\ufffd[31mb\ufffdc\nd\te"
