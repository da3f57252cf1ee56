"""Run a detector calibration framework (CAF) as Airflow DAGs.

Importing this package imports neither Airflow nor ROOT: the public names are loaded when they are first used. The
package also travels inside jobs, where only `core` and `worker` are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.lazy import load_lazily
from airflow_provider_caf.core.moved import find_moved_modules

__version__ = "0.1.0"

if TYPE_CHECKING:
    from airflow_provider_caf.core.iov import ExpRun, IoV
    from airflow_provider_caf.definitions.algorithm import Algorithm
    from airflow_provider_caf.definitions.caf import CAF, Publish, SignOff, Upload
    from airflow_provider_caf.definitions.calibration import (
        Calibration,
        CalibrationBase,
        ExternalCommand,
        ImportedPayloads,
    )
    from airflow_provider_caf.definitions.collection import Collection, Selection
    from airflow_provider_caf.factory.dag import build_dag
    from airflow_provider_caf.factory.folder import build_dags

_HOMES = {
    "CAF": "definitions.caf",
    "Algorithm": "definitions.algorithm",
    "Calibration": "definitions.calibration",
    "CalibrationBase": "definitions.calibration",
    "Collection": "definitions.collection",
    "ExpRun": "core.iov",
    "ExternalCommand": "definitions.calibration",
    "ImportedPayloads": "definitions.calibration",
    "IoV": "core.iov",
    "Publish": "definitions.caf",
    "Selection": "definitions.collection",
    "SignOff": "definitions.caf",
    "Upload": "definitions.caf",
    "build_dag": "factory.dag",
    "build_dags": "factory.folder",
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
    "Upload",
    "__version__",
    "build_dag",
    "build_dags",
]

__getattr__, __dir__ = load_lazily(__name__, _HOMES)
