"""The trigger of the batch sensors, over real subjobs of the local system."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.systems.local import STATES, LocalSystem
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.jobs.notes import NOTES_FILE
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.triggers import batch
from airflow_provider_caf.triggers.batch import BatchJobTrigger
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from tests.unit.conftest import Lab
    from tests.unit.counting_site import Site


@pytest.fixture(autouse=True)
def _no_hold_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setattr(batch, "_HOLD_BACK", 0.0)


DEADLINE = 4e9
"""In seconds since 1970: no test lives that long."""
_PLACE = {"calibration_folder", "dag_id", "run_id", "iteration", "collection"}
_TIMES = {
    "deadline": DEADLINE,
    "first_attempt": 2,
    "since": 3.5,
    "shortest_interval": 0.05,
    "longest_interval": 0.1,
    "poll_deadline": 7.0,
}


def make_trigger(lab: Lab, **words: Any) -> BatchJobTrigger:
    return BatchJobTrigger(
        **{
            "calibration_folder": str(lab.layout().folder),
            "dag_id": lab.run.dag_id,
            "run_id": lab.run.run_id,
            "iteration": 0,
            "collection": "default",
            **_TIMES,
            **words,
        }
    )


def set_up(lab: Lab, words: list[str] | None = None) -> None:
    lab.prepare(lab.calibration(collections={"default": lab.copies(words, max_collector_jobs=1)}))
    lab.submit()


async def collect_events(trigger: BatchJobTrigger) -> list[dict[str, Any]]:
    return [dict(event.payload) async for event in trigger.run()]


def test_it_can_be_made_again_from_what_it_says(lab: Lab) -> None:
    trigger = make_trigger(lab)
    path, words = trigger.serialize()
    module, _, name = path.rpartition(".")
    again = getattr(import_module(module), name)(**json.loads(json.dumps(words)))
    assert isinstance(again, BatchJobTrigger)
    assert again.serialize() == (path, words)
    assert {name: words[name] for name in words if name not in _PLACE} == {**_TIMES, "cancel_on_kill": True}


def test_what_it_says_is_small_however_many_subjobs_there_are(lab: Lab) -> None:
    arguments = [{"seed": number} for number in range(1000)]
    collection = lab.copies(["true"], arguments=arguments, max_subjobs=1000)
    lab.prepare(lab.calibration(collections={"default": collection}))
    assert len(json.dumps(make_trigger(lab).serialize())) < 600


def test_the_constructor_touches_nothing() -> None:
    trigger = BatchJobTrigger("/not/there", "dag", "run", 0, "none", deadline=DEADLINE)
    assert trigger.serialize()[1]["first_attempt"] == 0


def test_one_event_when_all_are_done(lab: Lab) -> None:
    set_up(lab)
    assert asyncio.run(collect_events(make_trigger(lab))) == [{"first_attempt": 2, "deadline": DEADLINE}]
    lab.open().check_done(lab.open().observe())


def test_one_event_when_something_failed(lab: Lab) -> None:
    set_up(lab, ["false"])
    assert asyncio.run(collect_events(make_trigger(lab))) == [{"first_attempt": 2, "deadline": DEADLINE}]


def test_the_event_is_held_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that fires within seconds of the deferral fails the task in Airflow up to 3.3.2."""
    monkeypatch.setattr(batch, "_HOLD_BACK", 0.5)
    set_up(lab)
    lab.wait(lab.open())

    async def measure() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        assert await collect_events(make_trigger(lab)) == [{"first_attempt": 2, "deadline": DEADLINE}]
        return loop.time() - start

    assert asyncio.run(measure()) >= 0.45


def test_a_batch_system_that_is_silent_for_too_long_is_an_event(site: Site) -> None:
    site.submit("default", 3)
    site.say("ill")
    (event,) = asyncio.run(collect_events(site.make_trigger("default", 0.05, poll_deadline=0.3)))
    assert "Nothing could be found out about array caf_default (1): " in event["error"]
    assert "the server is ill" in event["error"]
    assert len(site.read_commands()) >= 2


