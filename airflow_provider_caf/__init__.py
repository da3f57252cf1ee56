"""Run a detector calibration framework (CAF) as Airflow DAGs.

Importing this package imports neither Airflow nor ROOT: the public names are loaded when they are first used. The
package also travels inside jobs, where only `core` and `worker` are there.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_provider_caf.core.moved import find_moved_modules

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_provider_caf.core.iov import ExpRun, IoV
    from airflow_provider_caf.definitions.algorithm import Algorithm
    from airflow_provider_caf.definitions.caf import CAF, Publish, SignOff
    from airflow_provider_caf.definitions.calibration import (
        Calibration,
        CalibrationBase,
        ExternalCommand,
        ImportedPayloads,
    )
    from airflow_provider_caf.definitions.collection import Collection, Selection
    from airflow_provider_caf.factory.dag import build_dag
    from airflow_provider_caf.factory.folder import build_dags

_DEFINITIONS = "airflow_provider_caf.definitions"
_HOMES = {
    "CAF": f"{_DEFINITIONS}.caf",
    "Algorithm": f"{_DEFINITIONS}.algorithm",
    "Calibration": f"{_DEFINITIONS}.calibration",
    "CalibrationBase": f"{_DEFINITIONS}.calibration",
    "Collection": f"{_DEFINITIONS}.collection",
    "ExpRun": "airflow_provider_caf.core.iov",
    "ExternalCommand": f"{_DEFINITIONS}.calibration",
    "ImportedPayloads": f"{_DEFINITIONS}.calibration",
    "IoV": "airflow_provider_caf.core.iov",
    "Publish": f"{_DEFINITIONS}.caf",
    "Selection": f"{_DEFINITIONS}.collection",
    "SignOff": f"{_DEFINITIONS}.caf",
    "build_dag": "airflow_provider_caf.factory.dag",
    "build_dags": "airflow_provider_caf.factory.folder",
}

find_moved_modules()

__all__ = [
    "CAF",
    "Algorithm",
    "Calibration",
    "CalibrationBase",
    "Collection",
    "ExpRun",
    "ExternalCommand",
    "ImportedPayloads",
    "IoV",
    "Publish",
    "Selection",
    "SignOff",
    "__version__",
    "build_dag",
    "build_dags",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
