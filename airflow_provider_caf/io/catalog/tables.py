"""The tables of the results catalog, made of the records that stand for their rows.

Every table has, besides the fields of its record, a `row_key`: a hash of the fields that make a row unique.
A row that is written again is the same row, on every database, and no index is longer than MySQL takes. The
other indexes serve the questions that a page about a DAG run asks: by DAG, run, calibration and iteration,
and a payload's history by DAG and name.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, MetaData, Table

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import rows
from airflow_provider_caf.io.catalog.columns import JsonText, build_word

SCHEMA_VERSION = 2
"""Raised by one with every change of a table, together with the step that changes an older one. Version 2 only has more
tables than version 1: to make those that are missing is the whole step."""

METADATA = MetaData()

SCHEMA = Table(
    "caf_schema",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
)

_R = TypeVar("_R", bound=rows.OfRun)

_KEY_DIGITS = 32
_PLACES: Mapping[type, tuple[str, ...]] = {
    place: tuple(field.name for field in fields(place)) for place in (rows.OfRun, rows.OfCalibration, rows.OfPass)
}
_PLAIN_TYPES = {int: Integer, float: Float, bool: Boolean}


class RowTable(Generic[_R]):
    """A table with the record of its rows.

    A field `iov` stands in four columns, every other field in one of its name.

    :param name: of the table.
    :param record_type: the record; a field without a column type of its own is a number, a flag or an IoV.
    :param identity: the fields that make a row unique, besides those that say where it belongs.
    :param index: the columns of a further index.
    """

    def __init__(
        self, name: str, record_type: type[_R], identity: tuple[str, ...] = (), index: tuple[str, ...] = ()
    ) -> None:
        place = next(columns for base, columns in _PLACES.items() if base in record_type.__bases__)
        self.record_type = record_type
        self._identity = (*place, *identity)
        self._fields = tuple(field.name for field in fields(record_type))
        self.table = Table(
            name,
            METADATA,
            Column("row_key", build_word(_KEY_DIGITS), primary_key=True),
            *_build_columns(record_type),
            *(Index(f"ix_{name}_{columns[-1]}", *columns) for columns in (place, index) if columns),
        )

    def build_values(self, row: _R) -> dict[str, Any]:
        """Return the columns of a row."""
        values = self.list_fields(row)
        identity = [values[name] for name in self._identity]
        if "iov" in values:
            values.update(values.pop("iov")._asdict())
        digest = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
        return {"row_key": digest[:_KEY_DIGITS], **values}

    def list_fields(self, row: _R) -> dict[str, Any]:
        """Return the fields of a row, as they are."""
        return {name: getattr(row, name) for name in self._fields}

    def decode_row(self, values: Mapping[str, Any]) -> _R:
        """Return the record of fields that were JSON. What a later version has more is left out."""
        hints = get_type_hints(self.record_type, include_extras=True)
        return self.record_type(**{name: _decode(hints[name], values[name]) for name in self._fields if name in values})

    def read_row(self, values: Mapping[str, Any]) -> _R:
        """Return the record of a row. Columns that were not asked for keep the field's default."""
        found = {name: values[name] for name in self._fields if name in values}
        if "iov" in self._fields:
            found["iov"] = IoV(*(values[name] for name in IoV._fields))
        return self.record_type(**found)


def _decode(hint: Any, value: Any) -> Any:
    """Return a field's value of its JSON form: moments in ISO 8601, bytes in base64, all else as it is written."""
    alternatives = [one for one in get_args(hint) if one is not NoneType] if NoneType in get_args(hint) else [hint]
    kind = alternatives[0]
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if value is None:
        return None
    readers: dict[Any, Callable[[Any], Any]] = {
        datetime: datetime.fromisoformat,
        bytes: base64.b64decode,
        IoV: IoV._make,
        ResultCode: ResultCode,
        tuple[ExpRun, ...]: lambda runs: tuple(map(ExpRun._make, runs)),
        tuple[str, ...]: tuple,
    }
    return readers[kind](value) if kind in readers else value


def _build_columns(record_type: type) -> Iterator[Column[Any]]:
    for name, hint in get_type_hints(record_type, include_extras=True).items():
        if hint is IoV:
            yield from (Column(end, BigInteger, nullable=False) for end in IoV._fields)
            continue
        alternatives = get_args(hint) if NoneType in get_args(hint) else (hint,)
        (*_, column_type) = getattr(alternatives[0], "__metadata__", None) or (_PLAIN_TYPES[alternatives[0]],)
        yield Column(name, column_type, nullable=NoneType in alternatives or isinstance(column_type, JsonText))


TABLES: Mapping[type, RowTable[Any]] = {
    table.record_type: table
    for table in (
        RowTable("caf_iterations", rows.IterationRow),
        RowTable("caf_executions", rows.ExecutionRow, ("algorithm", "key")),
        RowTable("caf_payloads", rows.PayloadRow, ("algorithm", "name", "iov"), index=("dag_id", "name")),
        RowTable("caf_subjobs", rows.SubjobsRow, ("collection",)),
        RowTable("caf_failed_subjobs", rows.FailedSubjobRow, ("collection", "subjob", "attempt")),
        RowTable("caf_runs", rows.RunRow),
        RowTable("caf_selections", rows.SelectionRow, ("collection",)),
        RowTable("caf_logs", rows.LogRow, ("step", "subjob", "attempt")),
        RowTable("caf_monitored", rows.MonitoredRow, ("algorithm", "execution", "name")),
        RowTable("caf_figures", rows.FigureRow, ("algorithm", "execution", "name")),
    )
}
"""The table of each kind of row."""
