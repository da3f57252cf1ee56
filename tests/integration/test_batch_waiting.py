"""Waiting for jobs on a real Airflow: what a dead triggerer costs, what a user's kill does, and each way to wait."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.io.layout import CollectionLayout
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.notes import NOTES_FILE
from airflow_provider_caf.steps.collect import CollectionRun
from tests.integration.started_airflow import StartedAirflow

pytestmark = [pytest.mark.airflow, pytest.mark.kills_airflow]

DAG = "waiting"
WAYS = ("deferred", "polling", "rescheduled")


def start(started: StartedAirflow, folder: Path) -> str:
    """Trigger a run, and wait until the triggerer waits for its jobs."""
    run_id = started.trigger(DAG, {"folder": str(folder)})
    started.wait_until(lambda: started.read_states(DAG, run_id).get("deferred.wait") == "deferred")
    started.wait_until(lambda: count_starts(folder, "deferred") == {0: 1, 1: 1})
    wait_for_trigger(started, run_id, 1)
    return run_id


def wait_for_trigger(started: StartedAirflow, run_id: str, count: int) -> None:
    """Wait until the triggerer has looked at the jobs in so many waits. Before, it knows nothing of the task."""
    logs = started.airflow.home / "logs" / f"dag_id={DAG}" / f"run_id={run_id}" / "task_id=deferred.wait"
    started.wait_until(
        lambda: sum(file.read_text().count('"2 running"') for file in logs.glob("*.log.trigger.*")) >= count
    )


def count_starts(folder: Path, calibration: str) -> dict[int, int]:
    """Give how often each subjob was started: the job itself has counted."""
    files = folder.glob(f"{calibration}.*.started")
    return {int(file.name.split(".")[1]): len(file.read_text().splitlines()) for file in files}


def find_jobs(started: StartedAirflow, run_id: str, calibration: str) -> CollectionLayout:
    return started.find_run(DAG, run_id).calibration(calibration).iteration(0).collection("jobs")


def read_statuses(started: StartedAirflow, run_id: str, calibration: str) -> set[SubjobStatus]:
    run = CollectionRun(started.find_run(DAG, run_id).calibration(calibration), 0, "jobs")
    return {verdict.status for verdict in run.observe().verdicts.values()}


def read_progress(started: StartedAirflow, run_id: str, task_id: str) -> str:
    path = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/state-store/progress"
    return str(started.airflow.call_api("GET", path)["value"])


def has_said(started: StartedAirflow, run_id: str, way: str) -> bool:
    return "2 running" in started.read_log(DAG, run_id, f"{way}.wait")


def insist(call: Callable[[], object]) -> None:
    """Call the API until it takes it: on a busy machine the SQLite database may be locked for long."""
    for _ in range(5):
        try:
            call()
        except TransportError:
            time.sleep(2)
        else:
            return
    call()


def stop_triggerer(started: StartedAirflow) -> None:
    """Stop it as a service manager does."""
    process = started.airflow.processes.pop("triggerer")
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def test_a_dead_triggerer_costs_no_job_and_every_way_to_wait_ends_well(started: StartedAirflow, tmp_path: Path) -> None:
    run_id = start(started, tmp_path)
    assert read_progress(started, run_id, "deferred.wait") == "2 running"
    started.airflow.kill_component("triggerer")
    started.airflow.start_component("triggerer")
    # One that has no time left is failed by the sensor, however the triggerer fared; its jobs are ended.
    started.wait_until(lambda: started.read_states(DAG, run_id)["hurried.wait"] == "failed")
    started.wait_until(lambda: read_statuses(started, run_id, "hurried") == {SubjobStatus.CANCELLED})
    stop_triggerer(started)
    assert started.read_states(DAG, run_id)["deferred.wait"] == "deferred"
    started.airflow.start_component("triggerer")
    for way in WAYS:
        assert read_statuses(started, run_id, way) == {SubjobStatus.RUNNING}
        assert not (find_jobs(started, run_id, way).jobs.array_folder(0) / NOTES_FILE).exists()
        # That they run is seen by the sensor's next look, which on a busy machine may come late.
        started.wait_until(partial(has_said, started, run_id, way))
    (tmp_path / "go").touch()
    started.wait(DAG, run_id)
    states = started.read_states(DAG, run_id)
    assert {way: states[f"{way}.wait"] for way in WAYS} == dict.fromkeys(WAYS, "success")
    for way in WAYS:
        assert count_starts(tmp_path, way) == {0: 1, 1: 1}
        records = StatusFolder(find_jobs(started, run_id, way).jobs.status_folder).scan()
        assert [(each.subjob, each.attempt) for each in records] == [(0, 0), (1, 0)]
        assert read_progress(started, run_id, f"{way}.wait") == "2 done"


def test_who_kills_a_deferred_task_ends_its_jobs(started: StartedAirflow, tmp_path: Path) -> None:
    run_id = start(started, tmp_path)
    task = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/deferred.wait"
    insist(lambda: started.airflow.call_api("PATCH", task, {"new_state": "failed"}))
    started.wait_until(lambda: read_statuses(started, run_id, "deferred") == {SubjobStatus.CANCELLED})
    # Cleared, it submits both once more; and cleared while it is deferred, too.
    insist(lambda: started.clear(DAG, run_id, "deferred.wait"))
    started.wait_until(lambda: count_starts(tmp_path, "deferred") == {0: 2, 1: 2})
    started.wait_until(lambda: started.read_states(DAG, run_id)["deferred.wait"] == "deferred")
    wait_for_trigger(started, run_id, 2)
    insist(lambda: started.clear(DAG, run_id, "deferred.wait"))
    started.wait_until(lambda: count_starts(tmp_path, "deferred") == {0: 3, 1: 3})
    started.wait_until(lambda: read_statuses(started, run_id, "deferred") == {SubjobStatus.RUNNING})
    (tmp_path / "go").touch()
    started.wait(DAG, run_id)
    assert started.read_states(DAG, run_id)["deferred.wait"] == "success"
    records = StatusFolder(find_jobs(started, run_id, "deferred").jobs.status_folder).scan()
    assert [each.attempt for each in records if each.says_success] == [2, 2]
    assert count_starts(tmp_path, "deferred") == {0: 3, 1: 3}
