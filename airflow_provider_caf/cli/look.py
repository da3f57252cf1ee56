"""`status` and `logs`: how far a run is, and why something failed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.cli.output import (
    command,
    fail,
    find_console,
    show_json,
    show_reason,
    show_table,
    show_text,
)
from airflow_provider_caf.cli.progress import build_table, watch
from airflow_provider_caf.core.durations import describe_seconds
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.file_names import STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.core.suggestions import check_word
from airflow_provider_caf.core.tails import read_tail
from airflow_provider_caf.core.task_ids import ALGORITHM, MERGE, parse_task_id
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.catalog import describe_waiting
from airflow_provider_caf.io.layout import CalibrationLayout, RunLayout
from airflow_provider_caf.jobs.subjobs import build_failure_table
from airflow_provider_caf.site.places import find_catalog, find_run_layout
from airflow_provider_caf.status.airflow_run import RunRow, read_run
from airflow_provider_caf.status.progress import CalibrationProgress, read_progress
from airflow_provider_caf.status.tasks import TaskRow, check_calibration
from airflow_provider_caf.steps.manifest import CalibrationManifest, read_member

_OVER = ("success", "failed")
_WATCH_SECONDS = 2.0


@command
def status(arguments: Any) -> None:
    """Show how far a run is."""
    if arguments.watch:
        if arguments.as_json:
            fail("--watch and --json do not go together.", 2)
        watch_run(arguments.dag_id, arguments.run_id)
        return
    run, progress = read_status(arguments.dag_id, arguments.run_id)
    if arguments.as_json:
        known = {"dag_id": run.dag_id, "run_id": run.run_id, "state": run.state, "seconds": round(run.seconds, 1)}
        show_json({**known, "calibrations": [member.to_json() for member in progress]})
        return
    show_table(build_table(progress, _describe(run)))
    behind = describe_waiting(find_layout(run).folder)
    for line in (
        *run.notices,
        *([behind] if behind else []),
        *describe_whole(run),
        *(f"{member.name}: {member.reason}" for member in progress if member.reason),
    ):
        show_reason(line)


def describe_whole(run: RunRow) -> list[str]:
    """Return what the tasks of the whole run wait for, or why they have failed."""
    texts = {"failed": "failed; see its log", "awaiting_input": "waits for an answer in the web UI"}
    return [
        f"{task_id}: {(task.state == 'failed' and task.reason) or texts[task.state]}"
        for task_id, task in sorted(run.tasks.items())
        if parse_task_id(task_id).calibration is None and task.state in texts
    ]


def watch_run(dag_id: str, run_id: str | None) -> None:
    """Show how far a run is until it has ended."""
    with watch(find_console()) as show:
        while True:
            run, progress = read_status(dag_id, run_id)
            show(progress, _describe(run))
            if run.state in _OVER:
                return
            # The run that was the newest at first stays the one that is shown.
            run_id = run.run_id
            time.sleep(_WATCH_SECONDS)


def read_status(dag_id: str, run_id: str | None) -> tuple[RunRow, list[CalibrationProgress]]:
    """Read how far a run is.

    :raises CafError: if there is no such run.
    """
    run = read_run(dag_id, run_id)
    return run, read_progress(*run.place, run.tasks, find_catalog())


def find_layout(run: RunRow) -> RunLayout:
    """Return the paths of a run."""
    return find_run_layout(*run.place)


def _describe(run: RunRow) -> str:
    return f"{run.dag_id} {run.run_id}: {run.state}, {describe_seconds(run.seconds)}"


def _check_name(layout: CalibrationLayout, noun: str, name: str, known: Collection[str]) -> None:
    check_word(name, known, f"Calibration {layout.name!r} has no {noun} {name!r}.", f"{noun}s")


@command
def logs(arguments: Any) -> None:
    """Show the logs of what has failed, or of one subjob or algorithm."""
    run = read_run(arguments.dag_id, arguments.run_id)
    check_calibration(run.tasks, arguments.calibration)
    layout = find_layout(run).calibration(arguments.calibration)
    if not layout.definition.exists():
        raise CafError(
            f"Calibration {arguments.calibration!r} has left nothing in run {run.run_id!r}.",
            hint="It has not begun, or failed in prepare: see the log of its task in the web UI.",
        )
    if not isinstance(read_member(layout), Calibration):
        show_log(layout.command_log, full=arguments.full)
        return
    manifest = CalibrationManifest.read(layout)
    iteration = find_iteration(layout, arguments.iteration)
    if arguments.algorithm is not None:
        known = [algorithm.name for algorithm in manifest.calibration.algorithms]
        _check_name(layout, "algorithm", arguments.algorithm, known)
        log = layout.iteration(iteration).algorithm(arguments.algorithm).log
        show_log(log, full=arguments.full)
        return
    names = list(manifest.calibration.collections)
    if arguments.collection is not None:
        _check_name(layout, "collection", arguments.collection, names)
    chosen = names if arguments.collection is None else [arguments.collection]
    of_subjobs = (log for name in chosen for log in find_logs(layout, iteration, name, arguments.subjob))
    is_whole = arguments.collection is None and arguments.subjob is None
    shown = 0
    for log in chain(of_subjobs, find_task_logs(layout, iteration, run.tasks) if is_whole else ()):
        show_log(log, full=arguments.full)
        shown += 1
    if not shown:
        show_text(f"No subjob and no algorithm of calibration {layout.name!r} has failed in pass {iteration}.")


def find_task_logs(layout: CalibrationLayout, iteration: int, tasks: Mapping[str, TaskRow]) -> Iterator[Path]:
    """Yield the logs of the algorithms and merges of a pass that have failed."""
    pass_layout = layout.iteration(iteration)
    for task_id, row in sorted(tasks.items()):
        task = parse_task_id(task_id)
        if row.state != "failed" or (task.calibration, task.iteration) != (layout.name, iteration):
            continue
        if task.step == MERGE and task.owner is not None:
            yield pass_layout.collection(task.owner).merge_log
        elif task.step == ALGORITHM and task.owner is not None:
            yield pass_layout.algorithm(task.owner).log


def find_iteration(layout: CalibrationLayout, iteration: int | None) -> int:
    """Return a pass that has begun: the one that is named, or the last one.

    :raises CafError: if it has not begun.
    """
    begun = sorted(int(path.name) for path in layout.folder.iterdir() if path.name.isdecimal())
    if not begun:
        raise CafError(f"No pass of calibration {layout.name!r} has begun.", hint="See airflow caf status.")
    if iteration is None:
        return begun[-1]
    if iteration not in begun:
        raise CafError(f"Pass {iteration} of calibration {layout.name!r} has not begun.", hint=f"There is: {begun}.")
    return iteration


def find_logs(layout: CalibrationLayout, iteration: int, collection: str, subjob: int | None) -> Iterator[Path]:
    """Print what became of failed subjobs, and yield their logs."""
    if not layout.iteration(iteration).collection(collection).jobs.input_folder.exists():
        return
    verdicts = open_collection(layout, iteration, collection).observe(check_outputs=False).verdicts
    if subjob is not None and subjob not in verdicts:
        raise CafError(f"Collection {collection!r} has no subjob {subjob}.", hint=f"It has {len(verdicts)}, from 0.")
    if subjob is not None:
        chosen = {subjob: verdicts[subjob]}
    else:
        ended = {number: verdict for number, verdict in verdicts.items() if verdict.status.is_over}
        chosen = {number: verdict for number, verdict in ended.items() if verdict.status != SubjobStatus.DONE}
        if chosen:
            show_text(f"Collection {collection}, pass {iteration}:\n{build_failure_table(chosen)}")
    for verdict in chosen.values():
        if verdict.record is not None:
            yield from (verdict.record.folder / name for name in (STDOUT_FILE, STDERR_FILE))
        elif verdict.log is not None:
            yield verdict.log


def show_log(path: Path, *, full: bool) -> None:
    """Print a log, or its end."""
    show_text(f"── {path}")
    if not path.exists():
        show_text("(it is not there)")
        return
    text = path.read_text("utf-8", errors="replace") if full else read_tail(path)
    show_text(text.rstrip("\n") or "(it is empty)")
