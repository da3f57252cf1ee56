"""The results catalog: what the DAG runs gave, in an SQL database, for pages, reports and comparisons.

It is a record for readers. No result depends on it: what a restart needs is in the run's folder and in
Airflow's task state. So a writer may write the same rows again and again; a row that is written twice is one
row.

SQLite, PostgreSQL and MySQL are meant. A row is replaced by a delete and an insert in one transaction: that
is the form that all three understand. On SQLite a writing transaction takes the write lock at its begin: one
that began by reading could not wait for the lock later. SQLite's log (WAL) needs memory that all writers
share: where tasks run on several machines, use one of the other two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    create_engine,
    delete,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool

from airflow_provider_caf.core.errors import DatabaseError, explain_os_error
from airflow_provider_caf.io.catalog.passing import is_passing, is_there
from airflow_provider_caf.io.catalog.rows import (
    ExecutionCount,
    ExecutionRow,
    IterationRow,
    OfCalibration,
    OfRun,
    PayloadRow,
    RunRow,
    SubjobsRow,
)
from airflow_provider_caf.io.catalog.tables import METADATA, SCHEMA, SCHEMA_VERSION, TABLES, RowTable

_R = TypeVar("_R", bound=OfRun)
_T = TypeVar("_T")

_SORTED_BY = (
    "calibration",
    "iteration",
    "algorithm",
    "collection",
    "step",
    "position",
    "key",
    "execution",
    "subjob",
    "attempt",
)
_OLDER = (1,)
"""Versions of the tables of which nothing has to change but that some are missing."""

_OF_DRIVERS = (OverflowError, ValueError)
"""What a driver raises by itself for a value that it cannot send, such as an integer of more than 64 bits or a text
that is no UTF-8. SQLAlchemy does not wrap it."""

_CHUNK = 500
_BUSY_SECONDS = 10.0
_RETRY_SECONDS = 60.0
_MOST_COLLISIONS = 5


class RowsRefused(DatabaseError):
    """The content of a write is at fault, and not the catalog, its server or the rights of its user."""


def open_sqlite_catalog(path: Path) -> Catalog:
    """Open the catalog in an SQLite file, which is made at the first use.

    Each operation opens and closes the file: a connection to SQLite must not live on in a forked process.

    :raises DatabaseError: if its folder cannot be made.
    """
    hint = "Check that you may write there, or set a connection in [caf] catalog_conn_id."
    with explain_os_error(DatabaseError, f"The folder of the results catalog {path} could not be made", hint):
        path.parent.mkdir(parents=True, exist_ok=True)
    return Catalog(create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool))


class Catalog:
    """Write and read the tables of results.

    The tables are made at the first use; two processes may do that at once. All times are aware; they come
    back in UTC.

    :param engine: of SQLite, PostgreSQL or MySQL.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._is_ready = False

    def __repr__(self) -> str:
        return f"Catalog({self._place!r})"

    @property
    def _place(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    @property
    def _file(self) -> Path | None:
        name = (self._engine.url.database or "") if self._is_sqlite else ""
        return None if name in ("", ":memory:") else Path(name)

    def create_tables(self) -> None:
        """Make the tables that are missing. All other methods do this at their first use.

        :raises DatabaseError: if the tables are those of a newer version of this package, or cannot be made.
        """
        file = self._file
        if not self._is_ready or (file is not None and not file.exists()):
            if file is not None:
                with suppress(OSError):  # SQLite reports it. Otherwise every user could read the logs in it
                    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._run(self._create_tables, "made")
            self._is_ready = True

    def write(self, rows: Iterable[OfRun]) -> None:
        """Write rows of any kinds; one that is there already is replaced.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        by_kind: dict[type, list[OfRun]] = {}
        for row in rows:
            by_kind.setdefault(type(row), []).append(row)
        if by_kind:

            def replace(connection: Connection) -> None:
                for kind, wanted in by_kind.items():
                    _replace(connection, TABLES[kind], wanted)

            self._write(replace)

    def write_final_payloads(self, dag_id: str, run_id: str, calibration: str, rows: Sequence[PayloadRow]) -> None:
        """Write the payloads of a calibration's final database; what was final before is final no longer.

        :param rows: of this calibration, with `final` set.
        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        payloads = TABLES[PayloadRow]
        of_calibration = _match(payloads, dag_id=dag_id, run_id=run_id, calibration=calibration)

        def write(connection: Connection) -> None:
            connection.execute(update(payloads.table).where(*of_calibration).values(final=False))
            _replace(connection, payloads, rows)

        self._write(write)

    def mark_final_payloads(self, dag_id: str, run_id: str, calibration: str, iteration: int) -> None:
        """Mark the payloads of a pass as the final ones of a calibration; no others of it are.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        payloads = TABLES[PayloadRow]
        of_calibration = _match(payloads, dag_id=dag_id, run_id=run_id, calibration=calibration)
        is_final = payloads.table.c.iteration == iteration

        def write(connection: Connection) -> None:
            for of_pass, final in ((~is_final, False), (is_final, True)):
                connection.execute(update(payloads.table).where(*of_calibration, of_pass).values(final=final))

        self._write(write)

    def end_iteration(self, rows: Sequence[IterationRow]) -> None:
        """Note how passes ended. When they began is kept, where it is known.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        passes = TABLES[IterationRow]

        def write(connection: Connection) -> None:
            for values in map(passes.build_values, rows):
                ended = {name: values[name] for name in ("decision", "reason", "ended")}
                of_pass = passes.table.c.row_key == values["row_key"]
                if not connection.execute(update(passes.table).where(of_pass).values(**ended)).rowcount:
                    connection.execute(insert(passes.table), [values])

        self._write(write)

    def forget_iterations(self, dag_id: str, run_id: str, calibration: str, first: int = 0) -> None:
        """Remove all rows of a calibration from a pass on, as when a run goes back to that pass.

        :raises DatabaseError: if the database refuses; nothing is removed then.
        """
        self._remove("iteration", first, dag_id=dag_id, run_id=run_id, calibration=calibration)

    def forget_algorithm(self, dag_id: str, run_id: str, calibration: str, iteration: int, algorithm: str) -> None:
        """Remove executions and payloads of an algorithm in a pass, as when it begins anew.

        :raises DatabaseError: if the database refuses; nothing is removed then.
        """
        place: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "calibration": calibration}
        self._remove("algorithm", 0, **place, iteration=iteration, algorithm=algorithm)

    def read(
        self,
        kind: type[_R],
        dag_id: str,
        run_id: str | None = None,
        calibration: str | None = None,
        *,
        without: Sequence[str] = (),
        newest_by: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        **equal: str | int | None,
    ) -> tuple[_R, ...]:
        """Read the rows of one kind, sorted by calibration, pass, step and number.

        :param kind: the record of the rows, such as `PayloadRow`.
        :param run_id: None: of all runs of the DAG.
        :param calibration: None: of all calibrations.
        :param without: fields that keep their defaults, because they can be large.
        :param newest_by: a moment by which the rows are sorted first, the last one in front.
        :param limit: at most so many.
        :param offset: without so many at the beginning.
        :param equal: further fields with their values; None leaves one open.
        :raises DatabaseError: if the database cannot be read.
        """
        rows = TABLES[kind]
        columns = rows.table.c
        newest = [] if newest_by is None else [columns[newest_by].desc(), columns.run_id]
        query = (
            select(*(column for column in columns if column.name not in without))
            .where(*_match(rows, dag_id=dag_id, run_id=run_id, calibration=calibration, **equal))
            .order_by(*newest, *(columns[name] for name in _SORTED_BY if name in columns), columns.row_key)
            .limit(limit)
            .offset(offset or None)
        )
        return tuple(rows.read_row(found._mapping) for found in self._select(query))

    def read_run(self, dag_id: str, run_id: str) -> RunRow | None:
        """Read what a DAG run does, or None as long as it is not configured."""
        rows = self.read(RunRow, dag_id, run_id)
        return rows[0] if rows else None

    def count(self, kind: type[OfCalibration], dag_id: str, run_id: str, calibration: str | None = None) -> int:
        """Count the rows of one kind."""
        of_run = _match(TABLES[kind], dag_id=dag_id, run_id=run_id, calibration=calibration)
        return int(self._select(select(func.count()).where(*of_run))[0][0])

    def count_executions(self, dag_id: str, run_id: str) -> tuple[ExecutionCount, ...]:
        """Count the executions of a DAG run by calibration, pass, algorithm and result code."""
        rows = TABLES[ExecutionRow]
        columns = rows.table.c
        keys = (columns.calibration, columns.iteration, columns.algorithm, columns.code)
        query = (
            select(*keys, func.count().label("executions"), func.sum(columns.seconds).label("seconds"))
            .where(*_match(rows, dag_id=dag_id, run_id=run_id))
            .group_by(*keys)
            .order_by(*keys)
        )
        return tuple(ExecutionCount(**found._mapping) for found in self._select(query))

    def list_final_payloads(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """List the final payloads of a DAG run: pairs of calibration and name."""
        rows = TABLES[PayloadRow]
        names = (rows.table.c.calibration, rows.table.c.name)
        of_run = _match(rows, dag_id=dag_id, run_id=run_id, final=True)
        return [(row[0], row[1]) for row in self._select(select(*names).where(*of_run).distinct().order_by(*names))]

    def list_runs_with_payloads(self, dag_id: str, calibration: str, *, limit: int) -> list[str]:
        """List the ids of the DAG runs in which a calibration has final payloads, the newest first."""
        rows = TABLES[PayloadRow]
        run_id = rows.table.c.run_id
        query = (
            select(run_id)
            .where(*_match(rows, dag_id=dag_id, calibration=calibration, final=True))
            .group_by(run_id)
            .order_by(func.max(rows.table.c.committed).desc(), run_id)
        )
        return [row[0] for row in self._select(query.limit(limit))]

    def list_dags(self) -> list[str]:
        """List the ids of the DAGs of which the catalog knows a run."""
        # Of jobs that belong to no calibration there is no other row.
        columns = (TABLES[kind].table.c.dag_id for kind in (RunRow, SubjobsRow))
        found = {row[0] for column in columns for row in self._select(select(column).distinct())}
        return sorted(found)

    def _select(self, query: Select[Any]) -> list[Any]:
        self.create_tables()
        return self._run(lambda connection: list(connection.execute(query)), "read", writing=False)

    def _remove(self, column: str, first: int, **place: str | int) -> None:
        """Remove the rows of a place, from a pass on, of all tables that have a column."""

        def remove(connection: Connection) -> None:
            for rows in TABLES.values():
                if column in rows.table.c:
                    from_pass = rows.table.c.iteration >= first
                    connection.execute(delete(rows.table).where(*_match(rows, **place), from_pass))

        self._write(remove)

    def _write(self, work: Callable[[Connection], None]) -> None:
        self.create_tables()
        self._run(work, "written", refused=RowsRefused)

    def _create_tables(self, connection: Connection) -> None:
        version = None
        if inspect(connection).has_table(SCHEMA.name):
            version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version is None:
            METADATA.create_all(connection)
            connection.execute(insert(SCHEMA).values(id=1, version=SCHEMA_VERSION))
        elif version in _OLDER:
            METADATA.create_all(connection)
            connection.execute(update(SCHEMA).values(version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise DatabaseError(
                f"The results catalog {self._place} has tables of version {version}, and this package knows "
                f"version {SCHEMA_VERSION}.",
                hint="Upgrade airflow-provider-caf here, or set another connection in [caf] catalog_conn_id.",
            )

    def _run(
        self,
        work: Callable[[Connection], _T],
        done: str,
        *,
        writing: bool = True,
        refused: type[DatabaseError] = DatabaseError,
    ) -> _T:
        """Do work in a transaction of its own, again when the database was only busy.

        :param refused: is raised where a value is at fault.
        """
        retrying = tenacity.Retrying(
            retry=_is_worth_another_try,
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=2.0),
            stop=tenacity.stop_after_delay(_RETRY_SECONDS),
            reraise=True,
        )

        def try_once() -> _T:
            with self._transaction(writing) as connection:
                return work(connection)

        try:
            return retrying(try_once)
        except (SQLAlchemyError, *_OF_DRIVERS) as error:
            raise self._explain(error, done, refused if _is_of_values(error) else DatabaseError) from error

    def _explain(self, error: Exception, done: str, kind: type[DatabaseError] = DatabaseError) -> DatabaseError:
        reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
        return kind(
            f"The results catalog {self._place} could not be {done}: {reason.strip()}",
            hint="Check that its server runs, or that its file and disk can be written and have space; "
            "another catalog can be set in [caf] catalog_conn_id.",
        )

    def _connect(self) -> Connection:
        try:
            return self._engine.connect()
        except SQLAlchemyError:
            raise  # it may pass
        except Exception as error:
            # Drivers raise what they like for a word of a connection that is wrong, and for a server's answer.
            raise self._explain(error, "opened") from error

    @contextmanager
    def _transaction(self, writing: bool) -> Iterator[Connection]:
        with self._connect() as connection:
            if self._is_sqlite:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
            if self._is_sqlite and writing:
                # Stays set in the file. Readers and the writer do not wait for one another with it. A file
                # system without shared memory between machines refuses, and all is right without.
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()


def _replace(connection: Connection, rows: RowTable[_R], new: Sequence[_R]) -> None:
    """Write rows in the place of those that are the same. Of equal ones the last counts."""
    values = {columns["row_key"]: columns for columns in map(rows.build_values, new)}
    # In one order for all writers: two of them then wait for one another, and do not lock one another out.
    keys = sorted(values)
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        connection.execute(delete(rows.table).where(rows.table.c.row_key.in_(chunk)))
        connection.execute(insert(rows.table), [values[key] for key in chunk])


def _match(rows: RowTable[Any], **equal: str | int | None) -> list[ColumnElement[bool]]:
    """Return what finds the rows whose fields have these values; None leaves a field open."""
    return [rows.table.c[name] == value for name, value in equal.items() if value is not None]


def _is_of_values(error: Exception) -> bool:
    """Return whether a value is at fault: it cannot be sent, fits no column, or breaks a rule of its table."""
    if isinstance(error, StatementError) and not isinstance(error, DBAPIError):
        return True
    return isinstance(error, (DataError, IntegrityError, *_OF_DRIVERS))


def _is_worth_another_try(state: tenacity.RetryCallState) -> bool:
    error = None if state.outcome is None else state.outcome.exception()
    if not isinstance(error, DBAPIError):
        return False
    if is_passing(error):
        return True
    # Two writers made the same row or the same table at once: the second try finds it there.
    return state.attempt_number < _MOST_COLLISIONS and (isinstance(error, IntegrityError) or is_there(error))
