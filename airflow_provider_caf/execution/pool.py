"""Several processes of one algorithm, each with a thread that speaks to it.

A process is opened when its worker gets its first task, and again when it broke or has grown too large. What an
execution does to its process, a crash or a hang, becomes its result; only a process that cannot be opened ends the
pool.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from pathlib import Path

from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, Stopped
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies.base import Execute, Execution, FindBoundaries
from airflow_provider_caf.execution.process import AlgorithmProcess, Opened

log = logging.getLogger(__name__)

_END_SECONDS = 30.0
"""How long a thread may need to see that its process was killed."""


@record
class Finished:
    """What came of a task.

    :param ticket: what `start` was given.
    :param answer: None where it broke.
    :param error: why it broke: the process crashed or hung, or the user's code raised or answered nonsense.
    """

    ticket: Hashable
    answer: Execution | tuple[ExpRun, ...] | None
    error: CafError | None
    seconds: float


class AlgorithmPool(AbstractContextManager["AlgorithmPool"]):
    """Run executions of one algorithm at the same time. Use it in a `with` statement.

    :param open_process: gives an opened process for a worker; it gets the worker's number, from 0.
    :param workers: how many processes there are at most.
    :param staging: the folder for the payload files.
    :param timeout: of one execution, in seconds.
    :param memory_growth_kb: a process that grew by more since its first answer is opened again before its next task.
    """

    def __init__(
        self,
        open_process: Callable[[int], AlgorithmProcess],
        *,
        workers: int,
        staging: Path,
        timeout: float | None = None,
        memory_growth_kb: int | None = None,
    ) -> None:
        self._open_process = open_process
        self._staging = staging
        self._timeout = timeout
        self._growth = memory_growth_kb
        self._finished: queue.SimpleQueue[tuple[_Worker, Finished | BaseException]] = queue.SimpleQueue()
        self._workers = [_Worker(number, self) for number in range(workers)]

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        """How many workers have no task."""
        return sum(not worker.is_busy for worker in self._workers)

    @property
    def restarts(self) -> int:
        """How often a process was opened again because it had grown."""
        return sum(worker.restarts for worker in self._workers)

    def open(self) -> Opened:
        """Open the first process, and return what it sees.

        :raises CafError: if it cannot be opened.
        """
        return self._workers[0].open().opened

    def start(self, ticket: Hashable, action: Execute | FindBoundaries) -> None:
        """Put a task to a free worker, to one that is open where there is one.

        :raises CafError: if none is free.
        """
        free = [worker for worker in self._workers if not worker.is_busy]
        if not free:
            raise CafError("All workers of the algorithm are busy.", hint="Wait for one of them first.")
        min(free, key=lambda worker: (not worker.is_open, worker.number)).start(ticket, action)

    def wait(self) -> list[Finished]:
        """Wait until a task is finished, and return all that are.

        :raises CafError: if a process cannot be opened, or the task was told to end.
        """
        done = [self._finished.get()]
        while not self._finished.empty():
            done.append(self._finished.get())
        results = []
        for worker, result in done:
            worker.is_busy = False
            if isinstance(result, BaseException):
                raise result
            results.append(result)
        return results

    def close(self) -> None:
        """End all processes: at once where they are busy, kindly where they are not."""
        for worker in self._workers:
            worker.end()


class _Worker:
    """One process and the thread that speaks to it."""

    def __init__(self, number: int, pool: AlgorithmPool) -> None:
        self.number = number
        self.is_busy = False
        self.restarts = 0
        self._pool = pool
        self._process: AlgorithmProcess | None = None
        self._first_memory = 0
        self._tasks: queue.SimpleQueue[tuple[Hashable, Execute | FindBoundaries] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing = False

    @property
    def is_open(self) -> bool:
        return self._process is not None

    def open(self) -> AlgorithmProcess:
        if self._process is None:
            self._process = self._pool._open_process(self.number)
            self._first_memory = 0
        return self._process

    def start(self, ticket: Hashable, action: Execute | FindBoundaries) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=f"algorithm-{self.number}", daemon=True)
            self._thread.start()
        self.is_busy = True
        self._tasks.put((ticket, action))

    def end(self) -> None:
        """End the thread and the process."""
        self._closing = True
        self._tasks.put(None)
        if self._thread is not None:
            deadline = time.monotonic() + _END_SECONDS
            # It may be opening its process just now: that one is killed as soon as it is there.
            while self.is_busy and self._thread.is_alive() and time.monotonic() < deadline:
                if self._process is not None:
                    self._process.kill()
                self._thread.join(0.05)
            self._thread.join(max(0.0, deadline - time.monotonic()))
            self._thread = None
        self._drop()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None:
            ticket, action = task
            result: Finished | BaseException
            try:
                result = self._work(self._get_ready(), ticket, action)
            except BaseException as error:  # noqa: BLE001 - it is raised where the pool is waited for
                result = error
            self._pool._finished.put((self, result))
            if self._closing:
                return

    def _get_ready(self) -> AlgorithmProcess:
        """Return an open process that has not grown too large and did not die while it had nothing to do."""
        process = self._process
        limit = self._pool._growth
        if process is not None and limit is not None and self._first_memory:
            grown = process.memory_kb - self._first_memory
            if grown > limit:
                log.info("Process %d of the algorithm grew by %d MB: it is started afresh.", self.number, grown // 1024)
                self.restarts += 1
                self._drop()
        if self._process is not None and not self._process.is_alive:
            self._process.refuse_stopped()
            self._drop()
        return self.open()

    def _work(self, process: AlgorithmProcess, ticket: Hashable, action: Execute | FindBoundaries) -> Finished:
        began = time.monotonic()
        answer: Execution | tuple[ExpRun, ...] | None = None
        failure: CafError | None = None
        try:
            if isinstance(action, Execute):
                answer = process.execute(0, action, staging=self._pool._staging, timeout=self._pool._timeout)
            else:
                answer = process.find_boundaries(action, timeout=self._pool._timeout)
        except Stopped:
            raise
        except CafError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - a thread must tell how it ended, or the pool waits for ever
            failure = AlgorithmFailed(f"The process of the algorithm cannot be spoken to: {error!r}")
        if not process.is_alive:
            self._drop()
        elif not self._first_memory:
            self._first_memory = process.memory_kb
        return Finished(ticket=ticket, answer=answer, error=failure, seconds=time.monotonic() - began)

    def _drop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
