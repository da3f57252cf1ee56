"""The results catalog: what goes in comes out, once, whoever writes at the same time.

The tests run on SQLite. With `CAF_TEST_CATALOG_URL` set they run on that database too, and drop its tables.
"""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.io.catalog import Catalog, open_sqlite_catalog
from airflow_provider_caf.io.catalog import rows as kinds
from airflow_provider_caf.io.catalog import store as catalog_module
from airflow_provider_caf.io.catalog.passing import is_passing
from airflow_provider_caf.io.catalog.tables import METADATA, SCHEMA_VERSION, TABLES
from tests.unit.io.catalog_rows import (
    EACH_KIND,
    KINDS,
    NOW,
    RUN,
    make_execution,
    make_failed,
    make_figure,
    make_iteration,
    make_log,
    make_payload,
    make_run,
    make_selection,
    make_subjobs,
)

OTHER_URLS = [url for url in [os.environ.get("CAF_TEST_CATALOG_URL")] if url]


@pytest.fixture(params=["sqlite", *OTHER_URLS])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/catalog.sqlite" if is_sqlite else request.param
    engine = create_engine(url, poolclass=NullPool)
    if not is_sqlite:
        METADATA.drop_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def catalog(engine: Engine) -> Catalog:
    return Catalog(engine)


