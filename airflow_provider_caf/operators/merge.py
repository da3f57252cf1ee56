"""The task that merges what the subjobs of a collection collected."""

from __future__ import annotations

from functools import partial
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.core.errors import JobFailed
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.operators.base import CollectionOperator, find_run
from airflow_provider_caf.operators.own_job import DAY, OwnJobOperator
from airflow_provider_caf.steps.merge import Merge, Merged
from airflow_provider_caf.steps.task_jobs import TaskJobs


class CollectorMergeOperator(OwnJobOperator, CollectionOperator):
    """Merge the outputs of all done subjobs into one indexed file, in a job.

    The job is one of this machine, or of the batch system on which the first algorithm runs.
    """

    def __init__(self, *, timeout: float = DAY, **kwargs: Any) -> None:
        super().__init__(timeout=timeout, **kwargs)

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
            return self.await_end(context, self.submit(context, partial(merge.lay_out, run)))

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

    def find_jobs(self, context: Context) -> TaskJobsLayout:
        """Return the paths of the job of this merge."""
        return self._open(context).jobs

    def _open(self, context: Context) -> Merge:
        layout = find_run(context).calibration(self.calibration)
        generation = context["ti"].max_tries
        return Merge(layout, self.iteration, self.collection, self.open_results(context), generation=generation)


def _build_result(merged: Merged) -> dict[str, Any]:
    return {"file": merged.file, "inputs": merged.inputs, "runs": merged.runs, "failed": merged.failed}
