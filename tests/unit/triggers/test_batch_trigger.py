"""The trigger of the batch sensors, over real subjobs of the local system."""

from __future__ import annotations

import asyncio
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.core.errors import PollError
from airflow_provider_caf.io.subjobs import SubjobStatus
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.triggers import batch
from airflow_provider_caf.triggers.batch import BatchJobTrigger

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


@pytest.fixture(autouse=True)
def _no_hold_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_HOLD_BACK", 0.0)


DEADLINE = 4e9
"""In seconds since 1970: no test lives that long."""


def make_trigger(lab: Lab, **words: Any) -> BatchJobTrigger:
    return BatchJobTrigger(
        **{
            "calibration_folder": str(lab.layout().folder),
            "iteration": 0,
            "collection": "default",
            "deadline": DEADLINE,
            "first_attempt": 2,
            "longest_interval": 0.1,
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
    assert words["first_attempt"] == 2
    assert words["longest_interval"] == 0.1


def test_what_it_says_is_small_however_many_subjobs_there_are(lab: Lab) -> None:
    arguments = [{"seed": number} for number in range(1000)]
    collection = lab.copies(["true"], arguments=arguments, max_subjobs=1000)
    lab.prepare(lab.calibration(collections={"default": collection}))
    assert len(json.dumps(make_trigger(lab).serialize())) < 600


def test_the_constructor_touches_nothing() -> None:
    trigger = BatchJobTrigger(calibration_folder="/not/there", iteration=0, collection="none", deadline=DEADLINE)
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


def test_a_batch_system_that_is_silent_for_too_long_is_an_event(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(lab)

    def fail(self: CollectionRun, **_: Any) -> None:
        raise PollError("The server is down since 30 minutes.", hint="Ask for it.")

    monkeypatch.setattr(CollectionRun, "observe", fail)
    (event,) = asyncio.run(collect_events(make_trigger(lab)))
    assert event == {"error": "The server is down since 30 minutes.\n  hint: Ask for it."}
    monkeypatch.undo()
    lab.wait(lab.open())


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
    observe = CollectionRun.observe

    def slow(self: CollectionRun, **words: Any) -> Any:
        import time

        time.sleep(0.5)
        return observe(self, **words)

    monkeypatch.setattr(CollectionRun, "observe", slow)

    async def count_ticks() -> int:
        ticks = 0
        task = asyncio.create_task(collect_events(make_trigger(lab)))
        while not task.done():
            await asyncio.sleep(0.02)
            ticks += 1
        return ticks

    assert asyncio.run(count_ticks()) > 5
