"""What the tasks of a run are, with which a reset begins, and which a cancel ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_caf.cli.look import describe_whole, find_task_logs
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.status.airflow_run import RunRow
from airflow_provider_caf.status.progress import find_checkpoint
from airflow_provider_caf.status.tasks import (
    TaskRow,
    find_active,
    find_collecting,
    find_failed_waits,
    find_first_tasks,
    group_by_calibration,
)


def make_tasks(*states: str | None) -> dict[str, TaskRow]:
    """Give the tasks of a run: of a calibration with two collections, two algorithms and two passes, and of a step."""
    names = ["configure", "cal.prepare"]
    for number in (0, 1):
        group = f"cal.iteration_{number}"
        names += [f"{group}.{name}.{step}" for name in ("a", "b") for step in ("submit", "wait", "merge")]
        names += [f"{group}.{name}" for name in ("fit", "check", "decide")]
    names += ["cal.finish", "step.run", "join"]
    filled = [*states, *[None] * (len(names) - len(states))]
    return {name: TaskRow(state=state) for name, state in zip(names, filled, strict=True)}


FIRST_PASS_DONE = make_tasks(*["success"] * 11)


@pytest.mark.parametrize(
    ("iteration", "to", "expected"),
    [
        (None, "prepare", ["cal.prepare"]),
        (None, "collect", ["cal.iteration_0.a.submit", "cal.iteration_0.b.submit"]),
        (0, "merge", ["cal.iteration_0.a.merge", "cal.iteration_0.b.merge"]),
        (0, "algorithms", ["cal.iteration_0.check", "cal.iteration_0.fit"]),
        (0, "decide", ["cal.iteration_0.decide"]),
        (1, "algorithms", ["cal.iteration_1.check", "cal.iteration_1.fit"]),
    ],
)
def test_the_first_tasks_of_a_step(iteration: int | None, to: str, expected: list[str]) -> None:
    assert find_first_tasks(FIRST_PASS_DONE, "cal", iteration, to) == expected


def test_without_a_number_it_is_the_last_pass_that_has_begun() -> None:
    tasks = make_tasks(*["success"] * 11, "running")
    assert find_first_tasks(tasks, "cal", None, "decide") == ["cal.iteration_1.decide"]


def test_a_step_that_collects_nothing_is_one_task() -> None:
    assert find_first_tasks(FIRST_PASS_DONE, "step", None, "collect") == ["step.run"]


@pytest.mark.parametrize(
    ("calibration", "iteration", "what"),
    [("call", None, "There is no calibration 'call' in this run"), ("cal", 7, "has no pass 7")],
)
def test_what_is_not_there_is_told(calibration: str, iteration: int | None, what: str) -> None:
    with pytest.raises(CafError, match=what):
        find_first_tasks(FIRST_PASS_DONE, calibration, iteration, "collect")


def test_what_is_under_way() -> None:
    tasks = make_tasks("success", "success", "success", "deferred", None, "queued", "success", "failed")
    assert find_active(tasks, "cal") == ["cal.iteration_0.a.wait", "cal.iteration_0.b.submit"]
    assert find_active(tasks, "step") == []
    assert len(find_active(tasks, None)) == 2


def test_the_jobs_of_a_collection_are_ended_once() -> None:
    active = ["cal.iteration_1.a.submit", "cal.iteration_1.a.wait", "cal.iteration_1.b.merge", "cal.iteration_1.fit"]
    assert find_collecting(["configure", "cal.prepare", *active, "step.run"]) == [("cal", 1, "a")]


def test_logs_of_failed_merges_and_algorithms(tmp_path: Path) -> None:
    states = {"cal.iteration_0.a.merge": "failed", "cal.iteration_0.a.wait": "failed", "cal.iteration_0.fit": "failed"}
    states |= {"cal.iteration_0.decide": "failed", "cal.iteration_1.fit": "failed", "cal.iteration_0.check": "success"}
    tasks = {name: TaskRow(state=state) for name, state in states.items()}
    layout = RunLayout(work_dir=tmp_path, dag_id="demo", run_id="one").calibration("cal")
    assert [each.name for each in find_task_logs(layout, 0, tasks)] == ["a.merge.log", "fit.log"]


@pytest.mark.parametrize(
    ("done", "checkpoint"),
    [
        (0, None),
        (1, "prepared"),
        (2, "prepared"),
        (3, "submitted"),
        (4, "submitted"),
        (5, "collected"),
        (7, "merged"),
        (8, "merged"),
        (9, "algorithms run"),
        (10, "decided"),
    ],
)
def test_the_checkpoint_is_what_all_have_behind_them(done: int, checkpoint: str | None) -> None:
    order = ["prepare", "iteration_0.a.submit", "iteration_0.b.submit", "iteration_0.a.wait", "iteration_0.b.wait"]
    order += [
        "iteration_0.a.merge",
        "iteration_0.b.merge",
        "iteration_0.fit",
        "iteration_0.check",
        "iteration_0.decide",
    ]
    rows = {f"cal.{task}": TaskRow(state="success" if number < done else None) for number, task in enumerate(order)}
    assert find_checkpoint(group_by_calibration(rows)["cal"], 0) == checkpoint


def test_what_the_whole_run_waits_for_is_said() -> None:
    states = {"configure": "failed", "sign_off": "awaiting_input", "join": "success", "cal.prepare": "failed"}
    tasks = {name: TaskRow(state=state) for name, state in states.items()}
    run = RunRow(dag_id="demo", run_id="one", state="running", started=None, ended=None, tasks=tasks)
    assert describe_whole(run) == ["configure: failed; see its log", "sign_off: waits for an answer in the web UI"]
    assert run.seconds == 0
    told = {"configure": TaskRow(state="failed", reason="there is no file")}
    assert describe_whole(replace(run, tasks=told)) == ["configure: there is no file"]


def test_failed_subjobs_are_submitted_again_by_the_tasks_that_wait_for_them() -> None:
    tasks = {
        "cal.iteration_0.a.wait": TaskRow(state="failed"),
        "cal.iteration_0.b.wait": TaskRow(state="success"),
        "other.iteration_0.a.wait": TaskRow(state="failed"),
        "other.iteration_0.fit": TaskRow(state="failed"),
    }
    assert find_failed_waits(tasks) == ["cal.iteration_0.a.wait", "other.iteration_0.a.wait"]
    assert find_failed_waits(tasks, "cal") == ["cal.iteration_0.a.wait"]
