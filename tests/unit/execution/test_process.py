"""The parent's side of an algorithm process: whatever a child does, the parent knows what happened and nothing is left.

Most children here are small programs that speak the protocol without ROOT; the last tests use the real one.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.algorithm_requests import OpenRequest
from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, DefinitionError, InputError, Stopped
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.processes import stop_tied_processes
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Execute, FindBoundaries
from airflow_provider_caf.execution import process as algorithm_process
from airflow_provider_caf.execution.pool import AlgorithmPool
from airflow_provider_caf.execution.process import AlgorithmProcess, Opened, describe_exit
from airflow_provider_caf.io.job_app import build_job_app
from tests.waiting import LIMIT, is_running, wait_until

PRELUDE = """
import json, os, signal, struct, subprocess, sys, time
arguments = dict(zip(sys.argv[2::2], map(int, sys.argv[3::2])))
source, target = arguments["--in-fd"], arguments["--out-fd"]

def read():
    head = os.read(source, 4)
    if not head:
        sys.exit(0)
    (length,) = struct.unpack(">I", head)
    data = b""
    while len(data) < length:
        data += os.read(source, length - len(data))
    return json.loads(data)

def write(value):
    data = json.dumps(value).encode()
    data = struct.pack(">I", len(data)) + data
    while data:
        data = data[os.write(target, data):]

OPENED = {"ok": True, "runs": [[1, 1], [1, 2]], "prefix": None, "granularity": "run", "memory_kb": 5}
DONE = {"ok": True, "code": 0, "output": {}, "payloads": [], "memory_kb": 7}
print("hello from the child", flush=True)
write({**OPENED, "argv": sys.argv, "request": read()})
"""

OPEN = OpenRequest(algorithm="m:A", indexes=())
RUN = Execute(runs=(ExpRun(1, 1),), iov=IoV(1, 1, 1, 1))

Start = Callable[..., AlgorithmProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Give a function that opens a process with a child of a given program."""
    started: list[AlgorithmProcess] = []

    def run(program: str, setup: tuple[str, ...] = (), **fields: Any) -> AlgorithmProcess:
        app = tmp_path / "fake.py"
        app.write_text(PRELUDE + program)
        process = AlgorithmProcess(
            **{
                "argv": build_site_argv(Resources(setup=setup), (sys.executable, str(app))),
                "log_path": tmp_path / "algorithm.log",
                "cwd": tmp_path,
                "name": "algorithm 'fit' of calibration 'vertex'",
                **fields,
            }
        )
        started.append(process)
        process.open(OPEN, timeout=LIMIT)
        return process

    yield run
    for process in started:
        process.close()


def execute(process: AlgorithmProcess, timeout: float | None = LIMIT) -> Any:
    return process.execute(0, RUN, staging=Path("/staging"), timeout=timeout)


def list_children() -> set[int]:
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    return {int(word) for word in path.read_text().split()}


def list_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def leaves_nothing() -> Iterator[None]:
    """Every test ends without a child, a zombie or an open descriptor more than before."""
    children, descriptors = list_children(), list_descriptors()
    yield
    gc.collect()
    assert list_children() == children
    assert list_descriptors() == descriptors


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("leaves_nothing")]


