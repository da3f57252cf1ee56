"""The door to the records of a definition and to the checks of it."""

from __future__ import annotations

from airflow_provider_caf.core.calibration_records import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    Member,
    StepRecord,
)
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.checks import check_caf, find_mistakes
from airflow_provider_caf.core.ending import Ending, Publish, SignOff
from airflow_provider_caf.core.names import check_name
from airflow_provider_caf.core.selection import Selection

__all__ = [
    "AlgorithmRecord",
    "CafRecord",
    "CalibrationRecord",
    "CollectionRecord",
    "DatabaseEntry",
    "Ending",
    "Member",
    "Publish",
    "Selection",
    "SignOff",
    "StepRecord",
    "check_caf",
    "check_name",
    "find_mistakes",
]
