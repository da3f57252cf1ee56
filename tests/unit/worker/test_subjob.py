"""One try of one subjob: folder, argv, outputs, exit record."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.worker.job import subjob as module
from airflow_provider_caf.worker.job.outputs import find_outputs
from airflow_provider_caf.worker.job.subjob import (
    Warden,
    build_argv,
    fill_placeholders,
    finish_attempt,
    format_time,
    open_attempt,
    read_array,
    start_attempt,
    write_record,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


class Collection:
    """A folder with job files and an array."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.elements: list[list[int]] = []
        (folder / "in").mkdir()

    def add(self, *command: str, outputs: tuple[str, ...] = (), **changes: Any) -> int:
        """Write a job file and give its number."""
        number = len(list((self.folder / "in").iterdir()))
        job = {
            "version": 1,
            "calibration": "cal",
            "collection": "hits",
            "iteration": 2,
            "subjob": number,
            "command": list(command),
            "settings": {},
            "input_files": [],
            "output_patterns": list(outputs),
            "arguments": {},
            "pre_collector": None,
            **changes,
        }
        (self.folder / "in" / f"{number:05d}.json").write_text(json.dumps(job))
        self.elements.append([number])
        return number

    @property
    def array(self) -> dict[str, Any]:
        """Give the array's record."""
        return {
            "version": 1,
            "name": "caf_x",
            "folder": str(self.folder / "array"),
            "input_folder": str(self.folder / "in"),
            "output_folder": str(self.folder / "out"),
            "status_folder": str(self.folder / "out" / "status"),
            "elements": self.elements,
            "attempt": 0,
            "app": "/w/app.pyz",
            "python": sys.executable,
            "resources": {},
        }

    def write_array(self) -> Path:
        """Write the array's record."""
        path = self.folder / "array.json"
        path.write_text(json.dumps(self.array))
        return path

    def read_record(self, name: str) -> dict[str, Any]:
        """Read an exit record."""
        record: dict[str, Any] = json.loads((self.folder / "out" / "status" / name).read_text())
        return record


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return Collection(tmp_path)


def run_element(collection: Collection, element: int = 0, *more: str) -> subprocess.CompletedProcess[str]:
    """Run an element as a job of a batch system does."""
    words = ["subjob", "--array", str(collection.write_array()), "--element", str(element), *more]
    return subprocess.run(
        [sys.executable, "-m", "airflow_provider_caf.worker", *words], capture_output=True, text=True, check=False
    )


def test_the_exit_record_says_all_of_the_contract(collection: Collection) -> None:
    collection.add("sh", "-c", "echo data > out.dat; echo said; echo err >&2", outputs=("out.dat",))
    begin = time.time()
    assert run_element(collection).returncode == 0
    record = collection.read_record("00000.0.json")
    assert set(record) == {
        *("version", "subjob", "attempt", "exit_code", "signal", "host", "started", "ended", "cpu_seconds"),
        *("peak_memory_kb", "job_digest", "folder", "outputs", "reason", "ended_by", "out_of_memory"),
    }
    folder = collection.folder / "out" / "00000" / "attempt_0"
    assert (record["version"], record["subjob"], record["attempt"]) == (1, 0, 0)
    assert (record["exit_code"], record["signal"], record["reason"]) == (0, None, None)
    assert (record["host"], record["folder"]) == (os.uname().nodename, str(folder))
    assert record["outputs"] == [{"path": "out.dat", "size": 5}]
    digest = hashlib.sha256((collection.folder / "in" / "00000.json").read_bytes()).hexdigest()
    assert record["job_digest"] == digest
    assert 0 <= record["cpu_seconds"] < 5
    assert 500 < record["peak_memory_kb"] < 500_000
    pattern = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(pattern, record["started"])
    assert format_time(begin) <= record["started"] <= record["ended"] <= format_time(time.time())
    assert (folder / "stdout.log").read_text() == "said\n"
    assert (folder / "stderr.log").read_text() == "err\n"
    assert [path.name for path in (collection.folder / "out" / "status").iterdir()] == ["00000.0.json"]


