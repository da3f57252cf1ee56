"""Telling processes apart, and ending what was left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_caf.worker.processes import end_processes, find_processes, read_boot, read_start

MARK = f"CAF_POOL=test.{os.getpid()}"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def start(children: list[subprocess.Popen[bytes]], *argv: str, mark: str = MARK) -> subprocess.Popen[bytes]:
    name, _, value = mark.partition("=")
    process = subprocess.Popen(argv, env={**os.environ, name: value}, start_new_session=True, stdout=subprocess.PIPE)
    children.append(process)
    return process


def close(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()


def test_a_process_has_a_start_time_and_a_machine_a_boot() -> None:
    mine = read_start(os.getpid())
    assert mine is not None
    assert mine == read_start(os.getpid())
    assert read_start(2**22 + 1) is None
    assert read_boot() == read_boot() != ""


def test_a_program_with_an_odd_name_has_a_start_time_too(
    tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    program = tmp_path / "a ) R 1 (b"
    program.symlink_to(sys.executable)
    process = start(children, str(program), "-c", "import time; print('up', flush=True); time.sleep(60)")
    assert process.stdout is not None
    process.stdout.readline()
    assert read_start(process.pid) is not None
    assert process.pid in find_processes(MARK, {})
    close(process)


def test_found_by_mark_and_by_session(children: list[subprocess.Popen[bytes]]) -> None:
    marked = start(children, "sleep", "60")
    other = start(children, "sleep", "60", mark=MARK + "0")
    assert find_processes(MARK, {}) == {marked.pid}
    assert find_processes(None, {}) == set()
    begun = read_start(other.pid)
    assert begun is not None
    assert find_processes(None, {other.pid: begun}) == {other.pid}
    # The number is another process's by now.
    assert find_processes(None, {other.pid: begun - 1}) == set()
    close(marked, other)


@pytest.mark.parametrize("mark", ["", "CAF_POOL"])
def test_a_mark_that_every_process_has_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="marks no process"):
        find_processes(mark, {})


def test_the_kind_are_asked_and_the_deaf_are_killed(children: list[subprocess.Popen[bytes]]) -> None:
    deaf_code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    kind = start(children, "sleep", "60")
    deaf = start(children, sys.executable, "-c", deaf_code)
    assert deaf.stdout is not None
    deaf.stdout.readline()
    begin = time.monotonic()
    assert end_processes(lambda: find_processes(MARK, {}), 0.3) == set()
    assert 0.3 <= time.monotonic() - begin < 5
    assert (kind.wait(5), deaf.wait(5)) == (-signal.SIGTERM, -signal.SIGKILL)
    close(kind, deaf)


def test_nothing_to_end_takes_no_time() -> None:
    begin = time.monotonic()
    assert end_processes(set, 5.0) == set()
    assert time.monotonic() - begin < 1


def test_what_cannot_be_ended_is_told() -> None:
    gone = 2**22 + 1
    assert end_processes(lambda: {gone}, 0.0) == {gone}
