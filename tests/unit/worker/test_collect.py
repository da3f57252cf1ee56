"""The verb `collect`: what runs before, the collector or the command, and every exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.worker.collect import collect
from airflow_provider_caf.worker.collect.collect import OUTPUT_FILE, main
from airflow_provider_caf.worker.constants import save_payload
from airflow_provider_caf.worker.root import open_root_file

Run = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an attempt, as the current one."""
    path = tmp_path / "attempt_0"
    path.mkdir()
    monkeypatch.chdir(path)
    monkeypatch.setattr(collect, "crash_plainly", lambda: None)
    monkeypatch.delenv("CAF_JOB", raising=False)
    monkeypatch.setenv("CAF_JOB", "restored at the end")
    return path


@pytest.fixture
def run(folder: Path, tmp_path: Path, calibrators: Path, make_events: Any) -> Run:
    """Give a function that runs a job with some fields changed."""
    source = make_events(tmp_path / "events.root", [(1, 1, 10.0), (1, 2, 20.0)])

    def start(**fields: Any) -> int:
        job = {
            "version": 1,
            "calibration": "c",
            "collection": "default",
            "iteration": 1,
            "subjob": 3,
            "command": None,
            "collector": f"{calibrators}:HitCollector",
            "settings": {},
            "granularity": "run",
            "input_files": [source],
            "output_patterns": [OUTPUT_FILE],
            "database_chain": [],
            "arguments": {"seed": 5},
            "pre_collector": None,
            **fields,
        }
        path = tmp_path / "00003.json"
        path.write_text(json.dumps(job))
        return main([str(path)])

    return start


def count(folder: Path, place: str) -> float:
    file = open_root_file(str(folder / OUTPUT_FILE))  # it would take the object along if nothing held it
    return float(file.Get(place).GetEntries())


def test_a_collector_writes_its_output(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings={"scale": 2.0}) == 0
    assert "collected 2 events of 2 runs" in capsys.readouterr().out
    assert [each.name for each in folder.iterdir()] == [OUTPUT_FILE]
    file = open_root_file(str(folder / OUTPUT_FILE))
    assert file.Get("Hits/x/x_1.2").GetMean() == pytest.approx(40.0)


def test_the_granularity_of_the_job_wins(run: Run, folder: Path) -> None:
    assert run(granularity="all") == 0
    assert count(folder, "Hits/x/x_-1.-1") == 2


def test_a_collector_sees_job_and_constants(
    run: Run, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / "db"
    database.mkdir()
    revision, _ = save_payload({"value": 7}, "Offset", database)
    (database / "database.txt").write_text(f"dbstore/Offset {revision} 0,0,-1,-1\n")
    module = tmp_path / "seeing.py"
    module.write_text(
        "from airflow_provider_caf.worker import Collector\n"
        "class Seeing(Collector):\n"
        "    def start_run(self):\n"
        "        print('sees', self.iteration, self.arguments, self.get_payload('Offset'), len(self.input_files))\n"
        "    def collect(self, event): pass\n"
    )
    assert run(collector=f"{module}:Seeing", database_chain=[{"kind": "local", "path": str(database)}]) == 0
    assert "sees 1 {'seed': 5} {'value': 7} 1" in capsys.readouterr().out


def test_a_function_may_choose_the_input_files(run: Run, folder: Path, calibrators: Path, make_events: Any) -> None:
    skipped = make_events(folder.parent / "skip.root", [(9, 9, 1.0)])
    kept = make_events(folder.parent / "kept.root", [(1, 1, 1.0)])
    function = {"function": f"{calibrators}:choose_files"}
    assert run(input_files=[skipped, kept], pre_collector=function) == 0
    assert count(folder, "Hits/RunRange") == 1


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ({"function": "{}:no_function"}, "is no function"),
        ({"function": "{}:gone"}, "has no 'gone'"),
        ({"script": "x"}, "Give {'function': 'module:name'} or {'command': [argv]}"),
        ({"command": []}, "The command is []"),
        ({"command": "rm -rf /"}, "The command is 'rm -rf /'"),
    ],
)
def test_what_cannot_run_before_is_refused(run: Run, calibrators: Path, before: dict[str, Any], text: str) -> None:
    if "function" in before:
        before = {"function": before["function"].format(calibrators)}
    with pytest.raises(DefinitionError) as caught:
        run(pre_collector=before)
    assert text in str(caught.value)


