"""Read a run from Airflow's database, and change it there, with Airflow's own functions.

As Airflow's own commands do, they work on the machine of the scheduler or wherever the database can be reached.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.status.tasks import TaskRow

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.serialization.definitions.dag import SerializedDAG
    from sqlalchemy.orm import Session

LAST = "last"
_LOOKS_AFTER_A_FAILURE = (0.5, 1.5, 2.0)
"""Seconds before each look whether a run that was ended as failed has stayed so."""

_FOR_PEOPLE = ("progress", "reason")
"""Keys of the task state store whose values are for people."""


@record
class RunSummary:
    """A DAG run in a list."""

    dag_id: str
    run_id: str
    state: str
    started: datetime | None
    ended: datetime | None

    @property
    def place(self) -> tuple[str, str]:
        """The ids of the DAG and of the run, by which the catalog knows it."""
        return self.dag_id, self.run_id

    @property
    def seconds(self) -> float:
        """The duration until its end, or until now."""
        if self.started is None:
            return 0.0
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()


@record
class RunRow(RunSummary):
    """One DAG run.

    :param tasks: task id → its row.
    :param notices: why nothing goes on although nothing has failed, and what to do; only of a run that is not over.
    """

    tasks: Mapping[str, TaskRow]
    notices: tuple[str, ...] = ()


def list_runs(session: Session, dag_id: str, *, limit: int) -> list[RunSummary]:
    """Return the newest runs of a DAG, the newest first."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    columns = (DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.end_date)
    newest = select(*columns).where(DagRun.dag_id == dag_id).order_by(DagRun.run_after.desc(), DagRun.id.desc())
    return [
        RunSummary(dag_id=dag_id, run_id=run_id, state=str(state), started=started, ended=ended)
        for run_id, state, started, ended in session.execute(newest.limit(limit))
    ]


def read_run(dag_id: str, run_id: str | None, session: Session | None = None) -> RunRow:
    """Read a run.

    :param run_id: None or `last`: the newest one.
    :param session: None: one of its own.
    :raises CafError: if there is no such DAG or run.
    """
    if session is None:
        with _session() as own:
            return read_run(dag_id, run_id, own)
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    run = _find_run(session, dag_id, run_id)
    store = TaskStateStoreModel
    wanted = select(store.task_id, store.key, store.value).where(store.dag_run_id == run.id, store.key.in_(_FOR_PEOPLE))
    notes = {(task_id, key): json.loads(value) for task_id, key, value in session.execute(wanted)}
    ti = TaskInstance
    columns = select(ti.task_id, ti.state, ti.start_date, ti.end_date).where(
        ti.dag_id == dag_id, ti.run_id == run.run_id
    )
    tasks = {
        task_id: TaskRow(
            state=None if state is None else str(state),
            started=started,
            ended=ended,
            progress=notes.get((task_id, "progress")),
            reason=notes.get((task_id, "reason")),
        )
        for task_id, state, started, ended in session.execute(columns)
    }
    return RunRow(
        dag_id=dag_id,
        run_id=run.run_id,
        state=str(run.state),
        started=run.start_date,
        ended=run.end_date,
        tasks=tasks,
        notices=tuple(_list_notices(session, run, {task.state for task in tasks.values()})),
    )


def _list_notices(session: Session, run: DagRun, states: Collection[str | None]) -> Iterator[str]:
    from airflow.jobs.job import most_recent_job
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    if str(run.state) not in ("queued", "running"):
        return
    if session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == run.dag_id)):
        command = shlex.join(["airflow", "dags", "unpause", run.dag_id])
        yield f"The DAG is paused, so that nothing of it is started. To go on: {command}"
    # Only what has a heart in Airflow's own table: an executor may start workers when there is work.
    needed = [("SchedulerJob", "scheduler", "no task is started")]
    if "deferred" in states:
        needed.append(("TriggererJob", "triggerer", "tasks that wait for jobs do not go on"))
    for job_type, name, what in needed:
        job = most_recent_job(job_type, session=session)
        if job is None or not job.is_alive():
            last = "never" if job is None else f"last at {job.latest_heartbeat:%Y-%m-%d %H:%M:%S} UTC"
            yield f"No {name} is there, so that {what}. One was heard of {last}. To start one: airflow {name}"


