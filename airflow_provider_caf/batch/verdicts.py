"""Decide the fate of a subjob. This is the only place that does; pollers, sensors, submissions and pages ask it.

Theory
======
A batch system gives a series of late, sometimes wrong glimpses of an element. `see` and `miss` fold them into a
`Sighting`, `apply_note` adds what we did ourselves, and `judge_subjobs` weighs that against the exit records.

1. Folding the glimpses
-----------------------
* Within one start of the job the state moves forward only: QUEUED → RUNNING → TRANSFERRING → over. A step back means
  that the system has requeued or evicted the job: a new start, which is counted. So is QUEUED of a job that had begun,
  also after a hold. `TRANSITIONS` says for each state which ones may follow.
* HELD is a pause, not a step. It can come from every state that is not over, and every one can follow it.
* EXITED, CANCELLED and LOST are over. They are latched: whatever a queue shows afterwards, the sighting stays. (Slurm
  after a crash of its controller shows FAILED elements as RUNNING.)
* UNKNOWN, a native state that nobody knows, moves nothing. It only stands where there is nothing yet.
* Missing from the queue is no state. A subjob is LOST only after a grace time in which neither queue nor history knew
  it.
* A try that is over *settles* when the grace time has passed: a network file system may show its exit record late.

2. Weighing the witnesses
-------------------------
An exit record of another version of the job file (another digest) does not count at all. Of the others, the first row
that fits decides. *Newest* is the newest try that was submitted; *its record* is the exit record of that try.

=== ============================================================ =========================================
row what is known                                                verdict
=== ============================================================ =========================================
 1  a record of any try says success, its outputs are there       DONE; the first good record wins
 2  newest: its record says failure, its element went on           FAILED, as the record says
 3  newest: live by the queue (queued, held, running)              QUEUED, HELD, RUNNING
 4  newest: ended by us because it was held                        FAILED, with the reason of the hold
 5  newest: cancelled, by the queue's word or by our note          CANCELLED; by our note alone only where its
                                                                 record does not say that it ended by itself
 6  newest: its record says success, an output is gone             FAILED, naming the output
 7  newest: its record says failure                                FAILED; the queue's reason is added
 8  newest: EXITED without a record, not settled                   RUNNING, settling
 9  newest: EXITED without a record, settled                       FAILED, with the queue's exit code
10  newest: missing, the grace time runs                           as it was last seen, settling
11  newest: LOST                                                   LOST
12  nothing was submitted, nothing is recorded                     MISSING
=== ============================================================ =========================================

While the exit records cannot be fetched, nothing is over for good (`doubt_end`): one of them may say that all was well.

3. Several subjobs in one element
---------------------------------
The system has one word for all of them. They run one after the other, so the records tell how far the element has come.
A subjob that has failed by itself is over, though its element goes on with the next one; one that was told to end may
begin again, if the system runs the job again. One that is not at its turn is QUEUED, and one that never began, because
the element ended before, has not had its try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.evidence import FINAL, ExitRecord, JobState, Native, Note
from airflow_provider_caf.batch.polling import decide_over
from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
from airflow_provider_caf.core.file_names import name_attempt, name_subjob
from airflow_provider_caf.core.record import record

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
    """The folded states of one element.

    :param started: whether the present start of the job was seen running; a hold does not change it.
    :param restarts: how often the system was seen to start the job again.
    """

    state: JobState = JobState.UNKNOWN
    started: bool = False
    restarts: int = 0


def advance(track: Track, seen: JobState) -> Track:
    """Return the track after a glimpse of a state; the same object where the glimpse is no news."""
    if seen is track.state or seen is JobState.UNKNOWN or track.state in FINAL:
        return track
    if seen not in TRANSITIONS[track.state] or (track.started and seen is JobState.QUEUED):
        return Track(state=seen, started=seen in _STARTED, restarts=track.restarts + 1)
    return Track(state=seen, started=track.started or seen in _STARTED, restarts=track.restarts)


@record
class Sighting:
    """What the polls have shown of one element so far. Times are monotonic seconds.

    :param native: the system's last words; what it said when the element was over stays.
    :param missing_since: since when neither queue nor history knows it.
    :param over_since: since when it is over.
    """

    track: Track = Track()
    native: Native = Native(code="")
    missing_since: float | None = None
    over_since: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing that a queue says can change it any more."""
        return self.track.state in FINAL


def see(sighting: Sighting, native: Native, state: JobState, now: float) -> Sighting:
    """Return the sighting after the queue or the history has shown the element."""
    track = advance(sighting.track, state)
    is_over = track.state in FINAL
    return Sighting(
        track=track,
        native=native if track is not sighting.track or not is_over else sighting.native,
        over_since=now if is_over and sighting.over_since is None else sighting.over_since,
    )


