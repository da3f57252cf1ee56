"""The script that another host runs, run here by the shells there are: no ssh is needed for most of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.jobs.transport.remote_script import (
    PROBLEMS,
    WANTED,
    Frame,
    build_remote_script,
    parse_frame,
)
from tests.waiting import is_running, is_running_with, wait_until

GOLDEN = Path(__file__).parents[3] / "golden" / "batch" / "remote_script.sh"
MARK = "caf-0123"
SHELLS = [shell for shell in ("dash", "bash") if shutil.which(shell)]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("flock") is None, reason="no flock on this machine (util-linux)"),
]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return str(request.param)


class Start(Protocol):
    def __call__(self, command: Command, *, silence: int = 60) -> subprocess.Popen[bytes]: ...


@pytest.fixture
def start(shell: str) -> Iterator[Start]:
    """Give a function that starts a script and leaves its standard input open, as the transport does."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: Command, *, silence: int = 60) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [shell, "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin is not None
        process.stdin.write(build_remote_script(command, MARK, patience=1, silence=silence).encode())
        process.stdin.flush()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def read_answer(process: subprocess.Popen[bytes]) -> tuple[Frame | None, bytes]:
    assert process.stdout is not None
    line = process.stdout.readline().decode().rstrip("\n")
    frame = parse_frame(line, MARK)
    rest = process.stdout.read((frame.out + frame.err) if frame is not None else 0)
    return frame, rest


def test_the_text() -> None:
    command = Command(
        argv=("sbatch", "--array=0-3%2", 'it\'s $(a) "b" `c`'),
        stdin="one\ntwo",
        environment={"B": "2 x", "A": ""},
        timeout=60,
        lock="/w/arrays/0/remote.lock",
    )
    assert build_remote_script(command, MARK) == GOLDEN.read_text()


def test_what_a_command_answers(start: Start, tmp_path: Path) -> None:
    script = (
        "import os, sys; print(sys.argv[1:], sys.stdin.read(), os.environ['X']); sys.stderr.write('err'); sys.exit(3)"
    )
    words = ("a b", "$(x)", "'", "", "!!", "*")
    command = Command(argv=(sys.executable, "-c", script, *words), stdin="ä in\\n", environment={"X": "$y ' z"})
    frame, text = read_answer(start(command))
    expected = f"{list(words)} ä in\\n $y ' z\n".encode()
    assert frame == Frame(how="ended", exit_code=3, out=len(expected), err=3)
    assert text == expected + b"err"
    wait_until(lambda: not any((tmp_path / "tmp").iterdir()))


# A command in the background ignores SIGINT and SIGQUIT; some of the others stop a process or are ignored.
ENDING = ("HUP", "ILL", "ABRT", "BUS", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "XCPU")


@pytest.mark.skipif(shutil.which("perl") is None, reason="no perl on this machine")
@pytest.mark.parametrize("name", ENDING)
def test_a_signal_is_a_negative_exit_code(start: Start, name: str) -> None:
    frame, _ = read_answer(start(Command(argv=("sh", "-c", f"kill -{name} $$"))))
    assert frame is not None
    assert (frame.how, frame.exit_code) == ("ended", -signal.Signals[f"SIG{name}"])


@given(st.integers(-64, 255))
def test_a_frame_carries_every_exit_code_and_signal(code: int) -> None:
    assert parse_frame(f"{MARK} ended {code} 1 2", MARK) == Frame(how="ended", exit_code=code, out=1, err=2)


def test_every_exit_code_is_what_it_is(shell: str) -> None:
    """PBS has some between 153 and 255, and a shell says 128 + n of a command that a signal ended."""

    def run(code: int) -> int:
        text = build_remote_script(Command(argv=("sh", "-c", f"exit {code}")), MARK)
        said = subprocess.run([shell, "-s"], input=text, capture_output=True, text=True, check=False).stdout
        frame = parse_frame(said.splitlines()[0], MARK)
        assert frame is not None
        return frame.exit_code

    codes = (0, 1, 2, 35, 99, 125, 126, 127, 128, 129, 137, 139, 143, 153, 170, 187, 192, 193, 254, 255)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(run, codes)) == list(codes)