@pytest.mark.parametrize(
    ("script", "code", "exit_code", "killed_by", "reason"),
    [
        ("exit 3", 3, 3, None, None),
        ("kill -9 $$", 137, None, 9, None),
        ("kill -SEGV $$", 139, None, 11, None),
        (":", 1, 0, None, "the declared output 'out.dat' is missing in"),
        (": > out.dat", 1, 0, None, "the declared output 'out.dat' is empty in"),
        ("mkdir out.dat", 1, 0, None, "the declared output 'out.dat' is missing in"),
    ],
)
def test_ways_to_fail(
    collection: Collection, script: str, code: int, exit_code: int | None, killed_by: int | None, reason: str | None
) -> None:
    collection.add("sh", "-c", script, outputs=("out.dat",))
    assert run_element(collection).returncode == code
    record = collection.read_record("00000.0.json")
    assert (record["exit_code"], record["signal"]) == (exit_code, killed_by)
    assert (record["reason"] is None) == (reason is None)
    assert (reason or "") in (record["reason"] or "")


def test_a_requeued_job_works_in_a_folder_of_its_own(collection: Collection) -> None:
    collection.add("sh", "-c", "[ $CAF_ATTEMPT = 0_r2 ] && echo x > out.dat", outputs=("out.dat",))
    for code in (1, 1, 0):
        assert run_element(collection).returncode == code
    names = ["00000.0.json", "00000.0_r1.json", "00000.0_r2.json"]
    assert sorted(path.name for path in (collection.folder / "out" / "status").iterdir()) == names
    record = collection.read_record("00000.0_r2.json")
    assert record["attempt"] == "0_r2"
    assert record["folder"].endswith("/out/00000/attempt_0_r2")


def test_a_job_that_is_started_again_after_its_success_ends_at_once(collection: Collection) -> None:
    collection.add("sh", "-c", "[ $CAF_ATTEMPT = 0 ] || echo x > out.dat", outputs=("out.dat",))
    assert [run_element(collection).returncode for _ in range(4)] == [1, 0, 0, 0]
    starts = collection.folder / "out" / "00000"
    assert sorted(path.name for path in starts.iterdir()) == ["attempt_0", "attempt_0_r1"]
    # A success that is none any more: the output is gone, or the job file is another one.
    (starts / "attempt_0_r1" / "out.dat").unlink()
    assert run_element(collection).returncode == 0
    file = collection.folder / "in" / "00000.json"
    file.write_text(file.read_text() + "\n")
    assert run_element(collection).returncode == 0
    assert sorted(path.name for path in starts.iterdir())[-2:] == ["attempt_0_r2", "attempt_0_r3"]


def test_several_subjobs_in_one_element_run_one_after_the_other(collection: Collection) -> None:
    for code in (0, 4, 0):
        collection.add("sh", "-c", f"exit {code}")
    collection.elements = [[0, 1, 2]]
    assert run_element(collection).returncode == 4
    assert [collection.read_record(f"{number:05d}.0.json")["exit_code"] for number in range(3)] == [0, 4, 0]


@pytest.mark.parametrize("record", [None, "", "[]", '{"exit_code": 0}'])
def test_an_element_that_is_started_again_goes_on_after_those_that_are_done(
    collection: Collection, record: str | None
) -> None:
    for number in range(3):
        collection.add("sh", "-c", f"[ $CAF_ATTEMPT != 0 ] || exit {number % 2}")
    collection.elements = [[0, 1, 2]]
    assert run_element(collection).returncode == 1
    status = collection.folder / "out" / "status"
    if record is not None:
        (status / "00002.0.json").write_text(record)
    assert run_element(collection).returncode == 0
    # Only the second had failed; of a third, whose record is none, nobody knows.
    again = ["00001.0_r1.json"] if record is None else ["00001.0_r1.json", "00002.0_r1.json"]
    assert sorted(path.name for path in status.glob("*_r1.json")) == again


