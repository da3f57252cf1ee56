"""A real Airflow for the tests of this folder: scheduler, triggerer, DAG processor and API server, started once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.io.private_airflow import PrivateAirflow

DAGS = Path(__file__).parent / "dags"
_END_STATES = {"success", "failed"}


class StartedAirflow:
    """What a test asks of the started Airflow.

    :param airflow: the running one.
    :param work_dir: its `[caf] work_dir`.
    """

    def __init__(self, airflow: PrivateAirflow, work_dir: Path) -> None:
        self.airflow = airflow
        self.work_dir = work_dir

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Trigger a DAG with Airflow's own command, as a user does, and give the run's id."""
        self.airflow.wait_for_dag(dag_id)
        self.airflow.run_cli(["dags", "unpause", dag_id, "--yes"])
        output = self.airflow.run_cli(
            ["dags", "trigger", dag_id, "--conf", json.dumps(dict(conf or {})), "--output", "json"]
        )
        return str(json.loads(output[output.index("[") :])[0]["dag_run_id"])

    def wait(self, dag_id: str, run_id: str, timeout: float = 240.0) -> str:
        """Wait until a run has ended and give its state."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            state = self.airflow.call_api("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            if state in _END_STATES:
                return str(state)
            time.sleep(0.5)
        pytest.fail(f"{dag_id} {run_id} did not end: {self.read_states(dag_id, run_id)}")

    def read_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Give the states of all tasks of a run."""
        answer = self.airflow.call_api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=1000")
        return {each["task_id"]: each["state"] for each in answer["task_instances"]}

    def read_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Give the log of the last try of a task."""
        task = self.airflow.call_api("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        log = self.airflow.call_api(
            "GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{task['try_number']}"
        )
        return json.dumps(log["content"])

    def read_xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Give the return value of a task."""
        return self.airflow.call_api(
            "GET",
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true",
        )["value"]

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear a task and what comes after it, as the button in the web UI does."""
        self.airflow.call_api(
            "POST",
            f"/dags/{dag_id}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": [task_id],
                "include_downstream": True,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def find_run(self, dag_id: str, run_id: str) -> RunLayout:
        """Give the paths of a run."""
        return RunLayout(work_dir=self.work_dir, dag_id=dag_id, run_id=run_id)


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedAirflow]:
    """Start Airflow once for all tests of this folder, and stop it at the end."""
    folder = tmp_path_factory.mktemp("airflow")
    shutil.copytree(DAGS, folder / "dags")
    work_dir = folder / "work"
    settings = {"AIRFLOW__CAF__WORK_DIR": str(work_dir)}
    with PrivateAirflow(folder / "home", folder / "dags", settings=settings) as airflow:
        yield StartedAirflow(airflow, work_dir)
