"""The loop of a local pool: at most so many subjobs at a time, one thread, no polling but a beat now and then.

Between a subjob's end and the next one's start there is as little as can be: the next try's folder and job
are made ready beforehand, and what the ended one needs (outputs, exit record) is done after the next was
started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.file_names import ENDED_BY_POOL, ENDED_BY_USER
from airflow_provider_caf.worker.job.pool_files import MARK, PoolFiles
from airflow_provider_caf.worker.job.processes import end_processes, find_processes, read_start
from airflow_provider_caf.worker.job.subjob import Attempt, close_logs, finish_attempt, open_attempt, start_attempt

TYPE_CHECKING = False  # importing typing is slow
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""

SIGNALS = frozenset({signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Blocked from before the fork on and waited for: none can hit the pool at a bad moment."""


class Task:
    """A subjob that runs.

    :param element: its element in the array.
    :param position: its place in the element.
    :param reason: why it is to end before its time.
    :param ended_by: who ends it, a word of `core.file_names.ENDED_BY`.
    :param deadline: when it will be killed, on the monotonic clock; None: it is not to end, or is killed.
    """

    __slots__ = ("attempt", "deadline", "element", "ended_by", "position", "reason")

    def __init__(self, element: int, position: int, attempt: Attempt) -> None:
        self.element = element
        self.position = position
        self.attempt = attempt
        self.reason: str | None = None
        self.ended_by: str | None = None
        self.deadline: float | None = None


