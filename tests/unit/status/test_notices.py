"""Why nothing goes on although nothing has failed, as Airflow's own database tells it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.jobs.job import Job
from airflow.models import import_all_models
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from airflow_provider_caf.status.airflow_run import _list_notices, read_run

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def engine() -> Any:
    import_all_models()  # type: ignore[no-untyped-call]
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
def session(engine: Any) -> Iterator[Session]:
    with Session(engine) as session:
        yield session
        session.rollback()


def add_run(session: Session, *, state: str, is_paused: bool = False) -> None:
    session.add(DagBundleModel(name="dags"))
    session.flush()
    dag: Any = DagModel(dag_id="a b", bundle_name="dags", is_paused=is_paused)  # type: ignore[no-untyped-call]
    session.add(dag)
    session.flush()
    words: dict[str, Any] = {"run_type": DagRunType.MANUAL, "triggered_by": DagRunTriggeredByType.TEST}
    session.add(DagRun(dag_id="a b", run_id="r", run_after=NOW, state=DagRunState(state), **words))
    session.flush()


def add_heart(session: Session, job_type: str, *, hours: float = 24) -> None:
    """Let one be heard of, so many hours from now: in the future, it counts as alive however slow the machine is."""
    job: Any = Job()  # type: ignore[no-untyped-call]
    job.job_type, job.state = job_type, "running"
    job.latest_heartbeat = NOW + timedelta(hours=hours)
    session.add(job)
    session.flush()


def read_notices(session: Session) -> str:
    return "\n".join(read_run("a b", "r", session).notices)


def test_a_paused_dag_waits_for_ever(session: Session) -> None:
    add_heart(session, "SchedulerJob")
    add_run(session, state="queued", is_paused=True)
    assert read_notices(session) == (
        "The DAG is paused, so that nothing of it is started. To go on: airflow dags unpause 'a b'"
    )


def test_without_a_scheduler_nothing_is_started(session: Session) -> None:
    add_run(session, state="running")
    assert "No scheduler is there, so that no task is started. One was heard of never." in read_notices(session)
    add_heart(session, "SchedulerJob", hours=-1)
    assert f"One was heard of last at {NOW - timedelta(hours=1):%Y-%m-%d %H:%M:%S} UTC." in read_notices(session)
    add_heart(session, "SchedulerJob")
    assert read_notices(session) == ""


def test_a_triggerer_is_missed_only_by_who_waits_in_it(session: Session) -> None:
    add_heart(session, "SchedulerJob")
    add_run(session, state="running")
    assert read_notices(session) == ""
    run = session.scalars(select(DagRun)).one()
    (notice,) = _list_notices(session, run, {"success", "deferred", None})
    assert notice == (
        "No triggerer is there, so that tasks that wait for jobs do not go on. One was heard of never. "
        "To start one: airflow triggerer"
    )
    add_heart(session, "TriggererJob")
    assert list(_list_notices(session, run, {"deferred"})) == []


@pytest.mark.parametrize("state", ["success", "failed"])
def test_what_is_over_waits_for_nothing(session: Session, state: str) -> None:
    add_run(session, state=state, is_paused=True)
    assert read_notices(session) == ""
