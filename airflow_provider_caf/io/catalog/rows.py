"""What the results catalog holds, as records: one for each kind of row."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""What JSON can say. NaN and infinity are kept as Python's `json` writes them."""


@record
class IterationRow:
    """One pass of a calibration.

    :param decision: what was decided at its end, None as long as it is not.
    :param started: when its first step began.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    decision: str | None = None
    reason: str = ""
    started: datetime | None = None
    ended: datetime | None = None


@record
class ExecutionRow:
    """One execution of an algorithm.

    :param key: its number in the strategy's plan, from 0.
    :param runs: the runs whose data the algorithm saw.
    :param output: what the algorithm handed in; None where it was not asked for.
    :param seconds: wall time.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    algorithm: str
    key: int
    runs: tuple[ExpRun, ...]
    iov: IoV
    code: ResultCode
    output: JsonValue = None
    seconds: float = 0.0
    ended: datetime | None = None


@record
class ExecutionCount:
    """How many executions of an algorithm in a pass ended with one result code.

    :param seconds: of all of them together.
    """

    calibration: str
    iteration: int
    algorithm: str
    code: ResultCode
    executions: int
    seconds: float


@record
class PayloadRow:
    """One committed line of a local database.

    :param iteration: the pass that committed it.
    :param position: its place in the database's text: where lines hold the same run, the last one wins.
    :param revision: the MD5 of the payload file.
    :param execution: the key of the execution that made it.
    :param value: its JSON value, where it has one that is small.
    :param final: True when it stands in the calibration's final database.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    algorithm: str
    name: str
    iov: IoV
    revision: str
    execution: int | None = None
    value: JsonValue = None
    position: int = 0
    final: bool = False
    committed: datetime | None = None


@record
class SubjobsRow:
    """What the subjobs of a collection did in one pass.

    :param total: how many there are; the counts of the states add up to it.
    :param retries: attempts beyond the first of each subjob.
    :param cpu_seconds: of all attempts together.
    :param wall_seconds: of all attempts together.
    :param peak_memory_kb: the largest of all attempts.
    :param hosts: where they ran, sorted.
    :param requested_memory_mb: the most that a submission asked for, per subjob.
    :param requested_seconds: the wall time that the last submission asked for, per subjob.
    :param updated: when this was counted.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    collection: str
    total: int
    queued: int = 0
    held: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    retries: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_kb: int = 0
    hosts: tuple[str, ...] = ()
    requested_memory_mb: int | None = None
    requested_seconds: int | None = None
    updated: datetime | None = None


@record
class FailedSubjobRow:
    """One attempt of a subjob that failed. It stays when a later attempt goes well.

    :param exit_code: None if it left no exit record or was killed.
    :param signal: the number of the signal that killed it.
    :param log: path of the log to read first.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    collection: str
    subjob: int
    attempt: int
    reason: str
    exit_code: int | None = None
    signal: int | None = None
    host: str | None = None
    log: str | None = None
    ended: datetime | None = None


@record
class RunRow:
    """One DAG run.

    :param definition: the definition as this run has it: params applied, templates filled in.
    :param chosen: the calibrations that run.
    :param params: what the run was given.
    :param versions: program → version, of what ran the tasks.
    :param folder: where its files lie on the workers.
    :param configured: when all this was found out.
    """

    dag_id: str
    run_id: str
    definition: JsonValue
    chosen: tuple[str, ...]
    params: JsonValue
    versions: JsonValue
    folder: str
    configured: datetime | None = None


@record
class SelectionRow:
    """The input of one collection, as `prepare` has chosen it.

    :param files: how many input files.
    :param runs: the runs of these files, as far as they are known before the jobs run.
    :param ignored: runs that are left out.
    :param details: the patterns, limits and what the batch system was told.
    """

    dag_id: str
    run_id: str
    calibration: str
    collection: str
    files: int
    subjobs: int
    runs: tuple[ExpRun, ...] = ()
    ignored: tuple[ExpRun, ...] = ()
    details: JsonValue = None


@record
class LogRow:
    """The end of what a failed subjob or an algorithm printed.

    :param step: the collection or the algorithm.
    :param subjob: -1 for an algorithm.
    :param path: the whole log, on the workers.
    :param text: its end; all of it where it is short.
    :param is_whole: whether it is all of it.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    step: str
    path: str
    text: str
    is_whole: bool
    subjob: int = -1
    attempt: int = 0


@record
class MonitoredRow:
    """A number that an algorithm handed in for people to look at.

    :param execution: the key of the execution.
    :param value: None where it is not finite.
    :param error: one standard deviation; None where there is none.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    algorithm: str
    execution: int
    name: str
    value: float | None
    error: float | None = None


@record
class FigureRow:
    """A picture that an algorithm handed in.

    :param path: its file, on the workers.
    :param content: the file's bytes; None where it is too large for the catalog.
    """

    dag_id: str
    run_id: str
    calibration: str
    iteration: int
    algorithm: str
    execution: int
    name: str
    media_type: str
    path: str
    content: bytes | None = None


Row: TypeAlias = (
    RunRow
    | SelectionRow
    | IterationRow
    | ExecutionRow
    | PayloadRow
    | SubjobsRow
    | FailedSubjobRow
    | LogRow
    | MonitoredRow
    | FigureRow
)
"""Any of them."""
