"""The tasks of a calibration as Airflow operators. What a DAG file does not use is not imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_caf.operators.configure import ConfigureOperator
    from airflow_provider_caf.operators.decide import DecideOperator
    from airflow_provider_caf.operators.finish import FinishOperator
    from airflow_provider_caf.operators.merge import CollectorMergeOperator
    from airflow_provider_caf.operators.prepare import PrepareOperator
    from airflow_provider_caf.operators.strategy import StrategyOperator
    from airflow_provider_caf.operators.submit import CollectorSubmitOperator

_HOMES = {
    "CollectorMergeOperator": "merge",
    "CollectorSubmitOperator": "submit",
    "ConfigureOperator": "configure",
    "DecideOperator": "decide",
    "FinishOperator": "finish",
    "PrepareOperator": "prepare",
    "StrategyOperator": "strategy",
}

__all__ = [
    "CollectorMergeOperator",
    "CollectorSubmitOperator",
    "ConfigureOperator",
    "DecideOperator",
    "FinishOperator",
    "PrepareOperator",
    "StrategyOperator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"airflow_provider_caf.operators.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
