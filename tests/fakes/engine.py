"""A small batch system in a folder: the commands in `bin` give it the face of HTCondor, Slurm, PBS, Torque or LSF.

Its state is in files below $FAKE_BATCH, changed under one lock. Each array has a runner, a process of its own that
outlives the submit command and really runs the elements. The runner makes the array's record, so that a submit command
that is killed at any moment leaves either both or none.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine_runner import has_runner, kill_runner, start_runner, wake_runner
from engine_state import (
    OVER,
    SLOTS,
    Element,
    Job,
    changed,
    chosen,
    end,
    faults,
    find_home,
    kill_element,
    locked,
    log_command,
    read,
    restart,
    set_faults,
)

__all__ = [
    "Element",
    "Job",
    "cancel",
    "change",
    "faults",
    "find_home",
    "find_processes",
    "forget",
    "hold",
    "jobs",
    "log_command",
    "lose_node",
    "purge",
    "release",
    "requeue",
    "set_faults",
    "shut_down",
    "submit",
]


def submit(
    name: str,
    argv: Sequence[str],
    count: int,
    *,
    first: int = 0,
    throttle: int | None = None,
    slots: int | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
    index_variable: str | None = None,
    index_argument: bool = False,
    output: str | None = None,
    user: str | None = None,
    extra: Mapping[str, Any] | None = None,
    held: str | None = None,
) -> int:
    """Queue an array and give its id.

    :param environment: exactly this one; None: hardly any.
    :param output: a path with `{id}` and `{index}`, or None.
    :param held: the reason for which all its elements are held from the start.
    """
    job = Job(
        id=0,
        name=name,
        user=user or getpass.getuser(),
        count=count,
        first=first,
        submitted=time.time(),
        argv=list(argv),
        throttle=throttle,
        slots=slots or SLOTS,
        environment=None if environment is None else dict(environment),
        cwd=cwd,
        index_variable=index_variable,
        index_argument=index_argument,
        output=output,
        extra=dict(extra or {}),
        elements={
            index: Element(state="held" if held else "queued", reason=held) for index in range(first, first + count)
        },
    )
    return start_runner(job)


def jobs(ids: Iterable[int] | None = None, name: str | None = None, gone: bool = False) -> list[Job]:
    """Give arrays, in the order of their ids.

    :param gone: False: the queue, without elements that have left it; True: the history, which has what is queued, too.
    """
    wanted = None if ids is None else set(ids)
    found = []
    with locked():
        numbers = sorted(int(path.stem) for path in (find_home() / "jobs").glob("*.json"))
        everything = [read(number) for number in numbers if wanted is None or number in wanted]
    for job in everything:
        shown = {index: each for index, each in job.elements.items() if (each.in_history if gone else each.in_queue)}
        if shown and name in (None, job.name):
            job.elements = shown
            found.append(job)
    return found


def cancel(id: int, indices: Iterable[int] | None = None) -> list[int]:
    """End elements: SIGTERM, later SIGKILL. Gives those that were not over yet."""
    with changed(id) as job:
        found = [index for index in chosen(job, indices) if job.elements[index].state not in OVER]
        watched = has_runner(id)
        for index in found:
            element = job.elements[index]
            if element.state in ("running", "transferring") and watched:
                element.ending = element.ending or time.time()
            else:
                kill_element(job, index)
                end(element, "cancelled", None)
    return found


def hold(id: int, indices: Iterable[int] | None, reason: str) -> list[int]:
    """Hold elements that are not over; what runs is killed."""
    with changed(id) as job:
        found = [index for index in chosen(job, indices) if job.elements[index].state not in OVER]
        for index in found:
            kill_element(job, index)
            restart(job.elements[index], "held", reason)
    return found


def release(id: int, indices: Iterable[int] | None = None) -> list[int]:
    """Let held elements go on."""
    with changed(id) as job:
        found = [index for index in chosen(job, indices) if job.elements[index].state == "held"]
        for index in found:
            restart(job.elements[index], "queued", None)
    wake_runner(id)
    return found


def requeue(id: int, index: int, *, kill: bool = True, reason: str | None = None) -> None:
    """Run an element again, as a system does that believes its node lost.

    :param kill: False: the processes on the node go on, unknown to the system.
    """
    with changed(id) as job:
        element = job.elements[index]
        if kill:
            kill_element(job, index)
        restart(element, "queued", reason)
    wake_runner(id)


def change(id: int, index: int, **fields: Any) -> None:
    """Set fields of an element, whatever is true."""
    with changed(id) as job:
        for key, value in fields.items():
            setattr(job.elements[index], key, value)


def purge(id: int, indices: Iterable[int] | None = None) -> None:
    """Take elements out of the queue; the history keeps them."""
    with changed(id) as job:
        for index in chosen(job, indices):
            job.elements[index].in_queue = False


def forget(id: int) -> None:
    """Take an array out of queue and history."""
    with changed(id) as job:
        for element in job.elements.values():
            element.in_queue = element.in_history = False


def lose_node(id: int | None = None) -> None:
    """Kill runners and elements without a word: what ran stays `running` for ever."""
    with locked():
        for path in (find_home() / "runners").glob("*"):
            if id is None or path.name == str(id):
                kill_runner(path)
                job = read(int(path.name))
                for index in job.elements:
                    kill_element(job, index)


def find_processes() -> dict[int, str]:
    """Give the processes that the elements, runners and commands of this folder have left: number → command line."""
    home = str(find_home())
    marks = (f"FAKE_BATCH={home}\0".encode(), f"FAKE_BATCH_ELEMENT={home}/".encode())
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                text = (entry / "environ").read_bytes() + b"\0"
                if any(mark in text for mark in marks):
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                    )
    return found


def shut_down() -> None:
    """Kill everything that belongs to this folder."""
    lose_node()
    for pid in find_processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
