"""One poller in a triggerer for all triggers that wait for jobs of one user on one batch system.

It lives while at least one trigger waits. A trigger gets the answer of a query that *started* after it asked: an older
one may not know its jobs yet. The poll runs in a thread; a trigger that waits for it holds none.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
from collections.abc import AsyncIterator, Hashable, Sequence

from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.site.metrics import time_poll


@record
class _Request:
    arrays: tuple[SubmittedArray, ...]
    interval: float


class SharedPoller:
    """Ask a batch system once in an interval for all who wait.

    :param client: keeps what was seen from poll to poll.
    """

    def __init__(self, client: BatchClient) -> None:
        self.waiting = 0
        self._client = client
        self._requests: dict[asyncio.Future[Snapshot], _Request] = {}
        self._changed = asyncio.Event()
        self._last = -float("inf")
        self._loop = asyncio.get_running_loop()
        # In a context of its own: what it logs is not of the trigger that happened to be the first.
        self._task = self._loop.create_task(self._run(), context=contextvars.Context())

    async def ask(self, arrays: Sequence[SubmittedArray], interval: float) -> Snapshot:
        """Return the answer of a query that starts after this call.

        :param interval: seconds that shall be between the end of the query before and the start of this one. The
            quickest wish of all who wait counts.
        """
        future: asyncio.Future[Snapshot] = self._loop.create_future()
        self._requests[future] = _Request(arrays=tuple(arrays), interval=interval)
        self._changed.set()
        try:
            return await future
        finally:
            self._requests.pop(future, None)

    def close(self) -> None:
        """End it: nobody waits any more."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._wait_until_due()
            requests, self._requests = self._requests, {}
            arrays = [array for request in requests.values() for array in request.arrays]
            try:
                snapshot = await asyncio.to_thread(self._poll, arrays)
            except Exception as error:  # noqa: BLE001 - those who wait raise it
                for future in requests:
                    if not future.done():
                        future.set_exception(error)
            else:
                for future in requests:
                    if not future.done():
                        future.set_result(snapshot)
            # From the end on: a slow server gets a rest, and who takes long to judge an answer is in time for the next.
            self._last = self._loop.time()

    def _poll(self, arrays: Sequence[SubmittedArray]) -> Snapshot:
        with time_poll(self._client.system.name, in_triggerer=True):
            return self._client.poll(arrays)

    async def _wait_until_due(self) -> None:
        while True:
            self._changed.clear()
            left: float | None = None
            if self._requests:
                left = self._last + min(request.interval for request in self._requests.values()) - self._loop.time()
                if left <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)


_pollers: dict[tuple[Hashable, ...], SharedPoller] = {}
"""(event loop, host, user, batch system) → its poller. A transport that logs in as somebody has that in its host's
name."""


@contextlib.asynccontextmanager
async def join_poller(client: BatchClient) -> AsyncIterator[SharedPoller]:
    """Yield the poller of a batch system to one who waits; the first one starts it, the last one ends it.

    :param client: used if there is none yet.
    """
    loop = asyncio.get_running_loop()
    key = (loop, client.transport.host, os.getuid(), client.system.name)
    poller = _pollers.get(key)
    if poller is None:
        poller = _pollers[key] = SharedPoller(client)
    poller.waiting += 1
    try:
        yield poller
    finally:
        poller.waiting -= 1
        if not poller.waiting:
            del _pollers[key]
            poller.close()
