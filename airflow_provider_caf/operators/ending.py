"""The last tasks of a run: the joined local database, the report, the sign-off and the publication."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.providers.standard.exceptions import HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.core.task_ids import JOIN, SIGN_OFF
from airflow_provider_caf.definitions.caf import CAF, Upload
from airflow_provider_caf.hooks.batch import choose_target
from airflow_provider_caf.hooks.token import read_token
from airflow_provider_caf.operators.base import CafTask, failing_for_good, find_run
from airflow_provider_caf.operators.configure import find_definition
from airflow_provider_caf.site.places import find_catalog, open_journal
from airflow_provider_caf.status.airflow_run import RunRow
from airflow_provider_caf.status.tasks import TaskRow
from airflow_provider_caf.steps.ending import Joined, Publication, join_run, write_sign_off
from airflow_provider_caf.steps.upload import Access


class _EndingOperator(CafTask, BaseOperator):
    ui_color = "#fdf3d8"


class JoinOperator(_EndingOperator):
    """Make the joined local database of the run, and deal with its gaps."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Join, and return the database's path, its payloads and a summary for whoever signs off.

        :raises AirflowFailException: if there are gaps and the definition does not allow them.
        """
        run = find_run(context)
        with failing_for_good(context):
            joined = join_run(run, find_definition(self, context).caf.gaps)
        for gap in joined.filled:
            self.log.info("Payload %s: %s extended to %s.", gap.name, gap.before, gap.after)
        for name, report in joined.gaps.items():
            self.log.warning("Payload %s leaves gaps: %s", name, report)
        self.emit(context, {"database": joined.database, "payloads": dict(joined.payloads), "run_id": run.run_id})
        return {
            "database": joined.database,
            "payloads": dict(joined.payloads),
            "payloads_with_gaps": sorted(joined.gaps),
            "summary": describe_joined(joined),
        }


class ReportOperator(_EndingOperator):
    """Write the report of the run, however its calibrations ended."""

    def execute(self, context: Context) -> str:
        """Write it, and return its path."""
        # Drawing is heavy to import.
        from airflow_provider_caf.report.build import write_excuse, write_report

        run = find_run(context)
        with failing_for_good(context):
            open_journal(run).deliver()
            try:
                path = write_report(_read_run(context), find_catalog(run.work_dir), run.report_folder, run.folder)
            except DatabaseError as error:
                # The result does not depend on the catalog, and must not wait for it.
                self.log.error("The report has to be written later: airflow caf report %s %s", run.dag_id, run.run_id)
                path = write_excuse(run.dag_id, run.run_id, error, run.report_folder)
        self.log.info("The report is %s", path)
        return str(path)


def _read_run(context: Context) -> RunRow:
    """Return what a task can know of its run: the states of the tasks, and when it began."""
    ti = context["ti"]
    states = ti.get_task_states(ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
    return RunRow(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        state="running",
        started=context["dag_run"].start_date,
        ended=None,
        tasks={task_id: TaskRow(state=None if state is None else str(state)) for task_id, state in states.items()},
    )


class SignOffOperator(CafTask, ApprovalOperator):
    """Ask a person to approve or reject the result.

    An answer within a moment of the question can fail the task in Airflow up to 3.3.2 (apache/airflow#71580); a retry
    asks again. One that did not come in time is not waited for a second time.
    """

    ui_color = "#fdf3d8"

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        """Fail for good when nobody has answered in time."""
        try:
            super().process_trigger_event_error(event)
        except HITLTimeoutError as error:
            raise AirflowFailException("Nobody has signed off the result in time.") from error


class PublishOperator(_EndingOperator):
    """Keep who signed off, and publish the result, once."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Publish, and return what was done.

        :raises AirflowFailException: if the command of the site fails.
        :raises CheckpointError: if an earlier try has died, and nobody knows how far it came.
        """
        run = find_run(context)
        ti = context["ti"]
        with failing_for_good(context):
            caf = find_definition(self, context).caf
            if caf.sign_off is not None:
                write_sign_off(run, _describe_answer(ti.xcom_pull(task_ids=SIGN_OFF)))
            outcome = self._publish(caf, context)
        joined = ti.xcom_pull(task_ids=JOIN)
        self.emit(context, {"database": joined["database"], "payloads": joined["payloads"], "run_id": run.run_id})
        return {"what": outcome}

    def _publish(self, caf: CAF, context: Context) -> str:
        if caf.publish is None:
            return "nothing to publish"
        access = None if caf.publish.upload is None else find_access(caf, caf.publish.upload)
        outcome, is_earlier = Publication(find_run(context), caf.publish, access).run()
        self.log.info("The local database was %s%s.", outcome, " by an earlier try" if is_earlier else "")
        return outcome


def find_access(caf: CAF, upload: Upload) -> Access:
    """Return with what the result of a CAF is uploaded: a token, in the environment of the jobs.

    :raises DefinitionError: if one of the connections cannot be used.
    """
    user, token = read_token(upload.connection)
    target = choose_target(caf.backend, caf.connection, f"CAF {caf.name!r}")
    return Access(user=user, token=token, resources=target.merge({f"CAF {caf.name!r}": caf.backend_args}))


def describe_joined(joined: Joined) -> str:
    """Return the summary of a result in Markdown, for whoever signs off."""
    lines = ["| payload | IoVs |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in joined.payloads.items()]
    if joined.gaps:
        lines += ["", "Gaps:", "", *(f"- {name}: {gap}" for name, gap in joined.gaps.items())]
    return "\n".join([*lines, "", f"Local database: `{joined.database}`"])


def _describe_answer(answer: Mapping[str, Any]) -> dict[str, Any]:
    comment = answer.get("params_input") or {}
    return {
        "approved": True,
        "comment": comment.get("comment"),
        "by": answer.get("responded_by_user"),
        "at": str(answer.get("responded_at")),
    }