def miss(sighting: Sighting, now: float, grace: float) -> Sighting:
    """Return the sighting after neither queue nor history has shown the element, though both have answered.

    :param grace: seconds after which it is lost.
    """
    since = now if sighting.missing_since is None else sighting.missing_since
    if not decide_over(since, now, grace):
        return replace(sighting, missing_since=since)
    return replace(sighting, track=advance(sighting.track, JobState.LOST), missing_since=since, over_since=since)


@record
class SubjobState:
    """What the batch system and our notes say of the newest try of one subjob.

    :param attempt: the number of the array's try.
    :param native: the system's own word for the state; empty: it has said nothing yet.
    :param reason: why it is held, waits or has failed, where the system says so.
    :param restarts: how often the system was seen to start it again.
    :param settled: it is over, and the time in which its exit record may still appear is over too.
    :param missing: neither queue nor history knew it when they were last asked, and its grace time still runs.
    :param hopeless: it is held, or waits, for what will not come by itself.
    :param out_of_memory: memory is the cause of its end or its hold.
    :param given_up: why we have ended it: the reason of its hold.
    :param cancelled_here: only our own note calls it cancelled, whatever word the system has for its being over.
    """

    subjob: int
    attempt: int
    state: JobState
    native: str = ""
    reason: str | None = None
    exit_code: int | None = None
    host: str | None = None
    restarts: int = 0
    settled: bool = False
    missing: bool = False
    hopeless: bool = False
    out_of_memory: bool = False
    given_up: str | None = None
    cancelled_here: bool = False


def build_state(subjob: int, attempt: int, sighting: Sighting, now: float, grace: float) -> SubjobState:
    """Return what a sighting says of one of the element's subjobs."""
    native = sighting.native
    return SubjobState(
        subjob=subjob,
        attempt=attempt,
        state=sighting.track.state,
        native=native.code,
        reason=native.reason,
        exit_code=native.exit_code,
        host=native.host,
        restarts=sighting.track.restarts,
        settled=decide_over(sighting.over_since, now, grace),
        missing=sighting.missing_since is not None and not sighting.is_over,
        hopeless=native.is_hopeless and not sighting.is_over,
        out_of_memory=native.out_of_memory,
    )


def may_need_note(state: SubjobState) -> bool:
    """Return whether a note of ours can say more than the batch system does."""
    return state.missing or state.state in FINAL


def apply_note(state: SubjobState, note: Note) -> SubjobState:
    """Return the state with what we did ourselves: the batch system may have forgotten it, or never said it.

    A note never speaks against the facts: what still goes on by the queue's word is not over.
    """
    if not may_need_note(state):
        return state
    ended = replace(state, state=JobState.CANCELLED, missing=False)
    if note.given_up is not None:
        out_of_memory = state.out_of_memory or note.out_of_memory
        return replace(ended, given_up=note.given_up, out_of_memory=out_of_memory)
    if note.cancelled and state.state is not JobState.CANCELLED:
        return replace(ended, reason="it was cancelled from here", cancelled_here=True)
    return state


def doubt_end(state: SubjobState) -> SubjobState:
    """Return the state without its being over for good, for a time in which exit records cannot be fetched."""
    return replace(state, state=JobState.EXITED, settled=False) if state.state in FINAL else state


class SubjobStatus(Enum):
    """What is true of a subjob, in the order in which progress lines name it."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    HELD = "held"
    RUNNING = "running"
    QUEUED = "queued"
    MISSING = "not submitted"

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return self not in (SubjobStatus.HELD, SubjobStatus.RUNNING, SubjobStatus.QUEUED)

    @property
    def runs_again(self) -> bool:
        """Whether the next submission takes the subjob along."""
        return self.is_over and self is not SubjobStatus.DONE


LIVE: Mapping[JobState, SubjobStatus] = {
    JobState.QUEUED: SubjobStatus.QUEUED,
    # Submitted, and the system has not said a word that we understand.
    JobState.UNKNOWN: SubjobStatus.QUEUED,
    JobState.HELD: SubjobStatus.HELD,
    JobState.RUNNING: SubjobStatus.RUNNING,
    JobState.TRANSFERRING: SubjobStatus.RUNNING,
}


@record
class Verdict:
    """What is true of one subjob, and all that is known about its newest try.

    :param attempt: the try; None: there was none.
    :param reason: why it is held, has failed, or is waited for.
    :param record: the exit record that the verdict rests on.
    :param native: the batch system's own word for the state.
    :param log: the log to read first, of a try that failed.
    :param log_tail: its last lines.
    :param settling: nothing but the grace time is waited for: it has ended, or nobody knows it any more.
    :param hopeless: it is held, or waits, for what will not come by itself.
    :param gave_up: it was held, and we have ended it for that.
    :param out_of_memory: batch system, exit record or log say that memory was the cause.
    :param began: False: the element that it shared ended before its turn came.
    """

    subjob: int
    status: SubjobStatus
    attempt: int | None = None
    reason: str | None = None
    record: ExitRecord | None = None
    native: str | None = None
    host: str | None = None
    log: Path | None = None
    log_tail: str = ""
    settling: bool = False
    hopeless: bool = False
    gave_up: bool = False
    out_of_memory: bool = False
    began: bool = True

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The paths of its outputs, if it is done."""
        if self.record is None or self.status is not SubjobStatus.DONE:
            return ()
        return tuple(self.record.folder / path for path in self.record.outputs)


