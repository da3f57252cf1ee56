"""The task that merges what the subjobs of a collection collected."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.operators.base import CollectionOperator
from airflow_provider_caf.steps.merge import merge_collection


class CollectorMergeOperator(CollectionOperator):
    """Merge the outputs of all done subjobs into one indexed file."""

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Merge, and return the merged file, how many runs are in it, and how many subjobs are not."""
        merged = merge_collection(
            layout, self.iteration, self.collection, self.open_results(context), open_run=open_collection
        )
        if merged.runs is None:
            self.log.info("%d outputs stay as they are: %s", merged.inputs, merged.file)
        else:
            self.log.info("%d outputs merged, %d runs: %s", merged.inputs, merged.runs, merged.file)
        if merged.warning is not None:
            self.log.warning("%s", merged.warning)
        return {"file": merged.file, "inputs": merged.inputs, "runs": merged.runs, "failed": merged.failed}
