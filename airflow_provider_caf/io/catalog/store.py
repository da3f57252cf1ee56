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
from dataclasses import fields
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
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.io.catalog.passing import is_passing, is_there
from airflow_provider_caf.io.catalog.rows import (
    ExecutionCount,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    LogRow,
    MonitoredRow,
    PayloadRow,
    Row,
    RunRow,
    SelectionRow,
    SubjobsRow,
)
from airflow_provider_caf.io.catalog.tables import (
    EXECUTIONS,
    FAILED_SUBJOBS,
    FIGURES,
    ITERATIONS,
    LOGS,
    METADATA,
    MONITORED,
    PAYLOADS,
    RUNS,
    SCHEMA,
    SCHEMA_VERSION,
    SELECTIONS,
    SUBJOBS,
    TABLES,
    RowTable,
)

_R = TypeVar("_R")
_T = TypeVar("_T")

_OF_A_PASS = (ITERATIONS, EXECUTIONS, PAYLOADS, SUBJOBS, FAILED_SUBJOBS, LOGS, MONITORED, FIGURES)
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

_CHUNK = 500
_BUSY_SECONDS = 10.0
_RETRY_SECONDS = 60.0
_MOST_COLLISIONS = 5


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
                with suppress(OSError):  # SQLite says it. Else everybody could read it, with the logs that are in it
                    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._run(self._create_tables, "made")
            self._is_ready = True

    def write(self, rows: Iterable[Row]) -> None:
        """Write rows of any kinds; one that is there already is replaced.

        :raises DatabaseError: if the database refuses; nothing is written then.
        """
        by_kind: dict[type, list[Row]] = {}
        for row in rows:
            by_kind.setdefault(type(row), []).append(row)
        if by_kind:

            def replace(connection: Connection) -> None:
                for kind, wanted in by_kind.items():
                    _replace(connection, TABLES[kind], wanted)

            self._write(replace)

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
            for rows in _OF_A_PASS:
                where = _match(rows.table.c, dag_id, run_id, calibration)
                connection.execute(delete(rows.table).where(*where, rows.table.c.iteration >= first))

        self._write(remove)

    def forget_algorithm(self, dag_id: str, run_id: str, calibration: str, iteration: int, algorithm: str) -> None:
        """Remove executions and payloads of an algorithm in a pass, as when it begins anew.

        :raises DatabaseError: if the database refuses; nothing is removed then.
        """

        def remove(connection: Connection) -> None:
            for table in (EXECUTIONS.table, PAYLOADS.table, MONITORED.table, FIGURES.table):
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
        algorithm: str | None = None,
        key: int | None = None,
        with_output: bool = True,
    ) -> tuple[ExecutionRow, ...]:
        """Read the executions of a DAG run, by calibration, pass, algorithm and number.

        :param algorithm: those of one algorithm.
        :param key: the one of this number.
        :param with_output: False leaves the algorithms' output out: it can be large.
        """
        columns = EXECUTIONS.table.c
        where = _match(columns, dag_id, run_id, calibration, iteration)
        if algorithm is not None:
            where.append(columns.algorithm == algorithm)
        if key is not None:
            where.append(columns.key == key)
        return self._read(EXECUTIONS, where, left_out=() if with_output else ("output",))

    def count_executions(self, dag_id: str, run_id: str) -> tuple[ExecutionCount, ...]:
        """Count the executions of a DAG run by calibration, pass, algorithm and result code."""
        columns = EXECUTIONS.table.c
        keys = (columns.calibration, columns.iteration, columns.algorithm, columns.code)
        query = (
            select(*keys, func.count(), func.sum(columns.seconds))
            .where(*_match(columns, dag_id, run_id))
            .group_by(*keys)
            .order_by(*keys)
        )
        names = [field.name for field in fields(ExecutionCount)]
        return tuple(ExecutionCount(**dict(zip(names, row, strict=True))) for row in self._select(query))

    def read_payloads(
        self,
        dag_id: str,
        run_id: str,
        calibration: str | None = None,
        *,
        final_only: bool = False,
        payload: str | None = None,
        with_value: bool = True,
    ) -> tuple[PayloadRow, ...]:
        """Read the payloads of a DAG run, by calibration, pass, algorithm and place in the text.

        :param payload: those of one name.
        :param with_value: False leaves the values out.
        """
        columns = PAYLOADS.table.c
        where = _match(columns, dag_id, run_id, calibration)
        if final_only:
            where.append(columns.final.is_(True))
        if payload is not None:
            where.append(columns.name == payload)
        return self._read(PAYLOADS, where, left_out=() if with_value else ("value",))

    def list_final_payloads(self, dag_id: str, run_id: str) -> list[tuple[str, str]]:
        """Give the names of the final payloads of a DAG run: pairs of calibration and name."""
        columns = PAYLOADS.table.c
        names = (columns.calibration, columns.name)
        where = [*_match(columns, dag_id, run_id), columns.final.is_(True)]
        return [(row[0], row[1]) for row in self._select(select(*names).where(*where).distinct().order_by(*names))]

    def list_runs_with_payloads(self, dag_id: str, calibration: str, *, limit: int) -> list[str]:
        """Give the ids of the DAG runs in which a calibration has final payloads, the newest first."""
        columns = PAYLOADS.table.c
        where = [columns.dag_id == dag_id, columns.calibration == calibration, columns.final.is_(True)]
        newest = func.max(columns.committed)
        query = select(columns.run_id).where(*where).group_by(columns.run_id).order_by(newest.desc(), columns.run_id)
        return [row[0] for row in self._select(query.limit(limit))]

    def list_dags(self) -> list[str]:
        """Give the ids of the DAGs of which the catalog knows a run."""
        column = RUNS.table.c.dag_id
        return [row[0] for row in self._select(select(column).distinct().order_by(column))]

    def read_payload_history(self, dag_id: str, name: str) -> tuple[PayloadRow, ...]:
        """Read the final payloads of one name in all runs of a DAG, the last committed first."""
        columns = PAYLOADS.table.c
        where = [columns.dag_id == dag_id, columns.name == name, columns.final.is_(True)]
        return self._read(PAYLOADS, where, order=[columns.committed.desc(), columns.run_id, columns.position])

    def read_subjobs(self, dag_id: str, run_id: str, calibration: str | None = None) -> tuple[SubjobsRow, ...]:
        """Read what the subjobs of a DAG run did, by calibration, pass and collection."""
        return self._read(SUBJOBS, _match(SUBJOBS.table.c, dag_id, run_id, calibration))

    def read_subjobs_history(
        self, dag_id: str, calibration: str, collection: str, *, limit: int = 20
    ) -> tuple[SubjobsRow, ...]:
        """Read what the subjobs of one collection did in all runs of a DAG, the last counted first."""
        columns = SUBJOBS.table.c
        where = [columns.dag_id == dag_id, columns.calibration == calibration, columns.collection == collection]
        order = [columns.updated.desc(), columns.run_id, columns.iteration]
        return self._read(SUBJOBS, where, order=order, limit=limit)

    def read_failed_subjobs(
        self,
        dag_id: str,
        run_id: str,
        calibration: str | None = None,
        *,
        limit: int | None = None,
        offset: int = 0,
        newest_first: bool = False,
    ) -> tuple[FailedSubjobRow, ...]:
        """Read the failed attempts of subjobs of a DAG run, by calibration, pass, collection and subjob.

        :param limit: at most so many.
        :param offset: without so many at the beginning.
        :param newest_first: in the order in which they ended instead, the last one first.
        """
        columns = FAILED_SUBJOBS.table.c
        where = _match(columns, dag_id, run_id, calibration)
        order = [columns.ended.desc(), columns.subjob] if newest_first else []
        return self._read(FAILED_SUBJOBS, where, order=order, limit=limit, offset=offset)

    def count_failed_subjobs(self, dag_id: str, run_id: str, calibration: str | None = None) -> int:
        """Count the failed attempts of subjobs of a DAG run."""
        query = select(func.count()).where(*_match(FAILED_SUBJOBS.table.c, dag_id, run_id, calibration))
        return int(self._select(query)[0][0])

    def read_run(self, dag_id: str, run_id: str) -> RunRow | None:
        """Read what a DAG run does, or None where nobody has configured it yet."""
        columns = RUNS.table.c
        rows = self._read(RUNS, [columns.dag_id == dag_id, columns.run_id == run_id])
        return rows[0] if rows else None

    def read_selections(self, dag_id: str, run_id: str, calibration: str | None = None) -> tuple[SelectionRow, ...]:
        """Read the input of the collections of a DAG run."""
        return self._read(SELECTIONS, _match(SELECTIONS.table.c, dag_id, run_id, calibration))

    def read_logs(
        self, dag_id: str, run_id: str, calibration: str, iteration: int, step: str, subjob: int = -1
    ) -> tuple[LogRow, ...]:
        """Read the logs of a failed subjob by its tries, or that of an algorithm."""
        columns = LOGS.table.c
        where = _match(columns, dag_id, run_id, calibration, iteration)
        return self._read(LOGS, [*where, columns.step == step, columns.subjob == subjob])

    def read_monitored(self, dag_id: str, run_id: str, calibration: str | None = None) -> tuple[MonitoredRow, ...]:
        """Read the numbers that the algorithms of a DAG run handed in."""
        return self._read(MONITORED, _match(MONITORED.table.c, dag_id, run_id, calibration))

    def read_figures(
        self,
        dag_id: str,
        run_id: str,
        calibration: str | None = None,
        *,
        figure: str | None = None,
        with_content: bool = True,
    ) -> tuple[FigureRow, ...]:
        """Read the pictures that the algorithms of a DAG run handed in.

        :param figure: those of one name.
        """
        columns = FIGURES.table.c
        where = _match(columns, dag_id, run_id, calibration)
        if figure is not None:
            where.append(columns.name == figure)
        return self._read(FIGURES, where, left_out=() if with_content else ("content",))

    def _select(self, query: Select[Any]) -> list[Any]:
        self.create_tables()
        return self._run(lambda connection: list(connection.execute(query)), "read", writing=False)

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
        offset: int = 0,
    ) -> tuple[_R, ...]:
        self.create_tables()
        columns = rows.table.c
        query = (
            select(*(column for column in columns if column.name not in left_out))
            .where(*where)
            .order_by(*(order or [columns[name] for name in _SORTED_BY if name in columns]), columns.row_key)
            .limit(limit)
            .offset(offset or None)
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
        elif version in _OLDER:
            METADATA.create_all(connection)
            connection.execute(update(SCHEMA).values(version=SCHEMA_VERSION))
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
    return state.attempt_number < _MOST_COLLISIONS and (isinstance(error, IntegrityError) or is_there(error))
