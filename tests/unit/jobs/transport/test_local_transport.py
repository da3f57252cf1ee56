"""Commands on this machine: time limits, odd programs, secrets."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.batch.spec import Command, TextFile
from airflow_provider_caf.core.errors import CafError, TransportError
from airflow_provider_caf.jobs.transport.local import LocalTransport, show_command
from tests.waiting import wait_until

TRANSPORT = LocalTransport()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_what_a_command_answers() -> None:
    script = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.stderr.write('err'); sys.exit(3)"
    words = ("a b", "$(x)", "'", "")
    result = TRANSPORT.run(Command(argv=(sys.executable, "-c", script, *words), stdin="ä in"))
    assert result.exit_code == 3
    assert result.stdout == f"{list(words)} ä in\n"
    assert result.stderr == "err"
    assert result.argv[0] == sys.executable


def test_no_input_is_an_empty_one_and_odd_bytes_are_no_error() -> None:
    assert TRANSPORT.run(Command(argv=("cat",))).stdout == ""
    assert TRANSPORT.run(Command(argv=("printf", r"\377\n"))).stdout == "\ufffd\n"


def test_every_exit_code_is_what_it_is() -> None:
    codes = list(range(256))
    assert [TRANSPORT.run(Command(argv=("sh", "-c", f"exit {code}"))).exit_code for code in codes] == codes


def test_a_signal_is_a_negative_exit_code() -> None:
    assert TRANSPORT.run(Command(argv=("sh", "-c", "kill -9 $$"))).exit_code == -9


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > {pids}; sleep 600 & echo $! >> {pids}; echo 'still trying' >&2; wait"
    with pytest.raises(TransportError) as caught:
        TRANSPORT.run(Command(argv=("sh", "-c", script), timeout=2.0))
    assert f"on {TRANSPORT.host} gave no answer in 2 s and was ended. It said: still trying" in str(caught.value)
    assert "sleep 600" in str(caught.value)
    assert "Is the server of the batch system up?" in str(caught.value)
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


def test_one_that_is_deaf_to_sigterm_is_killed() -> None:
    program = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    with pytest.raises(TransportError, match=r"gave no answer in 0\.5 s and was ended\.\n"):
        TRANSPORT.run(Command(argv=(sys.executable, "-c", program), timeout=0.5))


def test_a_process_left_behind_is_not_waited_for(tmp_path: Path) -> None:
    """`qsub` leaves one for a minute, with our output open."""
    pid = tmp_path / "pid"
    # Longer than a test may take.
    result = TRANSPORT.run(Command(argv=("sh", "-c", f"sleep 600 & echo $! > {pid}; echo 4.server")))
    assert result.stdout == "4.server\n"
    os.kill(int(pid.read_text()), 9)


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(
        TransportError, match=r"There is no command 'no-such-sbatch' on .*\n.*on the PATH of the Airflow"
    ):
        TRANSPORT.run(Command(argv=("no-such-sbatch", "x")))


@pytest.mark.parametrize("argv", [("/",), ("a\0b",), ("true", "x" * 3_000_000)])
def test_a_command_that_cannot_be_started(argv: tuple[str, ...]) -> None:
    with pytest.raises(TransportError, match=r"could not be started on .*\n.*Run it by hand") as caught:
        TRANSPORT.run(Command(argv=argv))
    assert len(str(caught.value)) < 1000


def test_keys_of_airflow_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("_AIRFLOW_KEY", "secret")
    monkeypatch.setenv("KEPT", "kept")
    out = TRANSPORT.run(Command(argv=("env",), environment={"GIVEN": "a b"})).stdout
    assert "secret" not in out
    assert "KEPT=kept\n" in out
    assert "GIVEN=a b\n" in out


def test_a_lock_is_held_as_long_as_the_command_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(mine, fcntl.LOCK_EX)
    pid = tmp_path / "pid"
    TRANSPORT.run(Command(argv=("sh", "-c", f"sleep 600 & echo $! > {pid}")), hold=mine)
    os.close(mine)
    other = os.open(path, os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(int(pid.read_text()), 9)
    fcntl.flock(other, fcntl.LOCK_EX)
    os.close(other)
    # Without being asked for, it is not handed on.
    mine = os.open(path, os.O_RDWR)
    os.set_inheritable(mine, True)
    assert TRANSPORT.run(Command(argv=("test", "-e", f"/proc/self/fd/{mine}"))).exit_code == 1
    os.close(mine)


def test_files(tmp_path: Path) -> None:
    TRANSPORT.write_file(TextFile(path=str(tmp_path / "run.sh"), text="#!/bin/sh\n", executable=True))
    TRANSPORT.write_file(TextFile(path=str(tmp_path / "plain"), text="x"))
    assert os.access(tmp_path / "run.sh", os.X_OK)
    assert (tmp_path / "plain").stat().st_mode & 0o111 == 0
    with pytest.raises(CafError, match="could not be written"):
        TRANSPORT.write_file(TextFile(path=str(tmp_path / "none" / "x"), text=""))


def test_long_commands_are_shown_cut() -> None:
    assert show_command(Command(argv=("a b", "c"))) == repr("'a b' c")
    assert len(show_command(Command(argv=("x" * 1000,)))) < 310
