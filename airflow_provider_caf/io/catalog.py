"""The results catalog: what the DAG runs gave, in an SQL database, for pages, reports and comparisons.

It is a record for readers. Nothing decides by it: what a restart needs is in the run's folder and in
Airflow's task state. So a writer may write the same rows again and again; a row that is written twice is one
row.

SQLite, PostgreSQL and MySQL are meant. A row is replaced by a delete and an insert in one transaction: that
is the form that all three understand. On SQLite a writing transaction takes the write lock at its begin: one
that began by reading could not wait for the lock later. SQLite's log (WAL) needs memory that all writers
share: where tasks run on several machines, use one of the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import tenacity
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    create_engine,
    delete,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.io.catalog_tables import (
    EXECUTIONS,
    FAILED_SUBJOBS,
    ITERATIONS,
    METADATA,
    PAYLOADS,
    SCHEMA,
    SCHEMA_VERSION,
    SUBJOBS,
    ExecutionRow,
    FailedSubjobRow,
    IterationRow,
    JsonValue,
    PayloadRow,
    RowTable,
    SubjobsRow,
)

__all__ = [
    "Catalog",
    "ExecutionRow",
    "FailedSubjobRow",
    "IterationRow",
    "JsonValue",
    "PayloadRow",
    "SubjobsRow",
    "open_sqlite_catalog",
]

_R = TypeVar("_R")
_T = TypeVar("_T")

_ALL = (ITERATIONS, EXECUTIONS, PAYLOADS, SUBJOBS, FAILED_SUBJOBS)
_SORTED_BY = (
    "calibration",
    "iteration",
    "algorithm",
    "collection",
    "position",
    "key",
    "subjob",
    "attempt",
)
_CHUNK = 500
_BUSY_SECONDS = 10.0
_RETRY_SECONDS = 60.0
_MOST_COLLISIONS = 5

_SQLITE_BUSY, _SQLITE_LOCKED = 5, 6
_POSTGRES_PASSING = {"40001", "40P01", "55P03", "57P03"}
"""serialization_failure, deadlock_detected, lock_not_available, cannot_connect_now."""
_POSTGRES_EXISTS = {"42P07", "42710"}
"""duplicate_table, duplicate_object."""
_MYSQL_PASSING = {1205, 1213}
"""Lock wait timeout, deadlock."""
_MYSQL_EXISTS = {1050, 1061}
"""Table or index exists."""


def open_sqlite_catalog(path: Path) -> Catalog:
    """Open the catalog in an SQLite file, which is made at the first use.

    Each operation opens and closes the file: a connection to SQLite must not live on in a forked process.

    :raises DatabaseError: if its folder cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"The folder of the results catalog {path} could not be made: {error.strerror}.",
            hint="Check that you may write there, or set a connection in [caf] catalog_conn_id.",
        ) from error
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

    def create_tables(self) -> None:
        """Make the tables that are missing. All other methods do this at their first use.

        :raises DatabaseError: if the tables are those of a newer version of this package, or cannot be made.
        """
        if not self._is_ready:
            self._run(self._create_tables, "made")
            self._is_ready = True

    def write_iterations(self, rows: Iterable[IterationRow]) -> None:
        """Write passes of calibrations.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        self._upsert(ITERATIONS, rows)

    def write_executions(self, rows: Iterable[ExecutionRow]) -> None:
        """Write executions of algorithms.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        self._upsert(EXECUTIONS, rows)

    def write_payloads(self, rows: Iterable[PayloadRow]) -> None:
        """Write committed payloads.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        self._upsert(PAYLOADS, rows)

    def write_subjobs(self, rows: Iterable[SubjobsRow]) -> None:
        """Write what the subjobs of collections did.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        self._upsert(SUBJOBS, rows)

    def write_failed_subjobs(self, rows: Iterable[FailedSubjobRow]) -> None:
        """Write attempts of subjobs that failed.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        self._upsert(FAILED_SUBJOBS, rows)

    def write_final_payloads(self, dag_id: str, run_id: str, calibration: str, rows: Sequence[PayloadRow]) -> None:
        """Write the payloads of a calibration's final database; what was final before is so no more.

        :param rows: of this calibration, with `final` set.
        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        where = _match(PAYLOADS.table.c, dag_id, run_id, calibration)

        def write(connection: Connection) -> None:
            connection.execute(update(PAYLOADS.table).where(*where).values(final=False))
            _replace(connection, PAYLOADS, rows)

        self._write(write)

    def forget_iterations(self, dag_id: str, run_id: str, calibration: str, first: int = 0) -> None:
        """Remove all rows of a calibration from a pass on, as when a run goes back to that pass.

        :raises DatabaseError: if the database refuses; nothing is removed then.
        """

        def remove(connection: Connection) -> None:
            for rows in _ALL:
                where = _match(rows.table.c, dag_id, run_id, calibration)
                connection.execute(delete(rows.table).where(*where, rows.table.c.iteration >= first))

        self._write(remove)

    def forget_algorithm(self, dag_id: str, run_id: str, calibration: str, iteration: int, algorithm: str) -> None:
        """Remove executions and payloads of an algorithm in a pass, as when it begins anew.

        :raises DatabaseError: if the database refuses; nothing is removed then.
        """

        def remove(connection: Connection) -> None:
            for table in (EXECUTIONS.table, PAYLOADS.table):
                where = _match(table.c, dag_id, run_id, calibration, iteration)
                connection.execute(delete(table).where(*where, table.c.algorithm == algorithm))

        self._write(remove)

    def read_iterations(self, dag_id: str, run_id: str, calibration: str | None = None) -> tuple[IterationRow, ...]:
        """Read the passes of a DAG run, by calibration and number."""
        return self._read(ITERATIONS, _match(ITERATIONS.table.c, dag_id, run_id, calibration))

    def read_executions(
        self,
        dag_id: str,
        run_id: str,
        calibration: str | None = None,
        iteration: int | None = None,
        *,
        with_output: bool = True,
    ) -> tuple[ExecutionRow, ...]:
        """Read the executions of a DAG run, by calibration, pass, algorithm and number.

        :param with_output: False leaves the algorithms' output out: it can be large.
        """
        where = _match(EXECUTIONS.table.c, dag_id, run_id, calibration, iteration)
        return self._read(EXECUTIONS, where, left_out=() if with_output else ("output",))

    def read_payloads(
        self, dag_id: str, run_id: str, calibration: str | None = None, *, final_only: bool = False
    ) -> tuple[PayloadRow, ...]:
        """Read the payloads of a DAG run, by calibration, pass, algorithm and place in the text."""
        where = _match(PAYLOADS.table.c, dag_id, run_id, calibration)
        return self._read(PAYLOADS, [*where, PAYLOADS.table.c.final.is_(True)] if final_only else where)

    def read_payload_history(self, dag_id: str, name: str) -> tuple[PayloadRow, ...]:
        """Read the final payloads of one name in all runs of a DAG, the last committed first."""
        columns = PAYLOADS.table.c
        where = [columns.dag_id == dag_id, columns.name == name, columns.final.is_(True)]
        return self._read(PAYLOADS, where, order=[columns.committed.desc(), columns.run_id, columns.position])

    def read_subjobs(self, dag_id: str, run_id: str, calibration: str | None = None) -> tuple[SubjobsRow, ...]:
        """Read what the subjobs of a DAG run did, by calibration, pass and collection."""
        return self._read(SUBJOBS, _match(SUBJOBS.table.c, dag_id, run_id, calibration))

    def read_failed_subjobs(
        self, dag_id: str, run_id: str, calibration: str | None = None, *, limit: int | None = None
    ) -> tuple[FailedSubjobRow, ...]:
        """Read the failed attempts of subjobs of a DAG run, by calibration, pass, collection and subjob."""
        return self._read(FAILED_SUBJOBS, _match(FAILED_SUBJOBS.table.c, dag_id, run_id, calibration), limit=limit)

    def _upsert(self, rows: RowTable[_R], new: Iterable[_R]) -> None:
        wanted = list(new)
        if wanted:
            self._write(lambda connection: _replace(connection, rows, wanted))

    def _write(self, work: Callable[[Connection], None]) -> None:
        self.create_tables()
        self._run(work, "written")

    def _read(
        self,
        rows: RowTable[_R],
        where: Sequence[ColumnElement[bool]],
        *,
        order: Sequence[ColumnElement[Any]] = (),
        left_out: Sequence[str] = (),
        limit: int | None = None,
    ) -> tuple[_R, ...]:
        self.create_tables()
        columns = rows.table.c
        query = (
            select(*(column for column in columns if column.name not in left_out))
            .where(*where)
            .order_by(*(order or [columns[name] for name in _SORTED_BY if name in columns]), columns.row_key)
            .limit(limit)
        )

        def read(connection: Connection) -> tuple[_R, ...]:
            result = connection.execute(query)
            names = list(result.keys())
            return tuple(rows.read_row(dict(zip(names, found, strict=True))) for found in result)

        return self._run(read, "read", writing=False)

    def _create_tables(self, connection: Connection) -> None:
        version = None
        if inspect(connection).has_table(SCHEMA.name):
            version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version is None:
            METADATA.create_all(connection)
            connection.execute(insert(SCHEMA).values(id=1, version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise DatabaseError(
                f"The results catalog {self._place} has tables of version {version}, and this package knows "
                f"version {SCHEMA_VERSION}.",
                hint="Upgrade airflow-provider-caf here, or set another connection in [caf] catalog_conn_id.",
            )

    def _run(self, work: Callable[[Connection], _T], done: str, *, writing: bool = True) -> _T:
        """Do work in a transaction of its own, again when the database was only busy."""
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
        except SQLAlchemyError as error:
            reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
            raise DatabaseError(
                f"The results catalog {self._place} could not be {done}: {reason.strip()}",
                hint="Check that its server runs, or that its file and disk can be written and have space; "
                "another catalog can be set in [caf] catalog_conn_id.",
            ) from error

    @contextmanager
    def _transaction(self, writing: bool) -> Iterator[Connection]:
        with self._engine.connect() as connection:
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
    values = {str(each["row_key"]): each for each in map(rows.build_values, new)}
    # In one order for all writers: two of them then wait for one another, and do not lock one another out.
    keys = sorted(values)
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        connection.execute(delete(rows.table).where(rows.table.c.row_key.in_(chunk)))
        connection.execute(insert(rows.table), [values[key] for key in chunk])


def _match(
    columns: Any, dag_id: str, run_id: str, calibration: str | None = None, iteration: int | None = None
) -> list[ColumnElement[bool]]:
    where = [columns.dag_id == dag_id, columns.run_id == run_id]
    if calibration is not None:
        where.append(columns.calibration == calibration)
    if iteration is not None:
        where.append(columns.iteration == iteration)
    return where


def _is_worth_another_try(state: tenacity.RetryCallState) -> bool:
    error = None if state.outcome is None else state.outcome.exception()
    if not isinstance(error, DBAPIError):
        return False
    if is_passing(error):
        return True
    # Two writers made the same row or the same table at once: the second try finds it there.
    return state.attempt_number < _MOST_COLLISIONS and (isinstance(error, IntegrityError) or _is_there(error))


def is_passing(error: DBAPIError) -> bool:
    """Tell whether an error of a database is a lock or a broken connection, which passes."""
    origin = error.orig
    if error.connection_invalidated:
        return True
    sqlite_code = getattr(origin, "sqlite_errorcode", None)
    if sqlite_code is not None:
        # The low byte: the others only say more about the kind of lock.
        return sqlite_code & 0xFF in (_SQLITE_BUSY, _SQLITE_LOCKED)
    return _get_sql_state(origin) in _POSTGRES_PASSING or _get_mysql_code(origin) in _MYSQL_PASSING


def _is_there(error: DBAPIError) -> bool:
    return _get_sql_state(error.orig) in _POSTGRES_EXISTS or _get_mysql_code(error.orig) in _MYSQL_EXISTS


def _get_sql_state(origin: object) -> object:
    # psycopg says sqlstate, psycopg2 and asyncpg's adapter pgcode.
    return getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)


def _get_mysql_code(origin: BaseException | None) -> object:
    code = origin.args[0] if origin is not None and origin.args else None
    return code if isinstance(code, int) else None
