"""The task that submits the collector subjobs of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.operators.base import CollectionOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.io.layout import CalibrationLayout


class CollectorSubmitOperator(CollectionOperator):
    """Submit every subjob that is neither done nor under way, as one array."""

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Submit, and give how many subjobs there are and the ids of the arrays."""
        run = open_collection(layout, self.iteration, self.collection)
        run.write_jobs()
        results = self.open_results(context)
        submitted = len(run.submit_missing(find_seconds=lambda: results.find_subjob_seconds(self.collection)).submitted)
        total = len(run.manifest.subjobs)
        ids = run.list_array_ids()
        context["task_state_store"].set("array_ids", [*ids])
        self.log.info("Submitted %d of %d subjobs to %s; arrays: %s", submitted, total, run.manifest.backend, ids)
        return {"subjobs": total, "submitted": submitted, "array_ids": ids}