def test_requests_and_answers(start: Start, tmp_path: Path) -> None:
    process = start(
        "request = read()\n"
        "value = {'name': 'P', 'revision': 'ab', 'size': 3, 'iov': [1, 1, 1, -1], 'file': 'x'}\n"
        "write({**DONE, 'code': 2, 'output': request, 'payloads': [value]})\n"
        "write({'ok': True, 'boundaries': read()['runs'][:1]})\nread()\nwrite({'ok': True})\n"
    )
    assert process.opened == Opened(runs=(ExpRun(1, 1), ExpRun(1, 2)), prefix=None, granularity="run")
    action = Execute(
        runs=(ExpRun(1, 1), ExpRun(1, 2)),
        iov=IoV(1, 1, -1, -1),
        settings={"least": 3},
        input={"from": "before"},
    )
    execution = process.execute(4, action, staging=tmp_path)
    assert (execution.key, execution.runs, execution.iov) == (4, action.runs, action.iov)
    assert execution.code is ResultCode.NOT_ENOUGH_DATA
    assert execution.output == {
        "do": "execute",
        "key": 4,
        "runs": [[1, 1], [1, 2]],
        "iov": [1, 1, -1, -1],
        "settings": {"least": 3},
        "input": {"from": "before"},
        "staging": str(tmp_path),
    }
    assert execution.payloads[0].iov == IoV(1, 1, 1, -1)
    assert process.memory_kb == 7
    assert process.find_boundaries(FindBoundaries(runs=action.runs)) == (ExpRun(1, 1),)
    process.close()
    assert process.pid is None
    assert (tmp_path / "algorithm.log").read_text() == "hello from the child\n"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("read(); os.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV (signal 11)"),
        ("read(); os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL (signal 9)"),
        ("read(); sys.exit(3)", "ended with exit code 3 before it answered"),
        ("read(); os._exit(0)", "ended with exit code 0 before it answered"),
        ("read(); os.close(target); time.sleep(60)", "closed its pipes before it answered, and was ended"),
        ("os.close(source); os.close(target); time.sleep(60)", "closed its pipes before it answered"),
        ("read(); os.write(target, b'\\xff\\xff\\xff\\xff')", "answered nonsense (a frame of 4294967295 bytes)"),
        ("read(); os.write(target, b'\\0\\0\\0\\x05hello')", "answered nonsense (Expecting value"),
        ("read(); write([1, 2])", "answered nonsense (no answer but something else)"),
        ("read(); write({'ok': 'yes'})", "answered nonsense (no answer but something else)"),
        ("read(); write({'ok': True})", "answered nonsense (KeyError: 'payloads')"),
        ("read(); write({**DONE, 'code': 9})", "answered nonsense (DefinitionError: 9 is no result code"),
        ("read(); write({**DONE, 'code': True})", "answered nonsense (DefinitionError: True is no result code"),
        ("read(); write({**DONE, 'payloads': [{}]})", "answered nonsense (DefinitionError:"),
        ("read(); write({'ok': False})", "answered nonsense (an error without a message)"),
        ("read(); os.write(target, b'\\0\\0'); sys.exit(1)", "ended with exit code 1 before it answered"),
    ],
)
def test_a_child_that_breaks_is_told(
    start: Start, tmp_path: Path, program: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(algorithm_process, "_END_WAIT", 1.0 if "exit" in program or "kill" in program else 0.1)
    process = start(f"print('last words', flush=True)\n{program}")
    with pytest.raises(AlgorithmFailed) as caught:
        execute(process)
    told = str(caught.value)
    assert f"The process of the algorithm 'fit' of calibration 'vertex' {text}" in told
    assert f"log: {tmp_path}/algorithm.log" in told
    assert "    | hello from the child\n    | last words" in told
    assert process.pid is None
    with pytest.raises(AlgorithmFailed, match="is not running"):
        execute(process)


def test_a_child_that_hangs_is_ended(start: Start) -> None:
    process = start("read(); time.sleep(600)")
    with pytest.raises(AlgorithmFailed, match=r"did not answer within 0\.3 s and was ended(.|\n)*more time"):
        execute(process, 0.3)


def test_the_end_of_the_task_is_no_answer_of_the_algorithm(start: Start, tmp_path: Path) -> None:
    """Else a strategy would take it for a failure, and go on to other runs with a new process."""
    process = start("read(); open('asked', 'w').close(); time.sleep(600)")
    with AlgorithmPool(lambda number: process, workers=1, staging=tmp_path) as pool:
        pool.start("ticket", RUN)
        wait_until((tmp_path / "asked").exists)
        stop_tied_processes()
        with pytest.raises(Stopped, match="The task was told to end while the algorithm 'fit'"):
            pool.wait()
        # Nor may one that had nothing to do be replaced by another.
        pool.start("other", RUN)
        with pytest.raises(Stopped):
            pool.wait()


def test_a_child_that_ignores_every_signal_is_ended(start: Start) -> None:
    process = start(
        "for number in (signal.SIGTERM, signal.SIGIO, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
        "read(); time.sleep(60)"
    )
    with pytest.raises(AlgorithmFailed, match="did not answer"):
        execute(process, 0.2)


def test_what_a_child_started_is_ended_with_it(start: Start, tmp_path: Path) -> None:
    process = start(
        "program = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "child = subprocess.Popen(program, pass_fds=(target,))\n"
        "open('grandchild', 'w').write(str(child.pid))\n"
        "read(); os._exit(5)"
    )
    with pytest.raises(AlgorithmFailed, match="ended with exit code 5"):
        execute(process)  # the grandchild holds the pipe open: its end does not tell
    grandchild = int((tmp_path / "grandchild").read_text())
    wait_until(lambda: not is_running(grandchild))


def test_megabytes_of_prints_do_no_harm(start: Start, tmp_path: Path) -> None:
    process = start("read()\nfor n in range(400): print(str(n) * 4000)\nwrite(DONE)\nread()\nprint('end'); os._exit(1)")
    execute(process)
    with pytest.raises(AlgorithmFailed) as caught:
        execute(process)
    assert (tmp_path / "algorithm.log").stat().st_size > 2_000_000
    assert len(str(caught.value)) < 40_000


def test_megabytes_of_answer_and_request_come_through(start: Start) -> None:
    process = start(
        "request = read()\nwrite({**DONE, 'output': request['settings']['text']})\nread()\nwrite({'ok': True})"
    )
    text = "x" * 3_000_000
    action = Execute(runs=RUN.runs, iov=RUN.iov, settings={"text": text})
    assert process.execute(0, action, staging=Path("/"), timeout=LIMIT).output == text


def test_bytes_that_are_no_text_in_the_log_do_no_harm(start: Start) -> None:
    process = start("os.write(1, b'\\xff\\xfe bytes\\n'); read(); os._exit(1)")
    with pytest.raises(AlgorithmFailed, match="bytes"):
        execute(process)


def test_what_the_algorithm_raised_is_told_with_its_traceback(start: Start) -> None:
    process = start(
        "while True:\n"
        "    if read()['do'] == 'close': write({'ok': True}); break\n"
        "    write({'ok': False, 'error': {'kind': 'Raised', 'message': 'ValueError: no fit', 'hint': None,"
        " 'traceback': 'Traceback\\n  line 3\\nValueError: no fit'}})\n"
    )
    for _ in range(2):  # the child goes on
        with pytest.raises(AlgorithmFailed) as caught:
            execute(process)
        assert "The algorithm 'fit' of calibration 'vertex' raised ValueError: no fit" in str(caught.value)
        assert "    |   line 3" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("DefinitionError", DefinitionError),
        ("InputError", InputError),
        ("CafError", CafError),
        ("SystemExit", AlgorithmFailed),
        ("annotations", AlgorithmFailed),
        ("AlgorithmFailed", AlgorithmFailed),
    ],
)
def test_errors_of_ours_keep_their_kind(start: Start, kind: str, expected: type[CafError]) -> None:
    process = start(
        f"read()\nwrite({{'ok': False, 'error': {{'kind': {kind!r}, 'message': 'what', 'hint': 'do'}}}})\n"
        "read()\nwrite({'ok': True})"
    )
    with pytest.raises(CafError, match="what") as caught:
        execute(process)
    assert type(caught.value) is expected


