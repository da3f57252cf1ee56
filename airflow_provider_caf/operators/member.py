"""The tasks of steps that collect nothing."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSensorTimeout

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import CheckpointError, JobFailed
from airflow_provider_caf.definitions.calibration import (
    CalibrationBase,
    ExternalCommand,
    ImportedPayloads,
    OwnCalibration,
)
from airflow_provider_caf.definitions.resolve import Resolved
from airflow_provider_caf.hooks.batch import choose_target, find_job_target
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.operators.base import CafOperator, find_run
from airflow_provider_caf.operators.own_job import OwnJobOperator
from airflow_provider_caf.operators.prepare import find_member, list_ancestors
from airflow_provider_caf.steps.command import CommandRun, find_command_jobs
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.members import StepRun
from airflow_provider_caf.steps.task_jobs import TaskJobs
from airflow_provider_caf.steps.values import read_values

_S = TypeVar("_S", bound=StepRun)


class _MemberOperator(CafOperator):
    """The task of a step that collects nothing."""

    ui_color = "#efe6f7"
    kinds: tuple[type[CalibrationBase], ...]
    """The types of steps that a subclass is for."""

    def find_step(self, context: Context) -> tuple[Resolved, CalibrationBase]:
        """Return the definition of the run, and of the step in it.

        :raises CheckpointError: if it is of another kind now.
        """
        resolved, record = find_member(self, context)
        if not isinstance(record, self.kinds):
            raise CheckpointError(
                f"{self.calibration!r} is of another type now: {record.describe_kind()!r}.",
                hint="The definition changed its type since the run began: trigger a new run.",
            )
        return resolved, record

    def open_step(self, context: Context, cls: type[_S]) -> _S:
        """Return the step."""
        resolved, record = self.find_step(context)
        return cls(
            record,
            find_run(context).calibration(self.calibration),
            ancestors=list_ancestors(resolved, self.calibration),
            database_chain=resolved.caf.databases,
            run_id=context["ti"].run_id,
            say=self.log.info,
        )

    def tell(self, context: Context, database: LocalDatabase) -> dict[str, Any]:
        """Return the step's local database and how many payloads are in it, and write these down."""
        entries = database.entries()
        resolved, _ = self.find_step(context)
        resources = Resources(python=resolved.caf.backend_args.get("python"))
        self.open_results(context).add_final(entries, read_values(database, entries, resources))
        self.emit_asset(context, database, passes=1)
        return {"database": str(database.folder), "iovs": len(entries)}


class StepOperator(_MemberOperator):
    """Import payloads, or run a calibration of a type of the user's."""

    kinds = (ImportedPayloads, OwnCalibration)

    def run_step(self, context: Context, layout: CalibrationLayout) -> dict[str, Any]:
        """Run it, and return its local database and how many payloads are in it."""
        return self.tell(context, self.open_step(context, StepRun).run())


class CommandOperator(OwnJobOperator, _MemberOperator):
    """Run an external command as a job: of this machine, or of a batch system."""

    kinds = (ExternalCommand,)

    def execute(self, context: Context) -> Any:
        """Run it, and return the step's local database and how many payloads are in it.

        :raises AirflowFailException: if it fails, or takes longer than it may.
        """
        with self.ending_jobs_with_the_task(context):
            run = self.open_step(context, CommandRun)
            target, args = self._choose_target(context, run.step)
            generation = context["ti"].max_tries
            self.timeout = run.step.timeout or self.timeout
            return self.await_end(context, self.submit(context, partial(run.lay_out, target, args, generation)))

    def wait(self, context: Context, run: TaskJobs, first_attempt: int, deadline: float) -> dict[str, Any]:
        """Wait for the job, and take over what it has left.

        :raises JobFailed: if it fails or takes too long.
        """
        step = self.open_step(context, CommandRun)
        try:
            super().wait(context, run, first_attempt, deadline)
        except AirflowSensorTimeout as error:
            self.end_jobs(context)
            how = f"no end within {step.step.timeout or self.timeout:g} s"
            raise JobFailed(f"{step.title} failed: {how}.", hint="Give it more time, and clear this task.") from error
        except JobFailed as error:
            raise step.explain(error, run) from error
        return self.tell(context, step.conclude(run))

    def find_jobs(self, context: Context) -> TaskJobsLayout:
        """Return the paths of the job of this step."""
        return find_command_jobs(find_run(context).calibration(self.calibration))

    def _choose_target(self, context: Context, step: ExternalCommand) -> tuple[Target, Resources]:
        """Return where it runs, and the arguments that stand below its own."""
        caf, where = self.find_step(context)[0].caf, f"step {step.name!r}"
        target = find_job_target(step, lambda: choose_target(caf.backend, caf.connection, where), where)
        if target is None:
            return Target(), Resources()
        return target, target.merge({f"CAF {caf.name!r}": caf.backend_args})
