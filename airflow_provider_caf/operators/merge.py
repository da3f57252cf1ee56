"""The task that merges what the subjobs of a collection collected."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.core.errors import JobFailed
from airflow_provider_caf.hooks.batch import open_collection, open_jobs
from airflow_provider_caf.operators.base import CollectionOperator, find_run, name_task
from airflow_provider_caf.operators.jobs import TaskJobsWait
from airflow_provider_caf.operators.waiting import read_patience
from airflow_provider_caf.steps.merge import Merge, Merged
from airflow_provider_caf.steps.task_jobs import TaskJobs


class CollectorMergeOperator(TaskJobsWait, CollectionOperator):
    """Merge the outputs of all done subjobs into one indexed file, in a job.

    The job is one of this machine, or of the batch system on which the first algorithm runs. It goes on when this task
    dies, and the next try of the task finds it.

    :param deferrable: whether to wait in the triggerer; False: in the worker.
    :param cancel_on_kill: whether the merge ends when somebody kills the task.
    :param timeout: seconds until it gives up to wait, and ends the merge.
    """

    soft_fail = False

    def __init__(
        self, *, deferrable: bool = True, cancel_on_kill: bool = True, timeout: float = 86400.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.timeout = timeout

    def execute(self, context: Context) -> Any:
        """Merge, and return the merged file, how many runs are in it, and how many subjobs are not.

        :raises AirflowFailException: if the outputs cannot be merged.
        """
        with self.ending_jobs_with_the_task(context):
            merge = self._open(context)
            run = open_collection(merge.calibration, self.iteration, self.collection)
            planned = merge.plan(run)
            if planned.warning is not None:
                self.log.warning("%s", planned.warning)
            if not run.manifest.collection.merge:
                self.log.info("%d outputs stay as they are: %s", planned.inputs, planned.file)
                return _build_result(planned)
            jobs = merge.lay_out(run, name_task(context), partial(open_jobs, patience=read_patience()))
            self.adopt(context, jobs)
            first_attempt = self.begin(context, jobs)
            return self.wait(context, jobs, first_attempt, time.time() + self.timeout)

    def wait(self, context: Context, run: TaskJobs, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Wait for the job.

        :raises InputError: if it has refused the outputs.
        :raises JobFailed: if it has failed otherwise.
        """
        merge = self._open(context)
        try:
            super().wait(context, run, first_attempt, deadline)
        except JobFailed as error:
            raise merge.explain(error, run) from error
        merged = merge.conclude(run)
        self.log.info("%d outputs merged, %d runs: %s", merged.inputs, merged.runs, merged.file)
        return _build_result(merged)

    def show(self, context: Context, line: str, whose: str = "") -> None:
        """Show how far it is, with the files that are merged."""
        progress = self._open(context).describe_progress()
        super().show(context, line if progress is None else f"{line}; {progress}", whose)

    def end_jobs(self, context: Context) -> None:
        """End the merge when the task fails for good, if it has begun."""
        if self._open(context).jobs.manifest.exists():
            super().end_jobs(context)

    def open_run(self, context: Context, patience: Patience) -> TaskJobs:
        """Return the job of this merge."""
        return open_jobs(self._open(context).jobs, patience=patience)

    def _open(self, context: Context) -> Merge:
        layout = find_run(context).calibration(self.calibration)
        generation = context["ti"].max_tries
        return Merge(layout, self.iteration, self.collection, self.open_results(context), generation=generation)


def _build_result(merged: Merged) -> dict[str, Any]:
    return {"file": merged.file, "inputs": merged.inputs, "runs": merged.runs, "failed": merged.failed}
