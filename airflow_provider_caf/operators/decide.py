"""The end of a pass: iterate again, or finish."""

from __future__ import annotations

from airflow.sdk import Context, SkipMixin

from airflow_provider_caf.core.iteration import IterationAction
from airflow_provider_caf.core.task_ids import parse_task_id
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import PassOperator
from airflow_provider_caf.site.metrics import count
from airflow_provider_caf.steps.decide import decide_pass


class DecideOperator(PassOperator, SkipMixin):
    """Join the payloads of a pass, and skip all later passes when the algorithms are content."""

    # The mixin does not set it; without it Airflow would not skip again what somebody cleared.
    inherits_from_skipmixin = True
    ui_color = "#fdf3d8"

    def run_step(self, context: Context, layout: CalibrationLayout) -> None:
        """Decide. The decision goes to XCom before anything is skipped: nothing after the skip runs."""
        decision = decide_pass(layout, self.iteration)
        self.open_results(context).end_iteration(self.iteration, decision)
        count("passes", 1, dag_id=context["ti"].dag_id, calibration=self.calibration, decision=decision.action.value)
        self.log.info("%s", decision.reason)
        ti = context["ti"]
        ti.xcom_push(key="return_value", value={"action": decision.action.value, "reason": decision.reason})
        if decision.action is IterationAction.FINISH:
            self.skip(ti=ti, tasks=[self.dag.get_task(task_id) for task_id in self._find_later_tasks()])

    def _find_later_tasks(self) -> list[str]:
        tasks = map(parse_task_id, self.dag.task_ids)
        return sorted(
            task.task_id
            for task in tasks
            if task.calibration == self.calibration and (task.iteration or 0) > self.iteration
        )
