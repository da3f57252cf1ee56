"""Sensors that wait for jobs of a batch system: of another task, or of somebody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context, XComArg

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.core.errors import DefinitionError, PollError
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.operators.base import failing_for_good
from airflow_provider_caf.operators.jobs import TaskJobsWait
from airflow_provider_caf.operators.links import JOBS_LINKS
from airflow_provider_caf.sensors.foreign import ForeignWait
from airflow_provider_caf.site.places import find_work_dir
from airflow_provider_caf.steps.task_jobs import TaskJobs, read_handle


class BatchJobSensor(TaskJobsWait, ForeignWait):
    """Wait until all jobs of a handle are done, or jobs that somebody else submitted.

    It watches in the worker for a while, then in the triggerer.

    With a handle, failed jobs are submitted again, and only those. When their retries are spent the task fails with a
    table of them; clearing it submits them once more. When the task fails for good, or somebody kills it, what still
    runs is ended.

    Jobs of somebody else are judged by queue and history alone: one that did not end well, or of which nobody knows how
    it ended, fails the task with a table. They are not submitted again, and not ended.

    :param handle: what a `BatchSubmitOperator` has returned: `submit.output`.
    :param job_ids: instead of a handle: ids as the system writes them, of jobs, whole arrays or elements.
    :param job_name: instead of a handle: the name of jobs of the user as whom the commands run.
    :param backend: the system of those jobs; None: as the connection, or the class, says. If it is given, jobs of a
        handle have to be on it.
    :param conn_id: the Airflow connection to it, of type `caf_batch`; of a handle as `backend`.
    :param work_dir: as given to the task that submits; None: `[caf] work_dir`.
    :param max_retries: tries of one job after its first; None: as the task that submits says.
    :param cancel_on_kill: whether the jobs end when somebody kills the task; None: those of a handle do.
    :param timeout: seconds until it gives up.
    :param deferrable: whether to wait in the triggerer; False: in the worker, or rescheduled with that `mode`.
    """

    operator_extra_links = JOBS_LINKS
    template_fields: Sequence[str] = ("handle", "job_ids", "job_name", "backend", "conn_id", "work_dir")

    def __init__(
        self,
        *,
        handle: Mapping[str, Any] | str | XComArg | None = None,
        job_ids: Sequence[str] | str | XComArg = (),
        job_name: str | None = None,
        backend: str | None = None,
        conn_id: str | None = None,
        work_dir: str | None = None,
        max_retries: int | None = None,
        cancel_on_kill: bool | None = None,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.handle = handle
        self.job_ids = job_ids  # type: ignore[assignment]
        self.job_name = job_name
        self.backend = backend or (self.system if handle is None else None)
        self.conn_id = conn_id
        self.work_dir = work_dir
        self.max_retries = max_retries
        self.cancel_on_kill = handle is not None if cancel_on_kill is None else cancel_on_kill
        self.deferrable = deferrable
        if handle is None:
            self.check_foreign()
            if self.system not in (None, self.backend):
                raise DefinitionError(
                    f"{type(self).__name__} waits for {self.system} jobs, but task {self.task_id!r} names {backend!r}.",
                    hint="Use BatchJobSensor, which waits for any.",
                )
        elif job_ids or job_name:
            raise DefinitionError(
                f"Task {self.task_id!r} has a handle, and words for jobs of somebody else.",
                hint="Wait for one kind in a task: leave out job_ids and job_name, or the handle.",
            )

    def execute(self, context: Context) -> Any:
        """Wait.

        :raises AirflowFailException: when jobs have failed for good.
        """
        if self.handle is not None:
            return super().execute(context)
        with failing_for_good(context):
            return self.execute_foreign(context)

    def poke(self, context: Context) -> bool:
        """Look once, in the worker.

        :raises AirflowFailException: when jobs have failed for good.
        """
        if self.handle is not None:
            return super().poke(context)
        with failing_for_good(context):
            return self.poke_foreign(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the triggerer has seen that there is something to look at.

        :raises AirflowFailException: when jobs have failed for good.
        :raises PollError: if the batch system has not answered for too long.
        """
        if self.handle is not None:
            return super().execute_complete(context, event)
        with failing_for_good(context):
            if "error" in event:
                raise PollError(event["error"])
            return self.wait_foreign(context, self.open_foreign(event["memory"]), float(event["deadline"]))

    def on_kill(self) -> None:
        """End the jobs, if they are ours to end: somebody killed the task."""
        super().on_kill()
        if self._foreign is not None and self.cancel_on_kill:
            self._foreign.cancel()

    def end_jobs(self, context: Context) -> None:
        """End what still runs of a handle when the task fails for good."""
        if self.handle is not None:
            super().end_jobs(context)

    def open_run(self, context: Context, patience: Patience) -> TaskJobs:
        """Return the jobs of the handle."""
        jobs = open_jobs(read_handle(self.handle, find_work_dir(self.work_dir)), patience=patience)
        for word, wanted, found in zip(
            ("backend", "conn_id"), (self.backend, self.conn_id), jobs.manifest.target, strict=True
        ):
            # Of `default_args` all tasks of a DAG get both.
            if wanted and wanted != found:
                raise DefinitionError(
                    f"Task {self.task_id!r} has the {word} {wanted!r}, but the jobs of its handle have {found!r}.",
                    hint="The handle says where the jobs are: leave it out.",
                )
        return jobs


class LocalJobSensor(BatchJobSensor, system="local"):
    """Wait for jobs on this machine."""


class HTCondorJobSensor(BatchJobSensor, system="htcondor"):
    """Wait for jobs on HTCondor."""


class LSFJobSensor(BatchJobSensor, system="lsf"):
    """Wait for jobs on LSF."""


class PBSJobSensor(BatchJobSensor, system="pbs"):
    """Wait for jobs on PBS."""


class SlurmJobSensor(BatchJobSensor, system="slurm"):
    """Wait for jobs on Slurm."""


class TorqueJobSensor(BatchJobSensor, system="torque"):
    """Wait for jobs on Torque."""
