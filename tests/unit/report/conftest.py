"""A run in a catalog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf import CAF, Calibration
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    MonitoredRow,
    PayloadRow,
    RunRow,
    SelectionRow,
    SubjobsRow,
    open_sqlite_catalog,
)

AddPayloads = Callable[..., None]
PICTURE = b"\x89PNG picture"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """An empty catalog."""
    return open_sqlite_catalog(tmp_path / "catalog.sqlite")


@pytest.fixture
def add_payloads(catalog: Catalog) -> AddPayloads:
    """Give a function that adds final payloads: IoV → value."""

    def add(values: dict[tuple[int, int, int, int], Any], **words: Any) -> None:
        ids = {"dag_id": "lab", "run_id": "first", "calibration": "vertex", "iteration": 0, "algorithm": "Mean"}
        catalog.write(
            PayloadRow(
                **{"name": "Spot", **ids, **words},
                iov=IoV(*iov),
                revision=f"{hash((iov, str(value))) & 0xFFFFFF:06x}",
                value=value,
                position=position,
                execution=position,
                final=True,
            )
            for position, (iov, value) in enumerate(values.items())
        )

    return add


@pytest.fixture
def full(catalog: Catalog, add_payloads: AddPayloads) -> Catalog:
    """A catalog with a run that has something of everything, all names of which are hostile where they can be."""
    hostile = "<script>alert('x')</script>"
    ids: Any = {"dag_id": "lab", "run_id": "first", "calibration": "vertex"}
    caf = CAF("lab", [Calibration("vertex", collector="m:C", input_files=["/a"], algorithms="m:Mean")])
    add_payloads({(1, 1, 1, 2): {"value": 1.5, "error": 0.1}, (1, 4, -1, -1): {"value": 1.7, "error": 0.1}})
    catalog.write(
        [
            RunRow(
                dag_id="lab",
                run_id="first",
                definition=caf.resolve().to_json(),
                chosen=("vertex",),
                params={"note": hostile},
                versions={"airflow-provider-caf": "0.1", hostile: hostile},
                folder="/data/lab",
            ),
            IterationRow(**ids, iteration=0, decision="FINISH", reason=hostile),
            SelectionRow(**ids, collection="hits", files=3, subjobs=2, runs=(ExpRun(1, 1),), ignored=(ExpRun(1, 9),)),
            SubjobsRow(**ids, iteration=0, collection="hits", total=2, done=1, failed=1, requested_memory_mb=2000),
            FailedSubjobRow(**ids, iteration=0, collection="hits", subjob=1, attempt=0, reason=hostile, host=hostile),
            FigureRow(
                **ids,
                iteration=0,
                algorithm="Mean",
                execution=0,
                name=hostile,
                media_type="image/png",
                path="/f.png",
                content=PICTURE,
            ),
            *(
                ExecutionRow(
                    **ids,
                    iteration=0,
                    algorithm="Mean",
                    key=key,
                    runs=tuple(ExpRun(1, run) for run in runs),
                    iov=IoV(1, runs[0], 1, runs[-1]),
                    code=ResultCode.OK,
                    output=None,
                )
                for key, runs in enumerate([(1, 2), (3,), (4, 5)])
            ),
            MonitoredRow(
                **ids, iteration=0, algorithm="Mean", execution=0, name="a $\\frac{1$ & <b>", value=1.0, error=0.5
            ),
        ]
    )
    return catalog