def test_a_python_that_is_not_there_is_told(tmp_path: Path) -> None:
    process = AlgorithmProcess(
        argv=["/nowhere/python", "a"], log_path=tmp_path / "log", cwd=tmp_path, name="algorithm 'fit'"
    )
    with pytest.raises(AlgorithmFailed, match="The algorithm 'fit' cannot be started: No such file or directory"):
        process.open(OPEN)
    process.close()
    with pytest.raises(CafError, match="is not open"):
        process.opened  # noqa: B018


def test_setup_lines_run_before_and_stay_apart_from_the_rest(start: Start, tmp_path: Path) -> None:
    strange = tmp_path / "a b;$(touch pwned)"
    strange.mkdir()
    process = start(
        "write({**DONE, 'output': [os.environ['SITE'], os.environ['OWN'], os.getcwd(), 'AIRFLOW_X' in os.environ]})\n"
        "read()\nwrite({'ok': True})",
        setup=("export SITE='x y'", "echo set up"),
        cwd=strange,
        environment={"OWN": "$(false)"},
    )
    assert execute(process).output == ["x y", "$(false)", str(strange), False]
    assert (tmp_path / "algorithm.log").read_text().startswith("set up\n")
    assert not list(tmp_path.rglob("pwned"))


def test_setup_that_fails_is_told(start: Start) -> None:
    with pytest.raises(AlgorithmFailed) as caught:
        start("", setup=("echo no such release >&2", "exit 17"))
    assert "ended with exit code 17 before it answered" in str(caught.value)
    assert "| no such release" in str(caught.value)


