"""The state of a run of the reference, in an SQLite file. Here Airflow has the state."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar


class SQLiteDB:
    """An SQLite file.

    :param database_path: the file.
    :param schema: table → columns; made where the file is new.
    :param read_only: whether nothing may be changed.
    """

    def __init__(
        self,
        database_path: str | Path,
        schema: dict[str, list[str]] | None = None,
        read_only: bool = False,
        timeout: float = 30,
    ) -> None:
        self.database_path = Path(database_path)
        self.schema = schema or {}
        self.read_only = read_only
        self.timeout = timeout
        self.conn: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open it."""
        is_new = not self.database_path.exists()
        uri = self.database_path.absolute().as_uri() + ("?mode=ro" if self.read_only else "")
        self.conn = sqlite3.connect(uri, timeout=self.timeout, uri=True)
        if is_new:
            for table, columns in self.schema.items():
                self.conn.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            self.conn.commit()

    def close(self) -> None:
        """Close it."""
        if self.conn is not None:
            self.conn.close()
        self.conn = None

    def query(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Carry out a statement.

        :raises ValueError: if the file is not open.
        """
        if self.conn is None:
            raise ValueError(f"{self.database_path} is not open.")
        return self.conn.execute(sql, parameters)

    def commit(self) -> None:
        """Keep what was changed."""
        if self.conn is not None:
            self.conn.commit()

    def __enter__(self) -> Any:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commit()
        self.close()


class CAFDB(SQLiteDB):
    """The calibrations with their state, checkpoint and iteration."""

    default_schema: ClassVar[dict[str, list[str]]] = {
        "calibrations": ["name text primary key", "state text", "checkpoint text", "iteration int"]
    }
    _columns = ("name", "state", "checkpoint", "iteration")

    def __init__(
        self, database_path: str | Path, schema: dict[str, list[str]] | None = None, read_only: bool = False
    ) -> None:
        super().__init__(database_path, schema or self.default_schema, read_only)

    def insert_calibration(
        self, calibration_name: str, state: str = "init", checkpoint: str = "init", iteration: int = 0
    ) -> None:
        """Add a calibration."""
        values = (calibration_name, state, checkpoint, iteration)
        self.query("INSERT INTO calibrations VALUES (?, ?, ?, ?)", values)

    def get_calibration_value(self, calibration_name: str, column_name: str) -> Any:
        """Give a value of a calibration, or None."""
        sql = f"SELECT {self._check(column_name)} FROM calibrations WHERE name=?"  # noqa: S608 - one of our columns
        row = self.query(sql, (calibration_name,)).fetchone()
        return None if row is None else row[0]

    def update_calibration_value(
        self, calibration_name: str, column_name: str, new_value: Any, attempts: int = 1
    ) -> None:
        """Set a value of a calibration."""
        sql = f"UPDATE calibrations SET {self._check(column_name)}=? WHERE name=?"  # noqa: S608 - one of our columns
        self.query(sql, (new_value, calibration_name))
        self.commit()

    def _check(self, column: str) -> str:
        if column not in self._columns:
            raise ValueError(f"There is no column {column!r}; use {', '.join(self._columns)}.")
        return column
