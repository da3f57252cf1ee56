"""The states of a run's tasks: which belong to a calibration, which begin a step, which are under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.task_ids import ALGORITHM, PREPARE, RUN, SUBMIT, WAIT, TaskName, parse_task_id

ACTIVE = {"running", "deferred", "queued", "scheduled", "up_for_reschedule", "up_for_retry", "awaiting_input"}
"""States of tasks that may have jobs on their way."""

FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
"""States in which nothing happens any more by itself."""

UNBEGUN = (None, "skipped", "upstream_failed")
STEPS = ("prepare", "collect", "merge", "algorithms", "decide")
"""Where a calibration can go back to."""

_FIRST_STEPS = {"collect": SUBMIT, "algorithms": ALGORITHM}
"""The first tasks of a step, where they have another name."""


@record
class TaskRow:
    """One task of a run.

    :param state: in Airflow's words; None: it has not begun.
    :param progress: what its last look at its jobs showed, such as `412 done, 3 held`.
    :param reason: why its last try failed.
    """

    state: str | None
    started: datetime | None = None
    ended: datetime | None = None
    progress: str | None = None
    reason: str | None = None


def group_by_calibration(tasks: Mapping[str, TaskRow]) -> dict[str, dict[TaskName, TaskRow]]:
    """Return the tasks of each calibration."""
    found: dict[str, dict[TaskName, TaskRow]] = {}
    for task_id, row in tasks.items():
        name = parse_task_id(task_id)
        if name.calibration is not None:
            found.setdefault(name.calibration, {})[name] = row
    return found


def check_calibration(tasks: Iterable[str], name: str) -> None:
    """Check that a run has a calibration.

    :param tasks: the ids of all its tasks.
    :raises CafError: if it has not.
    """
    owners = {parse_task_id(task_id).calibration for task_id in tasks}
    names = sorted(owner for owner in owners if owner is not None)
    if name not in names:
        raise CafError(
            f"There is no calibration {name!r} in this run.", hint=build_word_hint(name, names, "calibrations")
        )


def find_first_tasks(tasks: Mapping[str, TaskRow], calibration: str, iteration: int | None, to: str) -> list[str]:
    """Return the tasks that begin a step of a calibration.

    :param tasks: all of the run.
    :param iteration: None: the last pass that has begun.
    :param to: one of `STEPS`.
    :raises CafError: if there is no such calibration, pass or step.
    """
    check_calibration(tasks, calibration)
    own = group_by_calibration(tasks)[calibration]
    steps = {name.step for name in own}
    if RUN in steps and PREPARE not in steps:
        return [TaskName(calibration=calibration, step=RUN).task_id]
    if to == PREPARE:
        return [TaskName(calibration=calibration, step=PREPARE).task_id]
    passes = sorted({name.iteration for name in own if name.iteration is not None})
    begun = [name.iteration for name, row in own.items() if name.iteration is not None and row.state not in UNBEGUN]
    number = max(begun, default=0) if iteration is None else iteration
    if number not in passes:
        raise CafError(f"Calibration {calibration!r} has no pass {number}.", hint=f"It has {passes}.")
    step = _FIRST_STEPS.get(to, to)
    found = sorted(name.task_id for name in own if name.iteration == number and name.step == step)
    if not found:
        raise CafError(f"Pass {number} of calibration {calibration!r} has no step {to!r}.", hint="Go back further.")
    return found


def find_active(tasks: Mapping[str, TaskRow], calibration: str | None) -> list[str]:
    """Return the tasks that are under way, of one calibration or of all."""
    return sorted(
        task_id
        for task_id, task in tasks.items()
        if task.state in ACTIVE and (calibration is None or parse_task_id(task_id).calibration == calibration)
    )


def find_failed_waits(tasks: Mapping[str, TaskRow], calibration: str | None = None) -> list[str]:
    """Return the tasks whose clear submits failed subjobs again."""
    return sorted(
        task_id
        for task_id, task in tasks.items()
        if task.state == "failed"
        and (name := parse_task_id(task_id)).step == WAIT
        and (calibration is None or name.calibration == calibration)
    )


def find_collecting(active: Iterable[str]) -> list[tuple[str, int, str]]:
    """Return calibration, pass and collection of the tasks that submit jobs or wait for them, each once."""
    found = []
    for task_id in active:
        name = parse_task_id(task_id)
        if name.step in (SUBMIT, WAIT) and name.iteration is not None:
            found.append((name.calibration or "", name.iteration, name.owner or ""))
    return list(dict.fromkeys(found))
