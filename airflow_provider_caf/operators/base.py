"""The bases of our operators: links, errors that no retry mends, the run and the calibration of a task."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.sdk import BaseOperator, BaseOperatorLink, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowRuntimeError

from airflow_provider_caf.core.errors import CafError, is_final
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.processes import stop_tied_processes
from airflow_provider_caf.io.layout import CalibrationLayout, RunLayout, slug
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.links import RUN_LINKS
from airflow_provider_caf.site.places import find_run_layout, open_journal
from airflow_provider_caf.steps.results import CalibrationResults

log = logging.getLogger(__name__)

_LONGEST_REASON = 4000
"""Letters of an error that the task state store gets."""


def find_run(context: Context) -> RunLayout:
    """Return the paths of the DAG run that a task belongs to."""
    ti = context["ti"]
    return find_run_layout(ti.dag_id, ti.run_id)


def open_results(context: Context, calibration: str) -> CalibrationResults:
    """Open the catalog for a calibration in the DAG run that a task belongs to."""
    run = find_run(context)
    return CalibrationResults(open_journal(run), run.dag_id, run.run_id, calibration)


@contextmanager
def failing_for_good(context: Context) -> Iterator[None]:
    """Fail the task without a retry for an error that no retry can mend, and leave word of any error of ours.

    :raises AirflowFailException: instead of one that `core.errors.is_final` names.
    """
    try:
        yield
    except CafError as error:
        _store_reason(context, error)
        if not is_final(error):
            raise
        raise AirflowFailException(str(error)) from error


def _store_reason(context: Context, error: CafError) -> None:
    """Put an error where status, page and notifications find it."""
    try:
        context["task_state_store"].set("reason", str(error)[:_LONGEST_REASON])
    except AirflowRuntimeError as problem:
        # The log has it all, and the error itself goes on.
        log.warning("The reason could not be put into the task's state store: %s", problem)


class CafTask:
    """What our tasks share: links, the event that a result is ready, and the end of commands when they are killed."""

    operator_extra_links: Collection[BaseOperatorLink] = RUN_LINKS
    outlets: list[Any]

    def emit(self, context: Context, extra: dict[str, Any]) -> None:
        """Attach the details of the event to the task's assets."""
        for outlet in self.outlets:
            context["outlet_events"][outlet].extra = extra

    def on_kill(self) -> None:
        """End the commands that run: somebody killed the task, or its worker is told to stop."""
        stop_tied_processes()


class CafOperator(CafTask, BaseOperator):
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
        with failing_for_good(context):
            return self.run_step(context, find_run(context).calibration(self.calibration))

    def open_results(self, context: Context) -> CalibrationResults:
        """Open the catalog for this calibration in this run."""
        return open_results(context, self.calibration)

    def emit_asset(self, context: Context, database: LocalDatabase, *, passes: int) -> None:
        """Attach to the event of the asset that the payloads of this calibration are ready."""
        ti = context["ti"]
        entries = database.entries()
        names = [entry.name for entry in entries]
        self.emit(
            context,
            {
                "database": str(database.folder),
                "run_id": ti.run_id,
                "passes": passes,
                "payloads": {name: names.count(name) for name in sorted(set(names))},
                "iov": _span(entries),
                "global_tag_candidate": f"{ti.dag_id}_{self.calibration}_{slug(ti.run_id)}",
            },
        )

    def run_step(self, context: Context, layout: CalibrationLayout) -> Any:
        """Do the work. The return value goes to XCom: paths and counts only."""
        raise NotImplementedError


class PassOperator(CafOperator):
    """One step of one pass. Subclasses implement `run_step`.

    :param iteration: the number of the pass, from 0.
    """

    def __init__(self, *, iteration: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.iteration = iteration


class CollectionOperator(PassOperator):
    """One step of one collection in one pass. Subclasses implement `run_step`.

    :param collection: the collection's name.
    """

    template_fields: Sequence[str] = (*CafOperator.template_fields, "collection")

    def __init__(self, *, collection: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.collection = collection


def _span(entries: Sequence[PayloadEntry]) -> list[int] | None:
    """Return the IoV from the first to the last run of some payloads."""
    if not entries:
        return None
    iovs = [entry.iov for entry in entries]
    return IoV.between(min(iovs).low, max(iovs, key=lambda iov: iov.end).high).to_json()
