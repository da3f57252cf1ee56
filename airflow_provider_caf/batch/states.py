"""The states of a subjob on a batch system, and how they may follow one another.

Theory
------
What a queue answers is a series of late, sometimes wrong glimpses of one subjob. From them we keep a `Track`:

* Within one start of the job the state moves forward only: QUEUED → RUNNING → TRANSFERRING → over (law 2).
* A step back means that the system has requeued or evicted the job: a new start, which is counted. So is QUEUED
  of a job that had started, also after a hold.
* HELD is a pause, not a step. It can come from every state that is not over, and every one can follow it.
* EXITED, CANCELLED and LOST are over. They are latched: whatever a queue shows afterwards, the track stays.
  (Slurm after a crash of its controller shows FAILED elements as RUNNING.) There is one way out, by proof and
  not by a queue's word: an exit record counts always, see `io.jobs.subjobs`.
* UNKNOWN, a native state that nobody knows, moves nothing (law 3). It only stands where there is nothing yet.
* Missing from the queue is no state. A subjob is LOST only after a grace time in which neither queue nor
  history knew it (law 1), see `batch.polling`.

The table below says for each state which ones it may go to; `advance` applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from airflow_provider_caf.core.record import record


class JobState(Enum):
    """The state of a subjob, the same words for every batch system."""

    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    TRANSFERRING = "transferring"
    EXITED = "exited"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"


FINAL = frozenset({JobState.EXITED, JobState.CANCELLED, JobState.LOST})
"""The states that are over."""

_STARTED = frozenset({JobState.RUNNING, JobState.TRANSFERRING})

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: FINAL | _STARTED | {JobState.HELD},
    JobState.RUNNING: FINAL | {JobState.TRANSFERRING, JobState.HELD},
    JobState.TRANSFERRING: FINAL | {JobState.HELD},
    JobState.HELD: FINAL | _STARTED | {JobState.QUEUED},
    JobState.EXITED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.LOST: frozenset(),
    JobState.UNKNOWN: frozenset(JobState) - {JobState.UNKNOWN},
}
"""State → the states that may follow it within one start of the job. Any other is a new start."""


@record
class Track:
    """What is known of one subjob of one array.

    :param started: whether the present start of the job was seen running; a hold does not change it.
    :param restarts: how often the system was seen to start the job again.
    """

    state: JobState = JobState.UNKNOWN
    started: bool = False
    restarts: int = 0


def advance(track: Track, seen: JobState) -> Track:
    """Give the track after a glimpse of a state. A glimpse that is no news gives the same object."""
    if seen is track.state or seen is JobState.UNKNOWN or track.state in FINAL:
        return track
    if seen not in TRANSITIONS[track.state] or (track.started and seen is JobState.QUEUED):
        return Track(state=seen, started=seen in _STARTED, restarts=track.restarts + 1)
    return Track(state=seen, started=track.started or seen in _STARTED, restarts=track.restarts)
