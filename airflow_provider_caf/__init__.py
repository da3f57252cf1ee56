"""Run a detector calibration framework (CAF) as Airflow DAGs.

Importing this package imports neither Airflow nor ROOT: the public names are loaded when they are first used. The
package also travels inside jobs, where only `core` and `worker` are there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_provider_caf.core.iov import ExpRun, IoV
    from airflow_provider_caf.definitions.classes import CAF, Algorithm, Calibration, Collection
    from airflow_provider_caf.factory.dag import build_dag

_HOMES = {
    "CAF": "airflow_provider_caf.definitions.classes",
    "Algorithm": "airflow_provider_caf.definitions.classes",
    "Calibration": "airflow_provider_caf.definitions.classes",
    "Collection": "airflow_provider_caf.definitions.classes",
    "ExpRun": "airflow_provider_caf.core.iov",
    "IoV": "airflow_provider_caf.core.iov",
    "build_dag": "airflow_provider_caf.factory.dag",
}

__all__ = ["CAF", "Algorithm", "Calibration", "Collection", "ExpRun", "IoV", "__version__", "build_dag"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