def test_a_batch_system_that_comes_back_in_time_has_cost_nothing(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what has changed is told once."""
    site.submit("default", 3)
    site.say("ill")
    trigger = site.make_trigger("default", 0.05, poll_deadline=60.0)

    async def run() -> list[dict[str, Any]]:
        task = asyncio.create_task(collect_events(trigger))
        for letter in "RC":
            seen = len(site.read_commands())
            while len(site.read_commands()) < seen + 3:
                await asyncio.sleep(0.02)
            site.say(letter)
        return await task

    assert asyncio.run(run()) == [{"first_attempt": 0, "deadline": DEADLINE}]
    told = [line.partition("[info     ] ")[2] for line in capsys.readouterr().out.splitlines() if "[info" in line]
    assert len(told) == 3
    assert told[0].startswith("3 queued (the batch system does not answer: The local pools could not be asked")
    assert told[1].startswith("3 running ")
    assert told[2].startswith("3 cancelled ")


def test_the_last_look_is_when_the_time_is_up(site: Site) -> None:
    site.submit("default", 1)
    trigger = site.make_trigger("default", 60.0, shortest_interval=0.05, deadline=time.time() + 0.5)
    assert asyncio.run(collect_events(trigger)) == [{"first_attempt": 0, "deadline": trigger.deadline}]


def test_a_folder_that_is_gone_is_an_event(lab: Lab) -> None:
    (event,) = asyncio.run(collect_events(make_trigger(lab)))
    assert "The manifest of collection 'default'" in event["error"]


def test_a_shutdown_of_the_triggerer_ends_no_job_but_a_kill_does(lab: Lab, tmp_path: Path) -> None:
    set_up(lab, ["bash", "-c", 'until [ -e "$1" ]; do sleep 0.05; done', "-", str(tmp_path / "never")])
    trigger = make_trigger(lab)

    async def shut_down() -> None:
        task = asyncio.create_task(collect_events(trigger))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await trigger.cleanup()

    asyncio.run(shut_down())
    run = lab.open()
    assert {verdict.status.is_over for verdict in run.observe().verdicts.values()} == {False}
    asyncio.run(trigger.on_kill())
    lab.wait(run)
    assert {verdict.status for verdict in run.observe().verdicts.values()} == {SubjobStatus.CANCELLED}


def test_the_loop_is_free_while_it_looks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer has one loop for all its triggers: a slow batch system must not stop it."""
    set_up(lab)
    lab.wait(lab.open())
    find_question = CollectionRun.find_question
    has_ticked = threading.Event()

    def slow(self: CollectionRun) -> Any:
        assert has_ticked.wait(LIMIT), "the loop stands still"
        return find_question(self)

    monkeypatch.setattr(CollectionRun, "find_question", slow)

    async def tick() -> list[dict[str, Any]]:
        task = asyncio.create_task(collect_events(make_trigger(lab)))
        for _ in range(5):
            await asyncio.sleep(0.02)
        has_ticked.set()
        return await task

    assert len(asyncio.run(tick())) == 1


def test_a_kill_leaves_alone_what_the_trigger_has_not_waited_for(site: Site) -> None:
    """A clear starts the task again at the same moment; what that one submits must live."""
    site.submit("default", 1)
    trigger = site.make_trigger("default", 0.1)

    async def run() -> None:
        task = asyncio.create_task(collect_events(trigger))
        while len(site.read_commands()) < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        site.add_array("default", 1, attempt=1)
        await trigger.on_kill()

    asyncio.run(run())
    layout = site.calibration.iteration(0).collection("default")
    assert [(layout.jobs.array_folder(number) / NOTES_FILE).exists() for number in (0, 1)] == [True, False]
    assert site.read_commands()[-1] == ("cancel", 1)


def test_held_jobs_are_dealt_with_while_the_task_is_deferred(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STATES, "H", JobState.HELD)
    monkeypatch.setattr(LocalSystem, "ignored", frozenset())
    site.submit("default", 2, held="fail", held_timeout=1)
    site.say("H")
    trigger = site.make_trigger("default", 0.1)

    async def run() -> list[dict[str, Any]]:
        task = asyncio.create_task(collect_events(trigger))
        while ("cancel", 1) not in site.read_commands():
            await asyncio.sleep(0.02)
        site.say("C")
        return await task

    assert len(asyncio.run(run())) == 1
    verdicts = trigger.open_run().observe().verdicts
    assert {each.status for each in verdicts.values()} == {SubjobStatus.FAILED}
    assert [action for action, _ in site.read_commands()].count("cancel") == 1


def test_a_kill_comes_to_its_end_also_when_nobody_waits_for_it(site: Site) -> None:
    """Airflow up to 3.3.2 cancels `on_kill` itself after a second."""
    site.submit("default", 1)
    trigger = site.make_trigger("default", 0.1)

    async def run() -> None:
        task = asyncio.create_task(trigger.on_kill())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while ("cancel", 1) not in site.read_commands():
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_kill_that_cannot_end_the_jobs_says_so(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(make_trigger(lab).on_kill())
    assert "the jobs of 'default' could not be ended: The manifest of collection 'default'" in capsys.readouterr().out


def test_an_error_that_nobody_expects_goes_to_the_sensor(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that left the trigger would fail the task without the sensor, and its jobs would go on."""
    set_up(lab)

    def fail(_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(CollectionRun, "find_question", fail)

    async def wait() -> dict[str, Any]:
        async for event in make_trigger(lab).run():
            return dict(event.payload)
        raise AssertionError("no event")

    assert asyncio.run(wait()) == {"error": "RuntimeError: a mistake of ours"}
    monkeypatch.undo()
    lab.wait(lab.open())
