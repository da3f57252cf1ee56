"""Distinguish processes although their numbers are used again, and end those that a dead pool has left behind.

Linux only: it reads `/proc`.
"""

from __future__ import annotations

import os
import signal
import time

# ruff: noqa: PTH123, PTH208 - pathlib is slow to import

TYPE_CHECKING = False  # importing typing is slow too
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INTERVAL = 0.02
_LOOKS = 5
"""At a process that seems to have no variables."""
_PAUSE = 0.002


def read_boot() -> str:
    """Return the id of this boot of the machine: process numbers and start times mean nothing beyond it."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def read_start(pid: int) -> int | None:
    """Return a process's start time in clock ticks since the boot, or None where there is no such process."""
    fields = _read_fields(str(pid))
    return None if fields is None else int(fields[19])


def find_processes(mark: str | None, leaders: Mapping[int, int]) -> set[int]:
    """Find what a pool has started, and what that has started.

    A process is one of them when its environment carries the mark. Where a program has cleared its
    environment, the session counts, but only while its recorded leader is there: numbers of sessions are
    used again too.

    :param mark: `NAME=value` as the pool has put it into the environment of everything it started; None: only
        the sessions count.
    :param leaders: process number → start time of the session leaders that the pool has recorded.
    """
    if mark is not None and "=" not in mark:
        # The empty text ends every environment block: it would match all processes of the user.
        raise ValueError(f"{mark!r} marks no process")
    sessions = {pid for pid, start in leaders.items() if read_start(pid) == start}
    wanted = None if mark is None else mark.encode()
    found = set()
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        fields = _read_fields(name)
        # A zombie has ended; only its parent can make it go.
        if fields is None or fields[0] in (b"Z", b"X"):
            continue
        if int(fields[3]) in sessions or (wanted is not None and wanted in _read_environment(name, fields)):
            found.add(int(name))
    return found


def end_processes(find: Callable[[], set[int]], grace: float) -> set[int]:
    """End processes: SIGTERM first, SIGKILL to those that are left after the grace time.

    :param find: gives the processes that are there now; it is asked again, as they may start others.
    :param grace: seconds.
    :returns: those that live on although they were killed, say in the kernel's hands.
    """
    left = find()
    _send(left, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while left and time.monotonic() < deadline:
        time.sleep(_INTERVAL)
        left = find()
    deadline = time.monotonic() + max(grace, 1.0)
    while left and time.monotonic() < deadline:
        _send(left, signal.SIGKILL)
        time.sleep(_INTERVAL)
        left = find()
    return left


def _send(pids: set[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            continue  # it has ended, or it is another user's by now


def _read_fields(name: str) -> list[bytes] | None:
    """Return the fields of `/proc/<pid>/stat` from the state on."""
    try:
        with open(f"/proc/{name}/stat", "rb") as file:
            # The program's name comes before and may hold anything, spaces and brackets too.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


def _read_environment(name: str, fields: list[bytes]) -> list[bytes]:
    """Return the variables of a process.

    While it replaces its program by another one (`exec`) the kernel shows none for a moment, so nothing is looked at
    again, unless it is a thread of the kernel, which has no memory (`vsize`).
    """
    for _ in range(_LOOKS if int(fields[20]) else 1):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                content = file.read()
        except OSError:
            return []
        if content:
            return content.split(b"\0")
        time.sleep(_PAUSE)
    return []