def find_to_clear(dag_id: str, run_id: str, task_ids: Collection[str]) -> list[str]:
    """Return the ids of some tasks and of all that come after them.

    :raises CafError: if there is no such DAG, run or task.
    """
    with _open(dag_id, run_id) as (_, _, dag):
        tasks: list[Any] = [dag.get_task(task_id) for task_id in task_ids]
        return sorted({*task_ids, *(later for task in tasks for later in task.get_flat_relative_ids(upstream=False))})


def clear(dag_id: str, run_id: str, task_ids: Collection[str]) -> int:
    """Clear tasks, so that they run again, and return how many.

    :raises CafError: if there is no such DAG, run or task.
    """
    with _open(dag_id, run_id) as (session, run, dag):
        count: int = dag.clear(run_id=run.run_id, task_ids=list(task_ids), session=session)
        return count


def fail_run(dag_id: str, run_id: str) -> list[str]:
    """End a run as failed, and return the tasks that were under way."""
    killed = _fail_run(dag_id, run_id)
    # A scheduler that was judging the run meanwhile finds what had not begun skipped, and may call that a success.
    for seconds in _LOOKS_AFTER_A_FAILURE:
        time.sleep(seconds)
        with _session() as session:
            is_failed = str(_find_run(session, dag_id, run_id).state) == "failed"
        if not is_failed:
            _fail_run(dag_id, run_id)
    return killed


def _fail_run(dag_id: str, run_id: str) -> list[str]:
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed

    with _open(dag_id, run_id) as (session, run, dag):
        _, killed = set_dag_run_state_to_failed(dag=dag, run_id=run.run_id, commit=True, session=session)
        return sorted(ti.task_id for ti in killed)


def fail_tasks(dag_id: str, run_id: str, task_ids: Collection[str]) -> None:
    """End tasks as failed."""
    from airflow.utils.state import TaskInstanceState

    with _open(dag_id, run_id) as (session, run, dag):
        for task_id in sorted(task_ids):
            dag.set_task_instance_state(
                task_id=task_id, run_id=run.run_id, state=TaskInstanceState.FAILED, commit=True, session=session
            )


@contextmanager
def _session() -> Iterator[Session]:
    from airflow.utils.session import create_session

    with create_session() as session:
        yield session


def _find_run(session: Session, dag_id: str, run_id: str | None) -> DagRun:
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    runs = select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.run_after.desc(), DagRun.id.desc())
    is_newest = run_id in (None, LAST)
    found: DagRun | None = session.scalar(runs.limit(1) if is_newest else runs.where(DagRun.run_id == run_id))
    if found is not None:
        return found
    newest = list(session.scalars(runs.limit(10)))
    if newest:
        raise CafError(
            f"The DAG {dag_id!r} has no run {run_id!r}.",
            hint=build_word_hint(str(run_id), [run.run_id for run in newest], "runs (the newest)"),
        )
    known = list(session.scalars(select(DagModel.dag_id)))
    if dag_id in known:
        raise CafError(f"The DAG {dag_id!r} has no run yet.", hint=f"airflow dags trigger {dag_id}")
    raise CafError(f"There is no DAG {dag_id!r}.", hint=build_word_hint(dag_id, known, "DAGs"))


@contextmanager
def _open(dag_id: str, run_id: str) -> Iterator[tuple[Session, DagRun, SerializedDAG]]:
    from airflow.models.dagbag import DBDagBag

    with _session() as session:
        run = _find_run(session, dag_id, run_id)
        dag = DBDagBag(load_op_links=False).get_dag_for_run(run, session=session)
        if dag is None:
            raise CafError(f"The DAG {dag_id!r} of run {run.run_id!r} is not there any more.")
        yield session, run, dag
