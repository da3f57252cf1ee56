"""The task that submits the collector subjobs of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_caf.operators.base import CollectionOperator
from airflow_provider_caf.steps.collect import CollectionRun

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.io.layout import CalibrationLayout


class CollectorSubmitOperator(CollectionOperator):
    """Submit every subjob that is neither done nor under way, as one array."""

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Submit, and give how many subjobs there are and the ids of the arrays."""
        run = CollectionRun(layout, self.iteration, self.collection)
        run.write_jobs()
        submitted = len(run.submit_missing().submitted)
        total = len(run.manifest.subjobs)
        ids = run.list_array_ids()
        context["task_state_store"].set("array_ids", [*ids])
        self.log.info("Submitted %d of %d subjobs to %s; arrays: %s", submitted, total, run.manifest.backend, ids)
        return {"subjobs": total, "submitted": submitted, "array_ids": ids}
