"""The sensor that waits for jobs of somebody else, over jobs that were submitted by the commands of the system."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.jobs.foreign import ForeignJobs
from airflow_provider_caf.sensors import BatchJobSensor, LocalJobSensor
from airflow_provider_caf.triggers import batch as triggers
from airflow_provider_caf.triggers.batch import ForeignJobTrigger
from tests.contract.batch_site import Site
from tests.contract.test_foreign_jobs import QUEUED, Person, person
from tests.contract.test_task_jobs import SENSORS
from tests.unit.store import Store

__all__ = ["person"]  # a fixture
pytestmark = pytest.mark.only_on(*QUEUED)


@pytest.fixture
def context(site: Site) -> Any:
    ti = SimpleNamespace(dag_id="any", run_id="any", task_id="wait", map_index=-1, try_number=1, max_tries=0)
    ti.get_first_reschedule_date = lambda _: None
    return {"ti": ti, "task_state_store": Store()}


def make_sensor(site: Site, **words: Any) -> BatchJobSensor:
    return SENSORS[site.system.name](task_id="wait", **{"timeout": site.limit, **words})


@pytest.mark.parametrize("deferrable", [True, False])
def test_jobs_are_waited_for_by_id(site: Site, person: Person, context: Any, deferrable: bool) -> None:
    ids = [person.submit("exit 0"), person.submit("sleep 1", 2)]
    result = make_sensor(site, job_ids=ids, deferrable=deferrable, poke_interval=0.5).execute(context)
    assert (result["backend"], result["jobs"], len(result["job_ids"])) == (site.system.name, 3, 2)
    assert context["task_state_store"]["progress"].startswith("3 done")


def test_jobs_are_waited_for_by_name(site: Site, person: Person, context: Any) -> None:
    person.submit("sleep 1")
    assert make_sensor(site, job_name=person.name).execute(context)["jobs"] == 1


def test_one_that_failed_fails_the_task_with_a_table(site: Site, person: Person, context: Any) -> None:
    ids = [person.submit("exit 0"), person.submit("exit 3")]
    with pytest.raises(AirflowFailException, match="1 of 2 jobs failed"):
        make_sensor(site, job_ids=ids).execute(context)


def test_one_that_is_not_there_is_said_at_once(site: Site, context: Any) -> None:
    with pytest.raises(AirflowFailException, match="There is no job"):
        make_sensor(site, job_ids="999999").execute(context)


def test_time_that_is_up_leaves_the_jobs_alone(site: Site, person: Person, context: Any) -> None:
    job = person.submit("sleep 600")
    with pytest.raises(AirflowSensorTimeout, match="were not over within 1 s"):
        make_sensor(site, job_ids=[job], timeout=1).execute(context)
    assert not ForeignJobs(site.client, ids=[job]).observe().is_over


@pytest.mark.parametrize("cancels", [False, True])
def test_it_goes_on_in_the_triggerer(
    site: Site, person: Person, context: Any, monkeypatch: pytest.MonkeyPatch, cancels: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    monkeypatch.setattr(triggers, "_HOLD_BACK", 0.0)
    go = site.folder / "go"
    job = person.submit(f"until [ -e '{go}' ]; do sleep 0.2; done")
    sensor = make_sensor(site, job_ids=[job], cancel_on_kill=cancels)
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context)
    path, words = caught.value.trigger.serialize()
    trigger = ForeignJobTrigger(**json.loads(json.dumps(words)))
    assert trigger.serialize() == (path, words)
    asyncio.run(trigger.on_kill())
    if not cancels:
        assert not ForeignJobs(site.client, ids=[job]).observe().is_over
    go.touch()

    async def wait() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    event = asyncio.run(wait())
    monkeypatch.delenv("AIRFLOW__CAF__DEFER_AFTER")
    if cancels:
        with pytest.raises(AirflowFailException, match="1 of 1 jobs failed"):
            sensor.execute_complete(context, event)
    else:
        assert sensor.execute_complete(context, event)["jobs"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "does not say which jobs"),
        ({"job_name": "x", "cancel_on_kill": True}, "has cancel_on_kill for jobs by name"),
        ({"handle": "/x", "job_ids": ["1"]}, "has a handle, and words for jobs of somebody else"),
        ({"handle": "/x", "job_name": "x"}, "has a handle, and words for jobs of somebody else"),
        ({"job_ids": ["1"], "backend": "local"}, "names 'local'"),
    ],
)
def test_words_that_exclude_one_another_are_refused(site: Site, words: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        make_sensor(site, **words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"job_ids": ["-rf"]}, "-rf"),
        ({"job_ids": ["1"], "job_name": "x"}, "ids, too"),
        ({"job_name": "-x"}, "-x"),
    ],
)
def test_ids_and_names_that_cannot_be_are_refused(site: Site, context: Any, words: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        make_sensor(site, **words).execute(context)


def test_this_machine_has_no_queue_of_others(site: Site, context: Any) -> None:
    with pytest.raises(AirflowFailException, match="local"):
        LocalJobSensor(task_id="wait", job_ids=["1"]).execute(context)
