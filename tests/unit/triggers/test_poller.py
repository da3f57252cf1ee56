"""One poller for all that wait: who gets which answer, and how often it asks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.triggers import batch, poller
from airflow_provider_caf.triggers.poller import join_poller
from tests.waiting import LIMIT

if TYPE_CHECKING:
    from tests.unit.counting_site import Site


class Client:
    """Stands for a `BatchClient`. A poll lasts until the test lets it end; an array is any text."""

    def __init__(self, host: str = "submit") -> None:
        self.transport = SimpleNamespace(host=host)
        self.system = SimpleNamespace(name="fake")
        self.polls: list[tuple[str, ...]] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def poll(self, arrays: Sequence[Any]) -> Snapshot:
        self.polls.append(tuple(arrays))
        self.starts.append(time.monotonic())
        number = len(self.polls)
        assert self.gate.wait(LIMIT)
        if self.error is not None:
            raise self.error
        self.ends.append(time.monotonic())
        return Snapshot(states={}, problems={"number": str(number)})


def read_number(snapshot: Snapshot) -> int:
    return int(snapshot.problems["number"])


async def wait_until(is_so: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def test_a_query_that_began_before_one_asked_is_not_trusted() -> None:
    client = Client()
    client.gate.clear()

    async def run() -> None:
        async with join_poller(client) as one, join_poller(client) as other:  # type: ignore[arg-type]
            assert one is other
            first = asyncio.create_task(one.ask(["a"], 0.0))  # type: ignore[list-item]
            await wait_until(lambda: client.polls)
            second = asyncio.create_task(other.ask(["b"], 0.0))  # type: ignore[list-item]
            await asyncio.sleep(0.05)
            client.gate.set()
            assert read_number(await first) == 1
            assert read_number(await second) == 2
        assert client.polls == [("a",), ("b",)]

    asyncio.run(run())


def test_all_who_asked_share_a_query_and_the_quickest_wish_counts() -> None:
    client = Client()

    async def run() -> None:
        async with join_poller(client) as shared:  # type: ignore[arg-type]
            await shared.ask(["a"], 60.0)  # type: ignore[list-item]
            slow = asyncio.create_task(shared.ask(["a"], 60.0))  # type: ignore[list-item]
            await asyncio.sleep(0.05)
            assert len(client.polls) == 1
            answer = await shared.ask(["b"], 0.3)  # type: ignore[list-item]
            assert answer is await slow

    asyncio.run(run())
    assert [set(each) for each in client.polls] == [{"a"}, {"a", "b"}]
    assert client.starts[1] - client.ends[0] >= 0.29


def test_an_error_reaches_all_who_wait_and_the_poller_goes_on() -> None:
    client = Client()
    client.error = RuntimeError("a mistake in the code")

    async def run() -> None:
        async with join_poller(client) as shared:  # type: ignore[arg-type]
            found = await asyncio.gather(
                *(shared.ask([name], 0.0) for name in "ab"),  # type: ignore[list-item]
                return_exceptions=True,
            )
            assert found == [client.error, client.error]
            client.error = None
            assert read_number(await shared.ask(["a"], 0.0)) >= 2  # type: ignore[list-item]

    asyncio.run(run())


def test_one_who_leaves_disturbs_nobody_and_the_last_one_ends_it() -> None:
    client = Client()

    async def run() -> None:
        async with join_poller(client) as shared:  # type: ignore[arg-type]
            await shared.ask(["a"], 0.0)  # type: ignore[list-item]

            async def leave() -> None:
                async with join_poller(client) as mine:  # type: ignore[arg-type]
                    await mine.ask(["gone"], 0.3)  # type: ignore[list-item]

            leaving = asyncio.create_task(leave())
            staying = asyncio.create_task(shared.ask(["stays"], 0.3))  # type: ignore[list-item]
            await asyncio.sleep(0.05)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await staying
            assert len(poller._pollers) == 1
        assert poller._pollers == {}
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert client.polls == [("a",), ("stays",)]


def test_another_host_has_a_poller_of_its_own() -> None:
    async def run() -> None:
        async with join_poller(Client("one")) as one, join_poller(Client("two")) as two:  # type: ignore[arg-type]
            assert one is not two

    asyncio.run(run())
    # So has another loop; nothing of the first one is left for it.
    asyncio.run(run())


def test_two_hundred_triggers_need_one_query_in_an_interval(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_HOLD_BACK", 0.0)
    names = [f"c{number:03}" for number in range(200)]
    for name in names:
        site.submit(name, 2)
    threads = 0

    async def wait(name: str) -> list[dict[str, Any]]:
        return [dict(event.payload) async for event in site.make_trigger(name, interval=1.0).run()]

    async def run() -> float:
        nonlocal threads
        tasks = [asyncio.create_task(wait(name)) for name in names]
        began = time.monotonic()
        # Until a query after all of them has been seen twice: all wait by then.
        while [count for _, count in site.read_commands()].count(200) < 2:
            await asyncio.sleep(0.05)
            threads = max(threads, threading.active_count())
        site.say("E")
        events = await asyncio.gather(*tasks)
        assert events == [[{"first_attempt": 0, "deadline": 4e9}]] * 200
        return time.monotonic() - began

    lasted = asyncio.run(run())
    commands = site.read_commands()
    assert {action for action, _ in commands} == {"query"}
    # One at the begin, and one more for each whole interval.
    assert len(commands) <= 1 + lasted / 1.0
    assert threads < 50


def test_triggers_of_one_loop_end_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The poller outlives those who leave, and asks no more for what nobody waits for."""
    monkeypatch.setattr(batch, "_HOLD_BACK", 0.0)
    for name in ("one", "two"):
        site.submit(name, 1)

    async def run() -> None:
        async def wait(trigger: Any) -> None:
            async for _ in trigger.run():
                pass

        one = asyncio.create_task(wait(site.make_trigger("one", 0.3)))
        two = asyncio.create_task(wait(site.make_trigger("two", 0.3)))
        await wait_until(lambda: ("query", 2) in site.read_commands())
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        seen = len(site.read_commands())
        await wait_until(lambda: len(site.read_commands()) > seen + 1)
        assert site.read_commands()[-1] == ("query", 1)
        site.say("E")
        await two

    asyncio.run(run())
