"""Judge subjobs: what the exit records, the files that are there now and the batch system say together.

The rule (laws 1, 2 and 7): a record of success whose outputs are there decides, whatever a queue says, and
the first good one wins. Otherwise the newest try counts: while the system still has it, it goes on; when it
is over, its record says how it failed; over without a record is a failure once the grace time has passed.
Records of another version of the job file (another digest) do not count at all.

Where an element of the array runs several subjobs, the system has one word for all of them. A subjob that has failed by
itself is over, though its element goes on with the next one. (One that was told to end may begin again, if the system
runs the job again.) One that never began because the element ended before has not had its try.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path

from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
from airflow_provider_caf.batch.states import FINAL, JobState
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.io.jobs.exit_records import ExitRecord, StatusFolder, read_exit_records
from airflow_provider_caf.io.jobs.poll import CANCELLED_HERE, SubjobState
from airflow_provider_caf.io.tails import read_tail

__all__ = [
    "ExitRecord",
    "StatusFolder",
    "SubjobStatus",
    "Verdict",
    "build_failure_table",
    "count_subjobs",
    "describe_counts",
    "judge_subjobs",
    "read_exit_records",
    "read_job_digests",
]

_LOGS = ("stderr.log", "stdout.log")
_TAIL_BYTES = 4000
_TAIL_LINES = 20
_TABLE_ROWS = 20
_TABLE_TAIL_LINES = 5


class SubjobStatus(Enum):
    """What is true of a subjob, in the order in which they are told."""

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
        """Tell whether nothing will happen any more by itself."""
        return self not in (SubjobStatus.HELD, SubjobStatus.RUNNING, SubjobStatus.QUEUED)


_LIVE: Mapping[JobState, SubjobStatus] = {
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
    began: bool = True

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The paths of its outputs, if it is done."""
        if self.record is None or self.status is not SubjobStatus.DONE:
            return ()
        return tuple(self.record.folder / path for path in self.record.outputs)


def read_job_digests(input_folder: Path, subjobs: Iterable[int]) -> dict[int, str]:
    """Give the digest of the present job file of each subjob.

    :raises InputError: if one cannot be read.
    """
    digests = {}
    for subjob in subjobs:
        path = input_folder / f"{subjob:05d}.json"
        try:
            digests[subjob] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(
                f"The job file {path} of subjob {subjob} could not be read: {error.strerror or error}.",
                hint="Clear the task that prepares the calibration; it writes the job files.",
            ) from error
    return digests


Tries = Mapping[tuple[int, int], bool]
"""The tries that have left a record: (subjob, attempt) → whether its element ended with it, told to from outside."""