def test_airflows_secrets_are_not_handed_on(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_X", "secret")
    process = start("write({**DONE, 'output': 'AIRFLOW_X' in os.environ})\nread()\nwrite({'ok': True})")
    assert execute(process).output is False


@pytest.mark.parametrize(("status", "text"), [(-11, "SIGSEGV (signal 11)"), (-200, "signal 200"), (1, "exit code 1")])
def test_ends_are_described(status: int, text: str) -> None:
    assert text in describe_exit(status)


def test_an_interrupt_ends_the_child(start: Start) -> None:
    process = start("read(); time.sleep(60)")
    pid = process.pid
    assert pid is not None

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(process)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, previous)
    assert not Path(f"/proc/{pid}").exists()


# From here on with the real child.

ALGORITHM = """
import time
from airflow_provider_caf.worker import Algorithm

class Busy(Algorithm):
    mode = ""

    def calibrate(self):
        if self.mode == "python":
            time.sleep(60)
        if self.mode == "cpp":
            import ROOT
            ROOT.gInterpreter.Declare("void caf_spin() { volatile long n = 0; while (true) n = n + 1; }")
            print("spinning", flush=True)
            ROOT.caf_spin()
        if self.mode == "crash":
            import ROOT
            ROOT.gInterpreter.Declare(
                '#include <cstdio>\\n'
                'void caf_crash() { printf("in C++\\\\n"); int *p = nullptr; *p = 1; }'
            )
            ROOT.caf_crash()
        return 0
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job app with an algorithm that does bad things."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "busy.py").write_text(ALGORITHM)
    build_job_app(folder / "app.pyz", ["busy:Busy"], [str(folder)])
    return folder / "app.pyz"


def open_real(app: Path, folder: Path) -> AlgorithmProcess:
    process = AlgorithmProcess(argv=[sys.executable, str(app)], log_path=folder / "real.log", cwd=folder, name="busy")
    process.open(OpenRequest(algorithm="busy:Busy", indexes=()))
    return process


def test_the_real_child_crashes_in_cpp_and_says_where(real: Path, tmp_path: Path) -> None:
    with open_real(real, tmp_path) as process:
        assert process.execute(0, RUN, staging=tmp_path).code is ResultCode.OK
        action = Execute(runs=RUN.runs, iov=RUN.iov, settings={"mode": "crash"})
        with pytest.raises(AlgorithmFailed) as caught:
            process.execute(1, action, staging=tmp_path)
    told = str(caught.value)
    assert "was ended by SIGSEGV (signal 11)" in told
    assert "| in C++" in told  # printed before, and not lost in a buffer
    assert "in calibrate" in told


PARENT = """
import sys
from pathlib import Path
from airflow_provider_caf.core.algorithm_requests import OpenRequest
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.strategies.base import Execute
from airflow_provider_caf.execution import process as algorithm_process
from airflow_provider_caf.execution.process import AlgorithmProcess
app, folder, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
process = AlgorithmProcess(argv=[sys.executable, str(app)], log_path=folder / "real.log", cwd=folder)
process.open(OpenRequest(algorithm="busy:Busy", indexes=()))
print(process.pid, flush=True)
if mode == "idle":
    sys.stdin.read()
process.execute(0, Execute(runs=(ExpRun(1, 1),), iov=IoV(1, 1, 1, 1), settings={"mode": mode}), staging=folder)
"""


@pytest.mark.parametrize("mode", ["idle", "python", "cpp"])
def test_the_real_child_dies_with_its_parent(real: Path, tmp_path: Path, mode: str) -> None:
    """Also while it is busy in C++, where no Python code of it can run."""
    command = [sys.executable, "-c", PARENT, str(real), str(tmp_path), mode]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        log = tmp_path / "real.log"
        wait_until(lambda: mode != "cpp" or "spinning" in log.read_text())
        assert is_running(child)
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(child))
