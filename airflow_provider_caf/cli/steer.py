"""`reset` and `cancel`: what changes a run. Both show first what they would do, and ask."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_provider_caf.cli.look import find_layout
from airflow_provider_caf.cli.output import ask, command, show_text
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.status.airflow_run import (
    RunRow,
    clear,
    fail_run,
    fail_tasks,
    find_to_clear,
    read_run,
)
from airflow_provider_caf.status.tasks import (
    UNBEGUN,
    TaskRow,
    check_calibration,
    find_active,
    find_collecting,
    find_first_tasks,
)

_NONE = TaskRow(state=None)


@command
def reset(arguments: Any) -> None:
    """Go back to a pass or a checkpoint of a calibration."""
    run = read_run(arguments.dag_id, arguments.run_id)
    first = find_first_tasks(run.tasks, arguments.calibration, arguments.iteration, arguments.to)
    affected = find_to_clear(run.dag_id, run.run_id, first)
    begun = [task_id for task_id in affected if run.tasks.get(task_id, _NONE).state is not None]
    if not begun:
        raise CafError("Nothing of that has begun: there is nothing to go back from.", hint="See airflow caf status.")
    show_text(f"In run {run.run_id} of {run.dag_id} these tasks would be cleared and run again:")
    shown = [task_id for task_id in begun if run.tasks[task_id].state not in UNBEGUN]
    show_text("\n".join(f"  {task_id} ({run.tasks[task_id].state})" for task_id in shown))
    if len(begun) > len(shown):
        show_text(f"  and {len(begun) - len(shown)} that were skipped or not reached")
    show_text("What was collected is used again where nothing that it is made of has changed.")
    ask("Clear them?", yes=arguments.yes)
    count = clear(run.dag_id, run.run_id, affected)
    show_text(f"{count} tasks were cleared.")


@command
def cancel(arguments: Any) -> None:
    """End a run, or a calibration of it, with its batch jobs."""
    run = read_run(arguments.dag_id, arguments.run_id)
    if arguments.calibration is not None:
        check_calibration(run.tasks, arguments.calibration)
    active = find_active(run.tasks, arguments.calibration)
    if not active and arguments.calibration is not None:
        raise CafError(
            f"Nothing of calibration {arguments.calibration!r} is under way.", hint="See airflow caf status."
        )
    if not active and run.state not in ("running", "queued"):
        raise CafError(f"Run {run.run_id} is over: {run.state}.", hint="There is nothing to cancel.")
    show_text(f"In run {run.run_id} of {run.dag_id} this would be ended:")
    show_text(
        "\n".join(f"  {task_id} ({run.tasks[task_id].state})" for task_id in active) or "  (no task is under way)"
    )
    ask("End it?", yes=arguments.yes)
    if arguments.calibration is None:
        fail_run(run.dag_id, run.run_id)
    else:
        fail_tasks(run.dag_id, run.run_id, active)
    ended = cancel_jobs(run, active)
    show_text(
        f"{len(active)} tasks were ended. " + (f"Jobs of {', '.join(ended)} were ended." if ended else "No jobs ran.")
    )


def cancel_jobs(run: RunRow, active: Collection[str]) -> list[str]:
    """End the batch jobs that belong to tasks, and give whose they were.

    Airflow tells the tasks to do so themselves; a worker that is gone does not hear it.

    :raises CafError: with every collection whose jobs could not be ended; those of the others were.
    """
    ended, problems = [], []
    for calibration, iteration, collection in find_collecting(active):
        layout = find_layout(run).calibration(calibration)
        if layout.iteration(iteration).collection(collection).jobs.arrays_folder.exists():
            try:
                open_collection(layout, iteration, collection).cancel()
            except CafError as error:
                problems.append(f"{calibration}.{collection}: {error}")
            else:
                ended.append(f"{calibration}.{collection}")
    if problems:
        raise CafError("\n".join(["The tasks were ended, but jobs may go on:", *problems]))
    return ended
