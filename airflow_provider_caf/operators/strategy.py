"""The algorithm task: a strategy loops over intervals of validity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.core.tails import read_tail
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import PassOperator
from airflow_provider_caf.operators.links import AlgorithmLogLink
from airflow_provider_caf.site.metrics import count
from airflow_provider_caf.steps.strategy import StrategyRun


class StrategyOperator(PassOperator):
    """Run one algorithm over all collected runs, as its strategy plans.

    :param algorithm: the algorithm's name in the calibration.
    """

    template_fields: Sequence[str] = (*PassOperator.template_fields, "algorithm")
    operator_extra_links = (*PassOperator.operator_extra_links, AlgorithmLogLink())
    ui_color = "#e6f5e6"

    def __init__(self, *, algorithm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.algorithm = algorithm

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Run the strategy, and return how many executions and payloads there were."""
        run = StrategyRun(
            layout,
            self.iteration,
            self.algorithm,
            self.open_results(context),
            state=context["task_state_store"],
            # A clear raises it, a retry does not.
            generation=context["ti"].max_tries,
        )
        self.log.info("The algorithm prints to %s", run.layout.log)
        with self._showing_prints(run):
            result = run.run()
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
