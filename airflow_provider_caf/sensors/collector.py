"""The sensor that waits for the subjobs of a collection, and submits again those that failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.operators.base import find_run, open_results
from airflow_provider_caf.operators.waiting import WaitingSensor
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.batch import BatchJobTrigger


class CollectorJobSensor(WaitingSensor[CollectionRun]):
    """Wait until all subjobs of a collection are done.

    It watches in the worker for a while, then in the triggerer. Failed subjobs are submitted again, and only those.
    When their retries are spent the task fails with a table of them; clearing it submits them once more. When the
    task fails for good, or somebody kills it, what still runs is ended.

    :param calibration: the calibration's name.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param max_subjob_retries: tries of one subjob after its first; None: what the definition of the collection says.
    :param timeout: seconds until it gives up and ends what still runs.
    :param deferrable: whether to wait in the triggerer; False: in the worker, or rescheduled with that `mode`.
    """

    template_fields: Sequence[str] = ("calibration", "collection")

    def __init__(
        self,
        *,
        calibration: str,
        iteration: int,
        collection: str,
        max_subjob_retries: int | None = None,
        deferrable: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.calibration = calibration
        self.iteration = iteration
        self.collection = collection
        self.max_retries = max_subjob_retries
        self.deferrable = deferrable

    @property
    def waits_for(self) -> str:
        """Whose jobs they are, for messages."""
        return f"collection {self.collection!r}"

    def open_run(self, context: Context, patience: Patience) -> CollectionRun:
        """Return the subjobs of the collection."""
        layout = find_run(context).calibration(self.calibration)
        return open_collection(layout, self.iteration, self.collection, patience=patience)

    def open_counts(self, context: Context, run: CollectionRun) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        return LiveCounts.of_collection(run, open_results(context, self.calibration))

    def build_trigger(self, context: Context, run: CollectionRun, wait: Mapping[str, Any]) -> BatchJobTrigger:
        """Return the trigger that goes on with the wait."""
        ti = context["ti"]
        return BatchJobTrigger(
            calibration_folder=str(run.calibration.folder),
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            iteration=self.iteration,
            collection=self.collection,
            **wait,
        )

    def build_result(self, run: CollectionRun, seen: Observation) -> dict[str, Any]:
        """Return how many subjobs there are, the ids of the arrays, and how many failed and may."""
        return {"subjobs": len(run.manifest.subjobs), "array_ids": run.list_array_ids(), "failed": len(seen.failed)}

    def build_tags(self, context: Context, run: CollectionRun) -> dict[str, str]:
        """Return the tags of the metrics."""
        return {**super().build_tags(context, run), "calibration": self.calibration}
