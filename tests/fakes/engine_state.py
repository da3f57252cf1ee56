"""The state of the fake batch system: files in a folder, changed under one lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SLOTS = 4
PATIENCE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
TICK = 0.02
OVER = ("done", "cancelled")
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Element:
    """One element of an array.

    :param state: queued, held, running, transferring, done or cancelled.
    :param wait_status: as `os.waitpid` gives it.
    :param ending: when somebody cancelled it while it ran; it is over when its processes are.
    :param pid: its process, which leads a session of its own.
    """

    state: str = "queued"
    wait_status: int | None = None
    host: str | None = None
    reason: str | None = None
    started: float | None = None
    ended: float | None = None
    ending: float | None = None
    starts: int = 0
    in_queue: bool = True
    in_history: bool = True
    pid: int | None = None

    @property
    def exit_code(self) -> int | None:
        """The exit code, where it ended by itself."""
        if self.wait_status is None or not os.WIFEXITED(self.wait_status):
            return None
        return os.WEXITSTATUS(self.wait_status)

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        if self.wait_status is None or not os.WIFSIGNALED(self.wait_status):
            return None
        return os.WTERMSIG(self.wait_status)


@dataclass
class Job:
    """An array. `extra` is what the front end wants to remember of it."""

    id: int
    name: str
    user: str
    count: int
    first: int
    submitted: float
    argv: list[str]
    throttle: int | None = None
    slots: int = SLOTS
    environment: dict[str, str] | None = None
    cwd: str | None = None
    index_variable: str | None = None
    index_argument: bool = False
    output: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    elements: dict[int, Element] = field(default_factory=dict)


def find_home() -> Path:
    """Give the folder of the state."""
    home = os.environ.get("FAKE_BATCH")
    if not home or not Path(home).is_dir():
        sys.exit("FAKE_BATCH does not name a folder: this command is a fake, for tests only.")
    return Path(home)


def log_command(argv: Sequence[str]) -> None:
    """Note a command in commands.log, one line each."""
    line = json.dumps({"argv": list(argv), "time": time.time(), "pid": os.getpid()}) + "\n"
    with (find_home() / "commands.log").open("a") as file:
        file.write(line)


def faults() -> dict[str, Any]:
    """Give what is to go wrong."""
    try:
        found: dict[str, Any] = json.loads((find_home() / "faults.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def set_faults(**wanted: object) -> None:
    """Say what is to go wrong from now on, and nothing else."""
    write(find_home() / "faults.json", wanted)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    with (find_home() / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def changed(id: int) -> Iterator[Job]:
    """Give an array to be changed, and write it.

    :raises KeyError: if there is none of that id.
    """
    with locked():
        job = read(id)
        yield job
        save(job)


def read(id: int) -> Job:
    try:
        value = json.loads((find_home() / "jobs" / f"{id}.json").read_text())
    except FileNotFoundError:
        raise KeyError(id) from None
    elements = {int(index): Element(**each) for index, each in value.pop("elements").items()}
    return Job(**value, elements=elements)


def save(job: Job) -> None:
    write(find_home() / "jobs" / f"{job.id}.json", asdict(job))


def write(path: Path, value: object) -> None:
    path.parent.mkdir(exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(value))
    new.replace(path)


def chosen(job: Job, indices: Iterable[int] | None) -> list[int]:
    return list(job.elements) if indices is None else [index for index in indices if index in job.elements]


def restart(element: Element, state: str, reason: str | None) -> None:
    element.state, element.reason = state, reason
    element.pid = element.wait_status = element.host = element.started = element.ended = element.ending = None


def end(element: Element, state: str, wait_status: int | None) -> None:
    element.state, element.wait_status, element.ended = state, wait_status, time.time()
    if faults().get("lose_finished"):
        element.in_queue = False


def build_mark(id: int, index: int, start: int) -> str:
    """Give what the processes of one start of an element have in their environment."""
    return f"FAKE_BATCH_ELEMENT={find_home()}/{id}.{index}.{start}"


def kill_processes(mark: str, session: int | None, number: int = signal.SIGKILL) -> None:
    """Send a signal to what has the mark, and to what is in the session and has cleared its environment."""
    wanted = f"{mark}\0".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session or wanted in (entry / "environ").read_bytes() + b"\0":
                    os.kill(int(entry.name), number)


def kill_element(job: Job, index: int) -> None:
    """Kill the processes of an element, if it has any."""
    element = job.elements[index]
    if element.pid is not None:
        kill_processes(build_mark(job.id, index, element.starts), element.pid)
