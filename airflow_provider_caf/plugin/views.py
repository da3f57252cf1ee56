"""The JSON of the CAF page. Each `build_` function answers one route of `app`, whose words its arguments are.

No answer is larger than a page can load at once. IoVs and runs stand as flat lists of whole numbers: there are
thousands of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.file_names import JOBS_COLLECTION
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.tails import cut_tail
from airflow_provider_caf.core.task_ids import ALGORITHM, MERGE, PREPARE, RUN, SUBMIT, WAIT, TaskName, parse_task_id
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.stored import read_caf
from airflow_provider_caf.io.catalog import Catalog, describe_waiting
from airflow_provider_caf.io.catalog import rows as db
from airflow_provider_caf.plugin.requests import CatalogDep, IovDep, Number, RunDep
from airflow_provider_caf.site.places import find_run_layout
from airflow_provider_caf.status.airflow_run import RunRow, RunSummary
from airflow_provider_caf.status.progress import CalibrationProgress, read_progress
from airflow_provider_caf.status.series import (
    TrendPoint,
    build_convergence,
    build_points,
    find_experiments,
    find_payload_gaps,
    find_shown_runs,
    group_payloads,
    list_fields,
)
from airflow_provider_caf.status.tasks import (
    STEPS,
    UNBEGUN,
    check_calibration,
    find_failed_waits,
    find_first_tasks,
    group_by_calibration,
)

MOST_EXECUTIONS = 6000
MOST_IOVS = 6000
"""More of them do not fit into one answer of 300 kB; the page says how many are left out."""

_FAILURES = 20
_TAIL_LINES = 20
_TAIL_LETTERS = 4000
_SHOWN_RUNS = 500
_NEWEST_RUNS = 30


def build_runs(dags: Sequence[str], runs: Sequence[RunSummary]) -> dict[str, Any]:
    """List runs, the newest first."""
    newest = sorted(runs, key=lambda run: (run.started is not None, run.started), reverse=True)
    return {"dags": list(dags), "runs": [_describe_run(run) for run in newest]}


def _describe_run(run: RunSummary) -> dict[str, Any]:
    return {**_pick(run, "dag_id", "run_id", "state", "started"), "seconds": round(run.seconds, 1)}


def build_run(run: RunDep, catalog: CatalogDep) -> dict[str, Any]:
    """Return how far a run and all its calibrations are."""
    described = catalog.read_run(*run.place)
    calibrations = read_progress(*run.place, run.tasks, catalog)
    behind = describe_waiting(find_run_layout(*run.place).folder)
    return {
        **_describe_run(run),
        **_pick(described, "folder", "versions", "params"),
        "notices": [*run.notices, *([behind] if behind else [])],
        "whole": [
            {"task_id": task_id, **_pick(task, "state", "reason")}
            for task_id, task in run.tasks.items()
            if parse_task_id(task_id).calibration is None
        ],
        "calibrations": [_build_progress(progress, run) for progress in calibrations],
        "jobs": [
            {**_build_counts(row), "name": row.calibration, **_pick(run.tasks[task_id], "state", "progress", "reason")}
            for row in catalog.read(db.SubjobsRow, *run.place)
            if (task_id := find_task(row, run.tasks)) is not None
            # The table of calibrations has these.
            and parse_task_id(task_id).step not in (ALGORITHM, MERGE)
        ],
        "failed": catalog.count(db.FailedSubjobRow, *run.place),
    }


def _build_progress(progress: CalibrationProgress, run: RunRow) -> dict[str, Any]:
    return {
        **_pick(progress, "name", "state", "iteration", "passes", "checkpoint"),
        **_pick(progress, "depends_on", "waiting", "seconds", "reason"),
        "retry": find_failed_waits(run.tasks, progress.name),
        "collections": [_build_counts(row) for row in progress.collections],
        "algorithms": [_pick(algorithm, "name", "state", "codes", "seconds") for algorithm in progress.algorithms],
    }


def _build_counts(row: db.SubjobsRow) -> dict[str, Any]:
    counts = _pick(row, "total", "queued", "held", "running", "done", "failed", "retries", "updated")
    return {"name": row.collection, **counts}


def find_task(row: db.SubjobsRow | db.FailedSubjobRow, tasks: Iterable[str]) -> str | None:
    """Return the id of the task that has submitted jobs of its own; None: they are subjobs of a calibration."""
    task_id = row.calibration.partition("[")[0]
    return task_id if row.collection == JOBS_COLLECTION and task_id in tasks else None


def build_calibration(run: RunDep, catalog: CatalogDep, name: str) -> dict[str, Any]:
    """Return passes, input, resources, numbers, figures and payload names of one calibration.

    :raises CafError: if the run has no such calibration.
    """
    check_calibration(run.tasks, name)
    place = (*run.place, name)
    payloads = catalog.read(db.PayloadRow, *place, final=True)
    numbers = build_convergence(catalog.read(db.MonitoredRow, *place))
    return {
        "name": name,
        "passes": [
            _pick(row, "iteration", "decision", "reason", "started", "ended")
            for row in catalog.read(db.IterationRow, *place)
        ],
        "algorithms": _list_algorithms(catalog, run, name),
        "resources": _list_resources(run, catalog, name),
        "selections": [_build_selection(row) for row in catalog.read(db.SelectionRow, *place)],
        "convergence": [
            {
                "algorithm": algorithm,
                "name": number,
                "points": [[p.iteration, p.value, p.error, p.low, p.high, p.count] for p in points],
            }
            for (algorithm, number), points in numbers.items()
        ],
        "figures": [
            {"key": row.execution, **_pick(row, "algorithm", "iteration", "name", "path")}
            for row in catalog.read(db.FigureRow, *place, without=["content"])
        ],
        "payloads": _list_payloads(payloads),
        "others": _list_others(run, catalog, payloads, name),
        "resets": _list_resets(run, name),
    }


def build_executions(run: RunDep, catalog: CatalogDep, name: str, iteration: Number) -> dict[str, Any]:
    """Return the executions of one pass: of each algorithm the result codes as digits, the IoVs as flat numbers."""
    check_calibration(run.tasks, name)
    rows = catalog.read(db.ExecutionRow, *run.place, name, iteration=iteration, without=["output"])
    algorithms: dict[str, list[db.ExecutionRow]] = {}
    for row in rows[:MOST_EXECUTIONS]:
        algorithms.setdefault(row.algorithm, []).append(row)
    return {
        "codes": {str(code.value): code.name for code in ResultCode},
        "total": len(rows),
        "algorithms": [
            {
                "name": algorithm,
                "codes": "".join(str(row.code.value) for row in own),
                "iovs": [number for row in own for number in row.iov],
                "keys": [row.key for row in own] if [row.key for row in own] != list(range(len(own))) else None,
            }
            for algorithm, own in algorithms.items()
        ],
    }


def build_execution(
    run: RunDep, catalog: CatalogDep, name: str, iteration: Number, algorithm: str, key: Number
) -> dict[str, Any]:
    """Return one execution with its runs and what it handed in.

    :raises CafError: if there is none.
    """
    place: Any = {"iteration": iteration, "algorithm": algorithm}
    rows = catalog.read(db.ExecutionRow, *run.place, name, key=key, **place)
    if not rows:
        raise CafError(f"Algorithm {algorithm!r} of {name!r} has no execution {key} in pass {iteration}.")
    row = rows[0]
    numbers = catalog.read(db.MonitoredRow, *run.place, name, execution=key, **place)
    return {
        "iov": str(row.iov),
        "code": row.code.name,
        **_pick(row, "seconds", "ended"),
        **_build_runs(row.runs),
        "monitored": [[number.name, number.value, number.error] for number in numbers],
    }


def build_map(run: RunDep, catalog: CatalogDep, name: str | None = None) -> dict[str, Any]:
    """Return the final payloads by name, with the gaps that they leave.

    :param name: one calibration; None: all.
    """
    rows = catalog.read(db.PayloadRow, *run.place, name, final=True, without=["value"])
    executions = catalog.read(db.ExecutionRow, *run.place, name, without=["output"])
    gaps = find_payload_gaps(rows, executions)
    return {
        "total": len(rows),
        "executed": len({executed for row in executions for executed in row.runs}),
        "runs": [number for ends in find_experiments(find_shown_runs(rows, executions)) for number in ends],
        "payloads": [
            {
                "calibration": calibration,
                "name": payload,
                "iovs": [number for row in own for number in row.iov],
                "gaps": _build_gaps(gaps.get((calibration, payload))),
            }
            for (calibration, payload), own in group_payloads(rows[:MOST_IOVS]).items()
        ],
    }


def build_payload(run: RunDep, catalog: CatalogDep, name: str, payload: str, iov: IovDep) -> dict[str, Any]:
    """Return one final payload.

    :raises CafError: if there is none.
    """
    rows = [row for row in catalog.read(db.PayloadRow, *run.place, name, final=True, name=payload) if row.iov == iov]
    if not rows:
        raise CafError(f"Calibration {name!r} has no final payload {payload!r} for {iov}.")
    row = rows[-1]
    executed: Sequence[db.ExecutionRow] = ()
    if row.execution is not None:
        place: Any = {"iteration": row.iteration, "algorithm": row.algorithm, "key": row.execution}
        executed = catalog.read(db.ExecutionRow, *run.place, name, **place)
    return {
        "iov": str(row.iov),
        **_pick(row, "algorithm", "iteration", "revision", "value"),
        **_build_runs(executed[0].runs if executed else ()),
    }


def build_trend(
    run: RunDep, catalog: CatalogDep, name: str, payload: str, field: str = "", other: str | None = None
) -> dict[str, Any]:
    """Return a constant against the run.

    :param field: the number in the payload's value, as `series.list_fields` names it.
    :param other: what to compare with: `run:<run id>`, or `calibration:<name>` of the same run, such as imported ones.
    """
    own = catalog.read(db.PayloadRow, *run.place, name, final=True, name=payload)
    compared: Iterable[db.PayloadRow] = ()
    kind, _, rest = (other or "").partition(":")
    if kind == "run":
        compared = catalog.read(db.PayloadRow, run.dag_id, rest, name, final=True, name=payload)
    elif kind == "calibration":
        compared = catalog.read(db.PayloadRow, *run.place, rest, final=True, name=payload)
    elif other:
        raise CafError(f"There is nothing to compare with under {other!r}.", hint="Use run:<id> or calibration:<name>.")
    return {
        "points": [_build_point(point) for point in build_points(own, field)[:MOST_IOVS]],
        "other": [_build_point(point) for point in build_points(compared, field)[:MOST_IOVS]],
    }


def build_failures(run: RunDep, catalog: CatalogDep, name: str | None = None, offset: Number = 0) -> dict[str, Any]:
    """Return some failed tries of subjobs, with the ends of their logs."""
    if name is not None:
        check_calibration(run.tasks, name)
    place = (*run.place, name)
    rows = catalog.read(db.FailedSubjobRow, *place, limit=_FAILURES, offset=max(0, offset), newest_by="ended")
    return {
        "total": catalog.count(db.FailedSubjobRow, *place),
        "offset": max(0, offset),
        "size": _FAILURES,
        "rows": [_build_failure(row, run, catalog) for row in rows],
    }


def _build_failure(row: db.FailedSubjobRow, run: RunRow, catalog: Catalog) -> dict[str, Any]:
    attempt: Any = {"iteration": row.iteration, "step": row.collection, "subjob": row.subjob, "attempt": row.attempt}
    logs = catalog.read(db.LogRow, row.dag_id, row.run_id, row.calibration, **attempt)
    task_id = find_task(row, run.tasks)
    return {
        **_pick(row, "calibration", "iteration", "collection", "subjob", "attempt"),
        **_pick(row, "exit_code", "signal", "host", "reason", "ended"),
        "path": logs[0].path if logs else row.log,
        "tail": cut_tail(logs[0].text[-_TAIL_LETTERS:], _TAIL_LINES) if logs else None,
        "is_job": task_id is not None,
        "task_id": task_id
        or TaskName(calibration=row.calibration, iteration=row.iteration, owner=row.collection, step=WAIT).task_id,
    }


def find_log(
    run: RunDep, catalog: CatalogDep, name: str, iteration: Number, step: str, subjob: Number = -1, attempt: Number = 0
) -> str:
    """Return the text of a log.

    :raises CafError: if the catalog has none.
    """
    place: Any = {"iteration": iteration, "step": step, "subjob": subjob, "attempt": attempt}
    for row in catalog.read(db.LogRow, *run.place, name, **place):
        head = "" if row.is_whole else f"(the end of {row.path})\n\n"
        return head + row.text
    raise CafError(
        f"The catalog has no log of {step!r} of {name!r} in pass {iteration}.",
        hint="It has the logs of algorithms, and those of the first failed subjobs.",
    )


def find_figure(
    run: RunDep, catalog: CatalogDep, name: str, iteration: Number, algorithm: str, key: Number, figure: str
) -> db.FigureRow:
    """Return a picture.

    :raises CafError: if the catalog has none, or not its content.
    """
    place: Any = {"iteration": iteration, "algorithm": algorithm, "execution": key, "name": figure}
    for row in catalog.read(db.FigureRow, *run.place, name, **place):
        if row.content is not None:
            return row
    raise CafError(f"The catalog has no figure {figure!r} of execution {key} of {algorithm!r} in pass {iteration}.")


def _list_algorithms(catalog: Catalog, run: RunRow, name: str) -> list[dict[str, Any]]:
    described = catalog.read_run(*run.place)
    if described is None:
        return []
    members = read_caf(described.definition).calibrations
    return [
        {"class": algorithm.algorithm, **_pick(algorithm, "name", "strategy")}
        for member in members
        if member.name == name and isinstance(member, Calibration)
        for algorithm in member.algorithms
    ]


def _list_resources(run: RunRow, catalog: Catalog, name: str) -> list[dict[str, Any]]:
    """Return what the subjobs of a calibration used, and its merges and algorithms that were jobs."""
    found = []
    for row in catalog.read(db.SubjobsRow, *run.place):
        task_id = find_task(row, run.tasks)
        task = None if task_id is None else parse_task_id(task_id)
        if task is None and row.calibration == name:
            found.append(_build_resources(row))
        elif task is not None and task.calibration == name and task.iteration is not None:
            found.append({**_build_resources(row), "name": task.label, "iteration": task.iteration})
    return sorted(found, key=lambda words: words["iteration"])


def _build_resources(row: db.SubjobsRow) -> dict[str, Any]:
    tries = row.done + row.failed + row.retries
    return {
        "iteration": row.iteration,
        **_build_counts(row),
        "memory_asked_mb": row.requested_memory_mb,
        "memory_used_mb": round(row.peak_memory_kb / 1024, 1),
        "seconds_asked": row.requested_seconds,
        "seconds_mean": round(row.wall_seconds / tries, 1) if tries else None,
        "cpu_seconds": round(row.cpu_seconds, 1),
        "wall_seconds": round(row.wall_seconds, 1),
        "hosts": len(row.hosts),
    }


def _build_selection(row: db.SelectionRow) -> dict[str, Any]:
    return {
        **_pick(row, "collection", "files", "subjobs", "details"),
        "ignored": [str(run) for run in row.ignored[:_SHOWN_RUNS]],
        **_build_runs(row.runs),
    }


def _list_payloads(rows: Iterable[db.PayloadRow]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        payload = found.setdefault(row.name, {"name": row.name, "count": 0, "fields": list_fields(row.value)})
        payload["count"] += 1
    return list(found.values())


def _list_others(run: RunRow, catalog: Catalog, payloads: Sequence[db.PayloadRow], name: str) -> list[str]:
    """List what the constants can be compared with: earlier runs, and calibrations with payloads of the same name."""
    names = {row.name for row in payloads}
    if not names:
        return []
    others = [
        f"calibration:{calibration}"
        for calibration, payload in catalog.list_final_payloads(*run.place)
        if payload in names and calibration != name
    ]
    runs = catalog.list_runs_with_payloads(run.dag_id, name, limit=_NEWEST_RUNS)
    return [*dict.fromkeys(others), *(f"run:{run_id}" for run_id in runs if run_id != run.run_id)]


def _list_resets(run: RunRow, name: str) -> list[dict[str, Any]]:
    """List the steps to which the calibration can go back, with the tasks that begin each."""
    own = group_by_calibration(run.tasks)[name]
    begun = sorted(
        {task.iteration for task, row in own.items() if task.iteration is not None and row.state not in UNBEGUN}
    )
    steps = {task.step for task in own}
    first = RUN if RUN in steps else PREPARE
    found: list[dict[str, Any]] = [
        {"step": first, "iteration": None, "tasks": [TaskName(calibration=name, step=first).task_id]}
    ]
    for iteration in begun:
        for step in STEPS[1:]:
            if step in ("collect", "merge") and SUBMIT not in steps:
                continue
            tasks = find_first_tasks(run.tasks, name, iteration, step)
            if any(run.tasks[task_id].state not in UNBEGUN for task_id in tasks):
                found.append({"step": step, "iteration": iteration, "tasks": tasks})
    return found


def _build_gaps(report: Any) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "gaps": [number for gap in report.gaps for number in gap],
        "uncovered": [number for run in report.uncovered for number in run],
    }


def _build_point(point: TrendPoint) -> list[Any]:
    return [*point.iov, point.value, point.error]


def _build_runs(runs: Sequence[ExpRun]) -> dict[str, Any]:
    return {"count": len(runs), "runs": [str(run) for run in runs[:_SHOWN_RUNS]]}


def _pick(record: Any, *names: str) -> dict[str, Any]:
    """Return some fields of a record by name, moments as text; None for each where there is no record."""
    fields = {name: getattr(record, name, None) for name in names}
    return {
        name: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
