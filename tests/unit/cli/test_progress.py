"""The live view: what a run is doing, in the words of the CAF."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from airflow_provider_caf.cli.progress import (
    CalibrationProgress,
    build_table,
    count_subjobs,
    judge_state,
    read_progress,
)
from airflow_provider_caf.io.catalog import open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

STEPS = ("default.submit", "default.wait", "default.merge", "mean", "decide")


def make_tasks(prepare: str | None, *passes: str, finish: str | None = None) -> dict[str, str | None]:
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
    tasks: dict[str, str | None] = {"prepare": prepare}
    for number in (0, 1):
        states = passes[number] if number < len(passes) else "....."
        for step, letter in zip(STEPS, states, strict=True):
            tasks[f"iteration_{number}.{step}"] = words[letter]
    return {**tasks, "finish": finish}


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
def test_the_state_of_a_calibration(tasks: dict[str, str | None], state: str, iteration: int | None) -> None:
    assert judge_state(tasks) == (state, iteration)


def test_a_run_that_has_just_begun_is_all_waiting(tmp_path: Path) -> None:
    run = RunLayout(work_dir=tmp_path / "caf", dag_id="dag", run_id="run")
    tasks = {f"{name}.{task}": state for name in ("b", "a") for task, state in make_tasks(None).items()}
    progress = read_progress(run, {**tasks, "outside": None}, open_sqlite_catalog(tmp_path / "catalog.sqlite"))
    assert [(each.name, each.state, each.subjobs, each.executions) for each in progress] == [
        ("b", "waiting", 0, 0),
        ("a", "waiting", 0, 0),
    ]


def test_subjobs_that_ended_well_are_counted(lab: Lab) -> None:
    words = ["bash", "-c", '[ "$1" = 1 ] && exit 3; cp "$2" CollectorOutput.root', "-", "{subjob}"]
    copies = lab.copies([*words, str(lab.files.collected[0])])
    lab.prepare(lab.calibration(collections={"first": copies, "second": lab.copies()}))
    assert count_subjobs(lab.layout(), 0) == (0, 0)
    for name in ("first", "second"):
        lab.submit(name)
        lab.wait(lab.open(name))
    assert count_subjobs(lab.layout(), 0) == (5, 6)
    assert count_subjobs(lab.layout(), 1) == (0, 0)
    tasks = {f"vertex.{task}": state for task, state in make_tasks("success", "sd...").items()}
    (progress,) = read_progress(lab.run, tasks, lab.catalog)
    assert (progress.subjobs_done, progress.subjobs, progress.state) == (5, 6, "collecting")


def test_the_table_shows_every_calibration() -> None:
    rows = [
        CalibrationProgress(name="vertex", state="collecting", iteration=1, subjobs_done=3, subjobs=8, executions=0),
        CalibrationProgress(name="gain", state="waiting", iteration=None, subjobs_done=0, subjobs=0, executions=0),
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
