"""The results catalog: what the DAG runs gave, for pages, reports and comparisons."""

from airflow_provider_caf.io.catalog.columns import JsonValue
from airflow_provider_caf.io.catalog.journal import CatalogJournal, describe_waiting
from airflow_provider_caf.io.catalog.rows import (
    ExecutionCount,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    LogRow,
    MonitoredRow,
    OfCalibration,
    OfRun,
    PayloadRow,
    RunRow,
    SelectionRow,
    SubjobsRow,
)
from airflow_provider_caf.io.catalog.store import Catalog, open_sqlite_catalog

__all__ = [
    "Catalog",
    "CatalogJournal",
    "ExecutionCount",
    "ExecutionRow",
    "FailedSubjobRow",
    "FigureRow",
    "IterationRow",
    "JsonValue",
    "LogRow",
    "MonitoredRow",
    "OfCalibration",
    "OfRun",
    "PayloadRow",
    "RunRow",
    "SelectionRow",
    "SubjobsRow",
    "describe_waiting",
    "open_sqlite_catalog",
]
