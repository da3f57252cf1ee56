"""Run tasks of a DAG with a plain context."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG


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