@record
class Place:
    """Where a try of a subjob stands among others.

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
        """Tell whether the element ends with it."""
        return self.position + 1 == len(self.subjobs)

    def had_turn(self, recorded: Tries) -> bool:
        """Tell whether the subjob had begun when its element ended.

        An element runs one after the other, so it ended with the one behind the last record, or with that one. Where
        there is no record at all, nobody knows with which: then all count as begun, or such an element could be tried
        for ever.
        """
        attempt = self.array.attempt
        known = [position for position, each in enumerate(self.subjobs) if (each, attempt) in recorded]
        if not known:
            return True
        last = known[-1]
        return self.position <= (last if recorded[self.subjobs[last], attempt] else last + 1)

    @property
    def attempt_folder(self) -> Path:
        """The work folder of the first start."""
        return Path(self.array.output_folder) / f"{self.subjobs[self.position]:05d}" / f"attempt_{self.array.attempt}"


def judge_subjobs(
    expected: Mapping[int, str],
    records: Iterable[ExitRecord],
    states: Mapping[int, SubjobState] | None = None,
    *,
    arrays: Sequence[SubmittedArray] = (),
    check_outputs: bool = True,
    read_logs: bool = False,
) -> dict[int, Verdict]:
    """Judge each subjob.

    Poll first and read the records then: the record of a subjob that the poll saw ended is there already.

    :param expected: subjob → digest of its present job file.
    :param records: all exit records of the collection.
    :param states: subjob → what the batch system says, as `Snapshot.read` gives it.
    :param arrays: what the states are about. Without them each subjob counts as alone in its element.
    :param check_outputs: whether recorded outputs have to be on disk with their sizes. A progress line can do
        without; a step that uses them, or decides what runs again, cannot.
    :param read_logs: whether to read the last lines of the logs of those that failed.
    """
    by_subjob: dict[int, list[ExitRecord]] = {}
    void: set[tuple[int, int]] = set()
    records = tuple(records)
    for each in records:
        if expected.get(each.subjob) == each.job_digest:
            by_subjob.setdefault(each.subjob, []).append(each)
        else:
            void.add((each.subjob, each.attempt))
    recorded = list_tries(records)
    places = find_places(arrays)
    verdicts = {}
    for subjob in sorted(expected):
        tries = sorted(by_subjob.get(subjob, ()), key=lambda each: (each.attempt, each.restart))
        state = (states or {}).get(subjob)
        if state is not None and state.state in FINAL and (subjob, state.attempt) in void:
            # That try has ended, and what it ran is no more what is asked for: it is as if it had never been.
            state = None
        place = None if state is None else places.get((subjob, state.attempt))
        verdict = _judge(subjob, tries, state, place, check_outputs)
        if place is not None and verdict.record is None and len(place.subjobs) > 1:
            verdict = _judge_in_element(verdict, place, recorded)
        if read_logs and verdict.status.is_over and verdict.status not in (SubjobStatus.DONE, SubjobStatus.MISSING):
            verdict = _add_log(verdict, place)
        verdicts[subjob] = verdict
    return verdicts


def count_subjobs(verdicts: Mapping[int, Verdict]) -> Counter[SubjobStatus]:
    """Count the subjobs by status."""
    return Counter(verdict.status for verdict in verdicts.values())


def describe_counts(counts: Mapping[SubjobStatus, int]) -> str:
    """Give a line of progress such as `412 done, 3 held, 85 running`."""
    parts = [f"{counts[status]} {status.value}" for status in SubjobStatus if counts.get(status)]
    return ", ".join(parts) or "no subjobs"


def build_failure_table(verdicts: Mapping[int, Verdict], rows: int = _TABLE_ROWS) -> str:
    """Give a table of the subjobs that did not end well, with the last lines of their logs below.

    :param rows: at most so many; the rest is counted.
    """
    failed = [
        verdict
        for _, verdict in sorted(verdicts.items())
        if verdict.status.is_over and verdict.status is not SubjobStatus.DONE
    ]
    header = ("subjob", "try", "status", "ended by", "host", "reason")
    table = [header, *(_build_row(verdict) for verdict in failed[:rows])]
    # The last column is as wide as it likes.
    widths = [max(len(row[column]) for row in table) for column in range(len(header) - 1)]
    lines = []
    for row, verdict in zip(table, [None, *failed[:rows]], strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
        if verdict is not None and verdict.log is not None:
            lines.append(f"    log: {verdict.log}")
            lines.extend(f"    | {line}" for line in verdict.log_tail.splitlines()[-_TABLE_TAIL_LINES:])
    if len(failed) > rows:
        lines.append(f"… and {len(failed) - rows} more")
    return "\n".join(lines)


def describe_end(record: ExitRecord | None) -> str:
    """Give the exit code or the signal that ended a try."""
    if record is None:
        return "-"
    if record.signal is None:
        return f"exit code {record.exit_code}"
    return name_signal(record.signal)


def list_tries(records: Iterable[ExitRecord]) -> dict[tuple[int, int], bool]:
    """Give the tries that have left a record, for `Place.had_turn`."""
    return {
        (each.subjob, each.attempt): each.was_told_to_end for each in sorted(records, key=lambda each: each.restart)
    }


def find_places(arrays: Iterable[SubmittedArray]) -> dict[tuple[int, int], Place]:
    """Give the place of each try: (subjob, attempt) → place."""
    return {
        (subjob, each.array.attempt): Place(array=each.array, index=index, position=position)
        for each in arrays
        for index, element in enumerate(each.array.elements)
        for position, subjob in enumerate(element)
    }


def _judge(
    subjob: int, tries: list[ExitRecord], state: SubjobState | None, place: Place | None, check_outputs: bool
) -> Verdict:
    spoiled: tuple[ExitRecord, str] | None = None
    for each in tries:
        if each.says_success:
            problem = _find_missing_output(each) if check_outputs else None
            if problem is None:
                return Verdict(
                    subjob=subjob,
                    status=SubjobStatus.DONE,
                    attempt=each.attempt,
                    record=each,
                    host=each.host,
                )
            spoiled = (each, problem)
    newest = tries[-1] if tries else None
    if state is not None and (newest is None or state.attempt >= newest.attempt):
        verdict = _judge_by_state(subjob, state, newest, place)
        if verdict is not None:
            return verdict
    if spoiled is not None:
        return _fail(*spoiled)
    if newest is not None:
        # How the element ended later is no matter of a subjob that was over by then.
        return _fail(newest, newest.reason, None if _is_behind(newest, place) else state)
    return Verdict(subjob=subjob, status=SubjobStatus.MISSING)


def _is_behind(record: ExitRecord, place: Place | None) -> bool:
    """Tell whether an element has gone on to its next subjob after this end."""
    return place is not None and not place.is_last and not record.was_told_to_end


def _judge_by_state(subjob: int, state: SubjobState, newest: ExitRecord | None, place: Place | None) -> Verdict | None:
    """Judge by the state of the newest try, or give None where its record says more."""
    recorded = newest if newest is not None and newest.attempt == state.attempt else None
    if recorded is not None and _is_behind(recorded, place):
        return None
    status, reason = _LIVE.get(state.state), state.reason
    if status is None and state.state is JobState.EXITED:
        # Over, and it was recorded how; whether the outputs are still there is said by the caller.
        if recorded is not None:
            return None
        status, reason = _judge_silent(state)
    elif state.state is JobState.CANCELLED:
        if recorded is not None and state.reason == CANCELLED_HERE and not recorded.was_told_to_end:
            return None  # it was over by itself before
        status = SubjobStatus.CANCELLED
        reason = reason or (recorded.reason if recorded is not None else None)
        if state.given_up is not None:
            status, reason = SubjobStatus.FAILED, f"it was held and has been given up: {state.given_up}"
    elif state.state is JobState.LOST:
        if recorded is not None:
            return None
        status = SubjobStatus.LOST
        reason = "it is in no queue and no history, and has left no exit record"
    assert status is not None
    return Verdict(
        subjob=subjob,
        status=status,
        attempt=state.attempt,
        reason=reason,
        record=recorded if status.is_over else None,
        native=state.native,
        host=state.host,
        settling=not status.is_over and (state.missing or state.state is JobState.EXITED),
        hopeless=not status.is_over and state.hopeless,
        gave_up=state.given_up is not None,
    )


def _judge_silent(state: SubjobState) -> tuple[SubjobStatus, str]:
    """Judge a try that is over by the system's word and has left no record."""
    if not state.settled:
        return SubjobStatus.RUNNING, "it has ended; its exit record is waited for"
    said = f"exit code {state.exit_code} by the batch system" if state.exit_code is not None else "no exit code"
    why = f", {state.reason}" if state.reason else ""
    return SubjobStatus.FAILED, f"it ended without an exit record ({state.native}: {said}{why})"


