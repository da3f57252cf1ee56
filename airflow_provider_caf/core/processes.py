"""Start programs on this machine. Nothing else outside of `worker` does.

Every program is in a process group with all that it starts, and gets the variables of this process without Airflow's
own (see `core.environment`).

A `TiedProcess` ends with us, whatever kills us. A guard, a small shell, reads a pipe that only this process writes to;
the command is in the guard's process group. When the pipe closes, or has a line, the guard ends the group: SIGTERM
first, SIGKILL some seconds later. `PR_SET_PDEATHSIG` would depend on the thread that started the command and would
reach the command alone. The group has the number of the guard, which is there longer than the command: nobody else can
have got it meanwhile. `stop_tied_processes` ends all of them, for the `on_kill` of a task.

A `FreeProcess` goes on when we die: a command that submits or cancels must not stop half-way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.errors import JobFailed, explain_os_error
from airflow_provider_caf.core.files import open_log
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.tails import read_tail

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
    :param variables: set beside those of this process, and over them.
    :param folder: in which it runs; None: ours.
    :param stdin: what it reads; None: nothing.
    :param stdout: where it prints to; None: what it prints is lost.
    :param stderr: None: where `stdout` goes.
    :param pass_fds: descriptors that it gets under the same numbers.
    :raises OSError: if it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdin: IO[bytes] | None = None,
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=build_child_environment(os.environ, variables),
            stdin=stdin or subprocess.DEVNULL,
            stdout=stdout or subprocess.DEVNULL,
            stderr=stderr or subprocess.STDOUT,
            pass_fds=pass_fds,
            **self._find_group(),
        )

    def _find_group(self) -> dict[str, Any]:
        # Its own session: it can be ended with what it started, and a signal to our group spares it.
        return {"start_new_session": True}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of the command's process."""
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the command's end, and return its exit code, or minus its signal.

        :param timeout: in seconds; None: as long as it takes.
        :raises TimeoutError: if it takes longer.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(str(error)) from None

    @property
    def has_ended(self) -> bool:
        """Whether the command is over. What it has started may go on."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the command with all that it has started: asked first, then killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Not reaped yet while `wait` has not returned, so the number of the group is still its own.
            _signal_group(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(FREE_GRACE)
                return

    def close(self) -> None:
        """Do nothing: what the command leaves running goes on (`qsub` leaves a process behind)."""


class TiedProcess(FreeProcess):
    """A command that ends with us, and of which nothing is left behind. See `FreeProcess`."""

    is_stopped = False
    """Whether `stop` was called: it did not end by itself."""

    def __init__(self, argv: Sequence[str], **options: Any) -> None:
        self._closing = threading.Lock()
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
            super().__init__(argv, **options)
        except BaseException:
            self.close()
            raise
        _running.add(self)

    def _find_group(self) -> dict[str, Any]:
        return _join_group(self._guard.pid)

    def stop(self) -> None:
        """Have the guard end the command with all that it has started. A handler of a signal may call this."""
        self.is_stopped = True
        with contextlib.suppress(OSError):  # it is over
            os.write(self._line, b"\n")

    def end(self) -> None:
        """End the command with all that it has started: asked first, then killed."""
        self.stop()
        self._process.wait()

    def kill(self) -> None:
        """Kill the command with all that it has started, also while another thread waits for it or closes it."""
        with self._closing:
            if self._guard.returncode is None:
                _signal_group(self._guard.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the guard, and what the command has left running."""
        _running.discard(self)
        with self._closing:
            if self._guard.returncode is None:
                _signal_group(self._guard.pid, signal.SIGKILL)
                self._guard.wait()
                # A handler of a signal that still knows us must not write into whatever gets this number next.
                line, self._line = self._line, -1
                os.close(line)


@record
class Ended:
    """How a command ended that printed to a log.

    :param exit_code: or minus its signal.
    :param is_late: it took longer than it may, and was ended.
    :param tail: the last lines that it printed.
    """

    exit_code: int
    is_late: bool
    tail: str


def run_logged(
    what: str,
    argv: Sequence[str],
    log: Path,
    *,
    variables: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float | None = None,
) -> Ended:
    """Run a tied command of a user to its end. What it prints is added to a log that only this user may read.

    :param what: what it is to the reader, at the beginning of a sentence.
    :param timeout: in seconds; what takes longer is ended.
    :raises JobFailed: if it cannot be started.
    """
    with open_log(log) as output:
        start = output.tell()
        hint = "Check the program's name and that the worker has it."
        with explain_os_error(JobFailed, f"{what} cannot be started: {argv[0]!r}", hint):
            process = TiedProcess(argv, variables=variables, folder=folder, stdout=output)
        with process:
            is_late = False
            try:
                process.wait(timeout)
            except TimeoutError:
                is_late = True
                process.end()
            exit_code = process.wait()
    return Ended(exit_code=exit_code, is_late=is_late, tail=read_tail(log, start=start))


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
