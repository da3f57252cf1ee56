"""What runs inside a job. User code takes its base classes from here.

Importing this package costs nothing: it imports neither Airflow, nor ROOT, nor anything outside the standard
library. The base classes are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.lazy import load_lazily

if TYPE_CHECKING:
    from airflow_provider_caf.core.iov import ExpRun, IoV
    from airflow_provider_caf.core.results import ResultCode
    from airflow_provider_caf.worker.algorithm.algorithm import Algorithm
    from airflow_provider_caf.worker.collect.collector import Collector

_HOMES = {
    "Algorithm": "worker.algorithm.algorithm",
    "Collector": "worker.collect.collector",
    "ExpRun": "core.iov",
    "IoV": "core.iov",
    "ResultCode": "core.results",
}

__all__ = ["Algorithm", "Collector", "ExpRun", "IoV", "ResultCode"]

__getattr__, __dir__ = load_lazily(__name__, _HOMES)
