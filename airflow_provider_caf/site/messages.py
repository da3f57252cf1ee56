"""The text of notifications: Airflow's notifiers send it where a template of theirs has `{{ caf_message() }}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

from airflow_provider_caf.core.task_ids import parse_task_id
from airflow_provider_caf.site.page import build_run_address

_LONGEST_REASON = 1500


def build_message(context: Mapping[str, Any]) -> str:
    """Name the DAG run, the calibration, the iteration and the reason, with the address of the CAF page.

    :param context: what Airflow gives to a callback of a task or of a DAG.
    """
    ti = context.get("ti")
    run_id = context.get("run_id") or getattr(ti, "run_id", None)
    dag_id = context["dag"].dag_id
    # What calls for a whole DAG says why in a word, and its task is only the last one that ended.
    is_of_dag = "reason" in context
    state = "" if ti is None or is_of_dag else str(getattr(ti, "state", "") or "").rpartition(".")[2].lower()
    error = context.get("exception")
    if error is not None:
        outcome = "failed"
    elif is_of_dag:
        outcome = f"ended: {context['reason']}"
    else:
        outcome = {"success": "ended well"}.get(state, state or "ended")
    lines = [f"CAF {dag_id}, run {run_id}: {'' if is_of_dag or ti is None else _name_task(ti) + ' '}{outcome}."]
    if error is not None:
        lines.append(f"Reason: {_shorten(str(error) or type(error).__name__)}")
    lines.append(f"See {build_run_address(dag_id, str(run_id))}")
    return "\n".join(lines)


def _name_task(ti: Any) -> str:
    task = parse_task_id(ti.task_id)
    if task.calibration is None:
        return f"the task {task.label}"
    iteration = "" if task.iteration is None else f"iteration {task.iteration}, "
    return f"calibration {task.calibration}, {iteration}{task.label}"


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} …"


@jinja2.pass_context
def caf_message(context: jinja2.runtime.Context) -> str:
    """Return the message for the context with which a template is filled in."""
    return build_message(context.get_all())
