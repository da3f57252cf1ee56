"""What runs inside a job. User code takes its base classes from here.

Importing this package costs nothing: it imports neither Airflow, nor ROOT, nor anything outside the standard
library. The base classes are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_caf.core.iov import ExpRun, IoV
    from airflow_provider_caf.core.results import ResultCode
    from airflow_provider_caf.worker.algorithm.algorithm import Algorithm
    from airflow_provider_caf.worker.collect.collector import Collector

_HOMES = {
    "Algorithm": "airflow_provider_caf.worker.algorithm.algorithm",
    "Collector": "airflow_provider_caf.worker.collect.collector",
    "ExpRun": "airflow_provider_caf.core.iov",
    "IoV": "airflow_provider_caf.core.iov",
    "ResultCode": "airflow_provider_caf.core.results",
}

__all__ = ["Algorithm", "Collector", "ExpRun", "IoV", "ResultCode"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
