"""Sensors that wait for jobs of a batch system that another task has submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import Context, XComArg

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.layout import check_work_dir
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.operators.waiting import WaitingSensor
from airflow_provider_caf.site.places import find_work_dir
from airflow_provider_caf.steps.task_jobs import TaskJobs, describe_end, read_handle
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.batch import TaskJobsTrigger, open_counts


class BatchJobSensor(WaitingSensor[TaskJobs]):
    """Wait until all jobs of a handle are done.

    It watches in the worker for a while, then in the triggerer. Failed jobs are submitted again, and only those. When
    their retries are spent the task fails with a table of them; clearing it submits them once more. When the task
    fails for good, or somebody kills it, what still runs is ended.

    :param handle: what a `BatchSubmitOperator` has returned: `submit.output`.
    :param work_dir: as given to the task that submits; None: `[caf] work_dir`.
    :param max_retries: tries of one job after its first; None: as the task that submits says.
    :param cancel_on_kill: whether the jobs end when somebody kills the task.
    :param timeout: seconds until it gives up and ends what still runs.
    :param deferrable: whether to wait in the triggerer; False: in the worker, or rescheduled with that `mode`.
    """

    template_fields: Sequence[str] = ("handle", "work_dir")

    def __init__(
        self,
        *,
        handle: Mapping[str, Any] | str | XComArg,
        work_dir: str | None = None,
        max_retries: int | None = None,
        cancel_on_kill: bool = True,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.handle = handle
        self.work_dir = work_dir
        self.max_retries = max_retries
        self.cancel_on_kill = cancel_on_kill
        self.deferrable = deferrable

    def open_run(self, context: Context, patience: Patience) -> TaskJobs:
        """Return the jobs of the handle."""
        root = Path(self.work_dir) if self.work_dir else find_work_dir()
        check_work_dir(root)
        return open_jobs(read_handle(self.handle, root), patience=patience)

    def open_counts(self, context: Context, run: TaskJobs) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        return open_counts(run)

    def build_trigger(self, context: Context, run: TaskJobs, wait: Mapping[str, Any]) -> TaskJobsTrigger:
        """Return the trigger that goes on with the wait."""
        return TaskJobsTrigger(folder=str(run.layout.folder), cancel_on_kill=self.cancel_on_kill, **wait)

    def build_result(self, run: TaskJobs, seen: Observation) -> Any:
        """Return the handle with what has become of the jobs."""
        return describe_end(run, seen)


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
