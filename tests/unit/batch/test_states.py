"""The theory above the table of states, tried on every series of glimpses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.states import FINAL, TRANSITIONS, JobState, Track, advance

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
