"""The algorithm task: a strategy loops over intervals of validity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.steps.strategy import StrategyRun

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.io.layout import CalibrationLayout


class StrategyOperator(CafOperator):
    """Run one algorithm over all collected runs, as its strategy plans.

    :param iteration: the number of the pass, from 0.
    :param algorithm: the algorithm's name in the calibration.
    """

    template_fields: Sequence[str] = (*CafOperator.template_fields, "algorithm")
    ui_color = "#e6f5e6"

    def __init__(self, *, iteration: int, algorithm: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.iteration = iteration
        self.algorithm = algorithm

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Run the strategy, and give how many executions and payloads there were."""
        run = StrategyRun(layout, self.iteration, self.algorithm, self.open_results(context))
        self.log.info("The algorithm prints to %s", run.layout.log)
        result = run.run()
        self.log.info("%d executions, %d payloads committed.", result.executions, len(result.committed))
        return {
            "executions": result.executions,
            "committed": len(result.committed),
            "log": str(run.layout.log),
        }