class TestRows:
    @EACH_KIND
    def test_a_row_comes_back_as_it_was(
        self, catalog: Catalog, make: Callable[..., Any], kind: type[kinds.OfCalibration]
    ) -> None:
        catalog.write([make()])
        assert catalog.read(kind, *RUN) == (make(),)

    @EACH_KIND
    def test_a_row_written_again_is_one_row(
        self, catalog: Catalog, make: Callable[..., Any], kind: type[kinds.OfCalibration]
    ) -> None:
        for _ in range(2):
            catalog.write([make(), make(), make(iteration=1)])
        assert catalog.read(kind, *RUN) == (make(), make(iteration=1))

    @EACH_KIND
    def test_rows_are_found_by_dag_run_and_calibration(
        self, catalog: Catalog, make: Callable[..., Any], kind: type[kinds.OfCalibration]
    ) -> None:
        mine = make(calibration="b"), make(calibration="a", iteration=2), make(calibration="a", iteration=10)
        others = [make(dag_id="DAG"), make(run_id="other"), make(dag_id="manual", run_id="dag")]
        catalog.write([*mine, *others])
        assert catalog.read(kind, *RUN) == (mine[1], mine[2], mine[0])
        assert catalog.read(kind, *RUN, "a") == (mine[1], mine[2])
        assert catalog.read(kind, *RUN, "A") == ()

    def test_what_has_no_passes_stays_when_passes_are_forgotten(self, catalog: Catalog) -> None:
        run, selection = make_run(), make_selection()
        catalog.write([run, selection, make_log()])
        catalog.forget_iterations(*RUN, "vertex")
        assert catalog.read_run(*RUN) == run
        assert catalog.read_run(RUN[0], "other") is None
        assert catalog.read(kinds.SelectionRow, *RUN) == (selection,)
        assert catalog.read(kinds.LogRow, *RUN, "vertex", iteration=0, step="default", subjob=3) == ()

    def test_logs_are_found_by_subjob_and_try(self, catalog: Catalog) -> None:
        own = make_log(), make_log(attempt=1)
        of_algorithm = make_log(step="fit", subjob=-1)
        catalog.write([*reversed(own), of_algorithm, make_log(subjob=4)])
        assert catalog.read(kinds.LogRow, *RUN, "vertex", iteration=0, step="default", subjob=3) == own
        assert catalog.read(kinds.LogRow, *RUN, "vertex", iteration=0, step="fit", subjob=-1) == (of_algorithm,)

    def test_figures_are_listed_without_their_content(self, catalog: Catalog) -> None:
        catalog.write([make_figure()])
        assert catalog.read(kinds.FigureRow, *RUN, without=["content"]) == (make_figure(content=None),)

    def test_a_row_takes_its_new_values(self, catalog: Catalog) -> None:
        catalog.write([make_iteration(started=NOW)])
        done = make_iteration(started=NOW, ended=NOW, decision="FINISH", reason="content")
        catalog.write([done])
        assert catalog.read(kinds.IterationRow, *RUN) == (done,)

    def test_of_equal_rows_the_last_counts(self, catalog: Catalog) -> None:
        catalog.write([make_payload(revision="a"), make_payload(revision="b")])
        assert catalog.read(kinds.PayloadRow, *RUN) == (make_payload(revision="b"),)

    def test_nothing_to_write_is_nothing(self, catalog: Catalog) -> None:
        catalog.write([])
        catalog.write(iter(()))
        assert catalog.read(kinds.ExecutionRow, *RUN) == ()

    def test_times_come_back_in_utc(self, catalog: Catalog) -> None:
        tokyo = NOW.astimezone(timezone(timedelta(hours=9)))
        catalog.write([make_iteration(started=tokyo)])
        (row,) = catalog.read(kinds.IterationRow, *RUN)
        assert row.started == NOW
        assert row.started is not None
        assert row.started.tzinfo is UTC

    def test_a_time_without_a_zone_is_refused(self, catalog: Catalog) -> None:
        with pytest.raises(DatabaseError, match=r"could not be written: .*has no time zone"):
            catalog.write([make_iteration(started=NOW.replace(tzinfo=None))])
        assert catalog.read(kinds.IterationRow, *RUN) == ()

    def test_output_that_is_no_number_comes_back(self, catalog: Catalog) -> None:
        catalog.write([make_execution(output=[math.inf, math.nan])])
        (row,) = catalog.read(kinds.ExecutionRow, *RUN)
        assert isinstance(row.output, list)
        assert row.output[0] == math.inf
        assert repr(row.output[1]) == "nan"

    def test_output_can_be_left_out(self, catalog: Catalog) -> None:
        catalog.write([make_execution()])
        assert catalog.read(kinds.ExecutionRow, *RUN, without=["output"]) == (make_execution(output=None),)

    def test_executions_of_one_pass(self, catalog: Catalog) -> None:
        rows = [make_execution(iteration=pass_, key=key) for pass_ in (0, 1) for key in (0, 1, 10, 2)]
        catalog.write(rows)
        got = catalog.read(kinds.ExecutionRow, *RUN, "vertex", iteration=1)
        assert [row.key for row in got] == [0, 1, 2, 10]
        assert {row.iteration for row in got} == {1}

    def test_all_runs_of_a_large_execution_come_back(self, catalog: Catalog) -> None:
        row = make_execution(runs=tuple(ExpRun(1, run) for run in range(20_000)))
        catalog.write([row])
        assert catalog.read(kinds.ExecutionRow, *RUN) == (row,)

    def test_more_rows_than_one_statement_takes(self, catalog: Catalog) -> None:
        rows = tuple(make_payload(name=f"P{number}", position=number) for number in range(1203))
        catalog.write(rows)
        catalog.write(rows)
        assert catalog.read(kinds.PayloadRow, *RUN) == rows

    @pytest.mark.parametrize("hostile", ["a\0b", "\udcff", "'; DROP TABLE caf_failed_subjobs; --", "<script>µ"])
    def test_a_text_of_a_job_is_only_text(self, catalog: Catalog, hostile: str) -> None:
        catalog.write([make_failed(reason=hostile, host=hostile, log=hostile)])
        (row,) = catalog.read(kinds.FailedSubjobRow, *RUN)
        written_out = hostile.replace("\0", "\\x00").replace("\udcff", "\\udcff")
        assert (row.reason, row.host, row.log) == (written_out, written_out, written_out)

    def test_failed_subjobs_can_be_limited(self, catalog: Catalog) -> None:
        catalog.write([make_failed(subjob=number) for number in range(5)])
        assert [row.subjob for row in catalog.read(kinds.FailedSubjobRow, *RUN, limit=2)] == [0, 1]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    output=JSON,
    runs=st.lists(st.builds(ExpRun, st.integers(0, 2**31), st.integers(0, 2**31)), max_size=4),
    seconds=st.floats(0, 1e9),
    ended=st.datetimes(timezones=st.just(UTC)),
    code=st.sampled_from(ResultCode),
)
def test_any_execution_comes_back(
    tmp_path: Path,
    output: Any,
    runs: list[ExpRun],
    seconds: float,
    ended: datetime,
    code: ResultCode,
) -> None:
    catalog = open_sqlite_catalog(tmp_path / "hypothesis.sqlite")
    row = make_execution(output=output, runs=tuple(runs), seconds=seconds, ended=ended, code=code)
    catalog.write([row])
    assert catalog.read(kinds.ExecutionRow, *RUN) == (row,)


