"""The trigger behind the batch sensors: it looks after the subjobs of a collection in the triggerer."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.jobs.observation import Observation, Question
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.site.places import find_catalog
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.poller import SharedPoller, join_poller

_HOLD_BACK = 8.0
"""Seconds before the first event. In Airflow up to 3.3.2 an event that fires within seconds of the deferral can fail
the task (apache/airflow issues 71580 and 72716)."""

_DEFAULT = Patience()


class BatchJobTrigger(BaseTrigger):
    """Wait until nothing will happen any more by itself to the subjobs of a collection.

    The event says only that it is time to look; the sensor looks itself. All triggers of a triggerer that wait on the
    same batch system share its queries, see `triggers.poller`.

    :param calibration_folder: the calibration's folder in the run.
    :param dag_id: whose run it is, for the catalog.
    :param run_id: which run.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param deadline: when the sensor gives up, in seconds since 1970; handed back with the event.
    :param first_attempt: handed back with the event.
    :param since: when the wait began, in seconds since 1970: looks are quick at first, and not again after a restart.
    :param shortest_interval: between two looks, in seconds.
    :param longest_interval: between two looks, in seconds.
    :param poll_deadline: seconds for which the batch system may be silent.
    """

    def __init__(
        self,
        calibration_folder: str,
        dag_id: str,
        run_id: str,
        iteration: int,
        collection: str,
        deadline: float,
        first_attempt: int = 0,
        since: float = 0.0,
        shortest_interval: float = _DEFAULT.shortest,
        longest_interval: float = _DEFAULT.longest,
        poll_deadline: float = _DEFAULT.deadline,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calibration_folder = calibration_folder
        self.dag_id = dag_id
        self.run_id = run_id
        self.iteration = iteration
        self.collection = collection
        self.deadline = deadline
        self.first_attempt = first_attempt
        self.since = since
        self.shortest_interval = shortest_interval
        self.longest_interval = longest_interval
        self.poll_deadline = poll_deadline
        self._arrays: tuple[SubmittedArray, ...] | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments with which the triggerer makes it again."""
        words = list(inspect.signature(type(self)).parameters)
        return f"{type(self).__module__}.{type(self).__qualname__}", {word: getattr(self, word) for word in words}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is over, the time is up, or the batch system has not answered for too long."""
        began = time.monotonic()
        try:
            run = await asyncio.to_thread(self._open)
            counts = await asyncio.to_thread(self._open_counts, run)
            async with join_poller(run.client) as poller:
                await self._watch(run, poller, counts)
        except CafError as error:
            # An exception that left a trigger would go round the sensor.
            event: dict[str, Any] = {"error": str(error)}
        except Exception as error:
            self.log.exception("The wait for collection %r has failed", self.collection)
            event = {"error": f"{type(error).__name__}: {error}"}
        else:
            event = {"first_attempt": self.first_attempt, "deadline": self.deadline}
        await asyncio.sleep(max(0.0, began + _HOLD_BACK - time.monotonic()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """End the jobs: somebody killed the task. A triggerer's shutdown does not come here."""
        # Airflow up to 3.3.2 cancels this coroutine a second later (it sends what is to be cancelled again and again
        # until it has ended): the thread goes on to its end all the same.
        await asyncio.shield(asyncio.to_thread(self._end_jobs))

    async def _watch(self, run: CollectionRun, poller: SharedPoller, counts: LiveCounts) -> None:
        shown = ""
        while True:
            question = await asyncio.to_thread(run.find_question)
            self._arrays = question.arrays
            snapshot = (
                await poller.ask(question.polled, self._decide_interval(run.patience)) if question.polled else None
            )
            seen, line = await asyncio.to_thread(self._look, run, question, snapshot, counts)
            if line != shown:
                shown = line
                self.log.info("%s", line)
            # When the time is up, the sensor sees it too, and gives up.
            if seen.is_over or time.time() > self.deadline:
                return

    def _decide_interval(self, patience: Patience) -> float:
        now = time.time()
        # The last look is when the time is up, and not up to a minute later.
        return min(decide_interval(now - self.since, patience), max(self.deadline - now, patience.shortest))

    @staticmethod
    def _look(
        run: CollectionRun, question: Question, snapshot: Snapshot | None, counts: LiveCounts
    ) -> tuple[Observation, str]:
        seen = run.judge(question, snapshot)
        counts.update(seen)
        return seen, run.attend(seen)

    def _end_jobs(self) -> None:
        try:
            run = self._open()
            if self._arrays is None:
                run.cancel()
            else:
                # A clear starts the task again at the same moment, and what that one submits is not meant.
                run.client.cancel(self._arrays)
        except CafError as error:
            # Nobody may be there any more to whom it could be raised.
            self.log.error("The task was killed, but the jobs of %r could not be ended: %s", self.collection, error)
        else:
            self.log.info("The task was killed: the jobs of collection %r are ended.", self.collection)

    def _open_counts(self, run: CollectionRun) -> LiveCounts:
        name = run.calibration.name
        return LiveCounts(run, CalibrationResults(find_catalog(), self.dag_id, self.run_id, name))

    def _open(self) -> CollectionRun:
        folder = Path(self.calibration_folder)
        layout = CalibrationLayout(run_folder=folder.parent, name=folder.name)
        patience = Patience(shortest=self.shortest_interval, longest=self.longest_interval, deadline=self.poll_deadline)
        return open_collection(layout, self.iteration, self.collection, patience=patience)
