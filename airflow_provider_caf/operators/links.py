"""The links on Airflow's page of our tasks. Airflow keeps them when a try of the task ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

from airflow_provider_caf.site.page import build_log_address, build_run_address

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class CafPageLink(BaseOperatorLink):
    """To the run on the CAF page, with the calibration of the task opened."""

    name = "CAF page"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address."""
        return build_run_address(ti_key.dag_id, ti_key.run_id, getattr(operator, "calibration", None))


class RunFolderLink(BaseOperatorLink):
    """To where the page names the folder of the run: it lies on the workers, and no server shows its files."""

    name = "Run folder"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address."""
        return build_run_address(ti_key.dag_id, ti_key.run_id, part="folder")


class AlgorithmLogLink(BaseOperatorLink):
    """To what the algorithm of the task has printed."""

    name = "Algorithm log"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address."""
        return build_log_address(
            ti_key.dag_id, ti_key.run_id, operator.calibration, operator.iteration, operator.algorithm
        )


JOBS_LINKS = (CafPageLink(),)
RUN_LINKS = (CafPageLink(), RunFolderLink())
