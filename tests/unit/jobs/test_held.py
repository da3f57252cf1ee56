"""Held jobs: what is told, what is released, what is ended, and what is known after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import Note
from airflow_provider_caf.batch.held import MOST_RELEASES, HeldPolicy
from airflow_provider_caf.batch.spec import Command, CommandResult, SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.errors import PollError
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.held import describe_holds, treat_held
from airflow_provider_caf.jobs.notes import read_notes
from airflow_provider_caf.jobs.observation import Observation
from tests.unit.jobs.test_notes import make_submitted

WAIT = HeldPolicy(action="wait", timeout=100.0)
RELEASE = HeldPolicy(action="release", timeout=100.0)
FAIL = HeldPolicy(action="fail", timeout=100.0)


class Server:
    """A batch system that notes which elements it shall release or end."""

    name = "fake"
    host = "submit.example.org"
    grace = 0.0

    def __init__(self) -> None:
        self.told: list[tuple[str, str, tuple[int, ...] | None]] = []
        self.refuses = False

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        self.told.append(("release", array.array.name, tuple(elements)))
        return (Command(argv=("release",)),)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        self.told.append(("cancel", array.array.name, None if elements is None else tuple(elements)))
        return (Command(argv=("cancel",)),)

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        return CommandResult(argv=command.argv, exit_code=0)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: str) -> None:
        if self.refuses:
            raise PollError("the server is down")

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"not needed: {name}")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> BatchClient:
    return BatchClient(server, server)


def hold(subjob: int, reason: str | None = "no disk", attempt: int = 0, **words: Any) -> Verdict:
    return Verdict(subjob=subjob, status=SubjobStatus.HELD, attempt=attempt, reason=reason, **words)


def look(*verdicts: Verdict, arrays: Sequence[SubmittedArray]) -> Observation:
    return Observation(arrays=tuple(arrays), verdicts={each.subjob: each for each in verdicts})


def test_nothing_held_touches_nothing(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    done = treat_held(client, look(Verdict(subjob=0, status=SubjobStatus.RUNNING), arrays=[array]), FAIL)
    assert (done.describe(), server.told, [*(tmp_path / "a").iterdir()]) == ("", [], [])


def test_the_time_of_a_hold_counts_over_a_restart(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    held = look(hold(0), Verdict(subjob=1, status=SubjobStatus.RUNNING, attempt=0), arrays=[array])
    assert treat_held(client, held, FAIL, lambda: 1000.0).describe() == ""
    assert read_notes(array.array.folder) == {0: Note(held_since=1000.0)}
    # Another process, whose memory is empty.
    again = BatchClient(server, server)
    assert treat_held(again, held, FAIL, lambda: 1099.0).describe() == ""
    assert server.told == []
    done = treat_held(again, held, FAIL, lambda: 1100.0)
    assert (done.ended, done.describe()) == ((0,), "ended, as held jobs, subjob 0")
    assert server.told == [("cancel", "caf_a", (0,))]
    assert read_notes(array.array.folder) == {0: Note(held_since=1000.0, given_up="no disk")}


def test_the_note_says_whether_it_was_the_memory(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    held = look(hold(0, out_of_memory=True, hopeless=True), hold(1, hopeless=True), arrays=[array])
    assert treat_held(client, held, HeldPolicy()).ended == (0, 1)
    assert {subjob: note.out_of_memory for subjob, note in read_notes(array.array.folder).items()} == {
        0: True,
        1: False,
    }


def test_a_hold_that_ended_by_itself_is_forgotten(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    treat_held(client, look(hold(0), arrays=[array]), FAIL, lambda: 1000.0)
    treat_held(client, look(Verdict(subjob=0, status=SubjobStatus.RUNNING), arrays=[array]), FAIL, lambda: 1050.0)
    treat_held(client, look(hold(0), arrays=[array]), FAIL, lambda: 1100.0)
    assert server.told == []
    assert read_notes(array.array.folder) == {0: Note(held_since=1100.0)}


def test_it_is_released_a_few_times_and_fails_then(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    held = look(hold(0), hold(1), arrays=[array])
    clock = iter(range(0, 10000, 100)).__next__
    for _ in range(MOST_RELEASES):
        treat_held(client, held, RELEASE, clock)
        assert treat_held(client, held, RELEASE, clock).describe() == "released subjobs 0, 1"
    assert server.told == [("release", "caf_a", (0, 1))] * MOST_RELEASES
    treat_held(client, held, RELEASE, clock)
    assert treat_held(client, held, RELEASE, clock).ended == (0, 1)
    assert server.told[-1] == ("cancel", "caf_a", None)


@pytest.mark.parametrize("status", [SubjobStatus.HELD, SubjobStatus.QUEUED])
def test_what_will_never_run_is_ended_at_once(
    client: BatchClient, server: Server, tmp_path: Path, status: SubjobStatus
) -> None:
    array = make_submitted(tmp_path / "a")
    verdict = Verdict(subjob=1, status=status, attempt=0, reason="no such input file", hopeless=True)
    assert treat_held(client, look(verdict, arrays=[array]), WAIT).ended == ()
    assert treat_held(client, look(verdict, arrays=[array]), HeldPolicy()).ended == (1,)
    assert server.told == [("cancel", "caf_a", (1,))]
    assert read_notes(array.array.folder)[1].given_up == "no such input file"


def test_what_holds_one_subjob_of_an_element_holds_all(client: BatchClient, server: Server, tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a", ((0, 1), (2, 3)))
    verdicts = [Verdict(subjob=2, status=SubjobStatus.DONE, attempt=0), hold(3, hopeless=True)]
    assert treat_held(client, look(*verdicts, arrays=[array]), FAIL).ended == (2, 3)
    assert server.told == [("cancel", "caf_a", (1,))]


def test_only_the_newest_try_is_dealt_with(client: BatchClient, server: Server, tmp_path: Path) -> None:
    arrays = [make_submitted(tmp_path / "old"), make_submitted(tmp_path / "new", ((1,),), attempt=1)]
    assert treat_held(client, look(hold(1, attempt=1, hopeless=True), arrays=arrays), FAIL).ended == (1,)
    assert server.told == [("cancel", "caf_new", None)]


@pytest.mark.parametrize("policy", [RELEASE, FAIL])
def test_a_command_that_is_not_taken_is_tried_again(
    client: BatchClient, server: Server, tmp_path: Path, policy: HeldPolicy
) -> None:
    array = make_submitted(tmp_path / "a")
    held = look(hold(0), arrays=[array])
    treat_held(client, held, policy, lambda: 0.0)
    server.refuses = True
    with pytest.raises(PollError, match="the server is down"):
        treat_held(client, held, policy, lambda: 100.0)
    server.refuses = False
    treat_held(client, held, policy, lambda: 200.0)
    treat_held(client, held, policy, lambda: 300.0)
    assert len(server.told) >= 2


def test_a_few_reasons_are_told() -> None:
    verdicts = [*(hold(subjob) for subjob in range(7)), hold(8, "quota\x1b[31m\n"), hold(9, None), hold(10, "licence")]
    assert describe_holds({each.subjob: each for each in verdicts}) == (
        "held: subjobs 0, 1, 2, 3, 4 and 2 more (no disk); subjob 8 (quota [31m); "
        "subjob 9 (the batch system gives no reason); and 1 more reasons"
    )
    assert describe_holds({1: Verdict(subjob=1, status=SubjobStatus.QUEUED, reason="priority")}) == ""
