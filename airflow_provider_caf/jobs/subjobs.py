"""The files that subjobs have left: job files, outputs, logs; and their verdicts as tables and lines for people.

`batch.verdicts` decides; `judge_on_disk` looks at the files for it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.evidence import ExitRecord, says_out_of_memory
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import (
    Place,
    SubjobState,
    SubjobStatus,
    Verdict,
    find_places,
    judge_subjobs,
)
from airflow_provider_caf.core.errors import InputError, explain_os_error
from airflow_provider_caf.core.file_names import STDERR_FILE, STDOUT_FILE, name_attempt, name_job_file
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.tails import read_tail

_LOGS = (STDERR_FILE, STDOUT_FILE)
_TAIL_BYTES = 4000
_TAIL_LINES = 20
_TABLE_ROWS = 20
_TABLE_TAIL_LINES = 5


def read_job_digests(input_folder: Path, subjobs: Iterable[int]) -> dict[int, str]:
    """Return the digest of the present job file of each subjob.

    :raises InputError: if one cannot be read.
    """
    digests = {}
    for subjob in subjobs:
        path = input_folder / name_job_file(subjob)
        hint = "Clear the task that prepares the calibration; it writes the job files."
        with explain_os_error(InputError, f"The job file {path} of subjob {subjob} could not be read", hint):
            digests[subjob] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def judge_on_disk(
    expected: Mapping[int, str],
    records: Iterable[ExitRecord],
    states: Mapping[int, SubjobState] | None = None,
    *,
    arrays: Sequence[SubmittedArray] = (),
    check_outputs: bool = True,
    read_logs: bool = False,
) -> dict[int, Verdict]:
    """Judge each subjob with a look at the files that are there now. See `batch.verdicts.judge_subjobs`.

    :param check_outputs: whether recorded outputs have to be on disk with their sizes. A progress line can do
        without; a step that uses them, or decides what runs again, cannot.
    :param read_logs: whether to read the last lines of the logs of those that failed.
    """
    find_problem = find_missing_output if check_outputs else lambda _: None
    verdicts = judge_subjobs(expected, records, states, arrays=arrays, find_problem=find_problem)
    if read_logs:
        places = find_places(arrays)
        for subjob, verdict in verdicts.items():
            if verdict.status.runs_again and verdict.attempt is not None:
                verdicts[subjob] = _add_log(verdict, places.get((subjob, verdict.attempt)))
    return verdicts


def count_subjobs(verdicts: Mapping[int, Verdict]) -> Counter[SubjobStatus]:
    """Count the subjobs by status."""
    return Counter(verdict.status for verdict in verdicts.values())


def describe_counts(counts: Mapping[SubjobStatus, int]) -> str:
    """Return a line of progress such as `412 done, 3 held, 85 running`."""
    parts = [f"{counts[status]} {status.value}" for status in SubjobStatus if counts.get(status)]
    return ", ".join(parts) or "no subjobs"


def build_failure_table(verdicts: Mapping[int, Verdict], rows: int = _TABLE_ROWS) -> str:
    """Return a table of the subjobs that did not end well, with the last lines of their logs below.

    :param rows: at most so many; the rest is counted.
    """
    failed = [verdict for _, verdict in sorted(verdicts.items()) if verdict.status.runs_again]
    header = ("subjob", "try", "status", "ended by", "host", "reason")
    lines = format_rows([header, *(_build_row(verdict) for verdict in failed[:rows])])
    shown = [lines[0]]
    for line, verdict in zip(lines[1:], failed):
        shown.append(line)
        if verdict.log is not None:
            shown.append(f"    log: {verdict.log}")
            shown.extend(f"    | {text}" for text in verdict.log_tail.splitlines()[-_TABLE_TAIL_LINES:])
    if len(failed) > rows:
        shown.append(f"… and {len(failed) - rows} more")
    return "\n".join(shown)


def format_rows(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table. The last column is as wide as it likes."""
    widths = [max(map(len, column)) for column in zip(*(row[:-1] for row in rows))]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip() for row in rows]


def describe_end(record: ExitRecord | None) -> str:
    """Return the exit code or the signal that ended a try."""
    if record is None:
        return "-"
    if record.signal is None:
        return f"exit code {record.exit_code}"
    return name_signal(record.signal)


def find_missing_output(record: ExitRecord) -> str | None:
    """Return which output of a record is not on disk with the size that was recorded, or None."""
    for path, size in record.outputs.items():
        try:
            now = (record.folder / path).stat().st_size
        except OSError as error:
            return f"its output {record.folder / path} is not there any more: {error.strerror}"
        if now != size:
            return f"its output {record.folder / path} has {now} bytes, {size} were recorded"
    return None


def _add_log(verdict: Verdict, place: Place | None) -> Verdict:
    """Return the verdict with the log to read first: the first that holds something."""
    logs = _list_logs(verdict, place)
    record = verdict.record
    # However much the job has printed: what has ended it says why behind what its element did.
    was_ended = record is None or record.signal is not None or record.was_told_to_end
    if place is not None and was_ended and says_out_of_memory(_read_tail(logs[-1])):
        verdict = replace(verdict, out_of_memory=True)
    for log in logs:
        tail = _read_tail(log)
        if tail:
            out_of_memory = verdict.out_of_memory or says_out_of_memory(tail)
            return replace(verdict, log=log, log_tail=tail, out_of_memory=out_of_memory)
    if verdict.record is not None:
        return replace(verdict, log=logs[0])
    return replace(verdict, log=next((log for log in logs if log.exists()), None))


def _list_logs(verdict: Verdict, place: Place | None) -> list[Path]:
    """List the logs of an attempt: what the subjob itself printed, then what its element did."""
    folders = []
    if verdict.record is not None:
        folders = [verdict.record.folder]
    elif place is not None:
        # Without a record nobody knows which start was the last.
        starts = sorted(place.attempt_folder.parent.glob(name_attempt(f"{place.array.attempt}_r*")))
        folders = [*reversed(starts), place.attempt_folder]
    logs = [folder / name for folder in folders for name in _LOGS]
    if place is not None:
        logs.append(Path(place.array.element_log(place.index)))
    return logs


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
