"""Run tasks of a DAG with a plain context."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.unit.conftest import Lab, State


def build_job_context(lab: Lab, monkeypatch: pytest.MonkeyPatch, task_id: str) -> Any:
    """Give the context of a task whose work is a job, and let it look often."""
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(lab.run.work_dir))
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MIN", "0.05")
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MAX", "0.2")
    ti = SimpleNamespace(
        dag_id=lab.run.dag_id, run_id=lab.run.run_id, task_id=task_id, map_index=-1, try_number=1, max_tries=0
    )
    return {"ti": ti, "task_state_store": State()}


def build_context(context: Any, dag: DAG, conf: dict[str, Any] | None = None) -> Any:
    """Give the context of a task of a run that was triggered with a conf."""
    params = {**{name: dag.params[name] for name in dag.params}, **(conf or {})}
    return {**context, "params": params, "dag_run": SimpleNamespace(conf=conf or {}), "outlet_events": Events()}


class Events(dict[Any, Any]):
    """Stands for what Airflow gives to say more of an asset."""

    def __missing__(self, asset: Any) -> Any:
        self[asset] = SimpleNamespace(extra=None)
        return self[asset]


def run_task(dag: DAG, task_id: str, context: Any) -> Any:
    """Do what Airflow does with a task: fill in its templates, then run it."""
    task: Any = copy.copy(dag.get_task(task_id))
    task.render_template_fields(context)
    return task.execute(context)
