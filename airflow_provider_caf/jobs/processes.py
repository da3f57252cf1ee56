"""Start commands on this machine, each in a group of its own with all that it starts.

A `TiedProcess` ends with us, whatever kills us. A guard, a small shell, reads a pipe that only this process writes to;
the command is in the guard's process group. When the pipe closes, or has a line, the guard ends the group: SIGTERM
first, SIGKILL some seconds later. `PR_SET_PDEATHSIG` would depend on the thread that started the command and would
reach the command alone. The group has the number of the guard, which is there longer than the command: nobody else can
have got it meanwhile.

A `FreeProcess` goes on when we die: a command that submits or cancels must not stop half-way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self  # novm

TIED_GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL for a command of a user."""

FREE_GRACE = 2.0
"""The same for a command of a batch system that takes too long."""

_GUARD = 'trap "" HUP INT TERM; read -r _; kill -TERM 0; sleep "$1"; kill -KILL 0'
"""It hears neither the SIGTERM that it sends to its own group nor what comes from a terminal."""

_running: set[TiedProcess] = set()


class FreeProcess:
    """A command in a session of its own. Use it in a `with` statement.

    :param argv: its words.
    :param options: for `subprocess.Popen`: folder, variables, files. Give `env`: see `core.environment`.
    :raises OSError: if it cannot be started.
    """

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        # Its own session: it can be ended with what it started, and a signal to our group spares it.
        self._process = subprocess.Popen(argv, **{"start_new_session": True, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of the command's process."""
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end, and give its exit code, or minus its signal.

        :raises subprocess.TimeoutExpired: if it takes longer.
        """
        return self._process.wait(timeout)

    def end(self) -> None:
        """End the command with all that it has started: asked first, then killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Not reaped yet while `wait` has not returned, so the number of the group is still its own.
            _signal_group(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(FREE_GRACE)
                return

    def close(self) -> None:
        """Do nothing: what the command has left running is its own affair (`qsub` leaves something)."""


class TiedProcess(FreeProcess):
    """A command that ends with us, and of which nothing is left behind. See `FreeProcess`."""

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        reader, self._line = os.pipe()
        try:
            self._guard = subprocess.Popen(
                ("/bin/sh", "-c", _GUARD, "caf-guard", str(TIED_GRACE)),
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                **_join_group(0),
            )
        except BaseException:
            os.close(self._line)
            raise
        finally:
            os.close(reader)
        try:
            super().__init__(argv, **options, start_new_session=False, **_join_group(self._guard.pid))
        except BaseException:
            self.close()
            raise
        _running.add(self)

    def stop(self) -> None:
        """Have the guard end the command with all that it has started. A handler of a signal may call this."""
        with contextlib.suppress(OSError):  # it is over
            os.write(self._line, b"\n")

    def end(self) -> None:
        """End the command with all that it has started: asked first, then killed."""
        self.stop()
        self._process.wait()

    def close(self) -> None:
        """End the guard, and what the command has left running."""
        _running.discard(self)
        if self._guard.returncode is None:
            _signal_group(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
            os.close(self._line)


def stop_tied_processes() -> None:
    """End all commands that are tied to this process. A handler of a signal may call this."""
    for process in tuple(_running):
        process.stop()


def _join_group(group: int) -> dict[str, Any]:
    """Return the option of `Popen` that puts a command into a process group; 0: into one of its own."""
    if sys.version_info >= (3, 11):
        return {"process_group": group}
    return {"preexec_fn": partial(os.setpgid, 0, group)}


def _signal_group(group: int, number: int) -> None:
    # A program that runs as another user (sudo) cannot be signalled.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
