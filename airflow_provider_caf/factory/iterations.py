"""The passes of a calibration in the DAG.

Airflow knows no loop over tasks yet, so the passes are unrolled: `iteration_0 … iteration_n`, each ended by a task that
decides and skips all that is not needed. Only this module knows.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator, TaskGroup

from airflow_provider_caf.core.task_ids import DECIDE, MERGE, SUBMIT, WAIT, name_pass
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.operators.submit import CollectorSubmitOperator
from airflow_provider_caf.sensors.collector import CollectorJobSensor


def add_iterations(calibration: Calibration, *, after: BaseOperator, before: BaseOperator) -> None:
    """Add every pass that a calibration may need, between two tasks."""
    for iteration in range(calibration.repetitions + 1):
        after = _add_iteration(calibration, iteration, after)
        after >> before


def _add_iteration(calibration: Calibration, iteration: int, after: BaseOperator) -> DecideOperator:
    names: dict[str, Any] = {"calibration": calibration.name, "iteration": iteration}
    with TaskGroup(name_pass(iteration)):
        last: list[BaseOperator] = []
        for collection in calibration.collections.values():
            with TaskGroup(collection.name):
                submit = CollectorSubmitOperator(task_id=SUBMIT, collection=collection.name, **names)
                wait = CollectorJobSensor(task_id=WAIT, collection=collection.name, **names)
                merge = CollectorMergeOperator(task_id=MERGE, collection=collection.name, **names)
            after >> submit >> wait >> merge
            last.append(merge)
        for algorithm in calibration.algorithms:
            strategy = StrategyOperator(task_id=algorithm.name, algorithm=algorithm.name, **names)
            (last or [after]) >> strategy
            last = [strategy]
        decide = DecideOperator(task_id=DECIDE, **names)
        last >> decide
    return decide
