"""The tasks of a calibration as Airflow operators."""

from airflow_provider_caf.operators.configure import ConfigureOperator
from airflow_provider_caf.operators.decide import DecideOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.merge import CollectorMergeOperator
from airflow_provider_caf.operators.prepare import PrepareOperator
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.operators.submit import CollectorSubmitOperator

__all__ = [
    "CollectorMergeOperator",
    "CollectorSubmitOperator",
    "ConfigureOperator",
    "DecideOperator",
    "FinishOperator",
    "PrepareOperator",
    "StrategyOperator",
]
