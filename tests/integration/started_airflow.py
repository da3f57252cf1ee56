"""What a test asks of a started Airflow."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.io.catalog import Catalog, open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout, default_catalog_file
from tests.integration.metrics_server import MetricsServer
from tests.private_airflow import PrivateAirflow

LIMIT = 1200.0
"""Seconds after which what a test waits for will not come any more. It says nothing about how quick anything is."""

_INTERVAL = 0.5
"""Seconds between two looks."""

_END_STATES = {"success", "failed"}


class StartedAirflow:
    """What a test asks of the started Airflow.

    :param airflow: the running one.
    :param folder: holds all that belongs to it.
    :param metrics: what it has sent.
    """

    def __init__(self, airflow: PrivateAirflow, folder: Path, metrics: MetricsServer) -> None:
        self.airflow = airflow
        self.folder = folder
        self.metrics = metrics

    @property
    def work_dir(self) -> Path:
        """Its `[caf] work_dir`."""
        return self.folder / "work"

    @property
    def demo_data(self) -> Path:
        """What the demonstration's detector has taken."""
        return self.folder / "data"

    @property
    def messages(self) -> Path:
        """The file to which its notifier writes."""
        return self.folder / "messages.txt"

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Trigger a DAG as the button in the web UI does, and give the run's id."""
        self.airflow.wait_for_dag(dag_id)
        body = {"logical_date": None, "conf": dict(conf or {})}
        run = self.airflow.call_api("POST", f"/dags/{dag_id}/dagRuns", body)
        return str(run["dag_run_id"])

    def read_definitions_again(self) -> None:
        """Let Airflow look at the folder of definitions now; by itself it does so every five minutes."""
        token = self.airflow.call_api("GET", "/dags/demo_calibration")["file_token"]
        try:
            self.airflow.call_api("PUT", f"/parseDagFile/{token}")
        except TransportError as error:
            # Somebody has asked, and it has not begun to read.
            if "answered with 409" not in str(error):
                raise

    def wait_for_run(self, dag_id: str) -> str:
        """Wait until something has started a DAG for the first time, and give the run's id."""
        self.wait_until(lambda: bool(self.airflow.find_runs(dag_id)))
        (run_id,) = self.airflow.find_runs(dag_id)
        return run_id

    def wait(self, dag_id: str, run_id: str) -> str:
        """Wait until a run has ended and give its state."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            state = self.airflow.read_run_state(dag_id, run_id)
            if state in _END_STATES:
                return state
            time.sleep(_INTERVAL)
        pytest.fail(f"{dag_id} {run_id} did not end: {self.read_states(dag_id, run_id)}")

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + LIMIT
        while not is_so():
            assert time.monotonic() < deadline, f"not so within {LIMIT:g} s"
            time.sleep(_INTERVAL)

    def answer(self, dag_id: str, run_id: str, task_id: str, answer: Mapping[str, Any]) -> None:
        """Answer a task's question as a person does: after reading it, and again when it is asked again.

        Airflow up to 3.3.2 may fail a task that is answered before it has come to rest (apache/airflow issue 71580);
        its retry asks again.
        """
        task = f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/-1/hitlDetails"
        for _ in range(3):
            time.sleep(10)
            self.airflow.call_api("PATCH", task, answer)
            self.wait_until(lambda: self._is_answered_or_asked_again(dag_id, run_id, task_id, task))
            if self.read_states(dag_id, run_id)[task_id] != "awaiting_input":
                return
        pytest.fail(f"{task_id} of {dag_id} {run_id} asks again and again")

    def _is_answered_or_asked_again(self, dag_id: str, run_id: str, task_id: str, task: str) -> bool:
        state = self.read_states(dag_id, run_id)[task_id]
        if state == "awaiting_input":
            return not self.airflow.call_api("GET", task)["response_received"]
        return state in _END_STATES

    def collect_states(self, dag_id: str, run_id: str) -> dict[str, set[str | None]]:
        """Give all states that each task of a run was seen in, until the run has ended."""
        seen: dict[str, set[str | None]] = {}
        while self.airflow.read_run_state(dag_id, run_id) not in _END_STATES:
            for task_id, state in self.read_states(dag_id, run_id).items():
                seen.setdefault(task_id, set()).add(state)
            time.sleep(_INTERVAL)
        return seen

    def read_states(self, dag_id: str, run_id: str) -> dict[str, str | None]:
        """Give the states of all tasks of a run."""
        return self.airflow.read_task_states(dag_id, run_id)

    def explain(self, dag_id: str, run_id: str) -> str:
        """Describe what has not ended well in a run: states, and the ends of the logs of what failed."""
        states = self.read_states(dag_id, run_id)
        bad = {task: state for task, state in states.items() if state not in ("success", "skipped")}
        ends = [self.read_log(dag_id, run_id, task)[-2000:] for task, state in bad.items() if state == "failed"]
        return "\n".join((f"{dag_id} {run_id}: {bad}", *ends))

    def read_log(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Give the log of the last try of a task."""
        task = self.airflow.call_api("GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}")
        log = self.airflow.call_api(
            "GET", f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/logs/{task['try_number']}"
        )
        return json.dumps(log["content"])

    def read_xcom(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Give the return value of a task."""
        return self.airflow.call_api(
            "GET",
            f"/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true",
        )["value"]

    def clear(self, dag_id: str, run_id: str, *task_ids: str) -> None:
        """Clear tasks and what comes after them, as the button in the web UI does."""
        self.airflow.call_api(
            "POST",
            f"/dags/{dag_id}/clearTaskInstances",
            {
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": list(task_ids),
                "include_downstream": True,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def open_catalog(self) -> Catalog:
        """Open the catalog that the tasks write to."""
        return open_sqlite_catalog(default_catalog_file(self.work_dir))

    def find_run(self, dag_id: str, run_id: str) -> RunLayout:
        """Give the paths of a run."""
        return RunLayout(work_dir=self.work_dir, dag_id=dag_id, run_id=run_id)
