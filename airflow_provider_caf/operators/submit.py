"""The task that submits the collector subjobs of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.steps.collect import CollectionRun

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_caf.io.layout import CalibrationLayout


class CollectorSubmitOperator(CafOperator):
    """Submit every subjob that is neither done nor under way, as one array.

    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    """

    template_fields: Sequence[str] = (*CafOperator.template_fields, "collection")

    def __init__(self, *, iteration: int, collection: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.iteration = iteration
        self.collection = collection

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
