"""The tables of the results catalog, and the records that stand for their rows.

Every table has, besides the fields of its record, a `row_key`: a hash of the fields that make a row unique.
A row that is written again is the same row, on every database, and no index is longer than MySQL takes. The
other indexes serve the questions that a page about a DAG run asks: by DAG, run, calibration and iteration,
and a payload's history by DAG and name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode

SCHEMA_VERSION = 1
"""Raised by one with every change of a table, together with the step that changes an older one."""

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""What JSON can say. NaN and infinity are kept as Python's `json` writes them."""

_R = TypeVar("_R")

_ID_LENGTH = 250
"""Of a DAG's and a run's id, as in Airflow's own tables."""
_NAME_LENGTH = 200
_KEY_DIGITS = 32


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
    :param requested_memory_mb: what the last submission asked for, per subjob.
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


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware in Python, UTC without a zone in the database, since not every database has zones."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """Ask MySQL for microseconds: it cuts them off by default."""
        is_mysql = dialect.name in ("mysql", "mariadb")
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if is_mysql else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: nobody knows what it means."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


_LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
"""MySQL's TEXT ends at 64 kB: the runs of one execution can be more."""


class JsonText(TypeDecorator[JsonValue]):
    """A JSON value as text: not every database can store JSON, and what is stored comes back as it was."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str | None:
        """Write the text; None is the database's NULL."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:
        """Read the text."""
        if value is None:
            return None
        found: JsonValue = json.loads(value)
        return found