Tries = Mapping[tuple[int, int], bool]
"""The tries that have left a record: (subjob, attempt) → whether its element ended with it, told to from outside."""


@record
class Place:
    """Where a try of a subjob stands in its array.

    :param index: the number of the element.
    :param position: the subjob's place in it.
    """

    array: ArraySpec
    index: int
    position: int

    @property
    def subjobs(self) -> tuple[int, ...]:
        """All subjobs of the element."""
        return self.array.elements[self.index]

    @property
    def is_last(self) -> bool:
        """Whether the element ends with it."""
        return self.position + 1 == len(self.subjobs)

    @property
    def attempt_folder(self) -> Path:
        """The work folder of the first start."""
        subjob = self.subjobs[self.position]
        return Path(self.array.output_folder) / name_subjob(subjob) / name_attempt(self.array.attempt)

    def had_turn(self, recorded: Tries) -> bool:
        """Return whether the subjob had begun when its element ended.

        An element runs one after the other, so it ended with the one behind the last record, or with that one. Where
        there is no record at all, nobody knows with which: then all count as begun, or such an element could be tried
        for ever.
        """
        attempt = self.array.attempt
        known = [position for position, subjob in enumerate(self.subjobs) if (subjob, attempt) in recorded]
        if not known:
            return True
        last = known[-1]
        return self.position <= (last if recorded[self.subjobs[last], attempt] else last + 1)


def list_tries(records: Iterable[ExitRecord]) -> dict[tuple[int, int], bool]:
    """Return the tries that have left a record, for `Place.had_turn`."""
    return {(end.subjob, end.attempt): end.was_told_to_end for end in sorted(records, key=lambda end: end.restart)}


def find_places(arrays: Iterable[SubmittedArray]) -> dict[tuple[int, int], Place]:
    """Return the place of each try: (subjob, attempt) → place."""
    return {
        (subjob, array.array.attempt): Place(array=array.array, index=index, position=position)
        for array in arrays
        for index, element in enumerate(array.array.elements)
        for position, subjob in enumerate(element)
    }


FindProblem = Callable[[ExitRecord], "str | None"]
"""Return what is wrong with the outputs of a success, or None. It may look at the disk; nothing here does."""


def judge_subjobs(
    expected: Mapping[int, str],
    records: Iterable[ExitRecord],
    states: Mapping[int, SubjobState] | None = None,
    *,
    arrays: Sequence[SubmittedArray] = (),
    find_problem: FindProblem = lambda _: None,
) -> dict[int, Verdict]:
    """Judge each subjob by the table above.

    Poll first and read the records then: the record of a subjob that the poll saw ended is there already.

    :param expected: subjob → digest of its present job file.
    :param records: all exit records of the array jobs.
    :param states: subjob → what the batch system and our notes say of its newest try.
    :param arrays: what the states are about. Without them each subjob counts as alone in its element.
    """
    records = tuple(records)
    valid: dict[int, list[ExitRecord]] = {}
    void: set[tuple[int, int]] = set()
    for end in sorted(records, key=lambda end: (end.attempt, end.restart)):
        if expected.get(end.subjob) == end.job_digest:
            valid.setdefault(end.subjob, []).append(end)
        else:
            void.add((end.subjob, end.attempt))
    recorded = list_tries(records)
    places = find_places(arrays)
    verdicts = {}
    for subjob in sorted(expected):
        state = (states or {}).get(subjob)
        if state is not None and state.state in FINAL and (subjob, state.attempt) in void:
            # That try has ended, and what it ran is not what is asked for any more: it does not count at all.
            state = None
        place = None if state is None else places.get((subjob, state.attempt))
        verdict = _judge(subjob, valid.get(subjob, []), state, place, find_problem)
        if place is not None and verdict.record is None and len(place.subjobs) > 1:
            verdict = _judge_in_element(verdict, place, recorded)
        verdicts[subjob] = verdict
    return verdicts


