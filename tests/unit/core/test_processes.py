"""What a tied command leaves behind when its starter ends, and how: nothing. Real processes, no mock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.core import processes
from airflow_provider_caf.core.errors import TransportTimeout
from airflow_provider_caf.core.processes import FreeProcess, TiedProcess, stop_tied_processes
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.waiting import LIMIT, is_running, wait_until

FAMILY = 'echo $$ >>"$1"; sh -c \'echo $$ >>"$1"; exec sleep 600\' child "$1" & wait'
"""Notes its number and that of a child of its own, and goes on."""

STARTER = """
import signal, subprocess, sys
from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.core.processes import stop_tied_processes
from airflow_provider_caf.jobs.transport.local import LocalTransport

how, *argv = sys.argv[1:]
# A shell that runs the tests in the background has it ignored, and so would we.
signal.signal(signal.SIGINT, signal.default_int_handler)
if how == "on_kill":
    signal.signal(signal.SIGTERM, lambda *_: stop_tied_processes())
print(LocalTransport().run(Command(argv=tuple(argv), timeout=600, is_tied=how != "free")).exit_code)
"""


def start(how: str, script: str, pids: Path, count: int) -> tuple[subprocess.Popen[bytes], list[int]]:
    """Start a process that starts a command and waits for it, and give the command's processes."""
    argv = [sys.executable, "-c", STARTER, how, "sh", "-c", script, "family", str(pids)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == count)
    return process, [int(word) for word in pids.read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_command_ends_with_its_starter_and_so_does_what_it_started(tmp_path: Path, number: int) -> None:
    process, family = start("tied", FAMILY, tmp_path / "pids", 2)
    assert all(map(is_running, family))
    process.send_signal(number)
    process.communicate()
    wait_until(lambda: not any(map(is_running, family)))


def test_a_command_that_hears_no_sigterm_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "TIED_GRACE", 0.1)
    deaf = 'trap "" TERM; ' + FAMILY
    process = TiedProcess(("sh", "-c", deaf, "family", str(tmp_path / "pids")))
    with process:
        wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
        family = [int(word) for word in (tmp_path / "pids").read_text().split()]
        process.end()
    wait_until(lambda: not any(map(is_running, family)))  # killed they are, but the kernel has to get to it


def test_a_signal_that_airflow_answers_with_on_kill_ends_the_command(tmp_path: Path) -> None:
    """Airflow's process goes on after `on_kill`, until somebody kills it."""
    process, family = start("on_kill", FAMILY, tmp_path / "pids", 2)
    process.terminate()
    said, _ = process.communicate(timeout=LIMIT)
    assert (process.returncode, said.strip()) == (0, b"-15")
    wait_until(lambda: not any(map(is_running, family)))  # killed they are, but the kernel has to get to it


def test_a_command_has_time_to_end_by_itself(tmp_path: Path) -> None:
    last = tmp_path / "last"
    kind = f'trap "echo bye >{last}; exit 0" TERM; echo $$ >>"$1"; while :; do sleep 0.05; done'
    process, _ = start("tied", kind, tmp_path / "pids", 1)
    process.kill()
    process.communicate()
    wait_until(lambda: last.exists() and last.read_text() == "bye\n")


def test_a_command_that_must_not_stop_half_way_goes_on(tmp_path: Path) -> None:
    process, family = start("free", FAMILY, tmp_path / "pids", 2)
    process.kill()
    process.communicate()
    try:
        assert all(map(is_running, family))
    finally:
        for pid in family:
            os.kill(pid, signal.SIGKILL)


def test_nothing_is_left_of_a_tied_command_that_has_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with TiedProcess(("sh", "-c", f"sleep 600 & echo $! >{pids}; exit 3")) as process:
        assert process.wait() == 3
    wait_until(lambda: not is_running(int(pids.read_text())))
    assert processes._running == set()
    # Nothing to do any more, and no error.
    process.stop()
    stop_tied_processes()


def test_a_command_that_cannot_be_started_leaves_no_guard() -> None:
    before = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    with pytest.raises(FileNotFoundError):
        TiedProcess(("no-such-program-anywhere",))
    assert set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()) == before
    assert processes._running == set()


def test_a_tied_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! >{pids}; echo begun >&2; wait"
    with pytest.raises(TransportTimeout, match=r"no answer in 1 s and was ended\. It said: begun"):
        LocalTransport().run(Command(argv=("sh", "-c", script), timeout=1, is_tied=True))
    wait_until(lambda: not is_running(int(pids.read_text())))


def test_a_free_command_that_is_ended(tmp_path: Path) -> None:
    with FreeProcess(("sleep", "600")) as process:
        process.end()
        assert process.wait() == -signal.SIGTERM