def test_the_number_of_the_first_element(collection: Collection) -> None:
    collection.add("true")
    assert run_element(collection, 1, "--first", "1").returncode == 0
    done = run_element(collection, 0, "--first", "1")
    assert done.returncode == 1
    assert "array caf_x has no element -1, it has 1" in done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR2", "SIGXCPU", "SIGINT"])
def test_a_signal_of_the_batch_system_reaches_the_job_and_the_record(collection: Collection, name: str) -> None:
    collection.add("sh", "-c", f"trap 'echo bye; exit 0' {name[3:]}; echo ready; while :; do sleep 0.02; done")
    collection.add("true")
    collection.elements = [[0, 1]]
    argv = ["subjob", "--array", str(collection.write_array()), "--element", "0"]
    process = subprocess.Popen([sys.executable, "-m", "airflow_provider_caf.worker", *argv])
    log = collection.folder / "out" / "00000" / "attempt_0" / "stdout.log"
    wait_until(lambda: log.exists() and log.read_text())
    process.send_signal(getattr(signal, name))
    assert process.wait() == 1
    record = collection.read_record("00000.0.json")
    assert (record["exit_code"], record["reason"]) == (0, f"the batch system sent {name} to the job")
    assert log.read_text() == "ready\nbye\n"
    # What would come after it is not begun.
    assert not (collection.folder / "out" / "00001").exists()


@pytest.mark.parametrize(("text", "stays"), [("", False), ("the site is ill\n", True)])
def test_the_log_of_an_element_stays_only_if_something_is_in_it(collection: Collection, text: str, stays: bool) -> None:
    collection.add("true")
    log = collection.folder / "array" / "element_0.log"
    log.parent.mkdir()
    log.write_text(text)
    # The log has our number of the element, not that of a system which counts from 1.
    assert run_element(collection, 1, "--first", "1").returncode == 0
    assert log.exists() == stays


@pytest.mark.parametrize(
    ("number", "limit"),
    [(signal.SIGUSR2, ", as LSF does at the end of the walltime (run limit)"), (signal.SIGTERM, "")],
)
def test_a_limit_of_lsf_is_named(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, limit: str) -> None:
    """Compatible systems say nothing of it but the signal."""
    warden = Warden()
    warden.handle(number)
    plain = f"the batch system sent {number.name} to the job"
    monkeypatch.delenv("LSB_JOBID", raising=False)
    assert warden.reason == plain
    monkeypatch.setenv("LSB_JOBID", "5")
    assert warden.reason == plain + limit


def test_a_signal_before_the_start_is_handed_on_too() -> None:
    warden = Warden()
    warden.handle(signal.SIGTERM)
    assert warden.reason == "the batch system sent SIGTERM to the job"
    child = subprocess.Popen(["sleep", "600"])
    warden.watch(child.pid)
    assert child.wait() == -signal.SIGTERM
    # It has ended, and its number belongs to nobody.
    warden.handle(signal.SIGINT)
    assert (warden.pid, warden.received) == (0, signal.SIGTERM)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "the job file could not be read: FileNotFoundError"),
        ("{", "the job file could not be read: JSONDecodeError"),
        ("[]", "the job file could not be read: TypeError"),
        ("{}", "the job file could not be read: KeyError"),
        ('{"output_patterns": [], "command": "rm -rf x"}', "the command is 'rm -rf x', not a list of texts"),
        ('{"output_patterns": [], "command": []}', "the command is [], not a list of texts"),
        ('{"output_patterns": [], "command": [1]}', "the command is [1], not a list of texts"),
    ],
)
def test_a_job_file_that_is_none(collection: Collection, content: str | None, problem: str) -> None:
    collection.elements = [[0]]
    if content is not None:
        (collection.folder / "in" / "00000.json").write_text(content)
    assert run_element(collection).returncode == 125
    record = collection.read_record("00000.0.json")
    assert record["exit_code"] == 125
    assert problem in record["reason"]


