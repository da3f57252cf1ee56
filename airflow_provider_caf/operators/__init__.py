"""Commands as jobs, and the tasks of a calibration, as operators. What a DAG file does not use is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.lazy import load_lazily

if TYPE_CHECKING:
    from airflow_provider_caf.operators.configure import ConfigureOperator
    from airflow_provider_caf.operators.decide import DecideOperator
    from airflow_provider_caf.operators.finish import FinishOperator
    from airflow_provider_caf.operators.jobs import BatchJobOperator, BatchSubmitOperator
    from airflow_provider_caf.operators.merge import CollectorMergeOperator
    from airflow_provider_caf.operators.prepare import PrepareOperator
    from airflow_provider_caf.operators.strategy import StrategyOperator
    from airflow_provider_caf.operators.submit import CollectorSubmitOperator

_HOMES = {
    "BatchJobOperator": "operators.jobs",
    "BatchSubmitOperator": "operators.jobs",
    "CollectorMergeOperator": "operators.merge",
    "CollectorSubmitOperator": "operators.submit",
    "ConfigureOperator": "operators.configure",
    "DecideOperator": "operators.decide",
    "FinishOperator": "operators.finish",
    "PrepareOperator": "operators.prepare",
    "StrategyOperator": "operators.strategy",
}

__all__ = [
    "BatchJobOperator",
    "BatchSubmitOperator",
    "CollectorMergeOperator",
    "CollectorSubmitOperator",
    "ConfigureOperator",
    "DecideOperator",
    "FinishOperator",
    "PrepareOperator",
    "StrategyOperator",
]

__getattr__, __dir__ = load_lazily(__name__, _HOMES)
