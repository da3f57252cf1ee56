"""What our operators share: the names they stand for, and where the files of the run lie."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, conf
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.core.errors import DefinitionError, InputError, JobFailed, NotEnoughData
from airflow_provider_caf.hooks.catalog import find_catalog
from airflow_provider_caf.io.layout import CalibrationLayout, RunLayout
from airflow_provider_caf.steps.results import CalibrationResults

if TYPE_CHECKING:
    from airflow.sdk import Context

FINAL_ERRORS = (DefinitionError, InputError, JobFailed, NotEnoughData)
"""Errors that no retry mends: the definition, the input or the user's code has to change first."""


def find_work_dir() -> Path:
    """Give the folder of all runs: `[caf] work_dir`, or the folder `caf` in AIRFLOW_HOME."""
    configured = conf.get("caf", "work_dir", fallback="")
    if configured:
        return Path(configured)
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "caf"


def find_run(context: Context) -> RunLayout:
    """Give the paths of the DAG run that a task belongs to."""
    ti = context["ti"]
    return RunLayout(work_dir=find_work_dir(), dag_id=ti.dag_id, run_id=ti.run_id)


def open_results(context: Context, calibration: str) -> CalibrationResults:
    """Open the catalog for a calibration in the DAG run that a task belongs to."""
    ti = context["ti"]
    return CalibrationResults(find_catalog(find_work_dir()), ti.dag_id, ti.run_id, calibration)


@contextmanager
def failing_for_good() -> Iterator[None]:
    """Fail the task without a retry for an error that no retry can mend.

    :raises AirflowFailException: instead of one of `FINAL_ERRORS`.
    """
    try:
        yield
    except FINAL_ERRORS as error:
        raise AirflowFailException(str(error)) from error


class CafOperator(BaseOperator):
    """One step of a calibration. Subclasses implement `run_step`.

    :param calibration: the calibration's name.
    """

    template_fields: Sequence[str] = ("calibration",)
    ui_color = "#e8f0fb"

    def __init__(self, *, calibration: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calibration = calibration

    def execute(self, context: Context) -> Any:
        """Run the step.

        :raises AirflowFailException: for an error of the definition, the input or the user's code.
        :raises CafError: for what a retry may mend.
        """
        with failing_for_good():
            return self.run_step(context, find_run(context).calibration(self.calibration))

    def open_results(self, context: Context) -> CalibrationResults:
        """Open the catalog for this calibration in this run."""
        return open_results(context, self.calibration)

    def run_step(self, context: Context, layout: CalibrationLayout) -> Any:
        """Do the work. The return value goes to XCom: paths and counts only."""
        raise NotImplementedError


class CollectionOperator(CafOperator):
    """One step of one collection in one pass. Subclasses implement `run_step`.

    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    """

    template_fields: Sequence[str] = (*CafOperator.template_fields, "collection")

    def __init__(self, *, iteration: int, collection: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.iteration = iteration
        self.collection = collection
