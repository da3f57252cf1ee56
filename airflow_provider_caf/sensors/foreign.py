"""The wait for jobs that somebody else submitted: they are known by ids or a name, and never submitted again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_provider_caf.batch.polling import decide_interval
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.hooks.batch import open_foreign
from airflow_provider_caf.jobs.foreign import ForeignJobs, ForeignObservation
from airflow_provider_caf.operators.waiting import read_patience
from airflow_provider_caf.site.metrics import time_poll
from airflow_provider_caf.triggers.batch import ForeignJobTrigger

_SEEN = "seen"
"""The key in the task's state store under which a look leaves what was seen: after that, gone is not unknown."""


class ForeignWait(BaseSensorOperator):
    """What `BatchJobSensor` does without a handle."""

    job_ids: Sequence[str] | str
    job_name: str | None
    backend: str | None
    conn_id: str | None
    deferrable: bool
    cancel_on_kill: bool
    _foreign: ForeignJobs | None = None
    _shown_line = ""

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
        return self._look(context, jobs).is_over

    def wait_foreign(self, context: Context, jobs: ForeignJobs, deadline: float) -> dict[str, Any]:
        """Watch in the worker for a while, then defer.

        :param deadline: in seconds since 1970.
        """
        since, began = time.time(), time.monotonic()
        limit, patience = conf.getfloat("caf", "defer_after", fallback=20.0), jobs.client.patience
        while not (seen := self._look(context, jobs)).is_over:
            if time.time() > deadline:
                message = f"The jobs were not over within {self.timeout:g} s, {jobs.describe()}: {seen.describe()}."
                raise (AirflowSkipException if self.soft_fail else AirflowSensorTimeout)(message)
            waited = time.monotonic() - began
            if waited > limit and not seen.is_settling:
                self.defer(
                    trigger=ForeignJobTrigger(
                        backend=self.backend,
                        conn_id=self.conn_id,
                        name=self.job_name or None,
                        memory=jobs.remember(),
                        ids=list(jobs.ids),
                        deadline=deadline,
                        since=since,
                        shortest_interval=patience.shortest,
                        longest_interval=patience.longest,
                        poll_deadline=patience.deadline,
                        cancel_on_kill=self.cancel_on_kill,
                    ),
                    method_name="execute_complete",
                )
            time.sleep(decide_interval(waited, patience))
        return self._finish(jobs)

    def _look(self, context: Context, jobs: ForeignJobs) -> ForeignObservation:
        with time_poll(jobs.client.system.name, in_triggerer=False):
            seen = jobs.observe()
        store = context["task_state_store"]
        line = seen.describe()
        if line != self._shown_line:
            self._shown_line = line
            self.log.info("%s: %s", jobs.describe(), line)
            store.set("progress", line)
        if not self.deferrable:
            store.set(_SEEN, jobs.remember())
        return seen

    def _finish(self, jobs: ForeignJobs) -> dict[str, Any]:
        """Return what goes to XCom.

        :raises JobFailed: if one of the jobs has not ended well.
        """
        seen = jobs.observe()
        jobs.check_done(seen)
        return {"backend": jobs.client.system.name, "job_ids": list(jobs.ids), "jobs": len(seen.jobs)}
