"""The state of a run of the reference, in an SQLite file. Here Airflow has the state.

Old files can be read, and changed, with the reference's names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar


class SQLiteDB:
    """An SQLite file, open from the beginning.

    :param database_path: the file.
    :param schema: table → columns; made where the file is new.
    :param read_only: whether nothing may be changed.
    :param timeout: how many seconds to wait for others.
    :param isolation_level: None: each statement counts at once.
    :raises TypeError: if the path is no `pathlib.Path`.
    :raises ValueError: if the file is not there, and cannot be made.
    """

    def __init__(
        self,
        database_path: Path,
        schema: Mapping[str, Sequence[str]] | None = None,
        read_only: bool = False,
        timeout: float = 5.0,
        isolation_level: Any = None,
    ) -> None:
        if not isinstance(database_path, Path):
            raise TypeError(f"A database has a pathlib.Path, not a {type(database_path).__name__}.")
        self.database_path = database_path
        self.schema = schema
        self.read_only = read_only
        self.timeout = timeout
        self.isolation_level = isolation_level
        self.conn: sqlite3.Connection | None = None
        is_new = not database_path.exists()
        if is_new and (read_only or not schema):
            raise ValueError(
                f"There is no database {database_path}, and {'it is to be read only' if read_only else 'no schema'}."
            )
        self.open()
        if is_new:
            self.create_schema()

    def open(self) -> None:
        """Open it."""
        options = {"timeout": self.timeout, "isolation_level": self.isolation_level}
        self.conn = sqlite3.connect(self.get_uri(), uri=True, **options)

    def close(self) -> None:
        """Keep what was changed, and close it."""
        if self.conn is not None:
            if not self.read_only:
                self.conn.commit()
            self.conn.close()
        self.conn = None

    def commit(self) -> None:
        """Keep what was changed."""
        self._get_connection().commit()

    def query(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Carry out a statement.

        :raises ValueError: if the file is closed.
        """
        return self._get_connection().execute(sql, parameters)

    def create_schema(self) -> None:
        """Make the tables."""
        for table, columns in (self.schema or {}).items():
            self.query(f"CREATE TABLE {table} ({', '.join(columns)})")
        self.commit()

    def get_uri(self) -> str:
        """Return how SQLite names the file."""
        return self.database_path.absolute().as_uri() + ("?mode=ro" if self.read_only else "")

    def _get_connection(self) -> sqlite3.Connection:
        if self.conn is None:
            raise ValueError(f"The database {self.database_path} is closed.")
        return self.conn

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CAFDB(SQLiteDB):
    """The calibrations with their state, checkpoint and iteration."""

    default_schema: ClassVar[Mapping[str, Sequence[str]]] = {
        "calibrations": ["name text primary key", "state text", "checkpoint text", "iteration int"]
    }
    _columns = ("name", "state", "checkpoint", "iteration")

    def __init__(
        self, database_path: Path, read_only: bool = False, timeout: float = 30.0, isolation_level: Any = None
    ) -> None:
        super().__init__(database_path, self.default_schema, read_only, timeout, isolation_level)

    def insert_calibration(
        self, calibration_name: str, state: str = "init", checkpoint: str = "init", iteration: int = 0
    ) -> None:
        """Add a calibration."""
        values = (calibration_name, state, checkpoint, iteration)
        self.query("INSERT INTO calibrations VALUES (?, ?, ?, ?)", values)

    def get_calibration_value(self, calibration_name: str, column_name: str) -> Any:
        """Return a value of a calibration.

        :raises ValueError: if there is no such calibration or column.
        """
        sql = f"SELECT {self._check(column_name)} FROM calibrations WHERE name=?"  # noqa: S608 - one of our columns
        row = self.query(sql, (calibration_name,)).fetchone()
        if row is None:
            raise ValueError(f"{self.database_path} has no calibration {calibration_name!r}.")
        return row[0]

    def update_calibration_value(
        self, calibration_name: str, column_name: str, new_value: Any, attempts: int = 3
    ) -> None:
        """Set a value of a calibration.

        :param attempts: how often it is tried while others hold the file.
        :raises ValueError: if there is no such column.
        """
        sql = f"UPDATE calibrations SET {self._check(column_name)}=? WHERE name=?"  # noqa: S608 - one of our columns
        for attempt in range(1, attempts + 1):
            try:
                self.query(sql, (new_value, calibration_name))
                return
            except sqlite3.OperationalError:
                if attempt == attempts:
                    raise

    def output_calibration_table(self) -> str:
        """Return a table of all calibrations."""
        cells = [self._columns, *self.query("SELECT name, state, checkpoint, iteration FROM calibrations")]
        rows = [[str(cell) for cell in row] for row in cells]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
        border = "=" * len(lines[0])
        return "\n".join([border, " Calibrations Table ".center(len(border)), border, *lines, border])

    def _check(self, column: str) -> str:
        if column not in self._columns:
            raise ValueError(f"There is no column {column!r}; use {', '.join(self._columns)}.")
        return column
