"""Commands and functions of any DAG as jobs, on a real Airflow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.started_airflow import StartedAirflow
from tests.integration.test_farm import read_shown

pytestmark = pytest.mark.airflow

BACKEND = os.environ.get("CAF_TEST_BACKEND", "htcondor")
"""A real system, or the commands that stand for one."""


def count_starts(folder: Path) -> list[int]:
    return [len(file.read_text().split()) for file in sorted(folder.glob("*.started"))]


@pytest.mark.parametrize("backend", ["local", BACKEND])
def test_the_example_estimates_pi(started: StartedAirflow, backend: str) -> None:
    run_id = started.trigger("caf_batch_jobs", {"backend": backend, "points": 2000})
    assert started.wait("caf_batch_jobs", run_id) == "success", started.explain("caf_batch_jobs", run_id)
    assert abs(started.read_xcom("caf_batch_jobs", run_id, "estimate") - 3.14) < 0.15
    handle: Any = started.read_xcom("caf_batch_jobs", run_id, "check")
    assert (handle["backend"], handle["jobs"]) == (backend, 2)
    place = f"/dags/caf_batch_jobs/dagRuns/{quote(run_id)}/taskInstances/draw"
    (shown,) = read_shown(started.airflow.call_api("GET", place)["rendered_fields"]["submitted"])
    assert (shown["backend"], shown["subjobs"]) == (backend, 4)
    assert "CAF page" in started.airflow.call_api("GET", f"{place}/links")["extra_links"]


def test_a_job_waits_in_the_triggerer_and_only_what_failed_runs_again(started: StartedAirflow, tmp_path: Path) -> None:
    (tmp_path / "fail.1").touch()
    run_id = started.trigger("batch_jobs", {"folder": str(tmp_path), "backend": BACKEND})
    started.wait_until(lambda: started.read_states("batch_jobs", run_id).get("jobs") == "deferred")
    (tmp_path / "go").touch()
    assert started.wait("batch_jobs", run_id) == "failed"
    log = started.read_log("batch_jobs", run_id, "jobs")
    assert "1 of 3 subjobs of task 'jobs' of DAG 'batch_jobs', failed" in log
    assert "told to fail" in log
    assert count_starts(tmp_path) == [1, 1, 1]
    (tmp_path / "fail.1").unlink()
    started.clear("batch_jobs", run_id, "jobs")
    assert started.wait("batch_jobs", run_id) == "success", started.explain("batch_jobs", run_id)
    assert count_starts(tmp_path) == [1, 2, 1]
    assert started.read_xcom("batch_jobs", run_id, "add") == {"sum": 3, "names": ["a", "b"]}
    run = started.find_run("batch_jobs", run_id)
    squares = [run.task_jobs("square", number).jobs.attempt_folder(0, 0) / "result.json" for number in range(2)]
    assert [json.loads(file.read_text()) for file in squares] == [4, 9]


def test_who_fails_a_task_by_hand_ends_its_jobs(started: StartedAirflow, tmp_path: Path) -> None:
    run_id = started.trigger("batch_jobs", {"folder": str(tmp_path), "backend": BACKEND})
    started.wait_until(lambda: started.read_states("batch_jobs", run_id).get("jobs") == "deferred")
    started.wait_until(lambda: count_starts(tmp_path) == [1, 1, 1])
    # Before the triggerer has looked at the jobs it knows nothing of the task.
    logs = started.airflow.home / "logs" / "dag_id=batch_jobs" / f"run_id={run_id}" / "task_id=jobs"
    started.wait_until(lambda: any('"3 running"' in file.read_text() for file in logs.glob("*.log.trigger.*")))
    started.airflow.call_api(
        "PATCH", f"/dags/batch_jobs/dagRuns/{quote(run_id)}/taskInstances/jobs", {"new_state": "failed"}
    )
    shells = [Path("/proc", file.read_text().strip()) for file in tmp_path.glob("*.started")]
    started.wait_until(lambda: not any(shell.exists() for shell in shells))
