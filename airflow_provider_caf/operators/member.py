"""The task of a step that collects nothing."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import CheckpointError
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.operators.prepare import find_member, list_ancestors
from airflow_provider_caf.steps.members import StepRun
from airflow_provider_caf.steps.values import read_values


class StepOperator(CafOperator):
    """Import payloads, run an external command, or run a calibration of a type of the user's."""

    ui_color = "#efe6f7"

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Run it, and return its local database and how many payloads are in it."""
        resolved, record = find_member(self, context)
        if isinstance(record, Calibration):
            raise CheckpointError(
                f"{self.calibration!r} is no step that collects nothing any more.",
                hint="The definition changed its type since the run began: trigger a new run.",
            )
        step = StepRun(
            record,
            layout,
            ancestors=list_ancestors(resolved, self.calibration),
            database_chain=resolved.caf.databases,
            run_id=context["ti"].run_id,
            say=self.log.info,
        )
        database = step.run()
        entries = database.entries()
        resources = Resources(python=resolved.caf.backend_args.get("python"))
        self.open_results(context).add_final(entries, read_values(database, entries, resources))
        self.emit_asset(context, database, passes=1)
        return {"database": str(database.folder), "iovs": len(entries)}
