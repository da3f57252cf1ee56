"""The task that submits the collector subjobs of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import CollectionOperator
from airflow_provider_caf.site.metrics import count


class CollectorSubmitOperator(CollectionOperator):
    """Submit every subjob that is neither done nor under way, as one array.

    Its rendered templates show what was submitted: the arrays with command, submit file and resources.

    :param submitted: for Airflow, which shows the task's own value of it; not to be given.
    """

    template_fields: Sequence[str] = (*CollectionOperator.template_fields, "submitted")
    template_fields_renderers = {"submitted": "json"}  # noqa: RUF012
    overwrite_rtif_after_execution = True

    def __init__(self, *, submitted: list[dict[str, Any]] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.submitted = submitted

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Submit, and return how many subjobs there are and the ids of the arrays."""
        run = open_collection(layout, self.iteration, self.collection)
        run.write_jobs()
        results = self.open_results(context)
        submitted = len(run.submit_missing(find_seconds=lambda: results.find_subjob_seconds(self.collection)).submitted)
        total = len(run.manifest.subjobs)
        ids = run.list_array_ids()
        self.submitted = run.describe_submissions()
        tags = {"dag_id": context["ti"].dag_id, "calibration": self.calibration, "system": run.client.system.name}
        count("subjobs.submitted", submitted, **tags)
        context["task_state_store"].set("array_ids", [*ids])
        self.log.info("Submitted %d of %d subjobs to %s; arrays: %s", submitted, total, run.manifest.backend, ids)
        return {"subjobs": total, "submitted": submitted, "array_ids": ids}
