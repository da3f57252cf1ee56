"""The last task of a calibration: the final local database, its gaps and the record of the result."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.base import CafOperator
from airflow_provider_caf.steps.finish import finish_calibration


class FinishOperator(CafOperator):
    """Make the final local database, look for gaps, and record the result."""

    ui_color = "#fdf3d8"

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Finish, and return the database's path and what is in it."""
        final = finish_calibration(layout)
        self.open_results(context).finish(final.passes - 1)
        self.emit_asset(context, LocalDatabase(layout.database), passes=final.passes)
        if final.limit_reached:
            self.log.warning(
                "An algorithm asked for another pass, but the limit of %d passes was reached.", final.passes
            )
        for name, gap in final.gaps.items():
            self.log.warning("Payload %s leaves gaps: %s", name, gap)
        for name, count in final.failed_subjobs.items():
            self.log.warning("%d subjobs of collection %s failed: their data are not in the result.", count, name)
        return {
            "database": str(layout.database),
            "iovs": final.iovs,
            "passes": final.passes,
            "limit_reached": final.limit_reached,
            "payloads_with_gaps": sorted(final.gaps),
            "failed_subjobs": final.failed_subjobs,
        }