class TestFinalAndForget:
    def test_what_was_final_before_is_so_no_more(self, catalog: Catalog) -> None:
        old = make_payload(iteration=3, final=True)
        other = make_payload(calibration="other", final=True)
        catalog.write([other])
        catalog.write_final_payloads(*RUN, "vertex", [old])
        new = make_payload(iteration=1, final=True)
        catalog.write_final_payloads(*RUN, "vertex", [new])
        assert catalog.read(kinds.PayloadRow, *RUN, final=True) == (other, new)
        assert catalog.read(kinds.PayloadRow, *RUN, "vertex") == (new, make_payload(iteration=3, final=False))

    def test_the_history_of_a_payload(self, catalog: Catalog) -> None:
        rows = [
            make_payload(run_id=f"run{day}", final=day != 2, committed=NOW + timedelta(days=day)) for day in (1, 2, 3)
        ]
        catalog.write([*rows, make_payload(name="Other", final=True)])
        assert catalog.read(kinds.PayloadRow, "dag", name="BeamSpot", final=True, newest_by="committed") == (
            rows[2],
            rows[0],
        )

    def test_the_history_of_a_collection(self, catalog: Catalog) -> None:
        rows = [make_subjobs(run_id=f"run{day}", updated=NOW + timedelta(days=day)) for day in (1, 2, 3)]
        others = [make_subjobs(collection="other"), make_subjobs(calibration="other"), make_subjobs(dag_id="other")]
        catalog.write([*rows, *others])
        place: dict[str, Any] = {"calibration": "vertex", "collection": "default", "newest_by": "updated"}
        assert catalog.read(kinds.SubjobsRow, "dag", **place) == tuple(reversed(rows))
        assert catalog.read(kinds.SubjobsRow, "dag", **place, limit=1) == (rows[2],)
        assert catalog.read(kinds.SubjobsRow, "dag", **{**place, "collection": "none"}) == ()

    @EACH_KIND
    def test_passes_are_forgotten_from_one_on(
        self, catalog: Catalog, make: Callable[..., Any], kind: type[kinds.OfCalibration]
    ) -> None:
        kept = (make(calibration="other", iteration=2), make(iteration=0), make(iteration=1))
        catalog.write([*kept, make(iteration=2), make(iteration=3)])
        catalog.forget_iterations(*RUN, "vertex", 2)
        assert catalog.read(kind, *RUN) == kept

    def test_an_algorithm_is_forgotten_in_one_pass(self, catalog: Catalog) -> None:
        kept = (make_execution(algorithm="other"), make_execution(iteration=1))
        catalog.write([*kept, make_execution(), make_execution(key=1)])
        catalog.write([make_payload(), make_payload(iteration=1)])
        catalog.forget_algorithm(*RUN, "vertex", 0, "fit")
        assert catalog.read(kinds.ExecutionRow, *RUN) == kept
        assert catalog.read(kinds.PayloadRow, *RUN) == (make_payload(iteration=1),)


