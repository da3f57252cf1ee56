"""The JSON of the CAF page. Each function gives what one request asks for; none is larger than a page can load at once.

IoVs and runs stand as flat lists of whole numbers: there are thousands of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.stored import read_caf
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    PayloadRow,
    SelectionRow,
    SubjobsRow,
)
from airflow_provider_caf.io.tails import cut_tail
from airflow_provider_caf.status.airflow_run import RunRow, RunSummary
from airflow_provider_caf.status.progress import CalibrationProgress, read_progress
from airflow_provider_caf.status.series import (
    TrendPoint,
    build_convergence,
    build_points,
    find_experiments,
    find_payload_gaps,
    find_shown_runs,
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
    return {
        "dags": list(dags),
        "runs": [
            {
                "dag_id": run.dag_id,
                "run_id": run.run_id,
                "state": run.state,
                "started": _time(run.started),
                "seconds": round(run.seconds, 1),
            }
            for run in newest
        ],
    }


def build_run(run: RunRow, catalog: Catalog) -> dict[str, Any]:
    """Give how far a run and all its calibrations are."""
    described = catalog.read_run(run.dag_id, run.run_id)
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "state": run.state,
        "started": _time(run.started),
        "seconds": round(run.seconds, 1),
        "folder": None if described is None else described.folder,
        "versions": None if described is None else described.versions,
        "params": None if described is None else described.params,
        "whole": [
            {"task_id": task_id, "state": task.state, "reason": task.reason}
            for task_id, task in run.tasks.items()
            if "." not in task_id
        ],
        "calibrations": [
            _build_progress(each, run) for each in read_progress(run.dag_id, run.run_id, run.tasks, catalog)
        ],
        "failed": catalog.count_failed_subjobs(run.dag_id, run.run_id),
    }


def _build_progress(progress: CalibrationProgress, run: RunRow) -> dict[str, Any]:
    return {
        "name": progress.name,
        "state": progress.state,
        "iteration": progress.iteration,
        "passes": progress.passes,
        "checkpoint": progress.checkpoint,
        "depends_on": list(progress.depends_on),
        "waiting": progress.waiting,
        "seconds": progress.seconds,
        "reason": progress.reason,
        "retry": find_failed_waits(run.tasks, progress.name),
        "collections": [_build_counts(row) for row in progress.collections],
        "algorithms": [
            {"name": each.name, "state": each.state, "codes": dict(each.codes), "seconds": each.seconds}
            for each in progress.algorithms
        ],
    }


def _build_counts(row: SubjobsRow) -> dict[str, Any]:
    names = ("total", "queued", "held", "running", "done", "failed", "retries")
    return {"name": row.collection, **{name: getattr(row, name) for name in names}, "updated": _time(row.updated)}


def build_calibration(run: RunRow, catalog: Catalog, name: str) -> dict[str, Any]:
    """Give passes, input, resources, numbers, figures and payload names of one calibration.

    :raises CafError: if the run has no such calibration.
    """
    check_calibration(run.tasks, name)
    place = (run.dag_id, run.run_id, name)
    payloads = catalog.read_payloads(*place, final_only=True)
    member = _find_member(catalog, run, name)
    numbers = build_convergence(catalog.read_monitored(*place))
    return {
        "name": name,
        "passes": [
            {
                "iteration": row.iteration,
                "decision": row.decision,
                "reason": row.reason,
                "started": _time(row.started),
                "ended": _time(row.ended),
            }
            for row in catalog.read_iterations(*place)
        ],
        "algorithms": _describe_algorithms(member),
        "resources": [_build_resources(row) for row in catalog.read_subjobs(*place)],
        "selections": [_build_selection(row) for row in catalog.read_selections(*place)],
        "convergence": [
            {
                "algorithm": algorithm,
                "name": number,
                "points": [[p.iteration, p.value, p.error, p.low, p.high, p.count] for p in points],
            }
            for (algorithm, number), points in numbers.items()
        ],
        "figures": [_build_figure(row) for row in catalog.read_figures(*place, with_content=False)],
        "payloads": _list_payloads(payloads),
        "others": _list_others(run, catalog, payloads, name),
        "resets": _list_resets(run, name),
    }


def build_executions(run: RunRow, catalog: Catalog, name: str, iteration: int) -> dict[str, Any]:
    """Give the executions of one pass: for each algorithm the result codes as digits, and the IoVs as flat numbers."""
    check_calibration(run.tasks, name)
    rows = catalog.read_executions(run.dag_id, run.run_id, name, iteration, with_output=False)
    algorithms: dict[str, list[ExecutionRow]] = {}
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
    run: RunRow, catalog: Catalog, name: str, iteration: int, algorithm: str, key: int
) -> dict[str, Any]:
    """Give one execution with its runs and what it handed in.

    :raises CafError: if there is none.
    """
    rows = catalog.read_executions(run.dag_id, run.run_id, name, iteration, algorithm=algorithm, key=key)
    if not rows:
        raise CafError(f"Algorithm {algorithm!r} of {name!r} has no execution {key} in pass {iteration}.")
    row = rows[0]
    numbers = [
        [each.name, each.value, each.error]
        for each in catalog.read_monitored(run.dag_id, run.run_id, name)
        if (each.iteration, each.algorithm, each.execution) == (iteration, algorithm, key)
    ]
    return {
        "iov": str(row.iov),
        "code": row.code.name,
        "seconds": row.seconds,
        "ended": _time(row.ended),
        **_build_runs(row.runs),
        "monitored": numbers,
    }


def build_map(run: RunRow, catalog: Catalog, name: str | None) -> dict[str, Any]:
    """Give the final payloads by name, with the gaps that they leave.

    :param name: one calibration; None: all.
    """
    rows = catalog.read_payloads(run.dag_id, run.run_id, name, final_only=True, with_value=False)
    executions = catalog.read_executions(run.dag_id, run.run_id, name, with_output=False)
    gaps = find_payload_gaps(rows, executions)
    groups: dict[tuple[str, str], list[PayloadRow]] = {}
    for row in rows[:MOST_IOVS]:
        groups.setdefault((row.calibration, row.name), []).append(row)
    return {
        "total": len(rows),
        "executed": len({each for row in executions for each in row.runs}),
        "runs": [number for ends in find_experiments(find_shown_runs(rows, executions)) for number in ends],
        "payloads": [
            {
                "calibration": calibration,
                "name": payload,
                "iovs": [number for row in own for number in row.iov],
                "gaps": _build_gaps(gaps.get((calibration, payload))),
            }
            for (calibration, payload), own in groups.items()
        ],
    }


def build_payload(run: RunRow, catalog: Catalog, name: str, payload: str, iov: IoV) -> dict[str, Any]:
    """Give one final payload.

    :raises CafError: if there is none.
    """
    rows = [
        row
        for row in catalog.read_payloads(run.dag_id, run.run_id, name, final_only=True, payload=payload)
        if row.iov == iov
    ]
    if not rows:
        raise CafError(f"Calibration {name!r} has no final payload {payload!r} for {iov}.")
    row = rows[-1]
    executed: Sequence[ExecutionRow] = ()
    if row.execution is not None:
        executed = catalog.read_executions(
            run.dag_id, run.run_id, name, row.iteration, algorithm=row.algorithm, key=row.execution
        )
    return {
        "iov": str(row.iov),
        "algorithm": row.algorithm,
        "iteration": row.iteration,
        "revision": row.revision,
        "value": row.value,
        **_build_runs(executed[0].runs if executed else ()),
    }


def build_trend(
    run: RunRow, catalog: Catalog, name: str, payload: str, field: str, other: str | None
) -> dict[str, Any]:
    """Give a constant against the run.

    :param field: the number in the payload's value, as `series.list_fields` names it.
    :param other: what to compare with: `run:<run id>`, or `calibration:<name>` of the same run, such as imported ones.
    """
    own = catalog.read_payloads(run.dag_id, run.run_id, name, final_only=True, payload=payload)
    compared: Iterable[PayloadRow] = ()
    kind, _, what = (other or "").partition(":")
    if kind == "run":
        compared = catalog.read_payloads(run.dag_id, what, name, final_only=True, payload=payload)
    elif kind == "calibration":
        compared = catalog.read_payloads(run.dag_id, run.run_id, what, final_only=True, payload=payload)
    elif other:
        raise CafError(f"There is nothing to compare with under {other!r}.", hint="Use run:<id> or calibration:<name>.")
    return {
        "points": [_build_point(point) for point in build_points(own, field)[:MOST_IOVS]],
        "other": [_build_point(point) for point in build_points(compared, field)[:MOST_IOVS]],
    }


def build_failures(run: RunRow, catalog: Catalog, name: str | None, offset: int) -> dict[str, Any]:
    """Give some failed tries of subjobs, with the ends of their logs."""
    if name is not None:
        check_calibration(run.tasks, name)
    place = (run.dag_id, run.run_id, name)
    rows = catalog.read_failed_subjobs(*place, limit=_FAILURES, offset=offset, newest_first=True)
    return {
        "total": catalog.count_failed_subjobs(*place),
        "offset": offset,
        "size": _FAILURES,
        "rows": [_build_failure(row, catalog) for row in rows],
    }


def _build_failure(row: FailedSubjobRow, catalog: Catalog) -> dict[str, Any]:
    place = (row.dag_id, row.run_id, row.calibration, row.iteration, row.collection, row.subjob)
    logs = [each for each in catalog.read_logs(*place) if each.attempt == row.attempt]
    return {
        "calibration": row.calibration,
        "iteration": row.iteration,
        "collection": row.collection,
        "subjob": row.subjob,
        "attempt": row.attempt,
        "exit_code": row.exit_code,
        "signal": row.signal,
        "host": row.host,
        "reason": row.reason,
        "ended": _time(row.ended),
        "path": logs[0].path if logs else row.log,
        "tail": cut_tail(logs[0].text[-_TAIL_LETTERS:], _TAIL_LINES) if logs else None,
        "task_id": f"{row.calibration}.iteration_{row.iteration}.{row.collection}.wait",
    }


def find_log(run: RunRow, catalog: Catalog, name: str, iteration: int, step: str, subjob: int, attempt: int) -> str:
    """Give the text of a log.

    :raises CafError: if the catalog has none.
    """
    rows = catalog.read_logs(run.dag_id, run.run_id, name, iteration, step, subjob)
    for row in rows:
        if row.attempt == attempt:
            head = "" if row.is_whole else f"(the end of {row.path})\n\n"
            return head + row.text
    raise CafError(
        f"The catalog has no log of {step!r} of {name!r} in pass {iteration}.",
        hint="It has the logs of algorithms, and those of the first failed subjobs.",
    )


def find_figure(
    run: RunRow, catalog: Catalog, name: str, iteration: int, algorithm: str, key: int, figure: str
) -> FigureRow:
    """Give a picture.

    :raises CafError: if the catalog has none, or not its content.
    """
    for row in catalog.read_figures(run.dag_id, run.run_id, name, figure=figure):
        if (row.iteration, row.algorithm, row.execution) == (iteration, algorithm, key) and row.content is not None:
            return row
    raise CafError(f"The catalog has no figure {figure!r} of execution {key} of {algorithm!r} in pass {iteration}.")


def _find_member(catalog: Catalog, run: RunRow, name: str) -> Calibration | None:
    described = catalog.read_run(run.dag_id, run.run_id)
    if described is None:
        return None
    found = [each for each in read_caf(described.definition).calibrations if each.name == name]
    return found[0] if found and isinstance(found[0], Calibration) else None


def _describe_algorithms(member: Calibration | None) -> list[dict[str, Any]]:
    if member is None:
        return []
    return [{"name": each.name, "class": each.algorithm, "strategy": each.strategy} for each in member.algorithms]


def _build_resources(row: SubjobsRow) -> dict[str, Any]:
    tries = row.done + row.failed + row.retries
    return {
        "iteration": row.iteration,
        **_build_counts(row),
        "memory_asked_mb": row.requested_memory_mb,
        "memory_used_mb": round(row.peak_memory_kb / 1000, 1),
        "seconds_asked": row.requested_seconds,
        "seconds_mean": round(row.wall_seconds / tries, 1) if tries else None,
        "cpu_seconds": round(row.cpu_seconds, 1),
        "wall_seconds": round(row.wall_seconds, 1),
        "hosts": len(row.hosts),
    }


def _build_selection(row: SelectionRow) -> dict[str, Any]:
    return {
        "collection": row.collection,
        "files": row.files,
        "subjobs": row.subjobs,
        "ignored": [str(run) for run in row.ignored[:_SHOWN_RUNS]],
        "details": row.details,
        **_build_runs(row.runs),
    }


def _build_figure(row: FigureRow) -> dict[str, Any]:
    return {
        "algorithm": row.algorithm,
        "iteration": row.iteration,
        "key": row.execution,
        "name": row.name,
        "path": row.path,
    }


def _list_payloads(rows: Iterable[PayloadRow]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        each = found.setdefault(row.name, {"name": row.name, "count": 0, "fields": list_fields(row.value)})
        each["count"] += 1
    return list(found.values())


def _list_others(run: RunRow, catalog: Catalog, payloads: Sequence[PayloadRow], name: str) -> list[str]:
    """Say with what the constants can be compared: earlier runs, and calibrations with payloads of the same name."""
    names = {row.name for row in payloads}
    if not names:
        return []
    others = [
        f"calibration:{calibration}"
        for calibration, payload in catalog.list_final_payloads(run.dag_id, run.run_id)
        if payload in names and calibration != name
    ]
    runs = catalog.list_runs_with_payloads(run.dag_id, name, limit=_NEWEST_RUNS)
    return [*dict.fromkeys(others), *(f"run:{each}" for each in runs if each != run.run_id)]


def _list_resets(run: RunRow, name: str) -> list[dict[str, Any]]:
    """Say where the calibration can go back to, and which tasks that begins with."""
    own = group_by_calibration(run.tasks)[name]
    begun = sorted(
        {task.iteration for task, row in own.items() if task.iteration is not None and row.state not in UNBEGUN}
    )
    if any(task.step == "run" for task in own):
        return [{"step": "run", "iteration": None, "tasks": [f"{name}.run"]}]
    found: list[dict[str, Any]] = [{"step": "prepare", "iteration": None, "tasks": [f"{name}.prepare"]}]
    steps = {task.step for task in own}
    for iteration in begun:
        for step in STEPS[1:]:
            if step in ("collect", "merge") and "submit" not in steps:
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


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")