def test_without_perl_a_signal_is_an_exit_code_of_the_shell(shell: str, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("setsid", "mktemp", "head", "wc", "rm", "sh", "sleep"):
        found = shutil.which(tool)
        assert found is not None
        (tools / tool).symlink_to(found)
    text = build_remote_script(Command(argv=("sh", "-c", "kill -KILL $$")), MARK)
    program = shutil.which(shell)
    assert program is not None
    environment = {"PATH": str(tools), "TMPDIR": str(tmp_path)}
    said = subprocess.run([program, "-s"], input=text, env=environment, capture_output=True, text=True, check=False)
    assert parse_frame(said.stdout.splitlines()[0], MARK) == Frame(how="ended", exit_code=137, out=0, err=0)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(start: Start, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    script = f"echo $$ > {pids}; '{sys.executable}' -c '{deaf}' & echo $! >> {pids}; echo said >&2; wait"
    # Long enough for the deaf one to be deaf.
    frame, text = read_answer(start(Command(argv=("sh", "-c", script), timeout=3.0)))
    assert frame is not None
    assert (frame.how, text) == ("late", b"said\n")
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


def test_it_is_ended_also_when_its_sender_is_gone(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    process = start(Command(argv=("sh", "-c", f"echo $$ > {pid}; exec sleep 600"), timeout=3.0))
    wait_until(lambda: pid.exists() and pid.read_text() != "")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
    wait_until(lambda: not is_running(int(pid.read_text())))
    process.stdin = process.stdout = None
    wait_until(lambda: not any((tmp_path / "tmp").iterdir()))


def test_nothing_of_ours_stays_behind(start: Start) -> None:
    """The watch over the time limit ends with the command, not with its time."""
    process = start(Command(argv=("true",), timeout=54321.0))
    read_answer(process)
    process.wait()
    wait_until(lambda: not is_running_with("54321"))


def test_a_process_left_behind_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    frame, text = read_answer(start(Command(argv=("sh", "-c", f"sleep 600 & echo $! > {pid}; echo 4.server"))))
    assert (frame is not None, text) == (True, b"4.server\n")
    os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (Command(argv=("no-such-sbatch",)), "missing"),
        (Command(argv=("true",), environment={"TMPDIR": "/no/such/folder"}), "space"),
        (Command(argv=("true",), lock="/no/such/folder/lock"), "folder"),
        (Command(argv=("sh", "-c", "head -c 70000000 /dev/zero")), "large"),
    ],
)
def test_why_a_command_was_not_run(start: Start, command: Command, how: str) -> None:
    frame, _ = read_answer(start(command))
    assert frame is not None
    assert frame.how == how
    assert how in PROBLEMS


def test_commands_with_the_same_lock_wait_for_one_another(start: Start, tmp_path: Path) -> None:
    lock = str(tmp_path / "it's a lock")
    first = start(Command(argv=("sh", "-c", f"touch {tmp_path}/running; sleep 600"), lock=lock))
    assert read_answer(first)[0] == Frame(how="asks", exit_code=0, out=0, err=0)
    # Asked, and not yet answered: the lock is held already, and the command does not run.
    assert read_answer(start(Command(argv=("true",), lock=lock)))[0] == Frame(how="busy", exit_code=0, out=0, err=0)
    assert not (tmp_path / "running").exists()


def test_a_command_whose_sender_died_before_its_lock_was_there_never_runs(start: Start, tmp_path: Path) -> None:
    process = start(Command(argv=("touch", f"{tmp_path}/ran"), lock=f"{tmp_path}/lock"))
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    process.stdin = None
    assert not (tmp_path / "ran").exists()


def test_a_sender_that_says_nothing_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    """Its machine died: no end of the connection ever comes."""
    process = start(Command(argv=("touch", f"{tmp_path}/ran"), lock=f"{tmp_path}/lock"), silence=1)
    process.wait(20)
    assert not (tmp_path / "ran").exists()
    assert not any((tmp_path / "tmp").iterdir())
    again = start(Command(argv=("touch", f"{tmp_path}/ran"), lock=f"{tmp_path}/lock"))
    frame, _ = read_answer(again)
    assert frame is not None
    assert frame.how == "asks"


def test_the_lock_is_held_by_what_the_command_leaves_behind(start: Start, tmp_path: Path) -> None:
    pid, lock = tmp_path / "pid", f"{tmp_path}/lock"
    process = start(Command(argv=("sh", "-c", f"sleep 600 & echo $! > {pid}"), lock=lock))
    read_answer(process)
    assert process.stdin is not None
    process.stdin.write(f"{WANTED}\n".encode())
    process.stdin.flush()
    frame, _ = read_answer(process)
    assert frame is not None
    assert frame.how == "ended"
    assert read_answer(start(Command(argv=("true",), lock=lock)))[0] == Frame(how="busy", exit_code=0, out=0, err=0)
    os.kill(int(pid.read_text()), signal.SIGKILL)
    frame, _ = read_answer(start(Command(argv=("true",), lock=lock)))
    assert frame is not None
    assert frame.how == "asks"


def test_what_no_shell_can_carry_is_refused() -> None:
    with pytest.raises(DefinitionError, match="NUL"):
        build_remote_script(Command(argv=("a\0b",)), MARK)


@pytest.mark.parametrize(
    "line",
    [
        "",
        MARK,
        f"{MARK} ended 0 0",
        f"{MARK} ended 0 0 0 0",
        f"{MARK} ended x 0 0",
        f"{MARK}4 ended 0 0 0",
        f"x{MARK} ended 0 0 0",
    ],
)
def test_other_lines_are_not_ours(line: str) -> None:
    assert parse_frame(line, MARK) is None


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4), st.text(max_size=20))
def test_no_text_is_understood_by_the_shell(words: list[str], given_input: str) -> None:
    given_input = given_input.replace("\0", "")
    program = "import sys; print(sys.argv[1:] + [sys.stdin.buffer.read().decode()])"
    command = Command(argv=(sys.executable, "-S", "-c", program, *words), stdin=given_input)
    script = build_remote_script(command, MARK).encode()
    answer = subprocess.run(["sh", "-s"], input=script, stdout=subprocess.PIPE, check=True).stdout
    frame = parse_frame(answer.split(b"\n")[0].decode(), MARK)
    assert frame is not None
    assert answer.split(b"\n", 1)[1].decode().rstrip("\n") == repr([*words, given_input])
