"""A run as large as they come: its results are written into the catalog, its tasks' states into Airflow's database."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_caf import CAF, Calibration, Collection
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.iteration import IterationAction
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    IterationRow,
    LogRow,
    MonitoredRow,
    OfRun,
    PayloadRow,
    RunRow,
    SubjobsRow,
)

CALIBRATIONS = 80
SUBJOBS = 125
"""Of each calibration: 10 000 in all."""

IOVS = 63
"""Of each calibration: 5040 in all."""

FAILURES = 300
ALGORITHM = "BeamSpotAlgorithm"
BEGAN = datetime(2026, 3, 1, 8, tzinfo=UTC)


def describe_run(dag_id: str, run_id: str) -> RunRow:
    """Give what the task `configure` of the run would have written."""
    collection = Collection(["true"], ["/nowhere/events.root"])
    names = [f"calibration_{number:02d}" for number in range(CALIBRATIONS)]
    calibrations = [Calibration(name, collections={"hits": collection}, algorithms=f"m:{ALGORITHM}") for name in names]
    return RunRow(
        dag_id=dag_id,
        run_id=run_id,
        definition=CAF(dag_id, calibrations).resolve().to_json(),
        chosen=tuple(names),
        params={"backend": "local"},
        versions={"airflow-provider-caf": "0"},
        folder="/data/work/large",
        configured=BEGAN,
    )


def write_results(catalog: Catalog, dag_id: str, run_id: str) -> None:
    """Write what the tasks of the run would have."""
    chance = random.Random(7)
    catalog.write([describe_run(dag_id, run_id)])
    for number in range(CALIBRATIONS):
        ids: Any = {"dag_id": dag_id, "run_id": run_id, "calibration": f"calibration_{number:02d}", "iteration": 0}
        is_done = number < 60
        done = SUBJOBS if is_done else chance.randrange(SUBJOBS)
        rows = [*_collect(ids, done), *_execute(ids, chance, is_done=is_done)]
        catalog.write(rows)
    failed = [_fail(dag_id, run_id, index) for index in range(FAILURES)]
    catalog.write([row for pair in failed for row in pair])


def _collect(ids: Any, done: int) -> Iterator[OfRun]:
    left = SUBJOBS - done
    yield SubjobsRow(
        **ids,
        collection="hits",
        total=SUBJOBS,
        done=done,
        queued=left // 2,
        running=left - left // 2,
        wall_seconds=90.0 * done,
        cpu_seconds=80.0 * done,
        peak_memory_kb=900_000,
        hosts=("n1", "n2"),
        requested_memory_mb=2000,
        requested_seconds=3600,
        updated=BEGAN + timedelta(hours=2),
    )
    if not left:
        yield IterationRow(
            **ids,
            decision=IterationAction.FINISH.value,
            reason="No result of iteration 0 asks for another one.",
            started=BEGAN,
            ended=BEGAN + timedelta(hours=1),
        )


def _execute(ids: Any, chance: random.Random, *, is_done: bool) -> Iterator[OfRun]:
    for index in range(IOVS):
        iov = IoV(7, 50 * index, 7, 50 * index + 49)
        code = ResultCode.OK if chance.random() < 0.95 else ResultCode.NOT_ENOUGH_DATA
        yield ExecutionRow(
            **ids,
            algorithm=ALGORITHM,
            key=index,
            runs=tuple(ExpRun(7, run) for run in range(50 * index, 50 * index + 50, 5)),
            iov=iov,
            code=code,
            seconds=1.5,
            ended=BEGAN + timedelta(seconds=index),
        )
        yield MonitoredRow(**ids, algorithm=ALGORITHM, execution=index, name="mean", value=chance.gauss(0, 1))
        if code is ResultCode.OK:
            yield PayloadRow(
                **ids,
                algorithm=ALGORITHM,
                name="Spot",
                iov=iov,
                revision=f"{index:06x}",
                position=index,
                execution=index,
                value={"value": chance.gauss(0.1, 0.01), "error": 0.01},
                final=is_done,
                committed=BEGAN,
            )


def _fail(dag_id: str, run_id: str, index: int) -> tuple[FailedSubjobRow, LogRow]:
    ids: Any = {"dag_id": dag_id, "run_id": run_id, "calibration": f"calibration_{60 + index % 20:02d}"}
    path = f"/data/work/large/{index}/stderr.log"
    reason = "killed: out of memory" if index % 3 else "exit code 1"
    row = FailedSubjobRow(
        **ids,
        iteration=0,
        collection="hits",
        subjob=index,
        attempt=0,
        reason=reason,
        exit_code=None if index % 3 else 1,
        signal=9 if index % 3 else None,
        host=f"n{index % 7}",
        log=path,
        ended=BEGAN + timedelta(minutes=index),
    )
    text = "".join(f"event {event} of subjob {index}\n" for event in range(2000))
    log = LogRow(**ids, iteration=0, step="hits", subjob=index, attempt=0, path=path, text=text + reason, is_whole=True)
    return row, log


def set_states(database: Path, dag_id: str, run_id: str) -> None:
    """Let 60 calibrations be completed and the others collect, since two hours."""
    now = datetime.now(UTC)
    began, ended = (str((now - timedelta(hours=hours)).replace(tzinfo=None)) for hours in (2, 1))
    collecting = ("prepare", "iteration_0.hits.submit")
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        tasks = [row[0] for row in connection.execute(_SELECT, (dag_id, run_id))]
        for task_id in tasks:
            calibration, _, rest = task_id.partition(".")
            is_done = not rest or int(calibration[-2:]) < 60
            if task_id == "configure" or (rest and (is_done or rest in collecting)):
                state = "skipped" if rest.startswith("iteration_") and not rest.startswith("iteration_0") else "success"
                connection.execute(_UPDATE, (state, began, ended, dag_id, run_id, task_id))
            elif rest == "iteration_0.hits.wait":
                connection.execute(_UPDATE, ("deferred", began, None, dag_id, run_id, task_id))
        connection.execute(
            "UPDATE dag_run SET state = 'running', start_date = ? WHERE dag_id = ? AND run_id = ?",
            (began, dag_id, run_id),
        )


def end_run(database: Path, dag_id: str, run_id: str) -> None:
    """Let a run be over, whatever its tasks do."""
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("UPDATE dag_run SET state = 'success' WHERE dag_id = ? AND run_id = ?", (dag_id, run_id))


_SELECT = "SELECT task_id FROM task_instance WHERE dag_id = ? AND run_id = ?"
_UPDATE = (
    "UPDATE task_instance SET state = ?, start_date = ?, end_date = ? WHERE dag_id = ? AND run_id = ? AND task_id = ?"
)
