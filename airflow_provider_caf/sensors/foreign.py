"""The wait for jobs that somebody else submitted: they are known by ids or a name, and never submitted again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseSensorOperator, Context

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.batch import open_foreign
from airflow_provider_caf.jobs.foreign import ForeignJobs, ForeignObservation
from airflow_provider_caf.operators.waiting import Look, WaitingSensor, read_patience
from airflow_provider_caf.site.metrics import time_poll
from airflow_provider_caf.steps.task_jobs import TaskJobs
from airflow_provider_caf.triggers.batch import ForeignJobTrigger

_SEEN = "seen"
"""The key in the task's state store under which a look leaves what was seen: after that, gone is not unknown."""


class ForeignWait(WaitingSensor[TaskJobs]):
    """What `BatchJobSensor` does without a handle."""

    job_ids: Sequence[str] | str
    job_name: str | None
    backend: str | None
    conn_id: str | None
    _foreign: ForeignJobs | None = None
    _foreign_seen: ForeignObservation | None = None

    def check_foreign(self) -> None:
        """Refuse arguments that exclude one another.

        :raises DefinitionError: with what is wrong.
        """
        if not self.job_ids and not self.job_name:
            raise DefinitionError(
                f"Task {self.task_id!r} does not say which jobs it waits for.",
                hint="Give the handle of a BatchSubmitOperator, or job_ids, or job_name.",
            )
        if self.cancel_on_kill and self.job_name:
            raise DefinitionError(
                f"Task {self.task_id!r} has cancel_on_kill for jobs by name, which may be those of others by now.",
                hint="Give their ids, or leave out cancel_on_kill.",
            )

    def open_foreign(self, memory: Any) -> ForeignJobs:
        """Return the jobs, with what was seen of them before."""
        ids = [self.job_ids] if isinstance(self.job_ids, str) else list(self.job_ids)
        self._foreign = open_foreign(
            self.backend,
            self.conn_id,
            ids=[str(job_id) for job_id in ids if job_id != ""],
            name=self.job_name or None,
            memory=memory,
            patience=read_patience(),
        )
        return self._foreign

    def execute_foreign(self, context: Context) -> dict[str, Any]:
        """Wait for the jobs from the beginning, or after a reschedule."""
        self.check_foreign()
        store = context["task_state_store"]
        if not context.get("task_reschedule_count") and store.get(_SEEN) is not None:
            store.delete(_SEEN)
        jobs = self.open_foreign(store.get(_SEEN))
        if self.deferrable:
            return self.wait_foreign(context, jobs, time.time() + self.timeout)
        BaseSensorOperator.execute(self, context)
        return self._finish(jobs)

    def poke_foreign(self, context: Context) -> bool:
        """Look once, in the worker."""
        jobs = self._foreign or self.open_foreign(context["task_state_store"].get(_SEEN))
        return self._look(context, jobs) is Look.DONE

    def wait_foreign(self, context: Context, jobs: ForeignJobs, deadline: float) -> dict[str, Any]:
        """Watch in the worker for a while, then defer.

        :param deadline: in seconds since 1970.
        """
        self.watch(
            lambda: self._look(context, jobs),
            lambda wait: ForeignJobTrigger(
                backend=self.backend,
                conn_id=self.conn_id,
                name=self.job_name or None,
                memory=jobs.remember(),
                ids=list(jobs.ids),
                **wait,
            ),
            lambda: f"The jobs were not over within {self.timeout:g} s, {jobs.describe()}: {self._shown}.",
            deadline,
            jobs.client.patience,
        )
        return self._finish(jobs)

    def _look(self, context: Context, jobs: ForeignJobs) -> Look:
        with time_poll(jobs.client.system.name, in_triggerer=False):
            self._foreign_seen = seen = jobs.observe()
        self.show(context, seen.describe(), f"{jobs.describe()}: ")
        if not self.deferrable:
            context["task_state_store"].set(_SEEN, jobs.remember())
        if seen.is_over:
            return Look.DONE
        return Look.SETTLING if seen.is_settling else Look.WAITING

    def _finish(self, jobs: ForeignJobs) -> dict[str, Any]:
        """Return what goes to XCom.

        :raises JobFailed: if one of the jobs has not ended well.
        """
        seen = self._foreign_seen
        assert seen is not None, "_look() sets it"
        jobs.check_done(seen)
        return {"backend": jobs.client.system.name, "job_ids": list(jobs.ids), "jobs": len(seen.jobs)}
