"""Small definitions for tests."""

from __future__ import annotations

from typing import Any

from airflow_provider_caf import CAF, Calibration, CalibrationBase

COLLECTOR = "hits:HitCollector"
ALGORITHM = "hits:MeanAlgorithm"
DATA = "/data/*.root"
TAG = {"global_tag": "main"}
LOCAL = {"local": "/db/fixes"}


def make_calibration(name: str = "vertex", **changes: Any) -> Calibration:
    return Calibration(name, **{"collector": COLLECTOR, "algorithms": ALGORITHM, "input_files": DATA, **changes})


def build(*calibrations: CalibrationBase, **changes: Any) -> Any:
    return CAF("demo", calibrations, **changes).resolve()


def build_members(caf: CAF) -> Any:
    record = caf.resolve()
    return record.calibrations
