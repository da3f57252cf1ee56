"""Sensors that wait for the subjobs of a collection, and submit again those that failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.batch.resubmit import RetryPolicy
from airflow_provider_caf.core.errors import DefinitionError, PollError
from airflow_provider_caf.operators.base import failing_for_good, find_run, open_results
from airflow_provider_caf.steps.collect import (
    CollectionRun,
    describe_observation,
    find_failed,
    is_over,
)
from airflow_provider_caf.triggers.batch import BatchJobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.steps.results import CalibrationResults


class BatchJobSensor(BaseSensorOperator):
    """Wait until all subjobs of a collection are done.

    It watches in the worker for a while, then in the triggerer. Failed subjobs are submitted again, and only those.
    When their retries are spent the task fails with a table of them; clearing it submits them once more.

    :param calibration: the calibration's name.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param max_subjob_retries: tries of one subjob after its first.
    :param timeout: seconds until it gives up and ends what still runs.
    :param deferrable: whether to wait in the triggerer; False: in the worker, or rescheduled with that `mode`.
    """

    template_fields: Sequence[str] = ("calibration", "collection")
    ui_color = "#efe6fa"
    system: str | None = None
    """The batch system that a subclass stands for; None: any."""

    def __init__(
        self,
        *,
        calibration: str,
        iteration: int,
        collection: str,
        max_subjob_retries: int = 3,
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
        self._results: CalibrationResults | None = None
        self._told = ""

    def execute(self, context: Context) -> Any:
        """Give what failed before a new chance, and wait.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with failing_for_good():
            run = self._open(context)
            first_attempt = self._begin(context, run)
            if self.deferrable:
                return self._wait(run, first_attempt, time.time() + self.timeout)
            try:
                super().execute(context)
            except AirflowSensorTimeout:
                run.cancel()
                raise
            return self._build_result(run)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer has seen that there is something to look at.

        :raises AirflowFailException: when the retries of a subjob are spent.
        :raises PollError: if the batch system has not answered for too long.
        """
        if "error" in event:
            raise PollError(event["error"])
        with failing_for_good():
            run = self._open(context)
            return self._wait(run, int(event["first_attempt"]), float(event["deadline"]))

    def poke(self, context: Context) -> bool:
        """Look once, in the worker.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with failing_for_good():
            first_attempt = context["task_state_store"].get("first_attempt")
            assert isinstance(first_attempt, int), "execute() sets it before anything pokes"
            return self._look(self._open(context), first_attempt)

    def on_kill(self) -> None:
        """End the jobs: somebody killed the task."""
        if self._run is not None:
            self._run.cancel()

    def _open(self, context: Context) -> CollectionRun:
        if self._run is None:
            layout = find_run(context).calibration(self.calibration)
            self._run = CollectionRun(layout, self.iteration, self.collection)
            self._results = open_results(context, self.calibration)
            if self.system not in (None, self._run.manifest.backend):
                raise DefinitionError(
                    f"{type(self).__name__} waits for {self.system} jobs, but calibration {self.calibration!r} "
                    f"runs on {self._run.manifest.backend!r}.",
                    hint="Use BatchJobSensor, which waits for any.",
                )
        return self._run

    def _begin(self, context: Context, run: CollectionRun) -> int:
        """Submit again what has failed before, and give the first try that counts from now on.

        What has failed before somebody waits for it failed in an earlier life of this task, or was very quick: either
        way it gets all its tries.
        """
        store = context["task_state_store"]
        known = store.get("first_attempt")
        # After a reschedule Airflow calls `execute` anew, but it is still the same wait.
        if context.get("task_reschedule_count") and isinstance(known, int):
            return known
        submitted = run.submit_missing()
        if submitted.submitted:
            self.log.info("Submitted again: subjobs %s", list(submitted.submitted))
        first_attempt = max(0, submitted.attempt)
        store.set("first_attempt", first_attempt)
        return first_attempt

    def _wait(self, run: CollectionRun, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Watch in the worker for a while, then defer.

        :param deadline: in seconds since 1970.
        :raises AirflowSensorTimeout: when it has passed; what still runs is ended.
        """
        began = time.monotonic()
        patience = Patience(longest=conf.getfloat("caf", "poll_interval_max", fallback=60.0))
        limit = conf.getfloat("caf", "defer_after", fallback=20.0)
        while not self._look(run, first_attempt):
            if time.time() > deadline:
                self._give_up(run)
            waited = time.monotonic() - began
            if waited > limit:
                self.defer(
                    trigger=BatchJobTrigger(
                        calibration_folder=str(run.calibration.folder),
                        iteration=self.iteration,
                        collection=self.collection,
                        first_attempt=first_attempt,
                        longest_interval=patience.longest,
                        deadline=deadline,
                    ),
                    method_name="execute_complete",
                )
            time.sleep(decide_interval(waited, patience))
        return self._build_result(run)

    def _give_up(self, run: CollectionRun) -> NoReturn:
        run.cancel()
        message = (
            f"The subjobs of collection {self.collection!r} in calibration {self.calibration!r} were not done within "
            f"{self.timeout:g} s ({self._told}). Those that were not are ended."
        )
        if self.soft_fail:
            raise AirflowSkipException(message)
        raise AirflowSensorTimeout(message)

    def _look(self, run: CollectionRun, first_attempt: int) -> bool:
        """Look once; submit again what failed. Tell whether all subjobs are done.

        :raises JobFailed: when the retries of a subjob are spent.
        """
        observation = run.observe()
        self._tell(describe_observation(observation))
        if not is_over(observation):
            return False
        assert self._results is not None, "_open() sets it"
        self._results.add_subjobs(
            self.iteration, self.collection, observation, run.read_attempts(), run.manifest.resources
        )
        if not find_failed(observation):
            return True
        again = run.submit_missing(RetryPolicy(max_retries=self.max_subjob_retries), first_attempt)
        if not again.submitted:
            run.check_done(observation)
        self.log.info("Submitted again: subjobs %s", list(again.submitted))
        return False

    def _tell(self, line: str) -> None:
        if line != self._told:
            self.log.info("%s", line)
            self._told = line

    def _build_result(self, run: CollectionRun) -> dict[str, Any]:
        return {"subjobs": len(run.manifest.subjobs), "array_ids": run.list_array_ids()}


class LocalJobSensor(BatchJobSensor):
    """Wait for subjobs on this machine."""

    system = "local"


class HTCondorJobSensor(BatchJobSensor):
    """Wait for subjobs on HTCondor."""

    system = "htcondor"


class LSFJobSensor(BatchJobSensor):
    """Wait for subjobs on LSF."""

    system = "lsf"


class PBSJobSensor(BatchJobSensor):
    """Wait for subjobs on PBS."""

    system = "pbs"


class SlurmJobSensor(BatchJobSensor):
    """Wait for subjobs on Slurm."""

    system = "slurm"