@pytest.mark.parametrize(
    ("argv", "code", "problem"),
    [
        (["no-such-program-anywhere"], 127, "'no-such-program-anywhere' could not be started in"),
        (["/"], 126, "'/' could not be started in"),
        (["./none"], 127, "'./none' could not be started in"),
        (["a\0b"], 126, "could not be started in"),
    ],
)
def test_a_program_that_cannot_be_started(collection: Collection, argv: list[str], code: int, problem: str) -> None:
    collection.add(*argv)
    assert run_element(collection).returncode == code
    record = collection.read_record("00000.0.json")
    assert record["exit_code"] == code
    assert problem in record["reason"]


def test_a_work_folder_that_cannot_be_made(collection: Collection) -> None:
    collection.add("true")
    (collection.folder / "out").mkdir()
    (collection.folder / "out" / "00000").write_text("in the way")
    assert run_element(collection).returncode == 125
    record = collection.read_record("00000.0.json")
    assert "the work folder could not be made: [Errno 20]" in record["reason"]
    assert record["folder"] is None


def test_a_record_that_cannot_be_written(collection: Collection) -> None:
    collection.add("true")
    (collection.folder / "out").mkdir()
    (collection.folder / "out" / "status").write_text("in the way")
    done = run_element(collection)
    assert done.returncode == 1
    assert "/out/status/00000.0.json could not be written: [Errno 20]" in done.stderr


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EACCES])
def test_the_record_says_whether_there_was_no_memory_to_start_it(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_args: object, **_words: object) -> int:
        raise OSError(number, os.strerror(number))

    collection.add("true")
    array = json.loads(collection.write_array().read_text())
    monkeypatch.setattr(os, "posix_spawnp", refuse)
    monkeypatch.setattr(os, "chdir", lambda _path: None)
    attempt = module.open_attempt(array, 0)
    assert not module.start_attempt(attempt, {}, own_session=False)
    assert module.finish_attempt(attempt)["out_of_memory"] is (number == errno.ENOMEM)


