"""The algorithm task: a strategy loops over intervals of validity, here or in a job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.core.errors import JobFailed
from airflow_provider_caf.core.tails import read_tail
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout
from airflow_provider_caf.operators.base import PassOperator, find_run
from airflow_provider_caf.operators.links import AlgorithmLogLink
from airflow_provider_caf.operators.own_job import OwnJobOperator
from airflow_provider_caf.site.metrics import count
from airflow_provider_caf.steps.manifest import JobTarget
from airflow_provider_caf.steps.strategy import StrategyResult, StrategyRun
from airflow_provider_caf.steps.strategy_job import (
    conclude_strategy,
    count_finished,
    find_jobs_folder,
    has_told_its_end,
    lay_out_strategy,
    leave_job,
)
from airflow_provider_caf.steps.task_jobs import TaskJobs
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.strategy import StrategyJobTrigger, open_live

_TRIES_KEY = "tries_from"
"""In the task's store: the first try of the job that counts, and how many executions were finished before it."""


class StrategyOperator(OwnJobOperator, PassOperator):
    """Run one algorithm over all collected runs, as its strategy plans.

    Where the definition gives the algorithm a backend, its strategy runs as a job there, and this task waits for it and
    commits; else the strategy runs in this task.

    :param algorithm: the algorithm's name in the calibration.
    """

    template_fields: Sequence[str] = (*PassOperator.template_fields, "algorithm")
    operator_extra_links = (*PassOperator.operator_extra_links, AlgorithmLogLink())
    ui_color = "#e6f5e6"

    def __init__(self, *, algorithm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.algorithm = algorithm

    def execute(self, context: Context) -> Any:
        """Run the strategy, and return how many executions and payloads there were.

        :raises AirflowFailException: for an error of the definition, the input or the user's code.
        :raises CafError: for what a retry may mend.
        """
        with self.ending_jobs_with_the_task(context):
            run = self._open_strategy(context)
            if run.target is None:
                leave_job(run.layout, open_jobs)
                return self._run_here(context, run)
            return self.await_end(context, self._submit(context, run, run.target))

    def _open_strategy(self, context: Context) -> StrategyRun:
        return StrategyRun(
            self._find_layout(context),
            self.iteration,
            self.algorithm,
            self.open_results(context),
            state=context["task_state_store"],
            # A clear raises it, a retry does not.
            generation=context["ti"].max_tries,
        )

    def _find_layout(self, context: Context) -> CalibrationLayout:
        return find_run(context).calibration(self.calibration)

    def _run_here(self, context: Context, run: StrategyRun) -> dict[str, Any]:
        self.log.info("The algorithm prints to %s", run.layout.log)
        with self._showing_prints(run):
            return self._tell(context, run, run.run())

    def _submit(self, context: Context, run: StrategyRun, target: JobTarget) -> TaskJobs:
        jobs = self.submit(context, partial(lay_out_strategy, run, target))
        context["task_state_store"].set(_TRIES_KEY, [0, 0])
        self.log.info(
            "The strategy runs as a job on %s; its log is in %s, and the algorithm prints to %s",
            target.backend,
            jobs.folders.subjob_folder(0),
            run.layout.log,
        )
        return jobs

    def wait(self, context: Context, run: TaskJobs, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Wait for the job, then commit.

        :raises CafError: as the job says, also where its retries are spent.
        """
        strategy = self._open_strategy(context)
        with self._showing_prints(strategy):
            try:
                super().wait(context, run, first_attempt, deadline)
            except JobFailed:
                if not has_told_its_end(run):
                    raise
                # The job says more exactly what it was; and what can be committed is.
                self.log.warning("The job has failed; what it has finished counts.")
            self._is_all_over = True
            return self._tell(context, strategy, conclude_strategy(strategy))

    def count_from(self, context: Context, run: TaskJobs, first_attempt: int) -> int:
        """Return the first try of the job that counts: one that has finished executions begins the count anew.

        So a fit that is longer than the longest queue comes to its end.
        """
        finished = count_finished(self._open_strategy(context))
        state, known = context["task_state_store"], context["task_state_store"].get(_TRIES_KEY)
        assert isinstance(known, list), "execute() sets it"
        first, most = (int(str(number)) for number in known)
        if finished > most:
            first, most = run.newest_attempt + 1, finished
            state.set(_TRIES_KEY, [first, most])
        return max(first, first_attempt)

    def find_jobs(self, context: Context) -> TaskJobsLayout:
        """Return the paths of the job of this algorithm."""
        return find_jobs_folder(self._find_layout(context).iteration(self.iteration).algorithm(self.algorithm))

    def open_counts(self, context: Context, run: TaskJobs) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        return open_live(run, self._find_layout(context), self.iteration, self.algorithm)

    def build_trigger(self, context: Context, run: TaskJobs, wait: Mapping[str, Any]) -> StrategyJobTrigger:
        """Return the trigger that goes on with the wait."""
        return StrategyJobTrigger(
            folder=str(run.layout.folder),
            calibration_folder=str(self._find_layout(context).folder),
            iteration=self.iteration,
            algorithm=self.algorithm,
            **wait,
        )

    def _tell(self, context: Context, run: StrategyRun, result: StrategyResult) -> dict[str, Any]:
        tags = {"dag_id": context["ti"].dag_id, "calibration": self.calibration, "algorithm": self.algorithm}
        count("executions", max(0, result.executions - result.replayed), **tags)
        count("executions.wasted", result.wasted, **tags)
        count("payloads.committed", len(result.committed), **tags)
        counts = {
            "executions": result.executions,
            "replayed": result.replayed,
            "wasted": result.wasted,
            "committed": len(result.committed),
        }
        self.log.info(
            "%d executions, %d of them finished in an earlier try, %d more ran ahead in vain; %d payloads committed.",
            *counts.values(),
        )
        return {**counts, "log": str(run.layout.log)}

    @contextmanager
    def _showing_prints(self, run: StrategyRun) -> Iterator[None]:
        """Show at the end the last lines that the algorithm printed in this try; the log file has all of them."""
        path = run.layout.log
        before = path.stat().st_size if path.exists() else 0
        try:
            yield
        finally:
            if path.exists() and path.stat().st_size > before:
                for line in read_tail(path, start=before).splitlines():
                    self.log.info("| %s", line)
            run.results.add_algorithm_log(self.iteration, self.algorithm, path)