class TestSchema:
    def test_making_the_tables_again_changes_nothing(self, engine: Engine) -> None:
        Catalog(engine).write([make_iteration()])
        again = Catalog(engine)
        again.create_tables()
        again.create_tables()
        assert again.read(kinds.IterationRow, *RUN) == (make_iteration(),)
        tables = set(inspect(engine).get_table_names())
        assert tables >= {
            "caf_schema",
            "caf_iterations",
            "caf_executions",
            "caf_payloads",
            "caf_subjobs",
            "caf_failed_subjobs",
        }

    def test_the_tables_that_version_1_had_not_are_made(self, engine: Engine) -> None:
        Catalog(engine).write([make_iteration()])
        with engine.begin() as connection:
            connection.execute(text("UPDATE caf_schema SET version = 1"))
            for name in ("runs", "selections", "logs", "monitored", "figures"):
                connection.execute(text(f"DROP TABLE caf_{name}"))
        catalog = Catalog(engine)
        assert catalog.read(kinds.MonitoredRow, *RUN) == ()
        assert catalog.read(kinds.IterationRow, *RUN) == (make_iteration(),)
        with engine.begin() as connection:
            assert connection.execute(text("SELECT version FROM caf_schema")).scalar() == SCHEMA_VERSION

    def test_tables_of_a_newer_version_are_refused(self, engine: Engine) -> None:
        Catalog(engine).create_tables()
        with engine.begin() as connection:
            connection.execute(text("UPDATE caf_schema SET version = 7"))
        with pytest.raises(DatabaseError) as caught:
            Catalog(engine).read(kinds.IterationRow, *RUN)
        said = str(caught.value)
        assert "has tables of version 7, and this package knows version" in said
        assert f"version {SCHEMA_VERSION}." in said
        assert "hint: Upgrade airflow-provider-caf here" in said

    def test_making_that_was_cut_off_goes_on(self, engine: Engine) -> None:
        Catalog(engine).create_tables()
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM caf_schema"))
            connection.execute(text("DROP TABLE caf_subjobs"))
        Catalog(engine).write([make_subjobs()])
        assert Catalog(engine).read(kinds.SubjobsRow, *RUN) == (make_subjobs(),)

    def test_many_writers_at_once(self, engine: Engine) -> None:
        barrier = threading.Barrier(5)
        rows = [make_payload(name=f"P{number}", position=number) for number in range(10)]

        def write(turn: int) -> None:
            mine = Catalog(engine)
            barrier.wait(30)
            for _ in range(4):
                mine.write(rows if turn % 2 else rows[::-1])

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(write, range(5)))
        assert Catalog(engine).read(kinds.PayloadRow, *RUN) == tuple(rows)

    def test_two_processes_make_the_tables_at_once(self, tmp_path: Path) -> None:
        script = (
            "import sys; from pathlib import Path; from airflow_provider_caf.io.catalog import *\n"
            "row = IterationRow(dag_id='d', run_id='r', calibration=sys.argv[2], iteration=0)\n"
            "open_sqlite_catalog(Path(sys.argv[1])).write([row])"
        )
        path = tmp_path / "catalog.sqlite"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
        children = [subprocess.Popen([sys.executable, "-c", script, path, name], env=environment) for name in "ab"]
        assert [child.wait(60) for child in children] == [0, 0]
        assert [row.calibration for row in open_sqlite_catalog(path).read(kinds.IterationRow, "d", "r")] == ["a", "b"]