def test_a_disk_that_runs_full_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda _descriptor, data: len(data) // 2)
    with pytest.raises(OSError, match="No space left on device"):
        write_record(f"{tmp_path}/00000.0.json", {"a": "b"})
    assert not (tmp_path / "00000.0.json").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "its version is 2, this program knows 1"),
        ({"folder": None}, "'folder' is not a text"),
        ({"elements": []}, "it has no elements"),
        ({"attempt": "0"}, "it has no elements, or no attempt"),
    ],
)
def test_an_array_that_is_none(collection: Collection, change: dict[str, Any], said: str) -> None:
    collection.add("true")
    path = collection.folder / "array.json"
    path.write_text(json.dumps({**collection.array, **change}))
    with pytest.raises(SystemExit, match=f"the array {path} could not be read: .*{said}"):
        read_array(str(path))


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_a_file_that_is_no_array(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "array.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit, match="could not be read"):
        read_array(str(path))


JOB: dict[str, Any] = {
    "command": ["x"],
    "subjob": 3,
    "calibration": "cal",
    "collection": "hits",
    "iteration": 0,
    "settings": {"cut": 1.5, "both": "settings"},
    "arguments": {"energy": [1, 2], "both": "arguments", "subjob": "hidden"},
    "input_files": ["/a b.root", "/{cut}.root"],
    "pre_collector": None,
}


@pytest.mark.parametrize(
    ("words", "filled"),
    [
        (["x", "plain"], ["x", "plain"]),
        (["{input_files}"], ["/a b.root", "/{cut}.root"]),
        (["--in={input_files}"], ["--in={input_files}"]),
        (["{job}", "{subjob}/{calibration}/{collection}/{iteration}"], ["/j.json", "3/cal/hits/0"]),
        (["{cut}", "{energy}", "{both}"], ["1.5", "[1, 2]", "arguments"]),
        (
            ["{print $1}", "{}", "{unknown}", "{{cut}}", "a{", "}", "{cut"],
            ["{print $1}", "{}", "{unknown}", "{1.5}", "a{", "}", "{cut"],
        ),
        (["{0.__class__}", "{cut!r}", "{cut:9}"], ["{0.__class__}", "{cut!r}", "{cut:9}"]),
    ],
)
def test_placeholders(words: list[str], filled: list[str]) -> None:
    assert fill_placeholders(words, JOB, "/j.json") == filled


def test_what_is_filled_in_is_not_read_again() -> None:
    job = {**JOB, "settings": {"a": "{b}", "b": "{a}"}}
    assert fill_placeholders(["{a}{b}"], job, "/j.json") == ["{b}{a}"]


def test_a_collector_is_run_by_the_app() -> None:
    by_app = [sys.executable, "/w/app.pyz", "collect", "/j.json"]
    assert build_argv({**JOB, "command": None}, "/j.json", "/w/app.pyz") == by_app
    assert build_argv({**JOB, "pre_collector": {"function": "a:b"}}, "/j.json", "/w/app.pyz") == by_app
    assert build_argv({**JOB, "command": ["cp", "{subjob}"]}, "/j.json", "/w/app.pyz") == ["cp", "3"]


@pytest.mark.parametrize(
    ("patterns", "found", "reason"),
    [
        ([], [], None),
        (["a.root"], ["a.root"], None),
        (["*.root"], ["a.root", "empty.root"], None),
        (["sub/*.txt", "a.root"], ["a.root", "sub/b.txt"], None),
        (["**/*.txt"], ["sub/b.txt"], None),
        (["[ae]*"], ["a.root", "empty.root"], None),
        (["stdout.log"], ["stdout.log"], None),
        (["*.log"], [], "the declared output '*.log' is missing in"),
        (["none", "a.root"], ["a.root"], "the declared output 'none' is missing in"),
        (["empty.*"], ["empty.root"], "the declared output 'empty.*' is empty in"),
        (["sub"], [], "the declared output 'sub' is missing in"),
        (["../*"], [], "the output pattern '../*' leaves the work folder"),
        (["/etc/passwd"], [], "the output pattern '/etc/passwd' leaves the work folder"),
    ],
)
def test_outputs(tmp_path: Path, patterns: list[str], found: list[str], reason: str | None) -> None:
    folder = tmp_path / "a[b]*"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.root", "sub/b.txt", "stdout.log", "stderr.log"):
        (folder / name).write_text("data")
    (folder / "empty.root").touch()
    outputs, problem = find_outputs(str(folder), patterns)
    assert [each["path"] for each in outputs] == found
    assert (problem is None) == (reason is None)
    assert (problem or "").startswith(reason or "")


def test_the_logs_are_closed_when_nothing_starts(collection: Collection) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    collection.add("no-such-program-anywhere")
    attempt = open_attempt(collection.array, 0)
    assert len(attempt.logs) == 2
    assert not start_attempt(attempt, build_child_environment(os.environ), own_session=True)
    collection.elements = [[7]]
    without_job = open_attempt(collection.array, 7)
    assert not start_attempt(without_job, build_child_environment(os.environ), own_session=True)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert finish_attempt(attempt)["exit_code"] == 127


def test_importing_it_stays_quick() -> None:
    """A thousand short subjobs each pay for every import."""
    top = Path(module.__file__).parents[3]
    code = f"import sys; sys.path.insert(0, {str(top)!r}); from airflow_provider_caf.worker.job import pool, subjob"
    # As on a farm: what this environment loads at each start would hide what we do.
    argv = [sys.executable, "-I", "-S", "-c", f"{code}; print(*sys.modules)"]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    slow = {"dataclasses", "pathlib", "argparse", "subprocess", "logging", "inspect", "glob", "ROOT", "tempfile"}
    assert not slow & set(loaded)
    assert module.TYPE_CHECKING is False
