"""The tables of the results catalog, with the records that stand for their rows.

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
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog.columns import (
    CodeInteger,
    JsonText,
    NamesText,
    PlainText,
    RunsText,
    UtcDateTime,
)
from airflow_provider_caf.io.catalog.rows import (
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    LogRow,
    MonitoredRow,
    PayloadRow,
    RunRow,
    SelectionRow,
    SubjobsRow,
)

SCHEMA_VERSION = 2
"""Raised by one with every change of a table, together with the step that changes an older one. Version 2 only has more
tables than version 1: to make those that are missing is the whole step."""

_R = TypeVar("_R")

_ID_LENGTH = 250
"""Of a DAG's and a run's id, as in Airflow's own tables."""
_NAME_LENGTH = 200
_KEY_DIGITS = 32


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


_PLACE = ("dag_id", "run_id", "calibration", "iteration")


def _make_table(name: str, *columns: Column[Any], place: int = len(_PLACE), index: tuple[str, ...] = ()) -> Table:
    """Make a table with what all of them share.

    :param place: how many of the columns that say where a row belongs it has.
    """
    own = _PLACE[:place]
    types: dict[str, TypeEngine[Any]] = {
        "dag_id": _text(_ID_LENGTH),
        "run_id": _text(_ID_LENGTH),
        "calibration": _text(_NAME_LENGTH),
        "iteration": Integer(),
    }
    return Table(
        name,
        METADATA,
        Column("row_key", _text(_KEY_DIGITS), primary_key=True),
        *(Column(each, types[each], nullable=False) for each in own),
        *columns,
        Index(f"ix_{name}_{own[-1]}", *own),
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

RUNS = RowTable(
    RunRow,
    ("dag_id", "run_id"),
    _make_table(
        "caf_runs",
        Column("definition", JsonText),
        Column("chosen", NamesText, nullable=False),
        Column("params", JsonText),
        Column("versions", JsonText),
        Column("folder", PlainText, nullable=False),
        Column("configured", UtcDateTime),
        place=2,
    ),
)

SELECTIONS = RowTable(
    SelectionRow,
    ("dag_id", "run_id", "calibration", "collection"),
    _make_table(
        "caf_selections",
        Column("collection", _text(_NAME_LENGTH), nullable=False),
        Column("files", Integer, nullable=False),
        Column("subjobs", Integer, nullable=False),
        Column("runs", RunsText, nullable=False),
        Column("ignored", RunsText, nullable=False),
        Column("details", JsonText),
        place=3,
    ),
)

LOGS = RowTable(
    LogRow,
    ("dag_id", "run_id", "calibration", "iteration", "step", "subjob", "attempt"),
    _make_table(
        "caf_logs",
        Column("step", _text(_NAME_LENGTH), nullable=False),
        Column("subjob", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("path", PlainText, nullable=False),
        Column("text", PlainText, nullable=False),
        Column("is_whole", Boolean, nullable=False),
    ),
)

MONITORED = RowTable(
    MonitoredRow,
    ("dag_id", "run_id", "calibration", "iteration", "algorithm", "execution", "name"),
    _make_table(
        "caf_monitored",
        Column("algorithm", _text(_NAME_LENGTH), nullable=False),
        Column("execution", Integer, nullable=False),
        Column("name", _text(_NAME_LENGTH), nullable=False),
        Column("value", Float),
        Column("error", Float),
    ),
)

FIGURES = RowTable(
    FigureRow,
    ("dag_id", "run_id", "calibration", "iteration", "algorithm", "execution", "name"),
    _make_table(
        "caf_figures",
        Column("algorithm", _text(_NAME_LENGTH), nullable=False),
        Column("execution", Integer, nullable=False),
        Column("name", _text(_NAME_LENGTH), nullable=False),
        Column("media_type", _text(_NAME_LENGTH), nullable=False),
        Column("path", PlainText, nullable=False),
        Column("content", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")),
    ),
)

TABLES: Mapping[type, RowTable[Any]] = {
    each.record_type: each
    for each in (
        RUNS,
        SELECTIONS,
        ITERATIONS,
        EXECUTIONS,
        PAYLOADS,
        SUBJOBS,
        FAILED_SUBJOBS,
        LOGS,
        MONITORED,
        FIGURES,
    )
}
"""The table of each kind of row."""
