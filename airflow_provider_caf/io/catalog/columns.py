"""Column types that give back on every database what was put in."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, TypeAlias

from sqlalchemy import Integer, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.results import ResultCode


def build_word(length: int) -> TypeEngine[str]:
    """Return the type of a short text that MySQL, too, compares with regard to capitals."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware in Python, UTC without a zone in the database, since not every database has zones."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """Ask MySQL for microseconds: it cuts them off by default."""
        is_mysql = dialect.name in ("mysql", "mariadb")
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if is_mysql else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: it could mean any moment of a day."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


_LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
"""MySQL's TEXT ends at 64 kB: the runs of one execution can be more."""


JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""A value of JSON. NaN and infinity are kept as Python's `json` writes them."""


class JsonText(TypeDecorator[JsonValue]):
    """A JSON value as text: not every database can store JSON, and what is stored comes back as it was."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: JsonValue, dialect: Dialect) -> str | None:
        """Write the text; None is the database's NULL."""
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> JsonValue:
        found: JsonValue = None if value is None else json.loads(value)
        return found


class NamesText(TypeDecorator[tuple[Any, ...]]):
    """Names as a JSON list."""

    impl = _LONG_TEXT
    cache_ok = True

    def process_bind_param(self, value: tuple[Any, ...] | None, dialect: Dialect) -> str:
        return json.dumps(value or (), separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[Any, ...]:
        return tuple(json.loads(value or "[]"))


class RunsText(NamesText):
    """Runs as the JSON text `[[exp,run],…]`."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> tuple[ExpRun, ...]:
        return tuple(map(ExpRun._make, super().process_result_value(value, dialect)))


class PlainText(TypeDecorator[str]):
    """A text that came from a job: what no database takes in a text is written out."""

    impl = _LONG_TEXT
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
        return None if value is None else int(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> ResultCode:
        return ResultCode(ResultCode.UNDEFINED if value is None else value)
