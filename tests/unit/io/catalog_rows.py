"""Rows for the tests of the catalog."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import rows

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
RUN = ("dag", "manual__2026-01-01T00:00:00+00:00")

_PLACE: dict[str, Any] = {"dag_id": RUN[0], "run_id": RUN[1], "calibration": "vertex", "iteration": 0}


def make_iteration(**changes: Any) -> rows.IterationRow:
    return rows.IterationRow(**{**_PLACE, **changes})


def make_execution(**changes: Any) -> rows.ExecutionRow:
    values = {
        "algorithm": "fit",
        "key": 0,
        "runs": (ExpRun(1, 2), ExpRun(1, 3)),
        "iov": IoV(1, 2, 1, -1),
        "code": ResultCode.OK,
        "output": {"mean": [1.5, None, "µ"], "ok": True},
        "seconds": 0.25,
        "ended": NOW,
    }
    return rows.ExecutionRow(**{**_PLACE, **values, **changes})


def make_payload(**changes: Any) -> rows.PayloadRow:
    values = {"algorithm": "fit", "name": "BeamSpot", "iov": IoV(0, 0, -1, -1), "revision": "0" * 32, "committed": NOW}
    return rows.PayloadRow(**{**_PLACE, **values, **changes})


def make_subjobs(**changes: Any) -> rows.SubjobsRow:
    values = {
        "collection": "default",
        "total": 10,
        "done": 9,
        "failed": 1,
        "cpu_seconds": 12.5,
        "peak_memory_kb": 5_000_000_000,
        "hosts": ("a.example", "b.example"),
        "requested_memory_mb": 2000,
        "updated": NOW,
    }
    return rows.SubjobsRow(**{**_PLACE, **values, **changes})


def make_failed(**changes: Any) -> rows.FailedSubjobRow:
    tried = {"collection": "default", "subjob": 3, "attempt": 0}
    ended = {"reason": "exit code 1", "exit_code": 1, "log": "/data/stderr.log", "ended": NOW}
    return rows.FailedSubjobRow(**{**_PLACE, **tried, **ended, **changes})


def make_monitored(**changes: Any) -> rows.MonitoredRow:
    values = {"algorithm": "fit", "execution": 0, "name": "mean", "value": 0.5, "error": 0.25}
    return rows.MonitoredRow(**{**_PLACE, **values, **changes})


def make_figure(**changes: Any) -> rows.FigureRow:
    drawn = {"algorithm": "fit", "execution": 0, "name": "residuals"}
    file = {"media_type": "image/png", "path": "/data/residuals.png", "content": b"\x89PNG\0\xff"}
    return rows.FigureRow(**{**_PLACE, **drawn, **file, **changes})


def make_log(**changes: Any) -> rows.LogRow:
    values = {"path": "/data/stderr.log", "text": "<b>it broke</b>\n", "is_whole": True}
    return rows.LogRow(**{**_PLACE, "step": "default", "subjob": 3, **values, **changes})


def make_run() -> rows.RunRow:
    found: dict[str, Any] = {
        "params": {"input_data": {}},
        "versions": {"python": "3.11"},
        "folder": "/data/run",
        "configured": NOW,
    }
    return rows.RunRow(dag_id=RUN[0], run_id=RUN[1], definition={"name": "caf"}, chosen=("vertex",), **found)


def make_selection() -> rows.SelectionRow:
    chosen: dict[str, Any] = {"runs": (ExpRun(1, 2),), "ignored": (ExpRun(1, 3),), "details": {"patterns": ["*.root"]}}
    place: dict[str, Any] = {"dag_id": RUN[0], "run_id": RUN[1], "calibration": "vertex", "collection": "default"}
    return rows.SelectionRow(**place, files=2, subjobs=1, **chosen)


KINDS: dict[str, tuple[Callable[..., Any], type[rows.OfCalibration]]] = {
    "iterations": (make_iteration, rows.IterationRow),
    "executions": (make_execution, rows.ExecutionRow),
    "payloads": (make_payload, rows.PayloadRow),
    "subjobs": (make_subjobs, rows.SubjobsRow),
    "failed": (make_failed, rows.FailedSubjobRow),
    "monitored": (make_monitored, rows.MonitoredRow),
    "figures": (make_figure, rows.FigureRow),
}
EACH_KIND = pytest.mark.parametrize(("make", "kind"), KINDS.values(), ids=KINDS)