class Pool:
    """Run the elements of an array.

    :param slots: at most so many at a time.
    """

    def __init__(self, array: Mapping[str, Any], files: PoolFiles, identity: Mapping[str, Any], *, slots: int) -> None:
        self._array = array
        self._files = files
        self._elements: list[list[int]] = array["elements"]
        self._slots = slots
        self._id = str(identity["id"])
        self._interval = float(identity["beat"])
        self._next_beat = 0.0
        self._environment = build_child_environment(os.environ, {MARK: self._id})
        self._journal = files.open_journal()
        self._waiting = list(range(len(self._elements) - 1, -1, -1))
        self._running: dict[int, Task] = {}
        self._ready: tuple[int, Attempt] | None = None
        self._cancelled: set[int] = set()
        self._stopped: str | None = None

    def run(self) -> None:
        """Run until nothing is left.

        :raises OSError: if the journal cannot be written. As at any other error, everything was ended then: what cannot
            be recorded must not run on.
        """
        try:
            # A request may have come before this process could listen.
            self._cancel(self._files.read_cancels(len(self._elements)))
            self._fill()
            while self._running:
                if self._ready is None and self._waiting:
                    element = self._waiting[-1]
                    self._ready = (element, open_attempt(self._array, self._elements[element][0]))
                received = signal.sigtimedwait(SIGNALS, self._count_down())
                # Before anything is started: a machine that was suspended may have been given up.
                self._beat()
                # Where a stop of this process interrupts it beyond its time, Python answers with whatever was in the
                # memory (os_sigtimedwait in Modules/signalmodule.c leaves its loop without an answer).
                if received is not None and received.si_signo in SIGNALS:
                    self._obey(received.si_signo)
                self._reap()
                self._kill_late()
        except BaseException as error:
            # By their sessions, too: a program that is just being replaced by another one has no environment.
            leaders = {pid: read_start(pid) or 0 for pid in self._running}
            end_processes(lambda: find_processes(f"{MARK}={self._id}", leaders), _GRACE)
            self._files.give_up(f"the local pool ended: {error!r}")
            raise
        if self._stopped is not None:
            self._files.give_up(self._stopped)

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            self._launch(self._waiting.pop(), 0)

    def _launch(self, element: int, position: int) -> None:
        """Start an element at a place.

        A subjob that cannot be started is recorded, and the next one follows.
        """
        subjobs = self._elements[element]
        while position < len(subjobs):
            if self._ready is not None and self._ready[0] == element and position == 0:
                attempt, self._ready = self._ready[1], None
            else:
                attempt = open_attempt(self._array, subjobs[position])
            if start_attempt(attempt, self._environment, own_session=True):
                self._running[attempt.pid] = Task(element, position, attempt)
                # Not reaped yet, so the process or its remains are there and the number is its own.
                self._write("S", element, attempt.pid, read_start(attempt.pid) or 0)
                return
            self._record(attempt)
            position += 1
            self._beat()
            if self._stopped is not None:
                return  # it is lost, as those that wait
            if element in self._cancelled:
                break
        self._write("C" if element in self._cancelled else "E", element)

    def _obey(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._cancel(self._files.read_cancels(len(self._elements)))
        elif number != signal.SIGCHLD:
            self._stop(f"the local pool was ended by {signal.Signals(number).name}")

    def _stop(self, reason: str) -> None:
        self._stopped = reason
        self._waiting.clear()
        for task in self._running.values():
            self._end(task, reason, ENDED_BY_POOL)

    def _beat(self) -> None:
        # This clock goes on while the machine is suspended.
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        if now < self._next_beat:
            return
        self._next_beat = now + self._interval
        try:
            self._files.beat()
            given_up = self._files.read_given_up()
            # From another host no signal comes.
            wanted = self._files.read_cancels(len(self._elements))
        except OSError as error:
            sys.stderr.write(f"this beat could not be told to other hosts: {error}\n")
            sys.stderr.flush()
            return
        self._cancel(wanted)
        if given_up is not None and self._stopped is None:
            self._stop(given_up)

    def _cancel(self, wanted: set[int]) -> None:
        wanted = wanted - self._cancelled
        self._cancelled |= wanted
        for element in [element for element in self._waiting if element in wanted]:
            self._write("C", element)
        self._waiting = [element for element in self._waiting if element not in wanted]
        if self._ready is not None and self._ready[0] in wanted:
            close_logs(self._ready[1])
            self._ready = None
        for task in self._running.values():
            if task.element in wanted:
                self._end(task, "cancelled", ENDED_BY_USER)

    def _end(self, task: Task, reason: str, ended_by: str) -> None:
        if task.reason is None:
            task.reason, task.ended_by = reason, ended_by
            task.deadline = time.monotonic() + _GRACE
            _kill_group(task.attempt.pid, signal.SIGTERM)

    def _count_down(self) -> float:
        deadlines = [task.deadline for task in self._running.values() if task.deadline is not None]
        return max(0.0, min([self._interval, *(deadline - time.monotonic() for deadline in deadlines)]))

    def _kill_late(self) -> None:
        for pid, task in self._running.items():
            if task.deadline is not None and task.deadline <= time.monotonic():
                task.deadline = None
                # All of its session, also what has gone into a process group of its own.
                for member in find_processes(None, {pid: read_start(pid) or 0}):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(member, signal.SIGKILL)

    def _reap(self) -> None:
        ended = []
        while self._running:
            # Looked at first, and taken away only after its group was killed: until then the number is its
            # own.
            info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if info is None:
                break
            _kill_group(info.si_pid, signal.SIGKILL)
            _, status, usage = os.wait4(info.si_pid, 0)
            task = self._running.pop(info.si_pid)
            ended.append((task, status, usage))
            if self._goes_on(task):
                self._launch(task.element, task.position + 1)
        self._fill()
        for task, status, usage in ended:
            self._record(task.attempt, status, usage, task.reason, task.ended_by)
            if not self._goes_on(task):
                self._write("C" if task.element in self._cancelled else "E", task.element)

    def _goes_on(self, task: Task) -> bool:
        return task.reason is None and task.position + 1 < len(self._elements[task.element])

    def _record(self, attempt: Attempt, *end: Any) -> None:
        try:
            finish_attempt(attempt, *end)
        except OSError as error:
            # It has ended without an exit record, and counts as failed. The others go on.
            sys.stderr.write(f"the exit record {attempt.record_file} could not be written: {error}\n")
            sys.stderr.flush()

    def _write(self, letter: str, *numbers: int) -> None:
        self._files.append_journal(self._journal, letter, *numbers)


def _kill_group(leader: int, number: int) -> None:
    # A program that runs as another user (sudo) cannot be signalled; that is no reason to end all others.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
