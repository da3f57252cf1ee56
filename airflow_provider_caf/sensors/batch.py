"""Sensors that wait for the subjobs of a collection, and submit again those that failed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator, Context, conf
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowRuntimeError,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_caf.batch.polling import Patience, decide_interval, decide_over
from airflow_provider_caf.core.errors import DefinitionError, PollError
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.operators.base import CafTask, failing_for_good, find_run, open_results
from airflow_provider_caf.site.metrics import count, time_poll
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.batch import BatchJobTrigger


class _Look(Enum):
    """What a look has found.

    SETTLING: nothing but the grace time of some subjobs is waited for.
    """

    DONE = "done"
    WAITING = "waiting"
    SETTLING = "settling"


class BatchJobSensor(CafTask, BaseSensorOperator):
    """Wait until all subjobs of a collection are done.

    It watches in the worker for a while, then in the triggerer. Failed subjobs are submitted again, and only those.
    When their retries are spent the task fails with a table of them; clearing it submits them once more. When the
    task fails for good, or somebody kills it, what still runs is ended.

    :param calibration: the calibration's name.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param max_subjob_retries: tries of one subjob after its first; None: what the definition of the collection says.
    :param timeout: seconds until it gives up and ends what still runs.
    :param deferrable: whether to wait in the triggerer; False: in the worker, or rescheduled with that `mode`.
    """

    template_fields: Sequence[str] = ("calibration", "collection")
    ui_color = "#efe6fa"
    system: str | None = None
    """The batch system that a subclass stands for; None: any."""

    def __init_subclass__(cls, *, system: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.system = system or cls.system

    def __init__(
        self,
        *,
        calibration: str,
        iteration: int,
        collection: str,
        max_subjob_retries: int | None = None,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.calibration = calibration
        self.iteration = iteration
        self.collection = collection
        self.max_subjob_retries = max_subjob_retries
        self.deferrable = deferrable
        self._run: CollectionRun | None = None
        self._counts: LiveCounts | None = None
        self._shown = ""
        self._failed = 0
        self._is_all_over = False

    def execute(self, context: Context) -> Any:
        """Submit again what has failed before, and wait.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with self._ending_jobs_with_the_task(context):
            run = self._open(context)
            first_attempt = self._begin(context, run)
            if self.deferrable:
                return self._wait(context, run, first_attempt, time.time() + self.timeout)
            super().execute(context)
            return self._build_result(run)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer has seen that there is something to look at.

        :raises AirflowFailException: when the retries of a subjob are spent.
        :raises PollError: if the batch system has not answered for too long.
        """
        with self._ending_jobs_with_the_task(context):
            if "error" in event:
                raise PollError(event["error"])
            run = self._open(context)
            return self._wait(context, run, int(event["first_attempt"]), float(event["deadline"]))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the triggerer, also where the trigger itself has failed: then nothing of ours is called."""
        with self._ending_jobs_with_the_task(context):
            return super().resume_execution(next_method, next_kwargs, context)

    def poke(self, context: Context) -> bool:
        """Look once, in the worker.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with failing_for_good(context):
            run = self._open(context)
            first_attempt = context["task_state_store"].get("first_attempt")
            assert isinstance(first_attempt, int), "execute() sets it before anything pokes"
            began = time.monotonic()
            # A rescheduled sensor forgets since when a subjob is missing: it stays for the grace time.
            while (look := self._look(context, run, first_attempt)) is _Look.SETTLING:
                time.sleep(decide_interval(time.monotonic() - began, run.patience))
            return look is _Look.DONE

    def on_kill(self) -> None:
        """End the jobs: somebody killed the task."""
        if self._run is not None:
            self._run.cancel()

    @contextmanager
    def _ending_jobs_with_the_task(self, context: Context) -> Iterator[None]:
        """End what still runs when the task fails for good: nothing else would.

        A failure that Airflow retries leaves the jobs alone. So does the end of a worker.
        """
        ti = context["ti"]
        try:
            with failing_for_good(context):
                yield
        except (AirflowFailException, AirflowSensorTimeout, AirflowSkipException):
            self._end_jobs(context)
            raise
        except AirflowRescheduleException:
            raise
        except Exception:
            # Whatever it is: an error of ours, of Airflow, of the catalog's database, or a mistake in our code.
            if ti.try_number > ti.max_tries:
                self._end_jobs(context)
            raise

    def _end_jobs(self, context: Context) -> None:
        if self._is_all_over:
            return
        try:
            self._open(context).cancel()
        except Exception as error:  # noqa: BLE001 - all of it is logged
            # Why the task fails is said by the error that brought us here, and that one goes on.
            self.log.error("What still runs of collection %r could not be ended: %s", self.collection, error)

    def _open(self, context: Context) -> CollectionRun:
        if self._run is None:
            layout = find_run(context).calibration(self.calibration)
            self._run = open_collection(layout, self.iteration, self.collection, patience=read_patience())
            self._counts = LiveCounts(self._run, open_results(context, self.calibration))
            if self.system not in (None, self._run.manifest.backend):
                backend, self._run = self._run.manifest.backend, None
                raise DefinitionError(
                    f"{type(self).__name__} waits for {self.system} jobs, but calibration {self.calibration!r} "
                    f"runs on {backend!r}.",
                    hint="Use BatchJobSensor, which waits for any.",
                )
        return self._run

    def _begin(self, context: Context, run: CollectionRun) -> int:
        """Submit again what has failed before, and return the first try that counts from now on.

        What has failed before somebody waits for it failed in an earlier life of this task, or was very quick: either
        way it gets all its tries.
        """
        store = context["task_state_store"]
        known = store.get("first_attempt")
        # After a reschedule Airflow calls `execute` anew, but it is still the same wait.
        if context.get("task_reschedule_count") and isinstance(known, int):
            return known
        submitted = run.submit_missing()
        count("subjobs.submitted", len(submitted.submitted), **self._build_tags(context, run))
        if submitted.submitted:
            self.log.info("Submitted again: subjobs %s", list(submitted.submitted))
        first_attempt = max(0, submitted.attempt)
        store.set("first_attempt", first_attempt)
        if not self.deferrable and store.get("silent_since") is not None:
            store.delete("silent_since")
        return first_attempt

    def _wait(self, context: Context, run: CollectionRun, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Watch in the worker for a while, then defer.

        :param deadline: in seconds since 1970.
        :raises AirflowSensorTimeout: when it has passed.
        """
        since = time.time()
        began = time.monotonic()
        limit = conf.getfloat("caf", "defer_after", fallback=20.0)
        while (look := self._look(context, run, first_attempt)) is not _Look.DONE:
            if time.time() > deadline:
                self._give_up()
            waited = time.monotonic() - began
            # The triggerer would begin the grace time anew, and so would we after it.
            if waited > limit and look is not _Look.SETTLING:
                self.defer(
                    trigger=BatchJobTrigger(
                        calibration_folder=str(run.calibration.folder),
                        dag_id=context["ti"].dag_id,
                        run_id=context["ti"].run_id,
                        iteration=self.iteration,
                        collection=self.collection,
                        deadline=deadline,
                        first_attempt=first_attempt,
                        since=since,
                        shortest_interval=run.patience.shortest,
                        longest_interval=run.patience.longest,
                        poll_deadline=run.patience.deadline,
                    ),
                    method_name="execute_complete",
                )
            time.sleep(decide_interval(waited, run.patience))
        return self._build_result(run)

    def _give_up(self) -> NoReturn:
        message = (
            f"The subjobs of collection {self.collection!r} in calibration {self.calibration!r} were not done within "
            f"{self.timeout:g} s ({self._shown}). Those that were not are ended."
        )
        if self.soft_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)

    def _look(self, context: Context, run: CollectionRun, first_attempt: int) -> _Look:
        """Look once; deal with held jobs; submit again what failed.

        :raises JobFailed: when the retries of a subjob are spent.
        :raises PollError: if the batch system has been silent for too long.
        """
        with time_poll(run.client.system.name, in_triggerer=False):
            observation = run.observe()
        self._is_all_over = observation.is_over
        assert self._counts is not None, "_open() sets it"
        self._counts.update(observation, is_last=self._is_all_over)
        self._show(context, run.attend(observation))
        if not self.deferrable:
            self._check_silence(context, run.patience, observation.problem)
        if not self._is_all_over:
            return _Look.SETTLING if observation.is_settling else _Look.WAITING
        failed = observation.failed
        tags = self._build_tags(context, run)
        count("subjobs.failed", len(failed), **tags)
        if not failed:
            count("subjobs.done", len(observation.verdicts), **tags)
            return _Look.DONE
        again = run.submit_missing(first_attempt, max_retries=self.max_subjob_retries)
        if not again.submitted:
            self._failed = len(run.check_done(observation))
            count("subjobs.done", len(observation.verdicts) - self._failed, **tags)
            self.log.warning("%s", run.describe_failed(observation))
            return _Look.DONE
        self._is_all_over = False
        count("subjobs.submitted", len(again.submitted), **tags)
        self.log.info("Submitted again: subjobs %s", list(again.submitted))
        return _Look.WAITING

    def _build_tags(self, context: Context, run: CollectionRun) -> dict[str, str]:
        return {"dag_id": context["ti"].dag_id, "calibration": self.calibration, "system": run.client.system.name}

    def _check_silence(self, context: Context, patience: Patience, problem: str | None) -> None:
        """End the wait for a silent batch system. A rescheduled sensor begins anew with each look.

        :raises PollError: if it has been silent for too long.
        """
        store = context["task_state_store"]
        since = store.get("silent_since")
        if problem is None:
            if since is not None:
                store.delete("silent_since")
        elif not isinstance(since, float):
            store.set("silent_since", time.time())
        elif decide_over(since, time.time(), patience.deadline):
            raise PollError(
                f"The batch system has not answered for {patience.deadline:g} s: {problem}",
                hint="Mend it and clear the task: what ended meanwhile does not run again.",
            )

    def _show(self, context: Context, line: str) -> None:
        """Show how far it is, where it changed: in the log, and in the store that the web interface shows."""
        if line == self._shown:
            return
        self._shown = line
        self.log.info("%s", line)
        try:
            context["task_state_store"].set("progress", line)
        except AirflowRuntimeError as error:
            # The log has it; a database that is busy is no reason to end the wait.
            self.log.warning("The progress could not be put into the task's state store: %s", error)

    def _build_result(self, run: CollectionRun) -> dict[str, Any]:
        return {"subjobs": len(run.manifest.subjobs), "array_ids": run.list_array_ids(), "failed": self._failed}


def read_patience() -> Patience:
    """Return how often to look and how long to wait, from Airflow's configuration."""
    default = Patience()
    return Patience(
        shortest=conf.getfloat("caf", "poll_interval_min", fallback=default.shortest),
        longest=conf.getfloat("caf", "poll_interval_max", fallback=default.longest),
        deadline=conf.getfloat("caf", "poll_deadline", fallback=default.deadline),
    )


class LocalJobSensor(BatchJobSensor, system="local"):
    """Wait for subjobs on this machine."""


class HTCondorJobSensor(BatchJobSensor, system="htcondor"):
    """Wait for subjobs on HTCondor."""


class LSFJobSensor(BatchJobSensor, system="lsf"):
    """Wait for subjobs on LSF."""


class PBSJobSensor(BatchJobSensor, system="pbs"):
    """Wait for subjobs on PBS."""


class SlurmJobSensor(BatchJobSensor, system="slurm"):
    """Wait for subjobs on Slurm."""


class TorqueJobSensor(BatchJobSensor, system="torque"):
    """Wait for subjobs on Torque."""
