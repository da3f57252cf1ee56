"""The first task of a calibration: its checks, its input files and its subjobs."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_caf.core.errors import CheckpointError
from airflow_provider_caf.core.graph import find_ancestors
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase
from airflow_provider_caf.definitions.resolve import Resolved
from airflow_provider_caf.hooks.batch import find_backend, find_job_target
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import CafOperator, find_run
from airflow_provider_caf.operators.configure import find_definition
from airflow_provider_caf.steps.configure import RunDefinition
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration

log = logging.getLogger(__name__)


def find_member(operator: CafOperator, context: Context) -> tuple[Resolved, CalibrationBase]:
    """Return the definition of the run, and in it the calibration of a task.

    :raises AirflowSkipException: if this run leaves the calibration out.
    :raises DefinitionError: if the definition has a mistake.
    """
    resolved = find_definition(operator, context)
    if operator.calibration not in resolved.chosen:
        raise AirflowSkipException(f"This run leaves out calibration {operator.calibration!r}.")
    return resolved, next(member for member in resolved.caf.calibrations if member.name == operator.calibration)


def list_ancestors(resolved: Resolved, name: str) -> tuple[str, ...]:
    """Return the calibrations that one depends on and that run, nearest first, and warn of those that do not."""
    ancestors = find_ancestors(resolved.caf.map_dependencies(), name)
    for left_out in (ancestor for ancestor in ancestors if ancestor not in resolved.chosen):
        log.warning("This run leaves out calibration %s: its payloads are not seen.", left_out)
    return tuple(ancestor for ancestor in ancestors if ancestor in resolved.chosen)


class PrepareOperator(CafOperator):
    """Check a calibration and resolve its input before anything is submitted."""

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Prepare, and return for each collection how many files and subjobs it has."""
        resolved, record = find_member(self, context)
        if not isinstance(record, Calibration):
            raise CheckpointError(
                f"{self.calibration!r} is no calibration that collects any more.",
                hint="The definition changed its type since the run began: trigger a new run.",
            )
        target = find_backend(resolved.caf, record)
        algorithms = {}
        for algorithm in record.algorithms:
            where = f"algorithm {algorithm.name!r} of calibration {record.name!r}"
            if (found := find_job_target(algorithm, lambda: target, where)) is not None:
                algorithms[algorithm.name] = found
        manifests = prepare_calibration(
            record,
            Surroundings(
                ancestors=list_ancestors(resolved, self.calibration),
                target=target,
                algorithms=algorithms,
                backend_args=resolved.caf.backend_args,
                database_chain=resolved.caf.databases,
                shares=RunDefinition.read(find_run(context)).shares.get(self.calibration, {}),
            ),
            layout,
        )
        results = self.open_results(context)
        results.begin_iteration(0)
        results.add_selections(record, manifests)
        counts = {own.collection.name: {"files": len(own.files), "subjobs": len(own.subjobs)} for own in manifests}
        for name, count in counts.items():
            self.log.info("Collection %s: %d files in %d subjobs.", name, count["files"], count["subjobs"])
        return {"folder": str(layout.folder), "collections": counts}