def _judge_in_element(verdict: Verdict, place: Place, recorded: Tries) -> Verdict:
    """Tell of a subjob without a record whether its turn has come in the element that it shares."""
    if verdict.status is SubjobStatus.RUNNING:
        before = place.subjobs[place.position - 1] if place.position else None
        if before is not None and not verdict.settling and (before, place.array.attempt) not in recorded:
            return replace(verdict, status=SubjobStatus.QUEUED)
    elif verdict.status.is_over and not place.had_turn(recorded):
        why = "" if verdict.reason is None else f": {verdict.reason}"
        return replace(verdict, began=False, reason=f"its job ended before it began{why}")
    return verdict


def _fail(record: ExitRecord, reason: str | None, state: SubjobState | None = None) -> Verdict:
    """Judge by a record of failure, and add what the system says of the same try: out of memory, out of time."""
    native = None
    if state is not None and state.attempt == record.attempt and state.state in FINAL:
        native = state.native
        reason = "; ".join(dict.fromkeys(each for each in (reason, state.reason) if each)) or None
    return Verdict(
        subjob=record.subjob,
        status=SubjobStatus.FAILED,
        attempt=record.attempt,
        reason=reason,
        record=record,
        native=native,
        host=record.host,
    )


def _find_missing_output(record: ExitRecord) -> str | None:
    for path, size in record.outputs.items():
        try:
            now = (record.folder / path).stat().st_size
        except OSError as error:
            return f"its output {record.folder / path} is not there any more: {error.strerror}"
        if now != size:
            return f"its output {record.folder / path} has {now} bytes, {size} were recorded"
    return None


def _add_log(verdict: Verdict, place: Place | None) -> Verdict:
    """Find the log to read first: what the subjob itself printed, else what its element did."""
    if verdict.record is not None:
        logs = [verdict.record.folder / name for name in _LOGS]
    elif place is not None:
        # Without a record nobody knows which start was the last.
        starts = sorted(place.attempt_folder.parent.glob(f"attempt_{place.array.attempt}_r*"))
        folders = [*reversed(starts), place.attempt_folder]
        logs = [folder / name for folder in folders for name in _LOGS]
    else:
        return verdict
    if place is not None:
        logs.append(Path(place.array.element_log(place.index)))
    for log in logs:
        tail = _read_tail(log)
        if tail:
            return replace(verdict, log=log, log_tail=tail)
    if verdict.record is not None:
        return replace(verdict, log=logs[0])
    return replace(verdict, log=next((log for log in logs if log.exists()), None))


def _read_tail(path: Path) -> str:
    lines = [clean_line(line) for line in read_tail(path, _TAIL_LINES, _TAIL_BYTES).splitlines()]
    return "\n".join(line for line in lines if line)


def clean_line(text: str) -> str:
    """Make a text of a job harmless for a terminal and for one line."""
    return "".join(letter if letter.isprintable() else " " for letter in text).rstrip()


def _build_row(verdict: Verdict) -> tuple[str, ...]:
    label = verdict.record.label if verdict.record is not None else verdict.attempt
    return (
        str(verdict.subjob),
        "-" if label is None else str(label),
        verdict.status.value,
        describe_end(verdict.record),
        clean_line(verdict.host or "-"),
        clean_line(verdict.reason or ""),
    )
