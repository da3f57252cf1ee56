"""The rows of the results catalog: one record for each kind.

The type of a field is the column in which it is kept, so each row is declared once: `tables.py` makes the tables of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from sqlalchemy import BigInteger, LargeBinary
from sqlalchemy.dialects import mysql

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog.columns import (
    CodeInteger,
    JsonText,
    JsonValue,
    NamesText,
    PlainText,
    RunsText,
    UtcDateTime,
    build_word,
)

Id = Annotated[str, build_word(250)]
"""Of a DAG or a run; as long as in Airflow's own tables."""
Name = Annotated[str, build_word(200)]
Text = Annotated[str, PlainText()]
Json = Annotated[JsonValue, JsonText()]
Runs = Annotated[tuple[ExpRun, ...], RunsText()]
Names = Annotated[tuple[str, ...], NamesText()]
Code = Annotated[ResultCode, CodeInteger()]
Moment = Annotated[datetime, UtcDateTime()]
Large = Annotated[int, BigInteger()]
Content = Annotated[bytes, LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")]


@record
class OfRun:
    """A row of a DAG run."""

    dag_id: Id
    run_id: Id


@record
class OfCalibration(OfRun):
    """A row of a calibration."""

    calibration: Name


@record
class OfPass(OfCalibration):
    """A row of one pass of a calibration."""

    iteration: int


@record
class IterationRow(OfPass):
    """One pass of a calibration.

    :param decision: what was decided at its end, None as long as it is not.
    :param started: when its first step began.
    """

    decision: Name | None = None
    reason: Text = ""
    started: Moment | None = None
    ended: Moment | None = None


@record
class ExecutionRow(OfPass):
    """One execution of an algorithm.

    :param key: its number in the strategy's plan, from 0.
    :param runs: the runs whose data the algorithm saw.
    :param output: what the algorithm handed in; None where it was left out.
    :param seconds: wall time.
    """

    algorithm: Name
    key: int
    runs: Runs
    iov: IoV
    code: Code
    output: Json = None
    seconds: float = 0.0
    ended: Moment | None = None


@record
class ExecutionCount:
    """The number of executions of an algorithm in a pass that ended with one result code.

    :param seconds: of all of them together.
    """

    calibration: str
    iteration: int
    algorithm: str
    code: ResultCode
    executions: int
    seconds: float


@record
class PayloadRow(OfPass):
    """One committed line of a local database.

    :param iteration: the pass that committed it.
    :param position: its place in the database's text: where lines hold the same run, the last one wins.
    :param revision: the MD5 of the payload file.
    :param execution: the key of the execution that made it.
    :param value: its JSON value, where it has one that is small.
    :param final: True when it stands in the calibration's final database.
    """

    algorithm: Name
    name: Name
    iov: IoV
    revision: Name
    execution: int | None = None
    value: Json = None
    position: int = 0
    final: bool = False
    committed: Moment | None = None


@record
class SubjobsRow(OfPass):
    """The counts of the subjobs of a collection in one pass.

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

    collection: Name
    total: int
    queued: int = 0
    held: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    retries: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory_kb: Large = 0
    hosts: Names = ()
    requested_memory_mb: int | None = None
    requested_seconds: int | None = None
    updated: Moment | None = None


@record
class FailedSubjobRow(OfPass):
    """One attempt of a subjob that failed. It stays when a later attempt goes well.

    :param exit_code: None if it left no exit record or was killed.
    :param signal: the number of the signal that killed it.
    :param log: path of the log to read first.
    """

    collection: Name
    subjob: int
    attempt: int
    reason: Text
    exit_code: int | None = None
    signal: int | None = None
    host: Text | None = None
    log: Text | None = None
    ended: Moment | None = None


@record
class RunRow(OfRun):
    """One DAG run.

    :param definition: the definition as this run has it: params applied, templates filled in.
    :param chosen: the calibrations that run.
    :param params: what the run was given.
    :param versions: program → version, of what ran the tasks, and of what the definition was made with.
    :param folder: where its files lie on the workers.
    :param configured: when all this was found out.
    """

    definition: Json
    chosen: Names
    params: Json
    versions: Json
    folder: Text
    configured: Moment | None = None


@record
class SelectionRow(OfCalibration):
    """The input of one collection, as `prepare` has chosen it.

    :param files: how many input files.
    :param runs: the runs of these files, as far as they are known before the jobs run.
    :param ignored: runs that are left out.
    :param details: the patterns, the limits, and the resources that were asked for.
    """

    collection: Name
    files: int
    subjobs: int
    runs: Runs = ()
    ignored: Runs = ()
    details: Json = None


@record
class LogRow(OfPass):
    """The end of the log of a failed subjob or of an algorithm.

    :param step: the collection or the algorithm.
    :param subjob: -1 for an algorithm.
    :param path: the whole log, on the workers.
    :param text: its end; all of it where it is short.
    :param is_whole: whether `text` is all of it.
    """

    step: Name
    subjob: int = -1
    attempt: int = 0
    path: Text
    text: Text
    is_whole: bool


@record
class MonitoredRow(OfPass):
    """A number that an algorithm handed in for people to look at.

    :param execution: the key of the execution.
    :param value: None where it is not finite.
    :param error: one standard deviation; None where there is none.
    """

    algorithm: Name
    execution: int
    name: Name
    value: float | None
    error: float | None = None


@record
class FigureRow(OfPass):
    """A picture that an algorithm handed in.

    :param path: its file, on the workers.
    :param content: the file's bytes; None where it is too large for the catalog.
    """

    algorithm: Name
    execution: int
    name: Name
    media_type: Name
    path: Text
    content: Content | None = None