def test_a_function_that_gives_nonsense_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text("def odd(job): return 5\n")
    with pytest.raises(DefinitionError, match="gave 5"):
        run(pre_collector={"function": f"{tmp_path / 'odd.py'}:odd"})


def test_a_command_runs_before(run: Run, folder: Path) -> None:
    program = "import os, pathlib; pathlib.Path('before').write_text(os.environ['CAF_JOB'])"
    assert run(pre_collector={"command": [sys.executable, "-c", program]}) == 0
    assert (folder / "before").read_text() == str(folder.parent / "00003.json")
    assert (folder / OUTPUT_FILE).exists()


def test_a_command_that_fails_before_ends_the_job(run: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pre_collector={"command": [sys.executable, "-c", "raise SystemExit(7)"]}) == 7
    assert "the command before the collector ended with exit code 7" in capsys.readouterr().err
    assert not (folder / OUTPUT_FILE).exists()


def test_a_command_instead_of_a_collector(run: Run, folder: Path) -> None:
    program = "import json, sys; print(json.dumps(sys.argv[1:]), file=open('words', 'w'))"
    words = ["{seed}", "{input_files}", "$(touch pwned)", "; ls", "a b"]
    assert run(collector=None, command=[sys.executable, "-c", program, *words]) == 0
    seen = json.loads((folder / "words").read_text())
    assert seen == ["5", str(folder.parent / "events.root"), "$(touch pwned)", "; ls", "a b"]
    assert [each.name for each in folder.iterdir()] == ["words"]


@pytest.mark.parametrize(
    ("command", "code"),
    [([sys.executable, "-c", "raise SystemExit(42)"], 42), (["no-such-program"], 127), (["/"], 126)],
)
def test_exit_codes_are_passed_on(run: Run, command: list[str], code: int) -> None:
    assert run(collector=None, command=command) == code


def test_the_signal_of_a_command_is_passed_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    command = [sys.executable, "-c", "import ctypes; ctypes.string_at(0)"]
    assert run(collector=None, command=command) != 0
    assert sent == [(os.getpid(), 11)]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"collector": None}, "has to name a collector, or a command, and not both"),
        ({"command": ["true"]}, "has to name a collector, or a command, and not both"),
        ({"version": 2}, "has version 2, this program knows 1"),
        ({"settings": []}, "'settings' of the job"),
        ({"input_files": "a.root"}, "'input_files' of the job"),
        ({"settings": {"scal": 1}}, "The collector 'HitCollector' has no setting 'scal'"),
        ({"granularity": "event"}, "The granularity of the collector 'HitCollector' is 'event'"),
        ({"input_files": ["/nowhere/a.root"]}, "The input file /nowhere/a.root does not exist"),
    ],
)
def test_jobs_that_cannot_be_are_refused(run: Run, folder: Path, fields: dict[str, Any], text: str) -> None:
    with pytest.raises((DefinitionError, InputError)) as caught:
        run(**fields)
    assert text in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_job_file_that_is_cut_off_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"version": 1')
    with pytest.raises(InputError, match=r"cut\.json is not JSON, or is cut off"):
        main([str(tmp_path / "cut.json")])


def test_an_error_in_the_users_code_keeps_its_traceback(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "from airflow_provider_caf.worker import Collector\n"
        "class Bad(Collector):\n    def collect(self, event):\n        return 1 / 0\n"
    )
    with pytest.raises(ZeroDivisionError):
        run(collector=f"{tmp_path / 'bad.py'}:Bad")
    assert list(folder.iterdir()) == []
