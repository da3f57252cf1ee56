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

from airflow_provider_caf.worker.job.processes import end_processes, find_processes, read_boot, read_start

pytestmark = pytest.mark.slow

MARK = f"CAF_POOL=test.{os.getpid()}"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def start(
    children: list[subprocess.Popen[bytes]], *argv: str, mark: str = MARK, name: str = sys.executable
) -> subprocess.Popen[bytes]:
    """Start a Python, and wait until it is there: before, the kernel shows it without its environment.

    :param argv: lines of a program that it runs before it says that it is up.
    """
    variable, _, value = mark.partition("=")
    code = "\n".join(("import signal, time", *argv, "print('up', flush=True)", "time.sleep(600)"))
    process = subprocess.Popen(
        [name, "-c", code], env={**os.environ, variable: value}, start_new_session=True, stdout=subprocess.PIPE
    )
    children.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.stdout.close()
    return process


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
    process = start(children, name=str(program))
    assert read_start(process.pid) is not None
    assert process.pid in find_processes(MARK, {})


def test_found_by_mark_and_by_session(children: list[subprocess.Popen[bytes]]) -> None:
    marked = start(children)
    other = start(children, mark=MARK + "0")
    assert find_processes(MARK, {}) == {marked.pid}
    assert find_processes(None, {}) == set()
    begun = read_start(other.pid)
    assert begun is not None
    assert find_processes(None, {other.pid: begun}) == {other.pid}
    # The number is another process's by now.
    assert find_processes(None, {other.pid: begun - 1}) == set()


@pytest.mark.parametrize("mark", ["", "CAF_POOL"])
def test_a_mark_that_every_process_has_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="marks no process"):
        find_processes(mark, {})


def test_the_kind_are_asked_and_the_deaf_are_killed(children: list[subprocess.Popen[bytes]]) -> None:
    kind = start(children)
    deaf = start(children, "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    begin = time.monotonic()
    assert end_processes(lambda: find_processes(MARK, {}), 1.0) == set()
    assert time.monotonic() - begin >= 1.0
    assert (kind.wait(), deaf.wait()) == (-signal.SIGTERM, -signal.SIGKILL)


def test_nothing_to_end_takes_no_time() -> None:
    # Longer than a test may take.
    assert end_processes(set, 3600.0) == set()


def test_what_cannot_be_ended_is_told() -> None:
    gone = 2**22 + 1
    assert end_processes(lambda: {gone}, 0.0) == {gone}


def test_one_that_replaces_its_program_is_found_all_the_while() -> None:
    """The kernel shows no variables of a process at the moment of an `exec`."""
    again = 'import os, sys; os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", sys.argv[1], sys.argv[1]])'
    name, _, value = MARK.partition("=")
    with subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", again, again], env={**os.environ, name: value}, start_new_session=True
    ) as process:
        try:
            leaders = {process.pid: read_start(process.pid) or 0}
            assert all(process.pid in find_processes(MARK, leaders) for _ in range(100))
        finally:
            process.kill()
