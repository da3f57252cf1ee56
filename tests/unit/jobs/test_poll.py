"""Polling: one query, patience, and what is kept from poll to poll."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems.base import Answer, Query
from airflow_provider_caf.batch.verdicts import SubjobState
from airflow_provider_caf.core.errors import PollError, TransportError
from airflow_provider_caf.jobs.poll import Poller, Snapshot
from tests.unit.batch.arrays import make_array, submit


def make_submitted(name: str, elements: Sequence[Sequence[int]] = ((0,), (1,)), attempt: int = 0) -> SubmittedArray:
    return submit(make_array(name, elements, attempt=attempt), f"id-{name}")


Told = Mapping[str, Mapping[int, str]]


class Server:
    """A batch system and its transport, which say what the test has put there."""

    name = "fake"
    grace = 30.0

    def __init__(self) -> None:
        self.queue: Told = {}
        self.history: Told = {}
        self.failing: set[str] = set()
        self.hopeless: set[str] = set()
        self.asked: list[str] = []
        self.now = 0.0
        self.chunk = 1000
        self.states = {"Q": QUEUED, "R": RUNNING, "E": EXITED, "H": HELD}

    host = "submit.example.org"

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        return tuple(
            Query(command=Command(argv=("q",)), arrays=tuple(arrays[start : start + self.chunk]))
            for start in range(0, len(arrays), self.chunk)
        )

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        return (Query(command=Command(argv=("h",)), arrays=tuple(arrays)),)

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        self.asked.append(command.argv[0])
        if f"{command.argv[0]} hangs" in self.failing:
            raise TransportError("it hangs")
        return CommandResult(argv=command.argv, exit_code=0)

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        names = [array.array.name for array in query.arrays]
        if self.failing & set(names):
            raise PollError("cannot be read")
        return self._answer(self.queue, names)

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        return self._answer(self.history, [array.array.name for array in query.arrays])

    def write_file(self, file: TextFile) -> None:
        raise AssertionError(file)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"polling does not need {name}")

    def _answer(self, told: Told, names: list[str]) -> Answer:
        elements = {
            name: {
                index: Native(code=code, reason=f"why {code}", is_hopeless=code in self.hopeless)
                for index, code in told[name].items()
            }
            for name in names
            if name in told
        }
        return Answer(elements=elements)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def poller(server: Server) -> Poller:
    return Poller(server, server, Patience(deadline=600.0), lambda: server.now)


A = make_submitted("caf_a")


def look(poller: Poller, *arrays: SubmittedArray) -> list[JobState]:
    arrays = arrays or (A,)
    return [each.state for _, each in sorted(poller.poll(arrays).read(arrays).items())]


QUEUED, RUNNING, EXITED, LOST = JobState.QUEUED, JobState.RUNNING, JobState.EXITED, JobState.LOST
UNKNOWN, HELD = JobState.UNKNOWN, JobState.HELD


def test_states_are_translated(server: Server, poller: Poller) -> None:
    server.queue = {"caf_a": {0: "Q", 1: "H"}}
    found = poller.poll([A]).read([A])
    assert found[1] == SubjobState(subjob=1, attempt=0, state=HELD, native="H", reason="why H")
    assert found[0].state is QUEUED
    assert server.asked == ["q"]


def test_nothing_to_ask_for_is_no_command(server: Server, poller: Poller) -> None:
    assert poller.poll([]) == Snapshot(states={}, problems={})
    assert server.asked == []


def test_subjobs_of_one_element_share_its_state(server: Server, poller: Poller) -> None:
    packed = make_submitted("caf_p", [[4, 2], [3]])
    server.queue = {"caf_p": {0: "R", 1: "Q"}}
    assert {subjob: each.state for subjob, each in poller.poll([packed]).read([packed]).items()} == {
        4: RUNNING,
        2: RUNNING,
        3: QUEUED,
    }


def test_the_newest_try_of_a_subjob_is_read(server: Server, poller: Poller) -> None:
    newer = make_submitted("caf_b", [[1]], attempt=1)
    server.queue = {"caf_a": {0: "E", 1: "E"}, "caf_b": {0: "R"}}
    assert look(poller, A, newer) == [EXITED, RUNNING]
    assert look(poller, newer, A) == [EXITED, RUNNING]


def test_missing_is_not_lost_before_the_grace_time(server: Server, poller: Poller) -> None:
    server.queue = server.history = {"caf_a": {0: "R", 1: "R"}}
    assert look(poller) == [RUNNING, RUNNING]
    server.queue = server.history = {"caf_a": {0: "R"}}
    for server.now in (10.0, 39.9):
        assert look(poller) == [RUNNING, RUNNING]
    server.now = 40.0
    assert look(poller) == [RUNNING, LOST]
    assert poller.poll([A]).read([A])[1].settled
    # Latched, whatever is shown later.
    server.queue = {"caf_a": {0: "R", 1: "R"}}
    assert look(poller) == [RUNNING, LOST]


def test_one_that_comes_back_was_not_lost(server: Server, poller: Poller) -> None:
    server.queue = server.history = {"caf_a": {0: "R"}}
    look(poller)
    server.now = 29.0
    server.queue = {"caf_a": {0: "R", 1: "Q"}}
    assert look(poller) == [RUNNING, QUEUED]
    server.queue = {"caf_a": {0: "R"}}
    server.now = 50.0
    assert look(poller) == [RUNNING, QUEUED]


def test_the_history_is_asked_only_for_what_is_missing(server: Server, poller: Poller) -> None:
    server.queue = {"caf_a": {0: "R", 1: "R"}}
    look(poller)
    assert server.asked == ["q"]
    server.queue, server.history = {"caf_a": {0: "R"}}, {"caf_a": {1: "E"}}
    assert look(poller) == [RUNNING, EXITED]
    assert server.asked == ["q", "q", "h"]
    # It is over and latched: nothing is missing any more.
    assert look(poller) == [RUNNING, EXITED]
    assert server.asked == ["q", "q", "h", "q"]


def test_an_exit_record_is_waited_for(server: Server, poller: Poller) -> None:
    server.queue = {"caf_a": {0: "E", 1: "R"}}
    assert not poller.poll([A]).read([A])[0].settled
    server.now = 29.9
    assert not poller.poll([A]).read([A])[0].settled
    server.now = 30.0
    assert poller.poll([A]).read([A])[0].settled


def test_the_users_grace_time_wins(server: Server) -> None:
    poller = Poller(server, server, Patience(grace=0.0), lambda: server.now)
    server.queue = server.history = {"caf_a": {0: "R"}}
    assert look(poller) == [RUNNING, LOST]


@pytest.mark.parametrize("failure", ["caf_a", "q hangs"])
def test_a_failed_poll_fails_nothing_before_the_deadline(server: Server, poller: Poller, failure: str) -> None:
    server.queue = {"caf_a": {0: "R", 1: "Q"}}
    look(poller)
    server.failing = {failure}
    for server.now in (10.0, 500.0, 609.9):
        snapshot = poller.poll([A])
        assert [each.state for each in snapshot.read([A]).values()] == [RUNNING, QUEUED]
        assert snapshot.describe_problems([A]) in ("cannot be read", "it hangs")
    server.now = 610.0
    with pytest.raises(PollError, match=r"Nothing could be found out about array caf_a \(id-caf_a\): "):
        look(poller)
    # The server is back: the deadline begins anew at the next failure.
    server.failing = set()
    assert look(poller) == [RUNNING, QUEUED]
    server.failing = {failure}
    server.now = 1200.0
    assert look(poller) == [RUNNING, QUEUED]


def test_a_failed_poll_makes_nothing_missing(server: Server, poller: Poller) -> None:
    server.queue = {"caf_a": {0: "R", 1: "R"}}
    look(poller)
    server.failing = {"q hangs"}
    server.now = 300.0
    look(poller)
    server.failing = set()
    server.queue = server.history = {"caf_a": {0: "R"}}
    # The grace time begins with the first answer in which it is missing.
    assert look(poller) == [RUNNING, RUNNING]
    server.now = 330.0
    assert look(poller) == [RUNNING, LOST]


def test_a_failed_history_makes_nothing_lost(server: Server, poller: Poller) -> None:
    server.queue = server.history = {"caf_a": {0: "R"}}
    server.failing = {"h hangs"}
    look(poller)
    server.now = 100.0
    snapshot = poller.poll([A])
    assert snapshot.read([A])[1].state is UNKNOWN
    assert snapshot.describe_problems([A]) == "it hangs"


def test_an_array_about_which_nothing_is_said(server: Server, poller: Poller) -> None:
    server.queue = {}
    snapshot = poller.poll([A])
    assert snapshot.describe_problems([A]) == "the answer on submit.example.org says nothing about it"
    assert snapshot.read([A])[0].state is UNKNOWN


def test_one_bad_chunk_does_not_spoil_the_others(server: Server, poller: Poller) -> None:
    b = make_submitted("caf_b")
    server.chunk = 1
    server.queue = {"caf_a": {0: "R", 1: "R"}, "caf_b": {0: "R", 1: "R"}}
    server.failing = {"caf_b"}
    snapshot = poller.poll([A, b])
    assert [each.state for each in snapshot.read([A]).values()] == [RUNNING, RUNNING]
    assert snapshot.describe_problems([A]) is None
    assert snapshot.describe_problems([A, b]) == "cannot be read"
    server.now = 700.0
    snapshot = poller.poll([A, b])
    assert snapshot.read([A])
    with pytest.raises(PollError, match="caf_b"):
        snapshot.read([A, b])


def test_an_unknown_state_is_told_once_and_polled_on(
    server: Server, poller: Poller, caplog: pytest.LogCaptureFixture
) -> None:
    server.queue = {"caf_a": {0: "R", 1: "PROV"}}
    with caplog.at_level(logging.WARNING):
        assert look(poller) == [RUNNING, UNKNOWN]
        server.queue = {"caf_a": {0: "PROV", 1: "PROV"}}
        assert look(poller) == [RUNNING, UNKNOWN]
    assert [record.getMessage() for record in caplog.records] == [
        "fake shows a state 'PROV' that is not known; polling on"
    ]
    server.queue = {"caf_a": {0: "E", 1: "R"}}
    assert look(poller) == [EXITED, RUNNING]


def test_a_requeue_is_counted(server: Server, poller: Poller) -> None:
    for code in "RQRQ":
        server.queue = {"caf_a": {0: code, 1: "R"}}
        poller.poll([A])
    assert [each.restarts for each in poller.poll([A]).read([A]).values()] == [2, 0]


def test_what_was_said_when_it_ended_stays(server: Server, poller: Poller) -> None:
    server.queue = {"caf_a": {0: "E", 1: "E"}}
    poller.poll([A])
    server.queue = {"caf_a": {0: "R", 1: "Q"}}
    assert [each.native for each in poller.poll([A]).read([A]).values()] == ["E", "E"]


def test_arrays_that_nobody_asks_for_are_forgotten(server: Server, poller: Poller) -> None:
    b = make_submitted("caf_b")
    server.queue = {"caf_a": {0: "R", 1: "R"}, "caf_b": {0: "R", 1: "R"}}
    poller.poll([A, b])
    server.now = 86401.0
    poller.poll([b])
    assert set(poller._watches) == {"caf_b"}


def test_what_is_missing_is_told_until_its_grace_time_is_over(server: Server, poller: Poller) -> None:
    server.queue = server.history = {"caf_a": {0: "R"}}
    found = poller.poll([A]).read([A])
    assert [found[subjob].missing for subjob in (0, 1)] == [False, True]
    server.failing = {"caf_a"}
    assert poller.poll([A]).read([A])[1].missing
    server.failing = set()
    server.now = 40.0
    found = poller.poll([A]).read([A])
    assert (found[1].state, found[1].missing) == (LOST, False)


def test_what_will_never_run_is_told_while_it_waits(server: Server, poller: Poller) -> None:
    server.hopeless = {"H"}
    server.queue = {"caf_a": {0: "H", 1: "Q"}}
    found = poller.poll([A]).read([A])
    assert [found[subjob].hopeless for subjob in (0, 1)] == [True, False]
    server.hopeless = {"E"}
    server.queue = {"caf_a": {0: "E", 1: "Q"}}
    assert not poller.poll([A]).read([A])[0].hopeless
