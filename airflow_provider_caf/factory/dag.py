"""From a CAF definition to an Airflow DAG: only structure, nothing is looked up, read or run while Airflow parses.

A calibration is a task group, an iteration a task group in it. Everything is made in the order of the definition, so
that parsing twice gives the same serialised DAG.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, TaskGroup

from airflow_provider_caf.batch.spec import parse_resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.calibration import CafRecord, CalibrationRecord
from airflow_provider_caf.core.graph import find_ancestors
from airflow_provider_caf.factory.iterations import add_iterations
from airflow_provider_caf.operators.finish import FinishOperator
from airflow_provider_caf.operators.prepare import PrepareOperator

if TYPE_CHECKING:
    from airflow_provider_caf.definitions.classes import CAF

DEFAULT_ARGS: dict[str, Any] = {
    # A retry mends what came from outside: a killed worker, a full queue, a file server that was away. What a retry
    # cannot mend fails at once, whatever stands here.
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
}


def build_dag(caf: CAF, **dag_kwargs: Any) -> DAG:
    """Build the DAG of a CAF definition.

    :param caf: the definition.
    :param dag_kwargs: what `airflow.sdk.DAG` takes, such as `schedule` or `params`; `default_args` go over ours.
    :raises DefinitionError: with every mistake found in the definition.
    """
    record = caf.build_record()
    _check_backend(record)
    dag_kwargs = {
        "dag_id": record.name,
        "schedule": None,
        "catchup": False,
        "tags": ["caf"],
        **dag_kwargs,
        "default_args": {**DEFAULT_ARGS, **dag_kwargs.get("default_args", {})},
    }
    with DAG(**dag_kwargs) as dag:
        ends = {each.name: _add_calibration(record, each) for each in record.calibrations}
        for each in record.calibrations:
            for other in each.depends_on:
                ends[other][1] >> ends[each.name][0]
    return dag


def _check_backend(record: CafRecord) -> None:
    """Refuse a batch system or an argument that does not exist. What a template fills is checked in `prepare`.

    :raises DefinitionError: with "did you mean".
    """
    if "{{" not in record.backend:
        load_system(record.backend)
    parse_resources(_drop_templates(record.backend_args), f"CAF {record.name!r}")
    for calibration in record.calibrations:
        parse_resources(_drop_templates(calibration.backend_args), f"calibration {calibration.name!r}")
        for collection in calibration.collections:
            where = f"collection {collection.name!r} of calibration {calibration.name!r}"
            parse_resources(_drop_templates(collection.backend_args), where)


def _drop_templates(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if "{{" not in json.dumps(value)}


def _add_calibration(caf: CafRecord, calibration: CalibrationRecord) -> tuple[PrepareOperator, FinishOperator]:
    with TaskGroup(calibration.name, prefix_group_id=True):
        prepare = PrepareOperator(
            task_id="prepare",
            calibration=calibration.name,
            definition=calibration.to_json(),
            ancestors=list(find_ancestors(caf.map_dependencies(), calibration.name)),
            backend=caf.backend,
            backend_args=dict(caf.backend_args),
            database_chain=[entry.to_json() for entry in caf.database_chain],
            connection=caf.connection,
        )
        finish = FinishOperator(
            task_id="finish", calibration=calibration.name, trigger_rule="none_failed_min_one_success"
        )
        add_iterations(calibration, after=prepare, before=finish)
    return prepare, finish