class RunsText(TypeDecorator[tuple[ExpRun, ...]]):
    """Runs as the JSON text `[[exp,run],…]`."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: tuple[ExpRun, ...] | None, dialect: Dialect) -> str:
        """Write the text."""
        return json.dumps(value or (), separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[ExpRun, ...]:
        """Read the text."""
        return tuple(ExpRun(exp, run) for exp, run in json.loads(value or "[]"))


class NamesText(TypeDecorator[tuple[str, ...]]):
    """Names as a JSON list."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, dialect: Dialect) -> str:
        """Write the text."""
        return json.dumps(value or (), separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[str, ...]:
        """Read the text."""
        return tuple(json.loads(value or "[]"))


class PlainText(TypeDecorator[str]):
    """A text that came from a job: what no database takes in a text is written out."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Write out NUL and bytes that were no UTF-8."""
        if value is None:
            return None
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


class CodeInteger(TypeDecorator[ResultCode]):
    """A result code as its number."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: ResultCode | None, dialect: Dialect) -> int | None:
        """Write the number."""
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> ResultCode:
        """Read the number."""
        return ResultCode(ResultCode.UNDEFINED if value is None else value)


class RowTable(Generic[_R]):
    """A table with the record of its rows.

    A field `iov` stands in four columns, every other field in one of its name.

    :param record_type: the record.
    :param identity: the fields that make a row unique.
    :param table: the table.
    """

    def __init__(self, record_type: type[_R], identity: tuple[str, ...], table: Table) -> None:
        self.record_type = record_type
        self.identity = identity
        self.table = table
        self._fields = tuple(field.name for field in fields(record_type))  # type: ignore[arg-type]

    def build_values(self, row: _R) -> dict[str, object]:
        """Give the columns of a row."""
        values: dict[str, object] = {name: getattr(row, name) for name in self._fields}
        iov = values.pop("iov", None)
        if isinstance(iov, IoV):
            values.update(iov._asdict())
        identity = [getattr(row, name) for name in self.identity]
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return {"row_key": digest[:_KEY_DIGITS], **values}

    def read_row(self, values: Mapping[str, object]) -> _R:
        """Make the record of a row. Columns that were not asked for keep the field's default."""
        found = {name: values[name] for name in self._fields if name in values}
        if "iov" in self._fields:
            found["iov"] = IoV(*(values[name] for name in IoV._fields))  # type: ignore[arg-type]
        return self.record_type(**found)


METADATA = MetaData()


def _text(length: int) -> TypeEngine[str]:
    # MySQL compares without regard to capitals unless told otherwise; the other databases do not.
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


def _make_table(name: str, *columns: Column[Any], index: tuple[str, ...] = ()) -> Table:
    """Make a table with what all of them share."""
    return Table(
        name,
        METADATA,
        Column("row_key", _text(_KEY_DIGITS), primary_key=True),
        Column("dag_id", _text(_ID_LENGTH), nullable=False),
        Column("run_id", _text(_ID_LENGTH), nullable=False),
        Column("calibration", _text(_NAME_LENGTH), nullable=False),
        Column("iteration", Integer, nullable=False),
        *columns,
        Index(f"ix_{name}_iteration", "dag_id", "run_id", "calibration", "iteration"),
        *([Index(f"ix_{name}_{index[-1]}", *index)] if index else []),
    )


def _iov_columns() -> list[Column[Any]]:
    return [Column(name, BigInteger, nullable=False) for name in IoV._fields]


SCHEMA = Table(
    "caf_schema",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

ITERATIONS = RowTable(
    IterationRow,
    ("dag_id", "run_id", "calibration", "iteration"),
    _make_table(
        "caf_iterations",
        Column("decision", _text(_NAME_LENGTH)),
        Column("reason", PlainText, nullable=False),
        Column("started", UtcDateTime),
        Column("ended", UtcDateTime),
    ),
)

EXECUTIONS = RowTable(
    ExecutionRow,
    ("dag_id", "run_id", "calibration", "iteration", "algorithm", "key"),
    _make_table(
        "caf_executions",
        Column("algorithm", _text(_NAME_LENGTH), nullable=False),
        Column("key", Integer, nullable=False),
        Column("runs", RunsText, nullable=False),
        *_iov_columns(),
        Column("code", CodeInteger, nullable=False),
        Column("output", JsonText),
        Column("seconds", Float, nullable=False),
        Column("ended", UtcDateTime),
    ),
)

PAYLOADS = RowTable(
    PayloadRow,
    ("dag_id", "run_id", "calibration", "iteration", "algorithm", "name", "iov"),
    _make_table(
        "caf_payloads",
        Column("algorithm", _text(_NAME_LENGTH), nullable=False),
        Column("name", _text(_NAME_LENGTH), nullable=False),
        *_iov_columns(),
        Column("revision", _text(_NAME_LENGTH), nullable=False),
        Column("execution", Integer),
        Column("value", JsonText),
        Column("position", Integer, nullable=False),
        Column("final", Boolean, nullable=False),
        Column("committed", UtcDateTime),
        index=("dag_id", "name"),
    ),
)

SUBJOBS = RowTable(
    SubjobsRow,
    ("dag_id", "run_id", "calibration", "iteration", "collection"),
    _make_table(
        "caf_subjobs",
        Column("collection", _text(_NAME_LENGTH), nullable=False),
        *(
            Column(name, Integer, nullable=False)
            for name in ("total", "queued", "held", "running", "done", "failed", "retries")
        ),
        Column("cpu_seconds", Float, nullable=False),
        Column("wall_seconds", Float, nullable=False),
        Column("peak_memory_kb", BigInteger, nullable=False),
        Column("hosts", NamesText, nullable=False),
        Column("requested_memory_mb", Integer),
        Column("requested_seconds", Integer),
        Column("updated", UtcDateTime),
    ),
)

FAILED_SUBJOBS = RowTable(
    FailedSubjobRow,
    ("dag_id", "run_id", "calibration", "iteration", "collection", "subjob", "attempt"),
    _make_table(
        "caf_failed_subjobs",
        Column("collection", _text(_NAME_LENGTH), nullable=False),
        Column("subjob", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("reason", PlainText, nullable=False),
        Column("exit_code", Integer),
        Column("signal", Integer),
        Column("host", PlainText),
        Column("log", PlainText),
        Column("ended", UtcDateTime),
    ),
)
