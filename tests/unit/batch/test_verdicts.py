"""The theory above the tables, tried on every series of glimpses and on every row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import FINAL, ExitRecord, JobState, Native, Note
from airflow_provider_caf.batch.verdicts import (
    TRANSITIONS,
    Sighting,
    SubjobState,
    SubjobStatus,
    Track,
    advance,
    apply_note,
    build_state,
    doubt_end,
    judge_subjobs,
    miss,
    see,
)

GLIMPSES = st.lists(st.sampled_from(JobState), max_size=12)


def follow(*seen: JobState) -> Track:
    track = Track()
    for state in seen:
        track = advance(track, state)
    return track


QUEUED, HELD, RUNNING, TRANSFERRING = JobState.QUEUED, JobState.HELD, JobState.RUNNING, JobState.TRANSFERRING
EXITED, CANCELLED, LOST, UNKNOWN = JobState.EXITED, JobState.CANCELLED, JobState.LOST, JobState.UNKNOWN


@pytest.mark.parametrize(
    ("seen", "state", "restarts"),
    [
        ([], UNKNOWN, 0),
        ([QUEUED, RUNNING, TRANSFERRING, EXITED], EXITED, 0),
        ([EXITED], EXITED, 0),
        # Latched: Slurm after a crash of its controller shows finished elements as running.
        ([RUNNING, EXITED, RUNNING, QUEUED, RUNNING], EXITED, 0),
        ([RUNNING, LOST, RUNNING], LOST, 0),
        ([QUEUED, CANCELLED, RUNNING], CANCELLED, 0),
        # A requeue or an eviction is a new start.
        ([QUEUED, RUNNING, QUEUED, RUNNING, QUEUED], QUEUED, 2),
        ([RUNNING, TRANSFERRING, RUNNING], RUNNING, 1),
        ([RUNNING, TRANSFERRING, QUEUED], QUEUED, 1),
        # Held while it waits, and released: the same start.
        ([QUEUED, HELD, QUEUED, RUNNING], RUNNING, 0),
        # Held while it ran, and put back into the queue: a new one.
        ([RUNNING, HELD, QUEUED], QUEUED, 1),
        ([RUNNING, HELD, RUNNING], RUNNING, 0),
        ([TRANSFERRING, HELD, TRANSFERRING, EXITED], EXITED, 0),
        ([QUEUED, HELD, CANCELLED], CANCELLED, 0),
        # What nobody knows moves nothing.
        ([QUEUED, UNKNOWN, RUNNING, UNKNOWN], RUNNING, 0),
        ([UNKNOWN, UNKNOWN], UNKNOWN, 0),
    ],
)
def test_series(seen: list[JobState], state: JobState, restarts: int) -> None:
    track = follow(*seen)
    assert (track.state, track.restarts) == (state, restarts)


def test_every_state_has_its_row() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert all(not TRANSITIONS[state] for state in FINAL)
    assert all(state not in after for state, after in TRANSITIONS.items())


@given(GLIMPSES, st.sampled_from(JobState))
def test_over_is_over(seen: list[JobState], later: JobState) -> None:
    track = follow(*seen)
    if track.state in FINAL:
        assert advance(track, later) is track


@given(GLIMPSES)
def test_it_is_over_exactly_when_it_was_seen_over(seen: list[JobState]) -> None:
    finals = [state for state in seen if state in FINAL]
    track = follow(*seen)
    assert (track.state in FINAL) == bool(finals)
    if finals:
        assert track.state is finals[0]


@given(GLIMPSES, st.sampled_from(JobState))
def test_restarts_never_go_back_and_no_news_is_the_same_object(seen: list[JobState], later: JobState) -> None:
    track = follow(*seen)
    after = advance(track, later)
    assert after.restarts in (track.restarts, track.restarts + 1)
    if later in (track.state, UNKNOWN):
        assert after is track


@given(st.lists(st.sampled_from([QUEUED, HELD, UNKNOWN]), max_size=8))
def test_what_never_ran_was_never_started_again(seen: list[JobState]) -> None:
    track = follow(*seen)
    assert (track.started, track.restarts) == (False, 0)


def make_end(**changes: Any) -> ExitRecord:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    values: dict[str, Any] = {
        "subjob": 0,
        "attempt": 0,
        "restart": 0,
        "folder": Path("/w/0"),
        "job_digest": "new",
        "exit_code": 0,
        "signal": None,
        "host": "vm",
        "started": noon,
        "ended": noon,
        "cpu_seconds": 0.0,
        "peak_memory_kb": 0,
        "outputs": {},
        "reason": None,
    }
    return ExitRecord(**{**values, **changes})


GOOD = make_end()
BAD = make_end(exit_code=3, reason="it broke")
NEWER = {"attempt": 1}


def say(state: JobState, **changes: Any) -> SubjobState:
    return SubjobState(**{"subjob": 0, "attempt": 0, "state": state, "native": "?", **changes})


@pytest.mark.parametrize(
    ("row", "ends", "state", "status", "reason"),
    [
        (1, [GOOD], say(JobState.RUNNING), SubjobStatus.DONE, None),
        (1, [GOOD, make_end(exit_code=3, **NEWER)], say(JobState.EXITED, **NEWER), SubjobStatus.DONE, None),
        (3, [], say(JobState.QUEUED), SubjobStatus.QUEUED, None),
        (3, [], say(JobState.UNKNOWN), SubjobStatus.QUEUED, None),
        (3, [], say(JobState.HELD, reason="no disk"), SubjobStatus.HELD, "no disk"),
        (3, [], say(JobState.TRANSFERRING), SubjobStatus.RUNNING, None),
        # The system runs a try again whose first start has left a record.
        (3, [BAD], say(JobState.RUNNING), SubjobStatus.RUNNING, None),
        (3, [BAD], say(JobState.QUEUED, **NEWER), SubjobStatus.QUEUED, None),
        (4, [], say(JobState.CANCELLED, given_up="no disk"), SubjobStatus.FAILED, "given up: no disk"),
        (5, [], say(JobState.CANCELLED), SubjobStatus.CANCELLED, None),
        (5, [BAD], say(JobState.CANCELLED), SubjobStatus.CANCELLED, "it broke"),
        # Who has cancelled it is no matter of the words in the reason.
        (5, [BAD], say(JobState.CANCELLED, reason="it was cancelled from here"), SubjobStatus.CANCELLED, "from here"),
        (7, [BAD], say(JobState.CANCELLED, cancelled_here=True, reason="any"), SubjobStatus.FAILED, "it broke; any"),
        (6, [make_end(outputs={"gone": 1})], say(JobState.EXITED), SubjobStatus.FAILED, "gone is gone"),
        (7, [BAD], say(JobState.EXITED, reason="too large"), SubjobStatus.FAILED, "it broke; too large"),
        (7, [BAD], None, SubjobStatus.FAILED, "it broke"),
        (7, [BAD], say(JobState.LOST), SubjobStatus.FAILED, "it broke"),
        (8, [], say(JobState.EXITED), SubjobStatus.RUNNING, "is waited for"),
        (9, [], say(JobState.EXITED, settled=True, exit_code=7), SubjobStatus.FAILED, "exit code 7"),
        (9, [BAD], say(JobState.EXITED, settled=True, **NEWER), SubjobStatus.FAILED, "without an exit record"),
        (10, [], say(JobState.RUNNING, missing=True), SubjobStatus.RUNNING, None),
        (11, [], say(JobState.LOST), SubjobStatus.LOST, "in no queue and no history"),
        (12, [], None, SubjobStatus.MISSING, None),
    ],
)
def test_the_table_of_verdicts(
    row: int, ends: list[ExitRecord], state: SubjobState | None, status: SubjobStatus, reason: str | None
) -> None:
    states = {} if state is None else {0: state}
    verdict = judge_subjobs(
        {0: "new"}, ends, states, find_problem=lambda end: "gone is gone" if "gone" in end.outputs else None
    )[0]
    assert verdict.status is status
    assert verdict.reason is None if reason is None else reason in str(verdict.reason)
    assert verdict.settling is (row in (8, 10))
    assert verdict.gave_up is (row == 4)


@pytest.mark.parametrize(
    ("ends", "state", "expected"),
    [
        ([], say(JobState.EXITED, settled=True, out_of_memory=True), True),
        ([], say(JobState.HELD, out_of_memory=True), True),
        ([], apply_note(say(JobState.CANCELLED), Note(given_up="any", out_of_memory=True)), True),
        ([], apply_note(say(JobState.CANCELLED, out_of_memory=True), Note(given_up="any")), True),
        ([BAD], say(JobState.EXITED, out_of_memory=True), True),
        ([replace(BAD, out_of_memory=True)], None, True),
        ([replace(BAD, out_of_memory=True)], say(JobState.CANCELLED), True),
        # Nothing that only reads like it.
        ([replace(BAD, reason="OUT_OF_MEMORY")], say(JobState.EXITED, reason="OUT_OF_MEMORY"), False),
        # What is said of another try is no matter of this one.
        ([replace(BAD, attempt=1)], say(JobState.EXITED, out_of_memory=True), False),
    ],
)
def test_a_verdict_says_whether_it_was_the_memory(
    ends: list[ExitRecord], state: SubjobState | None, expected: bool
) -> None:
    assert judge_subjobs({0: "new"}, ends, {} if state is None else {0: state})[0].out_of_memory is expected


@pytest.mark.parametrize("state", JobState)
def test_records_of_another_job_file_do_not_count(state: JobState) -> None:
    void = make_end(job_digest="old")
    with_it = judge_subjobs({0: "new"}, [void], {0: say(state, settled=True)})[0]
    without = judge_subjobs({0: "new"}, [], {} if state in FINAL else {0: say(state, settled=True)})[0]
    assert with_it == without


@pytest.mark.parametrize("state", JobState)
def test_nothing_is_over_for_good_while_records_cannot_be_fetched(state: JobState) -> None:
    verdict = judge_subjobs({0: "new"}, [], {0: doubt_end(say(state, settled=True))})[0]
    assert not verdict.status.is_over


@pytest.mark.parametrize("note", [Note(cancelled=True), Note(given_up="no disk"), Note(releases=2)])
@pytest.mark.parametrize("state", [state for state in JobState if state not in FINAL])
def test_a_note_does_not_speak_against_what_goes_on(note: Note, state: JobState) -> None:
    assert apply_note(say(state), note) == say(state)


@pytest.mark.parametrize("state", [say(JobState.LOST), say(JobState.RUNNING, missing=True)])
def test_what_we_have_cancelled_is_not_lost(state: SubjobState) -> None:
    assert apply_note(state, Note(cancelled=True)).state is JobState.CANCELLED


def test_a_glimpse_after_the_end_changes_nothing() -> None:
    over = see(Sighting(), Native(code="F", reason="OUT_OF_MEMORY"), JobState.EXITED, 1.0)
    again = see(over, Native(code="R"), JobState.RUNNING, 2.0)
    assert (again.track, again.native, again.over_since) == (over.track, over.native, 1.0)


def test_missing_is_lost_after_the_grace_time_and_not_before() -> None:
    seen = see(Sighting(), Native(code="R"), JobState.RUNNING, 0.0)
    missed = miss(seen, 10.0, grace=30.0)
    assert not miss(missed, 39.9, grace=30.0).is_over
    assert build_state(0, 0, missed, 39.9, 30.0).missing
    lost = miss(missed, 40.0, grace=30.0)
    assert (lost.track.state, lost.over_since) == (JobState.LOST, 10.0)
    # Seen again within the time: it begins anew.
    assert see(missed, Native(code="R"), JobState.RUNNING, 20.0).missing_since is None
