"""What tasks of a calibration share whose work is one job."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.operators.jobs import TaskJobsWait
from airflow_provider_caf.operators.waiting import read_patience
from airflow_provider_caf.site.places import find_work_dir
from airflow_provider_caf.steps.task_jobs import OpenJobs, TaskJobs, TaskName

DAY = 86400.0


class OwnJobOperator(TaskJobsWait, CafOperator):
    """Have one job do the work, and wait for it. A subclass says which: `find_jobs`.

    The job goes on when this task dies, and the next try of the task finds it.

    :param deferrable: whether to wait in the triggerer; False: in the worker.
    :param cancel_on_kill: whether the job ends when somebody kills the task.
    :param timeout: seconds until it gives up to wait, and ends the job.
    """

    soft_fail = False

    def __init__(
        self, *, deferrable: bool = True, cancel_on_kill: bool = True, timeout: float = 30 * DAY, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.timeout = timeout

    def find_jobs(self, context: Context) -> TaskJobsLayout:
        """Return the paths of the job."""
        raise NotImplementedError

    def submit(self, context: Context, lay_out: Callable[[TaskName, OpenJobs], TaskJobs]) -> TaskJobs:
        """Write what the job has to do, and wait for it from now on.

        :param lay_out: writes it.
        """
        ti = context["ti"]
        name = TaskName(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, work_dir=find_work_dir())
        jobs = lay_out(name, partial(open_jobs, patience=read_patience()))
        self.adopt(context, jobs)
        return jobs

    def await_end(self, context: Context, jobs: TaskJobs) -> dict[str, Any]:
        """Submit the job, unless it is done or under way, and wait for it."""
        return self.wait(context, jobs, self.begin(context, jobs), time.time() + self.timeout)

    def end_jobs(self, context: Context) -> None:
        """End the job when the task fails for good, if there is one."""
        if self.find_jobs(context).manifest.exists():
            super().end_jobs(context)

    def open_run(self, context: Context, patience: Patience) -> TaskJobs:
        """Return the job."""
        return open_jobs(self.find_jobs(context), patience=patience)
