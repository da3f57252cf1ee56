"""A failure on a real Airflow: what goes on, what stops, and what runs again after a clear."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.jobs.exit_records import StatusFolder
from tests.integration.started_airflow import StartedAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.kills_airflow]

FILES = 3

MAKE_EVENTS = """
import sys, numpy, ROOT
folder, files = sys.argv[1], int(sys.argv[2])
for run in range(1, files + 1):
    branches = {"exp": numpy.full(run, 5, dtype=numpy.int32), "run": numpy.full(run, run, dtype=numpy.int32)}
    ROOT.RDF.FromNumpy(branches).Snapshot("events", f"{folder}/run_{run}.root")
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(tmp_path), str(FILES)], check=True)
    return tmp_path


def list_tries(started: StartedAirflow, run_id: str, calibration: str) -> list[tuple[int, int]]:
    """Give (subjob, attempt) of every try that has left an exit record."""
    layout = started.find_run("counting", run_id).calibration(calibration).iteration(0).collection("events")
    return [(each.subjob, each.attempt) for each in StatusFolder(layout.jobs.status_folder).scan()]


def test_clearing_a_failed_task_runs_only_what_failed(started: StartedAirflow, data: Path) -> None:
    (data / "run_2.fail").touch()
    run_id = started.trigger("counting", {"folder": str(data)})
    assert started.wait("counting", run_id) == "failed"
    states = started.read_states("counting", run_id)
    wait = "first.iteration_0.events.wait"
    assert states[wait] == "failed"
    # Who depends on it does not run; nobody else is touched by it.
    assert states["first.finish"] == "upstream_failed"
    assert states["second.prepare"] == "upstream_failed"
    log = started.read_log("counting", run_id, wait)
    assert "1 of 3 subjobs of collection 'events' in calibration 'first', iteration 0, failed" in log
    assert "told to fail by run_2.fail" in log
    assert "only the failed subjobs run again" in log
    # The failed one had all its tries, the others one. (One more if it failed before anybody waited for it.)
    tries = list_tries(started, run_id, "first")
    assert [subjob for subjob, _ in tries].count(1) in (4, 5)
    assert [each for each in tries if each[0] != 1] == [(0, 0), (2, 0)]

    (data / "run_2.fail").unlink()
    for calibration in ("first", "alone"):
        started.clear("counting", run_id, f"{calibration}.iteration_0.events.wait")
    assert started.wait("counting", run_id) == "success", started.explain("counting", run_id)
    again = list_tries(started, run_id, "first")
    assert [subjob for subjob, _ in set(again) - set(tries)] == [1]
    assert started.read_states("counting", run_id)["first.iteration_1.events.submit"] == "skipped"

    payloads = started.open_catalog().read(PayloadRow, "counting", run_id, "second", final=True)
    assert [(row.iov.low.run, row.value) for row in payloads] == [(run, {"events": run}) for run in (1, 2, 3)]


def test_long_jobs_are_waited_for_in_the_triggerer(started: StartedAirflow, data: Path) -> None:
    (data / "slow").write_text("8")
    run_id = started.trigger("counting", {"folder": str(data)})
    seen = started.collect_states("counting", run_id)
    assert started.wait("counting", run_id) == "success", started.explain("counting", run_id)
    assert "deferred" in seen["first.iteration_0.events.wait"]
    assert list_tries(started, run_id, "first") == [(0, 0), (1, 0), (2, 0)]


def test_bad_input_of_all_calibrations_is_told_before_anything_is_submitted(
    started: StartedAirflow, tmp_path: Path
) -> None:
    run_id = started.trigger("counting", {"folder": str(tmp_path / "empty")})
    assert started.wait("counting", run_id) == "failed"
    states = started.read_states("counting", run_id)
    assert states["configure"] == "failed"
    # The report says so, however a run ends.
    assert states["report"] == "success"
    assert {state for task, state in states.items() if task not in ("configure", "report")} == {"upstream_failed"}
    log = started.read_log("counting", run_id, "configure")
    assert f"'{tmp_path / 'empty'}/*.root' matches no file" in log
    for name in ("first", "second", "alone"):
        assert f"collection 'events' of calibration '{name}'" in log
    assert "nearest existing folder" in log


def test_jobs_outlive_a_killed_scheduler_and_are_not_submitted_again(started: StartedAirflow, data: Path) -> None:
    (data / "slow").write_text("20")
    run_id = started.trigger("counting", {"folder": str(data)})
    submitted = started.find_run("counting", run_id).calibration("first").iteration(0).collection("events")
    started.wait_until(lambda: (submitted.jobs.array_folder(0) / "submitted.json").exists())
    # The scheduler takes the tasks that run at the moment with it, as a crash of the machine would.
    started.airflow.kill_component("scheduler")
    started.airflow.start_component("scheduler")
    assert started.wait("counting", run_id) == "success", started.explain("counting", run_id)
    for calibration in ("first", "second", "alone"):
        assert list_tries(started, run_id, calibration) == [(0, 0), (1, 0), (2, 0)]
