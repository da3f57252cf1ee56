"""What a DAG run is doing, in the words of the CAF: read from Airflow's task states and the run's folder.

The live view of the demonstration is made of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.io.exit_records import StatusFolder
from airflow_provider_caf.io.layout import CalibrationLayout, RunLayout

_ITERATION = re.compile(r"iteration_(\d+)$")
_FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
_COLORS = {"completed": "green", "waiting": "dim", "failed": "bold red", "upstream failed": "red"}


@dataclass(frozen=True, kw_only=True)
class CalibrationProgress:
    """How far one calibration is.

    :param state: in the CAF's words: waiting, preparing, collecting, merging, running algorithms, completed, failed.
    :param iteration: the number of the pass it is in, from 0; None before the first.
    :param subjobs_done: subjobs of this pass that ended well, of `subjobs`.
    :param executions: IoVs that the algorithms of this pass have executed.
    """

    name: str
    state: str
    iteration: int | None
    subjobs_done: int
    subjobs: int
    executions: int


def read_progress(run: RunLayout, tasks: Mapping[str, str | None], catalog: Catalog) -> list[CalibrationProgress]:
    """Read how far every calibration of a run is.

    :param tasks: task id → Airflow's state, for all tasks of the run.
    :param catalog: holds the executions.
    """
    by_calibration: dict[str, dict[str, str | None]] = {}
    for task_id, state in tasks.items():
        calibration, _, rest = task_id.partition(".")
        if rest:
            by_calibration.setdefault(calibration, {})[rest] = state
    executed = Counter(
        (row.calibration, row.iteration) for row in catalog.read_executions(run.dag_id, run.run_id, with_output=False)
    )
    return [_read_calibration(run.calibration(name), own, executed) for name, own in by_calibration.items()]


def judge_state(tasks: Mapping[str, str | None]) -> tuple[str, int | None]:
    """Say what a calibration is doing, and in which iteration.

    :param tasks: its tasks without the calibration's name in front → Airflow's state.
    """
    iteration = _find_iteration(tasks)
    states = set(tasks.values())
    if tasks.get("finish") == "success":
        return "completed", iteration
    if "failed" in states:
        return "failed", iteration
    if tasks.get("prepare") == "upstream_failed":
        return "upstream failed", iteration
    if tasks.get("prepare") != "success":
        return ("preparing" if tasks.get("prepare") else "waiting"), iteration
    return _judge_pass(tasks, f"iteration_{iteration}."), iteration


def _judge_pass(tasks: Mapping[str, str | None], group: str) -> str:
    open_steps = {
        task.rpartition(".")[2] for task, state in tasks.items() if task.startswith(group) and state not in _FINISHED
    }
    if open_steps & {"submit", "wait"}:
        return "collecting"
    if "merge" in open_steps:
        return "merging"
    return "running algorithms" if open_steps - {"decide"} else "deciding"


def _find_iteration(tasks: Mapping[str, str | None]) -> int | None:
    begun = [
        int(match[1])
        for task, state in tasks.items()
        if state not in (None, "skipped", "upstream_failed") and (match := _ITERATION.match(task.partition(".")[0]))
    ]
    return max(begun, default=None)


def _read_calibration(
    layout: CalibrationLayout, tasks: Mapping[str, str | None], executed: Mapping[tuple[str, int], int]
) -> CalibrationProgress:
    state, iteration = judge_state(tasks)
    done, subjobs = (0, 0) if iteration is None else count_subjobs(layout, iteration)
    return CalibrationProgress(
        name=layout.name,
        state=state,
        iteration=iteration,
        subjobs_done=done,
        subjobs=subjobs,
        executions=0 if iteration is None else executed.get((layout.name, iteration), 0),
    )


def count_subjobs(layout: CalibrationLayout, iteration: int) -> tuple[int, int]:
    """Count the subjobs of a pass that ended well, and all of them.

    :param iteration: the number of the pass, from 0.
    """
    done, subjobs = 0, 0
    for manifest in layout.manifest_folder.glob("*.json"):
        collection = layout.iteration(iteration).collection(manifest.stem)
        subjobs += len(list(collection.input_folder.glob("*.json")))
        done += len({each.subjob for each in StatusFolder(collection.status_folder).scan() if each.says_success})
    return done, subjobs


def build_table(calibrations: Iterable[CalibrationProgress], title: str) -> Table:
    """Build the live view: a row for each calibration."""
    table = Table(title=title, title_justify="left", expand=False)
    table.add_column("calibration")
    # As wide as the longest state, so that the table does not jump.
    table.add_column("state", min_width=len("running algorithms"))
    table.add_column("pass", justify="right")
    table.add_column("subjobs", justify="right")
    table.add_column("", width=20)
    table.add_column("IoVs executed", justify="right")
    for each in calibrations:
        bar: Any = ProgressBar(total=each.subjobs, completed=each.subjobs_done, width=20) if each.subjobs else ""
        table.add_row(
            each.name,
            Text(each.state, style=_COLORS.get(each.state, "cyan")),
            "" if each.iteration is None else str(each.iteration + 1),
            f"{each.subjobs_done}/{each.subjobs}" if each.subjobs else "",
            bar,
            str(each.executions) if each.executions else "",
        )
    return table
