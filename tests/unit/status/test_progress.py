"""The live view: what a run is doing, in the words of the CAF."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from airflow_provider_caf import CAF, Calibration
from airflow_provider_caf.cli.progress import build_table
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    LogRow,
    RunRow,
    SubjobsRow,
    open_sqlite_catalog,
)
from airflow_provider_caf.status.progress import (
    AlgorithmProgress,
    CalibrationProgress,
    judge_state,
    read_progress,
)
from airflow_provider_caf.status.tasks import TaskRow, group_by_calibration
from airflow_provider_caf.steps.waiting import LiveCounts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Lab

PLACE: Any = {"dag_id": "dag", "run_id": "run", "calibration": "cal", "iteration": 0}
STEPS = ("default.submit", "default.wait", "default.merge", "mean", "decide")


def make_tasks(prepare: str | None, *passes: str, finish: str | None = None) -> dict[str, TaskRow]:
    """Give the tasks of a calibration with two passes.

    :param passes: for each pass the states of its steps, one letter each.
    """
    words = {
        "s": "success",
        "r": "running",
        "d": "deferred",
        "f": "failed",
        "k": "skipped",
        "u": "upstream_failed",
        ".": None,
    }
    tasks: dict[str, str | None] = {"cal.prepare": prepare}
    for number in (0, 1):
        states = passes[number] if number < len(passes) else "....."
        for step, letter in zip(STEPS, states, strict=True):
            tasks[f"cal.iteration_{number}.{step}"] = words[letter]
    return {task_id: TaskRow(state=state) for task_id, state in {**tasks, "cal.finish": finish}.items()}


@pytest.mark.parametrize(
    ("tasks", "state", "iteration"),
    [
        (make_tasks(None), "waiting", None),
        (make_tasks("queued"), "preparing", None),
        (make_tasks("running"), "preparing", None),
        (make_tasks("failed", "uuuuu", "uuuuu", finish="upstream_failed"), "failed", None),
        (make_tasks("upstream_failed", "uuuuu", "uuuuu", finish="upstream_failed"), "upstream failed", None),
        (make_tasks("success", "r...."), "collecting", 0),
        (make_tasks("success", "sd..."), "collecting", 0),
        (make_tasks("success", "ssr.."), "merging", 0),
        (make_tasks("success", "sssr."), "running algorithms", 0),
        (make_tasks("success", "ssssr"), "deciding", 0),
        (make_tasks("success", "sssss", "sd..."), "collecting", 1),
        (make_tasks("success", "sssfu", "uuuuu", finish="upstream_failed"), "failed", 0),
        (make_tasks("success", "sssss", "kkkkk", finish="running"), "deciding", 0),
        (make_tasks("success", "sssss", "kkkkk", finish="success"), "completed", 0),
        (make_tasks("success", "sssss", "sssss", finish="success"), "completed", 1),
    ],
)
def test_the_state_of_a_calibration(tasks: dict[str, TaskRow], state: str, iteration: int | None) -> None:
    assert judge_state(group_by_calibration(tasks)["cal"]) == (state, iteration)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_sqlite_catalog(tmp_path / "catalog.sqlite")


def write_run(catalog: Catalog, chosen: tuple[str, ...]) -> None:
    calibrations = [Calibration(name, ["true"], "hits:A", "/x") for name in ("first", "second")]
    calibrations[1].depends_on(calibrations[0])
    caf = CAF("demo", calibrations).resolve()
    place: Any = {"dag_id": "dag", "run_id": "run"}
    catalog.write([RunRow(**place, definition=caf.to_json(), chosen=chosen, params={}, versions={}, folder="/data")])


def test_a_run_that_has_just_begun_is_all_waiting(catalog: Catalog) -> None:
    tasks = {"b.prepare": TaskRow(state=None), "a.prepare": TaskRow(state=None), "outside": TaskRow(state=None)}
    progress = read_progress("dag", "run", tasks, catalog)
    assert [(each.name, each.state, each.subjobs, each.executions) for each in progress] == [
        ("b", "waiting", 0, 0),
        ("a", "waiting", 0, 0),
    ]


def test_subjobs_are_counted_while_somebody_waits(lab: Lab) -> None:
    script = '[ "$1" = 1 ] && { echo broken >&2; exit 3; }; cp "$2" CollectorOutput.root'
    words = ["bash", "-c", script, "-", "{subjob}"]
    copies = lab.copies([*words, str(lab.files.collected[0])])
    lab.prepare(lab.calibration(collections={"first": copies, "second": lab.copies()}))
    for name in ("first", "second"):
        lab.submit(name)
        run = lab.open(name)
        lab.wait(run)
        LiveCounts.of_collection(run, lab.results("vertex")).update(run.observe())
    tasks = {task_id.replace("cal.", "vertex."): row for task_id, row in make_tasks("success", "sd...").items()}
    (progress,) = read_progress(lab.run.dag_id, lab.run.run_id, tasks, lab.catalog)
    counted = (progress.subjobs_done, progress.subjobs, progress.subjobs_failed, progress.state)
    assert counted == (5, 6, 1, "collecting")
    (log,) = lab.catalog.read(LogRow, lab.run.dag_id, lab.run.run_id, "vertex", step="first", subjob=1)
    assert (log.text, log.is_whole) == ("broken\n", True)


def test_what_an_algorithm_has_executed(catalog: Catalog) -> None:
    rows = [
        ExecutionRow(
            **PLACE, algorithm="mean", key=key, runs=(ExpRun(1, key),), iov=IoV(1, key, 1, key), code=code, seconds=0.5
        )
        for key, code in enumerate([ResultCode.OK, ResultCode.OK, ResultCode.NOT_ENOUGH_DATA])
    ]
    catalog.write(rows)
    (progress,) = read_progress("dag", "run", make_tasks("success", "sssr."), catalog)
    assert progress.algorithms == (
        AlgorithmProgress(name="mean", state="running", codes={"OK": 2, "NOT_ENOUGH_DATA": 1}, seconds=1.5),
    )
    assert progress.executions == 3
    assert progress.passes == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (TaskRow(state="failed", reason="there is no data"), "cal.iteration_0.default.wait: there is no data"),
        (TaskRow(state="failed"), "subjob 3 of default: exit code 7"),
    ],
)
def test_why_a_calibration_failed(catalog: Catalog, row: TaskRow, reason: str) -> None:
    catalog.write([FailedSubjobRow(**PLACE, collection="default", subjob=3, attempt=0, reason="exit code 7")])
    tasks = {**make_tasks("success", "s.uuu"), "cal.iteration_0.default.wait": row}
    (progress,) = read_progress("dag", "run", tasks, catalog)
    assert (progress.state, progress.reason) == ("failed", reason)


def test_a_calibration_waits_for_those_it_depends_on(catalog: Catalog) -> None:
    write_run(catalog, ("first", "second"))
    tasks = {"first.prepare": TaskRow(state="running"), "second.prepare": TaskRow(state=None)}
    first, second = read_progress("dag", "run", tasks, catalog)
    assert (first.waiting, second.waiting) == (None, "first")
    assert second.depends_on == ("first",)


def test_the_table_shows_every_calibration() -> None:
    counts = SubjobsRow(**{**PLACE, "iteration": 1}, collection="default", total=8, done=3)
    rows = [
        CalibrationProgress(name="vertex", state="collecting", iteration=1, collections=(counts,)),
        CalibrationProgress(name="gain", state="waiting"),
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(build_table(rows, "the run"))
    lines = console.export_text().splitlines()
    assert lines[0].strip() == "the run"
    (vertex,) = [line for line in lines if "vertex" in line]
    assert "collecting" in vertex
    assert "3/8" in vertex
    (gain,) = [line for line in lines if "gain" in line]
    assert "waiting" in gain
    assert "/" not in gain


def test_what_an_ended_run_did_not_reach_was_not_left_out(catalog: Catalog) -> None:
    write_run(catalog, ("first",))
    tasks = {f"{name}.prepare": TaskRow(state="skipped") for name in ("first", "second")}
    found = read_progress("dag", "run", tasks, catalog)
    assert {each.name: each.state for each in found} == {"first": "not reached", "second": "left out"}
