"""What one request gives: of the right form, and never too large."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    LogRow,
    PayloadRow,
    SubjobsRow,
    open_sqlite_catalog,
)
from airflow_provider_caf.plugin import views
from airflow_provider_caf.status.airflow_run import RunRow, RunSummary
from airflow_provider_caf.status.tasks import TaskRow

IDS: Any = {"dag_id": "lab", "run_id": "run", "calibration": "vertex", "iteration": 0}
LARGEST = 300_000


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_sqlite_catalog(tmp_path / "catalog.sqlite")


@pytest.fixture
def run() -> RunRow:
    steps = ("prepare", "iteration_0.hits.submit", "iteration_0.hits.wait", "iteration_0.hits.merge")
    tasks = {f"vertex.{step}": TaskRow(state="success") for step in (*steps, "iteration_0.Mean", "iteration_0.decide")}
    tasks |= {"vertex.iteration_1.Mean": TaskRow(state=None), "vertex.finish": TaskRow(state=None)}
    now = datetime.now(UTC)
    return RunRow(dag_id="lab", run_id="run", state="running", started=now, ended=None, tasks=tasks)


def execute(catalog: Catalog, count: int, **words: Any) -> None:
    catalog.write(
        ExecutionRow(
            **{**IDS, **words},
            algorithm="Mean",
            key=key,
            runs=(ExpRun(1, key),),
            iov=IoV(1, key, 1, key),
            code=ResultCode.OK if key % 2 else ResultCode.NOT_ENOUGH_DATA,
        )
        for key in range(count)
    )


def commit(catalog: Catalog, count: int, **words: Any) -> None:
    catalog.write(
        PayloadRow(
            **{**IDS, "name": "Spot", **words},
            algorithm="Mean",
            iov=IoV(1, key, 1, key),
            revision=f"{key:06x}",
            execution=key,
            value={"value": key / 7, "error": 0.1},
            position=key,
            final=True,
        )
        for key in range(count)
    )


def test_executions_are_digits_and_numbers(run: RunRow, catalog: Catalog) -> None:
    execute(catalog, 3)
    found = views.build_executions(run, catalog, "vertex", 0)
    codes = found["codes"]
    (algorithm,) = found["algorithms"]
    assert [codes[code] for code in algorithm["codes"]] == ["NOT_ENOUGH_DATA", "OK", "NOT_ENOUGH_DATA"]
    assert algorithm["iovs"] == [1, 0, 1, 0, 1, 1, 1, 1, 1, 2, 1, 2]
    assert algorithm["keys"] is None


def test_too_many_are_counted_and_cut(run: RunRow, catalog: Catalog) -> None:
    execute(catalog, 7000)
    commit(catalog, 7000)
    for what in (
        views.build_executions(run, catalog, "vertex", 0),
        views.build_map(run, catalog, None),
        views.build_trend(run, catalog, "vertex", "Spot", "value", None),
        views.build_calibration(run, catalog, "vertex"),
        views.build_run(run, catalog),
    ):
        assert len(json.dumps(what)) < LARGEST
    found = views.build_map(run, catalog, None)
    assert found["total"] == 7000
    assert len(found["payloads"][0]["iovs"]) == 4 * views.MOST_IOVS


def test_gaps_stand_in_the_map(run: RunRow, catalog: Catalog) -> None:
    execute(catalog, 4)
    commit(catalog, 2)
    (payload,) = views.build_map(run, catalog, "vertex")["payloads"]
    assert payload["gaps"]["uncovered"] == [1, 2, 1, 3]


def test_imported_payloads_have_an_axis(run: RunRow, catalog: Catalog) -> None:
    commit(catalog, 3)
    found = views.build_map(run, catalog, None)
    assert (found["executed"], found["runs"]) == (0, [1, 0, 2])


def test_a_trend_is_compared_with_what_is_named(run: RunRow, catalog: Catalog) -> None:
    commit(catalog, 2)
    commit(catalog, 1, run_id="earlier")
    commit(catalog, 1, calibration="by_hand")
    assert views.build_calibration(run, catalog, "vertex")["others"] == ["calibration:by_hand", "run:earlier"]
    for other in ("calibration:by_hand", "run:earlier"):
        found = views.build_trend(run, catalog, "vertex", "Spot", "value", other)
        assert (len(found["points"]), len(found["other"])) == (2, 1)
    with pytest.raises(CafError, match="nothing to compare with under 'x:y'"):
        views.build_trend(run, catalog, "vertex", "Spot", "value", "x:y")


def test_a_payload_has_its_runs(run: RunRow, catalog: Catalog) -> None:
    execute(catalog, 2)
    commit(catalog, 2)
    found = views.build_payload(run, catalog, "vertex", "Spot", IoV(1, 1, 1, 1))
    assert (found["runs"], found["count"], found["value"]["error"]) == (["1.1"], 1, 0.1)
    with pytest.raises(CafError, match="no final payload 'Spot' for 2,2,2,2"):
        views.build_payload(run, catalog, "vertex", "Spot", IoV(2, 2, 2, 2))


@pytest.mark.parametrize("name", ["calibration", "executions"])
def test_a_calibration_that_is_not_there_is_named(run: RunRow, catalog: Catalog, name: str) -> None:
    words: dict[str, tuple[Any, ...]] = {"calibration": ("vertx",), "executions": ("vertx", 0)}
    with pytest.raises(CafError, match="vertx") as caught:
        getattr(views, f"build_{name}")(run, catalog, *words[name])
    assert "'vertex'" in str(caught.value.hint)


def test_logs_and_figures(run: RunRow, catalog: Catalog) -> None:
    catalog.write(
        [
            LogRow(**IDS, step="Mean", path="/w/Mean.log", text="the end", is_whole=False),
            FigureRow(**IDS, algorithm="Mean", execution=0, name="f", media_type="image/png", path="/f", content=b"p"),
            FigureRow(**IDS, algorithm="Mean", execution=1, name="f", media_type="image/png", path="/f"),
        ]
    )
    assert views.find_log(run, catalog, "vertex", 0, "Mean", -1, 0) == "(the end of /w/Mean.log)\n\nthe end"
    assert views.find_figure(run, catalog, "vertex", 0, "Mean", 0, "f").content == b"p"
    with pytest.raises(CafError, match="no log of 'Other'"):
        views.find_log(run, catalog, "vertex", 0, "Other", -1, 0)
    with pytest.raises(CafError, match="no figure 'f' of execution 1"):
        views.find_figure(run, catalog, "vertex", 0, "Mean", 1, "f")


def test_where_a_calibration_can_go_back_to(run: RunRow, catalog: Catalog) -> None:
    resets = views.build_calibration(run, catalog, "vertex")["resets"]
    assert [(each["step"], each["iteration"]) for each in resets] == [
        ("prepare", None),
        ("collect", 0),
        ("merge", 0),
        ("algorithms", 0),
        ("decide", 0),
    ]
    assert resets[1]["tasks"] == ["vertex.iteration_0.hits.submit"]


def test_runs_are_listed_the_newest_first() -> None:
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3)]
    runs = [
        RunSummary(dag_id="lab", run_id=run_id, state="success", started=started, ended=started)
        for run_id, started in (("old", moments[0]), ("new", moments[1]), ("waits", None))
    ]
    assert [each["run_id"] for each in views.build_runs(["lab"], runs)["runs"]] == ["new", "old", "waits"]


def test_jobs_of_tasks_stand_beside_the_calibrations(run: RunRow, catalog: Catalog) -> None:
    """A collection may have the name that such jobs have."""
    now = datetime.now(UTC)
    counts: Any = {"total": 3, "done": 1, "failed": 1, "queued": 0, "held": 0, "running": 1, "updated": now}
    place: Any = {"dag_id": "lab", "run_id": "run", "iteration": 0, "collection": "jobs"}
    told = TaskRow(state="running", progress="1 done, 1 failed, 1 running")
    fit, merge = "vertex.iteration_0.Fit", "vertex.iteration_0.hits.merge"
    run = replace(run, tasks={**run.tasks, "skim": told, fit: TaskRow(state="deferred", progress="1 queued")})
    catalog.write(SubjobsRow(**place, calibration=name, **counts) for name in ("skim", "skim[2]", "vertex", fit, merge))
    (vertex,) = views.build_run(run, catalog)["calibrations"]
    assert vertex["waiting"] == "the job of Fit is running"
    resources = views.build_calibration(run, catalog, "vertex")["resources"]
    assert {(row["name"], row["iteration"]) for row in resources} == {("jobs", 0), ("Fit", 0), ("hits.merge", 0)}
    failure: Any = {"subjob": 1, "attempt": 0, "exit_code": 3, "signal": None, "reason": "no licence", "ended": now}
    catalog.write([FailedSubjobRow(**place, calibration="skim[2]", **failure)])
    found = views.build_run(run, catalog)
    assert [(row["name"], row["state"], row["done"]) for row in found["jobs"]] == [
        ("skim", "running", 1),
        ("skim[2]", "running", 1),
    ]
    assert found["jobs"][0]["progress"] == "1 done, 1 failed, 1 running"
    (row,) = views.build_failures(run, catalog)["rows"]
    assert (row["task_id"], row["calibration"], row["subjob"]) == ("skim", "skim[2]", 1)
