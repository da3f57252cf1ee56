"""What tasks that wait for jobs share: a wait in the worker, then in the triggerer; jobs that end with the task.

Each look is the same wherever it is made: held jobs are dealt with, and what has failed is submitted again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow.sdk import BaseOperator, BaseSensorOperator, Context, conf
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowRuntimeError,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_caf.batch.polling import Patience, decide_interval, decide_over
from airflow_provider_caf.core.errors import DefinitionError, PollError
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.operators.base import CafTask, failing_for_good
from airflow_provider_caf.site.metrics import count, time_poll
from airflow_provider_caf.steps.waiting import LiveCounts

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

    _Task = BaseOperator
else:

    class _Task:
        """Airflow gives a subclass of BaseOperator a constructor, which would hide that of the class beside it."""


_R = TypeVar("_R", bound=SubjobRun)


class Look(Enum):
    """What a look has found.

    SETTLING: nothing but the grace time of some subjobs is waited for.
    """

    DONE = "done"
    WAITING = "waiting"
    SETTLING = "settling"


class WaitingTask(CafTask, _Task, Generic[_R]):
    """Wait until all subjobs of a set are over, and submit again those that failed.

    A subclass says which: `open_run`, `open_counts`, `build_trigger`, `build_result`.
    """

    system: str | None = None
    """The batch system that a subclass stands for; None: any."""
    max_retries: int | None = None
    """Tries of one subjob after its first; None: what the set says."""
    deferrable: bool
    cancel_on_kill: bool = True
    timeout: float
    soft_fail: bool

    def __init_subclass__(cls, *, system: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.system = system or cls.system

    _run: _R | None = None
    _counts: LiveCounts | None = None
    _seen: Observation | None = None
    _shown = ""
    _is_all_over = False

    @property
    def waits_for(self) -> str:
        """Whose jobs they are, for messages."""
        return f"task {self.task_id!r}"

    def open_run(self, context: Context, patience: Patience) -> _R:
        """Return the subjobs, with the way to their submit host."""
        raise NotImplementedError

    def open_counts(self, context: Context, run: _R) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        raise NotImplementedError

    def build_trigger(self, context: Context, run: _R, wait: Mapping[str, Any]) -> BaseTrigger:
        """Return the trigger that goes on with the wait.

        :param wait: the arguments of all `JobTrigger`.
        """
        raise NotImplementedError

    def build_result(self, run: _R, seen: Observation) -> dict[str, Any]:
        """Return what goes to XCom: paths and counts only.

        :param seen: the last observation. What has failed in it may.
        """
        raise NotImplementedError

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the triggerer, also where the trigger itself has failed: then nothing of ours is called."""
        with self.ending_jobs_with_the_task(context):
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer has seen that there is something to look at.

        :raises AirflowFailException: when the retries of a subjob are spent.
        :raises PollError: if the batch system has not answered for too long.
        """
        with self.ending_jobs_with_the_task(context):
            if "error" in event:
                raise PollError(event["error"])
            run = self.find_opened(context)
            return self.wait(context, run, int(event["first_attempt"]), float(event["deadline"]))

    def on_kill(self) -> None:
        """End the jobs: somebody killed the task."""
        super().on_kill()
        if self._run is not None and self.cancel_on_kill:
            self._run.cancel()

    @contextmanager
    def ending_jobs_with_the_task(self, context: Context) -> Iterator[None]:
        """End what still runs when the task fails for good: nothing else would.

        A failure that Airflow retries leaves the jobs alone. So does the end of a worker.
        """
        ti = context["ti"]
        try:
            with failing_for_good(context):
                yield
        except (AirflowFailException, AirflowSensorTimeout, AirflowSkipException):
            self.end_jobs(context)
            raise
        except AirflowRescheduleException:
            raise
        except Exception:
            # Whatever it is: an error of ours, of Airflow, of the catalog's database, or a mistake in our code.
            if ti.try_number > ti.max_tries:
                self.end_jobs(context)
            raise

    def end_jobs(self, context: Context) -> None:
        """End what still runs when the task fails for good."""
        if self._is_all_over:
            return
        try:
            self.find_opened(context).cancel()
        except Exception as error:  # noqa: BLE001 - all of it is logged
            # Why the task fails is said by the error that brought us here, and that one goes on.
            self.log.error("What still runs of %s could not be ended: %s", self.waits_for, error)

    def find_opened(self, context: Context) -> _R:
        """Return the subjobs; they are opened once in a process.

        :raises DefinitionError: if they are on another system than this class is for.
        """
        if self._run is None:
            self.adopt(context, self.open_run(context, read_patience()))
        assert self._run is not None, "adopt() sets it"
        return self._run

    def adopt(self, context: Context, run: _R) -> None:
        """Wait for these subjobs.

        :raises DefinitionError: if they are on another system than this class is for.
        """
        system = run.client.system.name
        if self.system not in (None, system):
            raise DefinitionError(
                f"{type(self).__name__} waits for {self.system} jobs, but {run.subjob_set.description} "
                f"runs on {system!r}.",
                hint="Use BatchJobSensor, which waits for any.",
            )
        self._run, self._counts = run, self.open_counts(context, run)

    def begin(self, context: Context, run: _R) -> int:
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
        count("subjobs.submitted", len(submitted.submitted), **self.build_tags(context, run))
        if submitted.submitted:
            self.log.info("Submitted again: subjobs %s", list(submitted.submitted))
        first_attempt = max(0, submitted.attempt)
        store.set("first_attempt", first_attempt)
        if not self.deferrable and store.get("silent_since") is not None:
            store.delete("silent_since")
        return first_attempt

    def wait(self, context: Context, run: _R, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Watch in the worker for a while, then defer.

        :param deadline: in seconds since 1970.
        :raises AirflowSensorTimeout: when it has passed.
        """
        self.watch(
            lambda: self.look(context, run, first_attempt),
            lambda wait: self.build_trigger(context, run, {**wait, "first_attempt": first_attempt}),
            lambda: (
                f"The subjobs of {run.subjob_set.description} were not done within {self.timeout:g} s "
                f"({self._shown}). Those that were not are ended."
            ),
            deadline,
            run.patience,
        )
        return self.finish(run)

    def watch(
        self,
        look: Callable[[], Look],
        build_trigger: Callable[[Mapping[str, Any]], BaseTrigger],
        describe_timeout: Callable[[], str],
        deadline: float,
        patience: Patience,
    ) -> None:
        """Look until all is done, in the worker for a while, then in the triggerer.

        :param build_trigger: gets the arguments that all triggers have.
        :param describe_timeout: returns what to say when the time is up.
        :param deadline: in seconds since 1970.
        :raises AirflowSensorTimeout: when it has passed.
        """
        since, began = time.time(), time.monotonic()
        limit = conf.getfloat("caf", "defer_after", fallback=20.0)
        while (found := look()) is not Look.DONE:
            if time.time() > deadline:
                raise (AirflowSkipException if self.soft_fail else AirflowSensorTimeout)(describe_timeout())
            waited = time.monotonic() - began
            # The triggerer would begin the grace time anew, and so would we after it.
            if self.deferrable and waited > limit and found is not Look.SETTLING:
                wait = {
                    "deadline": deadline,
                    "since": since,
                    "shortest_interval": patience.shortest,
                    "longest_interval": patience.longest,
                    "poll_deadline": patience.deadline,
                    "cancel_on_kill": self.cancel_on_kill,
                }
                self.defer(trigger=build_trigger(wait), method_name="execute_complete")
            time.sleep(decide_interval(waited, patience))

    def finish(self, run: _R) -> dict[str, Any]:
        """Return what goes to XCom after the last look."""
        assert self._seen is not None, "look() sets it"
        return self.build_result(run, self._seen)

    def look(self, context: Context, run: _R, first_attempt: int) -> Look:
        """Look once; deal with held jobs; submit again what failed.

        :raises JobFailed: when the retries of a subjob are spent.
        :raises PollError: if the batch system has been silent for too long.
        """
        with time_poll(run.client.system.name, in_triggerer=False):
            observation = run.observe()
        self._seen = observation
        self._is_all_over = observation.is_over
        assert self._counts is not None, "find_opened() sets it"
        self._counts.update(observation, is_last=self._is_all_over)
        self.show(context, run.attend(observation))
        if not self.deferrable:
            self._check_silence(context, run.patience, observation.problem)
        if not self._is_all_over:
            return Look.SETTLING if observation.is_settling else Look.WAITING
        failed = observation.failed
        tags = self.build_tags(context, run)
        count("subjobs.failed", len(failed), **tags)
        if not failed:
            count("subjobs.done", len(observation.verdicts), **tags)
            return Look.DONE
        again = run.submit_missing(self.count_from(context, run, first_attempt), max_retries=self.max_retries)
        if not again.submitted:
            allowed = run.check_done(observation)
            count("subjobs.done", len(observation.verdicts) - len(allowed), **tags)
            self.log.warning("%s", run.describe_failed(observation))
            return Look.DONE
        self._is_all_over = False
        count("subjobs.submitted", len(again.submitted), **tags)
        self.log.info("Submitted again: subjobs %s", list(again.submitted))
        return Look.WAITING

    def count_from(self, context: Context, run: _R, first_attempt: int) -> int:
        """Return the first try that counts against the retries, when something has failed."""
        return first_attempt

    def build_tags(self, context: Context, run: _R) -> dict[str, str]:
        """Return the tags of the metrics."""
        return {"dag_id": context["ti"].dag_id, "system": run.client.system.name}

    def _check_silence(self, context: Context, patience: Patience, problem: str | None) -> None:
        """End the wait for a batch system that is silent. A rescheduled sensor begins anew with each look.

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

    def show(self, context: Context, line: str, whose: str = "") -> None:
        """Show how far it is, where it changed: in the log, and in the store that the web interface shows.

        :param whose: what the log says before the line.
        """
        if line == self._shown:
            return
        self._shown = line
        self.log.info("%s%s", whose, line)
        try:
            context["task_state_store"].set("progress", line)
        except AirflowRuntimeError as error:
            # The log has it; a database that is busy is no reason to end the wait.
            self.log.warning("The progress could not be put into the task's state store: %s", error)


class WaitingSensor(WaitingTask[_R], BaseSensorOperator):
    """A sensor that waits: in the triggerer, in the worker, or rescheduled."""

    ui_color = "#efe6fa"

    def execute(self, context: Context) -> Any:
        """Submit again what has failed before, and wait.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with self.ending_jobs_with_the_task(context):
            run = self.find_opened(context)
            first_attempt = self.begin(context, run)
            if self.deferrable:
                return self.wait(context, run, first_attempt, time.time() + self.timeout)
            super().execute(context)
            return self.finish(run)

    def poke(self, context: Context) -> bool:
        """Look once, in the worker.

        :raises AirflowFailException: when the retries of a subjob are spent.
        """
        with failing_for_good(context):
            run = self.find_opened(context)
            first_attempt = context["task_state_store"].get("first_attempt")
            assert isinstance(first_attempt, int), "execute() sets it before anything pokes"
            began = time.monotonic()
            # A rescheduled sensor forgets since when a subjob is missing: it stays for the grace time.
            while (look := self.look(context, run, first_attempt)) is Look.SETTLING:
                time.sleep(decide_interval(time.monotonic() - began, run.patience))
            return look is Look.DONE


def read_patience() -> Patience:
    """Return how often to look and how long to wait, from Airflow's configuration."""
    default = Patience()
    return Patience(
        shortest=conf.getfloat("caf", "poll_interval_min", fallback=default.shortest),
        longest=conf.getfloat("caf", "poll_interval_max", fallback=default.longest),
        deadline=conf.getfloat("caf", "poll_deadline", fallback=default.deadline),
    )