def _judge(
    subjob: int,
    records: Sequence[ExitRecord],
    state: SubjobState | None,
    place: Place | None,
    find_problem: FindProblem,
) -> Verdict:
    spoiled: Verdict | None = None
    for end in records:
        if end.says_success:
            problem = find_problem(end)
            if problem is None:  # row 1
                return _build_by_record(end, SubjobStatus.DONE)
            spoiled = _fail(end, problem)
    last = records[-1] if records else None
    if state is not None and (last is None or state.attempt >= last.attempt):
        own = last if last is not None and last.attempt == state.attempt else None
        if own is None or not _went_on(own, place):  # else row 2
            verdict = _judge_by_state(subjob, state, own)
            if verdict is not None:
                return verdict
    if spoiled is not None:  # row 6
        return spoiled
    if last is not None:  # rows 2 and 7; how the element ended later says nothing of a subjob that was over by then
        return _fail(last, last.reason, None if _went_on(last, place) else state)
    return Verdict(subjob=subjob, status=SubjobStatus.MISSING)  # row 12


def _went_on(record: ExitRecord, place: Place | None) -> bool:
    """Return whether an element has gone on to its next subjob after this end."""
    return place is not None and not place.is_last and not record.was_told_to_end


def _judge_by_state(subjob: int, state: SubjobState, own: ExitRecord | None) -> Verdict | None:
    """Return the verdict by the state of the newest try, or None where its own record decides (rows 6 and 7)."""
    reason = state.reason
    if state.state in LIVE:  # rows 3 and 10
        status = LIVE[state.state]
    elif state.given_up is not None:  # row 4
        status, reason = SubjobStatus.FAILED, f"it was held and has been given up: {state.given_up}"
    elif own is not None and state.cancelled_here and not own.was_told_to_end:
        return None  # it was over by itself before
    elif state.state is JobState.CANCELLED:  # row 5
        status, reason = SubjobStatus.CANCELLED, reason or (None if own is None else own.reason)
    elif own is not None:
        return None
    elif state.state is JobState.LOST:  # row 11
        status, reason = SubjobStatus.LOST, "it is in no queue and no history, and has left no exit record"
    elif not state.settled:  # row 8
        status, reason = SubjobStatus.RUNNING, "it has ended; its exit record is waited for"
    else:  # row 9
        code = "no exit code" if state.exit_code is None else f"exit code {state.exit_code} by the batch system"
        parts = ", ".join(text for text in (code, state.reason) if text)
        status, reason = SubjobStatus.FAILED, f"it ended without an exit record ({state.native}: {parts})"
    return Verdict(
        subjob=subjob,
        status=status,
        attempt=state.attempt,
        reason=reason,
        record=own if status.is_over else None,
        native=state.native,
        host=state.host,
        settling=not status.is_over and (state.missing or state.state is JobState.EXITED),
        hopeless=not status.is_over and state.hopeless,
        gave_up=state.given_up is not None,
        out_of_memory=state.out_of_memory or (own is not None and own.out_of_memory),
    )


def _fail(record: ExitRecord, reason: str | None, state: SubjobState | None = None) -> Verdict:
    """Judge by a record of failure, and add what the system says of the same try: out of memory, out of time."""
    native, out_of_memory = None, record.out_of_memory
    if state is not None and state.attempt == record.attempt and state.state in FINAL:
        native, out_of_memory = state.native, out_of_memory or state.out_of_memory
        reason = "; ".join(dict.fromkeys(text for text in (reason, state.reason) if text)) or None
    return _build_by_record(record, SubjobStatus.FAILED, reason=reason, native=native, out_of_memory=out_of_memory)


def _build_by_record(record: ExitRecord, status: SubjobStatus, **known: Any) -> Verdict:
    return Verdict(
        subjob=record.subjob, status=status, attempt=record.attempt, record=record, host=record.host, **known
    )


def _judge_in_element(verdict: Verdict, place: Place, recorded: Tries) -> Verdict:
    """Return the verdict on a subjob without a record, by how far the element that it shares has come (section 3)."""
    if verdict.status is SubjobStatus.RUNNING:
        before = place.subjobs[place.position - 1] if place.position else None
        if before is not None and not verdict.settling and (before, place.array.attempt) not in recorded:
            return replace(verdict, status=SubjobStatus.QUEUED)
    elif verdict.status.is_over and not place.had_turn(recorded):
        why = "" if verdict.reason is None else f": {verdict.reason}"
        return replace(verdict, began=False, reason=f"its job ended before it began{why}")
    return verdict