class TestSqlite:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "deep" / "catalog.sqlite"

    def test_the_file_and_its_folder_are_made_and_the_log_is_set(self, path: Path) -> None:
        catalog = open_sqlite_catalog(path)
        assert not path.exists()
        catalog.create_tables()
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
        assert repr(catalog) == f"Catalog('sqlite:///{path}')"

    def test_a_lock_is_waited_for(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_module, "_BUSY_SECONDS", 0.01)
        catalog = open_sqlite_catalog(path)
        catalog.create_tables()
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, lambda: holder.execute("COMMIT"))
        release.start()
        catalog.write([make_iteration()])
        release.join()
        holder.close()
        assert catalog.read(kinds.IterationRow, *RUN) == (make_iteration(),)

    def test_readers_do_not_wait_for_a_writer(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_module, "_BUSY_SECONDS", 0.01)
        monkeypatch.setattr(catalog_module, "_RETRY_SECONDS", 0.05)
        catalog = open_sqlite_catalog(path)
        catalog.write([make_iteration()])
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert catalog.read(kinds.IterationRow, *RUN) == (make_iteration(),)
        holder.close()

    def test_a_lock_that_stays_is_told(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_module, "_BUSY_SECONDS", 0.01)
        monkeypatch.setattr(catalog_module, "_RETRY_SECONDS", 0.1)
        catalog = open_sqlite_catalog(path)
        catalog.create_tables()
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError) as caught:
            catalog.write([make_iteration()])
        holder.close()
        assert f"The results catalog sqlite:///{path} could not be written: database is locked" in str(caught.value)
        assert "hint: Check that its server runs, or that its file and disk" in str(caught.value)

    def test_a_file_that_is_no_database_is_told_at_once(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("this is not a database, but long enough to be taken for one" * 20)
        with pytest.raises(DatabaseError, match="could not be made: file is not a database"):
            open_sqlite_catalog(path).create_tables()

    def test_a_folder_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(DatabaseError, match=r"could not be made: (File exists|Not a directory)"):
            open_sqlite_catalog(tmp_path / "file" / "catalog.sqlite")

    def test_a_failed_write_leaves_nothing(self, path: Path) -> None:
        catalog = open_sqlite_catalog(path)
        catalog.write([make_payload(final=True)])
        bad = make_payload(name="Bad", committed=NOW.replace(tzinfo=None))
        with pytest.raises(DatabaseError):
            catalog.write_final_payloads(*RUN, "vertex", [make_payload(revision="new", final=True), bad])
        assert catalog.read(kinds.PayloadRow, *RUN) == (make_payload(final=True),)

    def test_every_question_is_answered_by_an_index(self, path: Path) -> None:
        engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
        path.parent.mkdir()
        catalog = Catalog(engine)
        catalog.create_tables()
        asked: list[tuple[str, Any]] = []

        @event.listens_for(engine, "before_cursor_execute")
        def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
            if "FROM caf_" in statement or statement.startswith("UPDATE"):
                asked.append((statement, parameters))

        for _, kind in KINDS.values():
            catalog.read(kind, *RUN)
            catalog.read(kind, *RUN, "vertex")
        catalog.read(kinds.ExecutionRow, *RUN, "vertex", iteration=1, without=["output"])
        catalog.read(kinds.PayloadRow, "dag", name="BeamSpot", final=True, newest_by="committed")
        catalog.write_final_payloads(*RUN, "vertex", [make_payload()])
        catalog.forget_iterations(*RUN, "vertex", 1)
        catalog.forget_algorithm(*RUN, "vertex", 1, "fit")
        assert len(asked) > 15
        with sqlite3.connect(path) as connection:
            for statement, parameters in asked:
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
                assert any("USING INDEX" in row[3] for row in plan), (statement, plan)
        connection.close()


class TestOtherDatabases:
    @pytest.mark.parametrize("dialect", [make_url(f"{name}://").get_dialect()() for name in ("mysql", "postgresql")])
    def test_the_tables_can_be_said_in_its_words(self, dialect: Dialect) -> None:
        said = [str(CreateTable(table).compile(dialect=dialect)) for table in METADATA.sorted_tables]
        said += [
            str(CreateIndex(index).compile(dialect=dialect))
            for table in METADATA.sorted_tables
            for index in table.indexes
        ]
        assert len(said) == len(METADATA.sorted_tables) + len(TABLES) + 1, (
            "an index for each kind, and one for histories"
        )
        if dialect.name == "mysql":
            joined = "\n".join(said)
            assert "runs LONGTEXT" in joined
            assert "ended DATETIME(6)" in joined
            assert "dag_id VARCHAR(250) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL" in joined
            assert "`key` INTEGER" in joined

    def test_no_index_is_longer_than_mysql_takes(self) -> None:
        for table in METADATA.sorted_tables:
            for index in table.indexes:
                lengths = [getattr(column.type, "length", None) or 2 for column in index.columns]
                assert 4 * sum(lengths) <= 3072, index.name

    @pytest.mark.parametrize(
        ("origin", "passing"),
        [
            ({"sqlstate": "40P01"}, True),
            ({"sqlstate": "42601"}, False),
            ({"pgcode": "40001"}, True),
            ({"args": (1213, "Deadlock found")}, True),
            ({"args": (1064, "You have an error in your SQL syntax")}, False),
            ({"sqlite_errorcode": sqlite3.SQLITE_BUSY_SNAPSHOT}, True),
            ({"sqlite_errorcode": sqlite3.SQLITE_FULL}, False),
            ({"args": ()}, False),
        ],
    )
    def test_only_locks_are_tried_again(self, origin: dict[str, Any], passing: bool) -> None:
        error = Exception()
        for name, value in origin.items():
            setattr(error, name, value)
        assert is_passing(OperationalError("SELECT 1", {}, error)) is passing

    def test_a_broken_connection_is_tried_again(self) -> None:
        assert is_passing(OperationalError("SELECT 1", {}, Exception(), connection_invalidated=True))

    def test_a_password_is_not_shown(self) -> None:
        engine = create_engine("sqlite://")
        engine.url = URL.create("postgresql", username="caf", password="secret", host="db.example")
        assert repr(Catalog(engine)) == "Catalog('postgresql://caf:***@db.example')"
