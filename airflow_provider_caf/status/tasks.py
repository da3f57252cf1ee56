"""The tasks of a run as the factory names them, and the steps of a calibration that they are.

====================================================  =============================================================
task id                                               step
====================================================  =============================================================
`<calibration>.prepare`                               checks and resolves
`<calibration>.iteration_<k>.<collection>.submit`     and `.wait`, `.merge`: one collection in pass k
`<calibration>.iteration_<k>.<algorithm>`             one algorithm in pass k
`<calibration>.iteration_<k>.decide`                  the end of pass k
`<calibration>.finish`                                the end of the calibration
`<calibration>.run`                                   a step that collects nothing
anything without a dot                                of the whole run
====================================================  =============================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint

ACTIVE = {"running", "deferred", "queued", "scheduled", "up_for_reschedule", "up_for_retry", "awaiting_input"}
"""States of tasks that may have jobs on their way."""

FINISHED = {"success", "failed", "skipped", "upstream_failed", "removed"}
"""States in which nothing happens any more by itself."""

UNBEGUN = (None, "skipped", "upstream_failed")
STEPS = ("prepare", "collect", "merge", "algorithms", "decide")
"""Where a calibration can go back to."""

_IN_PASS = re.compile(r"iteration_(\d+)\.(.+)")
_FIRST_STEPS = {"collect": "submit", "algorithms": "algorithm"}
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


@record
class TaskName:
    """The parts of a task id.

    :param calibration: None for a task of the whole run.
    :param iteration: None for one outside of the passes.
    :param owner: the collection or the algorithm.
    :param step: `prepare`, `submit`, `wait`, `merge`, `algorithm`, `decide`, `finish`, `run`; of the whole run the id.
    """

    task_id: str
    calibration: str | None
    iteration: int | None
    owner: str | None
    step: str


def parse_task_id(task_id: str) -> TaskName:
    """Parse a task id."""
    calibration, _, rest = task_id.partition(".")
    if not rest:
        return TaskName(task_id=task_id, calibration=None, iteration=None, owner=None, step=task_id)
    match = _IN_PASS.fullmatch(rest)
    if match is None:
        return TaskName(task_id=task_id, calibration=calibration, iteration=None, owner=None, step=rest)
    owner, _, step = match[2].partition(".")
    if not step:
        owner, step = ("", "decide") if owner == "decide" else (owner, "algorithm")
    return TaskName(task_id=task_id, calibration=calibration, iteration=int(match[1]), owner=owner or None, step=step)


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
    names = sorted({task_id.partition(".")[0] for task_id in tasks if "." in task_id})
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
    if "run" in steps and "prepare" not in steps:
        return [f"{calibration}.run"]
    if to == "prepare":
        return [f"{calibration}.prepare"]
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
        and (name := parse_task_id(task_id)).step == "wait"
        and (calibration is None or name.calibration == calibration)
    )


def find_collecting(active: Iterable[str]) -> list[tuple[str, int, str]]:
    """Return calibration, pass and collection of the tasks that submit jobs or wait for them, each once."""
    found = []
    for task_id in active:
        name = parse_task_id(task_id)
        if name.step in ("submit", "wait") and name.iteration is not None:
            found.append((name.calibration or "", name.iteration, name.owner or ""))
    return list(dict.fromkeys(found))
