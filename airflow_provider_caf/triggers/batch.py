"""The triggers behind the tasks that wait for jobs: they look after them in the triggerer."""

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
from airflow_provider_caf.core.file_names import JOBS_COLLECTION
from airflow_provider_caf.core.names import MAX_NAME_LENGTH
from airflow_provider_caf.hooks.batch import open_collection, open_foreign, open_jobs
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout, slug
from airflow_provider_caf.jobs.foreign import ForeignJobs
from airflow_provider_caf.jobs.observation import Observation, Question
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.site.places import find_run_layout, open_journal
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.task_jobs import TaskJobs, TaskJobsManifest
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.poller import SharedPoller, join_poller

_HOLD_BACK = 8.0
"""Seconds before the first event. In Airflow up to 3.3.2 an event that fires within seconds of the deferral can fail
the task (apache/airflow issues 71580 and 72716)."""

_DEFAULT = Patience()


class JobTrigger(BaseTrigger):
    """Wait until nothing will happen any more by itself to some subjobs. A subclass says to which.

    The event says only that it is time to look; the task looks itself. All triggers of a triggerer that wait on the
    same batch system share its queries, see `triggers.poller`.

    :param deadline: when the task gives up, in seconds since 1970; handed back with the event.
    :param first_attempt: handed back with the event.
    :param since: when the wait began, in seconds since 1970: looks are quick at first, and not again after a restart.
    :param shortest_interval: between two looks, in seconds.
    :param longest_interval: between two looks, in seconds.
    :param poll_deadline: seconds for which the batch system may be silent.
    :param cancel_on_kill: whether the jobs end when somebody kills the task.
    """

    def __init__(
        self,
        *,
        deadline: float,
        first_attempt: int = 0,
        since: float = 0.0,
        shortest_interval: float = _DEFAULT.shortest,
        longest_interval: float = _DEFAULT.longest,
        poll_deadline: float = _DEFAULT.deadline,
        cancel_on_kill: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.deadline = deadline
        self.first_attempt = first_attempt
        self.since = since
        self.shortest_interval = shortest_interval
        self.longest_interval = longest_interval
        self.poll_deadline = poll_deadline
        self.cancel_on_kill = cancel_on_kill
        self._arrays: tuple[SubmittedArray, ...] | None = None

    @property
    def waits_for(self) -> str:
        """Whose jobs they are, for messages."""
        raise NotImplementedError

    def open_run(self) -> SubjobRun:
        """Return the subjobs, with the way to their submit host. It may block."""
        raise NotImplementedError

    def open_counts(self, run: SubjobRun) -> LiveCounts:
        """Return what keeps the catalog up to date. It may block."""
        raise NotImplementedError

    @property
    def patience(self) -> Patience:
        """How often to look and how long to wait."""
        return Patience(shortest=self.shortest_interval, longest=self.longest_interval, deadline=self.poll_deadline)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments with which the triggerer makes it again."""
        own = inspect.signature(type(self)).parameters.values()
        words = [word.name for word in own if word.kind is not word.VAR_KEYWORD]
        words += [word for word in inspect.signature(JobTrigger).parameters if word not in words]
        return f"{type(self).__module__}.{type(self).__qualname__}", {word: getattr(self, word) for word in words}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until it is over, the time is up, or the batch system has not answered for too long."""
        began = time.monotonic()
        try:
            event = await self.watch()
        except CafError as error:
            # An exception that left a trigger would go round the sensor.
            event = {"error": str(error)}
        except Exception as error:
            self.log.exception("The wait for the jobs of %s has failed", self.waits_for)
            event = {"error": f"{type(error).__name__}: {error}"}
        await asyncio.sleep(max(0.0, began + _HOLD_BACK - time.monotonic()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """End the jobs: somebody killed the task. A triggerer's shutdown does not come here."""
        # Airflow up to 3.3.2 cancels this coroutine a second later (it sends what is to be cancelled again and again
        # until it has ended): the thread goes on to its end all the same.
        if self.cancel_on_kill:
            await asyncio.shield(asyncio.to_thread(self._end_jobs))

    async def watch(self) -> dict[str, Any]:
        """Look until it is over or the time is up, and return what the event says."""
        run = await asyncio.to_thread(self.open_run)
        counts = await asyncio.to_thread(self.open_counts, run)
        async with join_poller(run.client) as poller:
            await self._watch(run, poller, counts)
        return {"first_attempt": self.first_attempt, "deadline": self.deadline}

    async def _watch(self, run: SubjobRun, poller: SharedPoller, counts: LiveCounts) -> None:
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
        run: SubjobRun, question: Question, snapshot: Snapshot | None, counts: LiveCounts
    ) -> tuple[Observation, str]:
        seen = run.judge(question, snapshot)
        counts.update(seen)
        return seen, run.attend(seen)

    def _end_jobs(self) -> None:
        try:
            self.end_jobs()
        except CafError as error:
            # Nobody may be there any more to whom it could be raised.
            self.log.error("The task was killed, but the jobs of %s could not be ended: %s", self.waits_for, error)
        else:
            self.log.info("The task was killed: the jobs of %s are ended.", self.waits_for)

    def end_jobs(self) -> None:
        """End what this trigger has seen.

        :raises CafError: if it cannot be ended.
        """
        run = self.open_run()
        if self._arrays is None:
            run.cancel()
        else:
            # A clear starts the task again at the same moment, and what that one submits is not meant.
            run.client.cancel(self._arrays)


class BatchJobTrigger(JobTrigger):
    """Wait for the subjobs of a collection. Deferred tasks in Airflow's database name it, so its name stays.

    :param calibration_folder: the calibration's folder in the run.
    :param dag_id: whose run it is, for the catalog.
    :param run_id: which run.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    """

    def __init__(
        self, calibration_folder: str, dag_id: str, run_id: str, iteration: int, collection: str, **wait: Any
    ) -> None:
        super().__init__(**wait)
        self.calibration_folder = calibration_folder
        self.dag_id = dag_id
        self.run_id = run_id
        self.iteration = iteration
        self.collection = collection

    @property
    def waits_for(self) -> str:
        """Whose jobs they are, for messages."""
        return repr(self.collection)

    def open_run(self) -> CollectionRun:
        """Return the subjobs of the collection."""
        folder = Path(self.calibration_folder)
        layout = CalibrationLayout(run_folder=folder.parent, name=folder.name)
        return open_collection(layout, self.iteration, self.collection, patience=self.patience)

    def open_counts(self, run: SubjobRun) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        name = Path(self.calibration_folder).name
        results = open_calibration(self.dag_id, self.run_id, name)
        return LiveCounts(run, results, self.iteration, self.collection)


class TaskJobsTrigger(JobTrigger):
    """Wait for the jobs of a task.

    :param folder: the folder of the jobs.
    """

    def __init__(self, folder: str, **wait: Any) -> None:
        super().__init__(**wait)
        self.folder = folder

    @property
    def waits_for(self) -> str:
        """Whose jobs they are, for messages."""
        return self.folder

    def open_run(self) -> TaskJobs:
        """Return the jobs."""
        return open_jobs(TaskJobsLayout(folder=Path(self.folder)), patience=self.patience)

    def open_counts(self, run: SubjobRun) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        assert isinstance(run, TaskJobs)
        return open_counts(run)


class ForeignJobTrigger(JobTrigger):
    """Wait for jobs that somebody else submitted.

    :param backend: the batch system; None: as the connection says.
    :param conn_id: the connection to it.
    :param ids: of the jobs.
    :param name: of the jobs, instead of ids.
    :param memory: what was seen before.
    """

    def __init__(
        self, backend: str | None, conn_id: str | None, ids: list[str], name: str | None, memory: Any, **wait: Any
    ) -> None:
        super().__init__(**wait)
        self.backend = backend
        self.conn_id = conn_id
        self.ids = ids
        self.name = name
        self.memory = memory

    @property
    def waits_for(self) -> str:
        """Which jobs they are, for messages."""
        return self.name or ", ".join(self.ids)

    async def watch(self) -> dict[str, Any]:
        """Look until it is over or the time is up, and return what the event says."""
        jobs, shown = await asyncio.to_thread(self._open), ""
        while True:
            seen = await asyncio.to_thread(jobs.observe)
            line = seen.describe()
            if line != shown:
                shown = line
                self.log.info("%s", line)
            if seen.is_over or time.time() > self.deadline:
                return {"deadline": self.deadline, "memory": jobs.remember()}
            await asyncio.sleep(self._decide_interval(self.patience))

    def _open(self) -> ForeignJobs:
        words: dict[str, Any] = {"ids": [], "name": self.name} if self.name else {"ids": self.ids}
        return open_foreign(self.backend, self.conn_id, memory=self.memory, patience=self.patience, **words)

    def end_jobs(self) -> None:
        """End the jobs by their ids.

        :raises CafError: if they cannot be ended.
        """
        self._open().cancel()


def open_counts(run: TaskJobs) -> LiveCounts:
    """Return what keeps the catalog up to date on the jobs of a task."""
    results = open_results(run.manifest) if run.manifest.is_counted else None
    return LiveCounts(run, results, 0, JOBS_COLLECTION)


def open_results(task: TaskJobsManifest) -> CalibrationResults:
    """Open the catalog for the jobs of a task."""
    name = task.task if len(task.task) <= MAX_NAME_LENGTH else slug(task.task)
    return open_calibration(task.dag_id, task.run_id, name)


def open_calibration(dag_id: str, run_id: str, name: str) -> CalibrationResults:
    """Open the catalog for a calibration, or what has its place there, in a run."""
    return CalibrationResults(open_journal(find_run_layout(dag_id, run_id)), dag_id, run_id, name)
