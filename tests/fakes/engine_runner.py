"""The processes that run the elements of the fake batch system, one for each array."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine_state import (
    OVER,
    PATH,
    PATIENCE,
    TICK,
    Element,
    Job,
    build_mark,
    end,
    find_home,
    kill_processes,
    locked,
    read,
    save,
    write,
)

# What only a runner needs is imported in one: most commands start none.
if TYPE_CHECKING:
    import subprocess


def has_runner(id: int) -> bool:
    path = find_home() / "runners" / str(id)
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def kill_runner(path: Path) -> None:
    if has_runner(int(path.name)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.read_text()), signal.SIGKILL)
        while has_runner(int(path.name)):
            time.sleep(TICK)


def wake_runner(id: int) -> None:
    with locked():
        asleep = not has_runner(id)
    if asleep:
        start_runner(read(id))


def start_runner(job: Job) -> int:
    """Start the process that runs an array, a child of nobody here; give the array's id."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os.waitpid(child, 0)
        text = b""
        while block := os.read(reading, 100):
            text += block
        os.close(reading)
        return int(text)
    try:
        os.setsid()
        if os.fork() == 0:
            _run_detached(job, writing)
    finally:
        os._exit(0)


def _run_detached(job: Job, writing: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    # What the submit command inherited, such as a lock of its caller, must not live on in here.
    os.closerange(3, writing)
    os.closerange(writing + 1, 4096)
    os.chdir("/")
    home = find_home()
    try:
        with locked():
            if not job.id:
                job.id = _take_id()
                save(job)
            (home / "runners").mkdir(exist_ok=True)
            own = (home / "runners" / str(job.id)).open("a+")
            fcntl.flock(own, fcntl.LOCK_EX)
            own.truncate(0)
            own.write(str(os.getpid()))
            own.flush()
        # A submit command that was killed in this moment has left an array that runs.
        with contextlib.suppress(BrokenPipeError):
            os.write(writing, str(job.id).encode())
        os.close(writing)
        _Runner(job.id).run()
    except Exception:  # noqa: BLE001 - nobody sees a detached process fail
        import traceback

        with (home / "runner-errors.log").open("a") as file:
            file.write(traceback.format_exc())


def _take_id() -> int:
    file = find_home() / "next_id"
    number = int(file.read_text()) if file.exists() else 1
    write(file, number + 1)
    return number


@dataclass
class _Child:
    """What runs an element. `slot` is the open lock of its slot."""

    process: subprocess.Popen[bytes]
    mark: str
    index: int
    slot: int


class _Runner:
    """Start what is queued, reap what ended, until all is over."""

    def __init__(self, id: int) -> None:
        self.id = id
        self.home = find_home()
        self.file = self.home / "jobs" / f"{id}.json"
        self.children: dict[int, _Child] = {}
        self.warned: set[int] = set()

    def run(self) -> None:
        seen = 0
        busy = True
        while True:
            ended = [pid for pid in self.children if _is_over(pid)]
            # Most of the time nothing happens: then a look at one file is all.
            if busy or ended or seen != self.file.stat().st_mtime_ns:
                with locked():
                    busy = self._step(ended)
                    seen = self.file.stat().st_mtime_ns
            time.sleep(TICK)

    def _step(self, ended: Sequence[int]) -> bool:
        """Do what is to be done now, and tell whether something waits for its time."""
        job = read(self.id)
        before = asdict(job)
        for pid in ended:
            self._reap(job, pid)
        self._end_cancelled(job)
        self._start_queued(job)
        if asdict(job) != before:
            save(job)
        elements = job.elements.values()
        if not self.children and all(each.state in OVER for each in elements):
            os._exit(0)
        return any(each.state == "queued" or (each.ending is not None and each.state not in OVER) for each in elements)

    def _reap(self, job: Job, pid: int) -> None:
        child = self.children.pop(pid)
        # The leader is gone, others may not be: a batch system leaves nothing running.
        kill_processes(child.mark, pid)
        _, status = os.waitpid(pid, 0)
        os.close(child.slot)
        element = job.elements[child.index]
        if element.pid == pid:
            end(element, "cancelled" if element.ending else "done", status)

    def _end_cancelled(self, job: Job) -> None:
        for pid, child in self.children.items():
            element = job.elements[child.index]
            if element.ending is None or element.pid != pid:
                continue
            if pid not in self.warned:
                self.warned.add(pid)
                kill_processes(child.mark, pid, signal.SIGTERM)
            elif time.time() - element.ending > PATIENCE:
                kill_processes(child.mark, pid)

    def _start_queued(self, job: Job) -> None:
        for index, element in job.elements.items():
            if element.state == "queued":
                busy = sum(each.state in ("running", "transferring") for each in job.elements.values())
                slot = None if job.throttle and busy >= job.throttle else self._take_slot(job.slots)
                if slot is None:
                    return
                self._start(job, index, element, *slot)

    def _take_slot(self, slots: int) -> tuple[int, int] | None:
        """Give a free slot's lock and number. A lock ends with its runner, so no slot stays taken."""
        (self.home / "slots").mkdir(exist_ok=True)
        for number in range(slots):
            slot = os.open(self.home / "slots" / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            try:
                fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(slot)
            else:
                return slot, number
        return None

    def _start(self, job: Job, index: int, element: Element, slot: int, number: int) -> None:
        import subprocess

        environment = {"PATH": PATH, **(job.environment or {})}
        if job.index_variable:
            environment[job.index_variable] = str(index)
        output = os.devnull if job.output is None else job.output.format(id=job.id, index=index)
        element.host, element.started, element.starts = f"node{number + 1}", time.time(), element.starts + 1
        mark = build_mark(job.id, index, element.starts)
        key, _, value = mark.partition("=")
        environment[key] = value
        try:
            with Path(output).open("ab") as file:
                process = subprocess.Popen(
                    [*job.argv, *([str(index)] if job.index_argument else [])],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    env=environment,
                    cwd=job.cwd,
                    start_new_session=True,
                )
        except OSError as error:
            os.close(slot)
            end(element, "done", 127 << 8)
            element.reason = f"{error.filename}: {error.strerror}"
            return
        element.state, element.pid = "running", process.pid
        self.children[process.pid] = _Child(process, mark, index, slot)


def _is_over(pid: int) -> bool:
    """Look without reaping: the number must stay taken until what is left of the session was killed."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
