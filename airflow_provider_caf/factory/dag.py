"""From a CAF definition to an Airflow DAG: only structure, nothing is looked up, read or run while Airflow parses.

A calibration is a task group, an iteration a task group in it. Everything is made in the order of the definition, so
that parsing twice gives the same serialised DAG.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param, TaskGroup
from airflow.sdk.definitions.param import ParamsDict

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.task_ids import CONFIGURE, FINISH, PREPARE, RUN
from airflow_provider_caf.definitions.caf import CAF, DagOptions
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase, ExternalCommand
from airflow_provider_caf.definitions.form import written
from airflow_provider_caf.definitions.run_params import describe_params
from airflow_provider_caf.factory.assets import find_asset, parse_asset
from airflow_provider_caf.factory.ending import add_ending
from airflow_provider_caf.factory.iterations import add_iterations
from airflow_provider_caf.operators.configure import ConfigureOperator
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.member import CommandOperator, StepOperator
from airflow_provider_caf.operators.prepare import PrepareOperator
from airflow_provider_caf.site.messages import caf_message

DEFAULT_ARGS: dict[str, Any] = {
    # A retry mends what came from outside: a killed worker, a full queue, a file server that was away. What a retry
    # cannot mend fails at once, whatever stands here.
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
}


def build_dag(caf: CAF, **dag_kwargs: Any) -> DAG:
    """Build the DAG of a CAF definition.

    :param caf: the definition.
    :param dag_kwargs: what `airflow.sdk.DAG` takes, such as `schedule` or `params`, over what the definition says;
        `default_args` and `params` go over ours one by one.
    :raises DefinitionError: with every mistake found in the definition.
    """
    resolved = caf.resolve()
    options = {"dag_id": caf.name, "description": caf.description, **read_options(caf.dag, "caf"), **dag_kwargs}
    options["default_args"] = {**_read_default_args(caf.dag), **dag_kwargs.get("default_args", {})}
    options["user_defined_macros"] = {"caf_message": caf_message, **(dag_kwargs.get("user_defined_macros") or {})}
    params = {**_build_params(caf), **options.pop("params", {})}
    with DAG(**options) as dag:
        configure = ConfigureOperator(task_id=CONFIGURE, definition=caf.to_json())
        ends = {member.name: _add_member(resolved, member) for member in resolved.calibrations}
        for member in resolved.calibrations:
            first, _ = ends[member.name]
            if not member.dependencies:
                configure >> first
            for other in member.dependencies:
                ends[other][1] >> first
        add_ending(resolved, [last for _, last in ends.values()])
    # Not before: Airflow would copy them several times for every task, which takes most of the time of parsing.
    dag.params = ParamsDict(params)
    return dag


def read_options(dag: DagOptions | None, *tags: str) -> dict[str, Any]:
    """Return what a definition says of its DAG, as arguments of `airflow.sdk.DAG`.

    :param tags: of every such DAG.
    """
    options: dict[str, Any] = {"schedule": None, "catchup": False, "tags": list(tags)}
    if dag is None:
        return options
    options["tags"] = list(dict.fromkeys((*tags, *dag.tags)))
    options["schedule"] = [parse_asset(name) for name in dag.after] or dag.schedule
    options["is_paused_upon_creation"] = dag.starts_paused
    limits = {word: getattr(dag, word) for word in ("max_active_runs", "max_active_tasks")}
    return {**options, **written(**limits)}


def _read_default_args(dag: DagOptions | None) -> dict[str, Any]:
    if dag is None:
        return DEFAULT_ARGS
    delay = None if dag.retry_delay is None else timedelta(seconds=dag.retry_delay)
    return {**DEFAULT_ARGS, **written(owner=dag.owner, retries=dag.retries, retry_delay=delay)}


def _build_params(caf: CAF) -> dict[str, Param]:
    params = {}
    for name, schema in describe_params(caf).items():
        try:
            params[name] = Param(**schema)
        except Exception as error:
            # Airflow checks the default by the schema; both may be the user's.
            raise DefinitionError(
                f"The param {name!r} of CAF {caf.name!r} cannot be: {error}", hint="Correct its schema or default."
            ) from error
    return params


def _add_member(caf: CAF, member: CalibrationBase) -> tuple[BaseOperator, BaseOperator]:
    """Add a calibration or a step, and return its first and its last task."""
    # A calibration that this run leaves out does not hold up those behind it.
    first: dict[str, Any] = {"calibration": member.name, "trigger_rule": "none_failed"}
    asset = find_asset(caf.name, member.name)
    with TaskGroup(member.name, prefix_group_id=True):
        if not isinstance(member, Calibration):
            operator = CommandOperator if isinstance(member, ExternalCommand) else StepOperator
            run = operator(task_id=RUN, outlets=[asset], **first)
            return run, run
        prepare = PrepareOperator(task_id=PREPARE, **first)
        finish = FinishOperator(
            task_id=FINISH,
            calibration=member.name,
            trigger_rule="none_failed_min_one_success",
            outlets=[asset],
        )
        add_iterations(member, after=prepare, before=finish)
    return prepare, finish
