"""Writes that the catalog does not take wait, and come to it later as if it had been there all the time."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from airflow_provider_caf.core.errors import DatabaseError
from airflow_provider_caf.io.catalog import Catalog, CatalogJournal, describe_waiting, journal, open_sqlite_catalog
from airflow_provider_caf.io.catalog import rows as kinds
from airflow_provider_caf.io.catalog.tables import TABLES
from tests.unit.io.catalog_rows import (
    KINDS,
    NOW,
    RUN,
    make_execution,
    make_figure,
    make_iteration,
    make_log,
    make_payload,
    make_run,
    make_selection,
    make_subjobs,
)

PLACE: Mapping[str, Any] = dict(zip(("dag_id", "run_id", "calibration"), (*RUN, "vertex"), strict=True))


class Outage:
    """A catalog that can be away."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.is_away = False
        self.asked = 0

    def find(self) -> Catalog:
        self.asked += 1
        if self.is_away:
            raise DatabaseError("The results catalog could not be written: connection refused")
        return self.catalog


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that is shown to journals, in seconds; a test moves it on."""
    shown = [1000.0]
    monkeypatch.setattr(journal, "_resting", {})
    monkeypatch.setattr(time, "monotonic", lambda: shown[0])
    return shown


@pytest.fixture
def outage(tmp_path: Path, now: list[float]) -> Outage:
    return Outage(open_sqlite_catalog(tmp_path / "catalog.sqlite"))


def open_journal(outage: Outage, tmp_path: Path) -> CatalogJournal:
    return CatalogJournal(outage.find, tmp_path / "run", "catalog")


def read_all(catalog: Catalog) -> list[Any]:
    found: list[Any] = []
    for kind in TABLES:
        found += catalog.read(kind, *RUN)
    return found


Write = Callable[[Any], None]


def list_writes() -> st.SearchStrategy[Write]:
    """Give what steps do, in any order."""
    passes = st.integers(0, 2)
    return st.one_of(
        st.builds(lambda n, key, seconds: lambda to: to.write([make_execution(iteration=n, key=key, seconds=seconds)]),
                  passes, st.integers(0, 3), st.floats(0, 9)),
        st.builds(lambda n, total: lambda to: to.write([make_subjobs(iteration=n, total=total)]), passes,
                  st.integers(0, 9)),
        st.builds(lambda n, final: lambda to: to.write([make_payload(iteration=n, final=final)]), passes,
                  st.booleans()),
        st.builds(lambda n: lambda to: to.write_final_payloads(**PLACE, rows=[make_payload(iteration=n, final=True)]),
                  passes),
        st.builds(lambda n: lambda to: to.mark_final_payloads(**PLACE, iteration=n), passes),
        st.builds(lambda n: lambda to: to.write([make_iteration(iteration=n, started=NOW)]), passes),
        st.builds(lambda n, word: lambda to: to.end_iteration([make_iteration(iteration=n, decision=word)]), passes,
                  st.sampled_from(["finish", "iterate"])),
        st.builds(lambda n: lambda to: to.forget_iterations(**PLACE, first=n), passes),
        st.builds(lambda n: lambda to: to.forget_algorithm(**PLACE, iteration=n, algorithm="fit"), passes),
    )  # fmt: skip


class Killed(BaseException):
    """As a kill is: no `except Exception` sees it."""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(list_writes(), st.booleans(), st.integers(0, 9)), max_size=12))
def test_after_any_outages_and_kills_the_rows_are_those_of_a_catalog_that_was_there(
    steps: list[tuple[Write, bool, int]], tmp_path_factory: pytest.TempPathFactory, now: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    expected = open_sqlite_catalog(folder / "expected.sqlite")
    outage = Outage(open_sqlite_catalog(folder / "catalog.sqlite"))
    waiting = open_journal(outage, folder)
    real = CatalogJournal._apply
    for write, is_away, kill_at in steps:
        write(expected)
        outage.is_away = is_away
        now[0] += 100.0
        done: list[str] = []

        def apply(self: CatalogJournal, *words: Any, kill_at: int = kill_at, done: list[str] = done) -> bool:
            is_done = real(self, *words)
            done.append(words[0])
            # After the catalog has it, and before the journal says so.
            if len(done) == kill_at and (folder / "run" / "catalog.journal").exists():
                raise Killed
            return is_done

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CatalogJournal, "_apply", apply)
            try:
                write(waiting)
            except Killed:
                continue
    outage.is_away = False
    now[0] += 100.0
    assert waiting.deliver() == 0
    assert read_all(outage.catalog) == read_all(expected)
    assert describe_waiting(folder / "run") is None


MAKE_EACH: list[Callable[..., Any]] = [make_run, make_selection, make_log, *(make for make, _ in KINDS.values())]


@pytest.mark.parametrize("make", MAKE_EACH)
def test_every_kind_of_row_comes_back_out_of_a_journal(
    make: Callable[..., Any], outage: Outage, tmp_path: Path, now: list[float]
) -> None:
    outage.is_away = True
    row = make()
    open_journal(outage, tmp_path).write([row])
    outage.is_away = False
    now[0] += 100.0
    assert open_journal(outage, tmp_path).deliver() == 0
    assert read_all(outage.catalog) == [row]


def test_no_kind_of_row_is_missing_here() -> None:
    assert {type(make()) for make in MAKE_EACH} == set(TABLES)


def test_what_a_later_version_has_written_is_read() -> None:
    row = make_figure()
    values = TABLES[type(row)].list_fields(row)
    line = json.loads(json.dumps({**values, "of_a_later_version": 1}, default=journal._encode))
    assert TABLES[type(row)].decode_row(line) == row


def test_a_catalog_that_is_away_is_not_asked_all_the_time(outage: Outage, tmp_path: Path, now: list[float]) -> None:
    outage.is_away = True
    waiting = open_journal(outage, tmp_path)
    for key in range(20):
        waiting.write([make_execution(key=key)])
    assert outage.asked == 1
    assert "20 writes of this run could not be made" in (describe_waiting(tmp_path / "run") or "")
    now[0] += 31.0
    waiting.write([make_execution(key=20)])
    assert outage.asked == 2
    outage.is_away = False
    now[0] += 31.0
    waiting.write([make_execution(key=21)])
    assert [row.key for row in outage.catalog.read(kinds.ExecutionRow, *RUN)] == list(range(22))
    assert describe_waiting(tmp_path / "run") is None


def test_a_server_that_takes_minutes_to_refuse_is_left_longer(
    outage: Outage, tmp_path: Path, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang() -> Catalog:
        now[0] += 120.0
        raise DatabaseError("timed out")

    waiting = CatalogJournal(hang, tmp_path / "run", "catalog")
    waiting.write([make_execution()])
    now[0] += 400.0
    waiting.write([make_execution(key=1)])
    assert now[0] == 1520.0
    now[0] += 100.0
    waiting.write([make_execution(key=2)])
    assert now[0] == 1740.0


BAD_ROWS = {
    "has no time zone": make_execution(ended=datetime(2026, 1, 1)),
    "too large": make_execution(key=2**70),
    "surrogates": make_payload(name="\udc80"),
    "NOT NULL": make_execution(seconds=None),
}


@pytest.mark.parametrize("reason", BAD_ROWS)
def test_what_is_refused_for_its_content_is_kept_aside_and_stops_nothing(
    outage: Outage, tmp_path: Path, now: list[float], caplog: pytest.LogCaptureFixture, reason: str
) -> None:
    waiting = open_journal(outage, tmp_path)
    bad = BAD_ROWS[reason]
    for is_away in (False, True):
        outage.is_away = is_away
        with caplog.at_level(logging.ERROR):
            waiting.write([bad])
        waiting.write([make_execution(key=5 + is_away)])
        outage.is_away = False
        now[0] += 100.0
        assert waiting.deliver() == 0
    assert [row.key for row in outage.catalog.read(kinds.ExecutionRow, *RUN)] == [5, 6]
    lines = [json.loads(line) for line in (tmp_path / "run" / "catalog.refused").read_text().splitlines()]
    assert [reason in line["error"] for line in lines] == [True, True]
    assert [line["call"] for line in lines] == ["write", "write"]
    assert "This write is lost to the results catalog" in caplog.text
    assert "The results catalog has refused 2 of the run: " in (describe_waiting(tmp_path / "run") or "")


def test_a_line_that_was_cut_off_costs_no_other(outage: Outage, tmp_path: Path, now: list[float]) -> None:
    outage.is_away = True
    waiting = open_journal(outage, tmp_path)
    waiting.write([make_execution()])
    file = tmp_path / "run" / "catalog.journal"
    with file.open("a") as cut:
        cut.write(file.read_text()[:50])
    waiting.write([make_execution(key=1)])
    outage.is_away = False
    now[0] += 100.0
    assert waiting.deliver() == 0
    assert [row.key for row in outage.catalog.read(kinds.ExecutionRow, *RUN)] == [0, 1]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff\x00",
        b"[]",
        b"null",
        b"{}",
        b'{"call": "write", "rows": [["of_a_later_version", {}]], "words": {}}',
        b'{"call": "write", "rows": [5], "words": {}}',
        b'{"call": "read", "rows": null, "words": {}}',
        b'{"call": ["write"], "rows": null, "words": {}}',
        b'{"call": "mark_final_payloads", "rows": null, "words": {"of_a_later_version": 1}}',
        b'{"call": "mark_final_payloads", "rows": null, "words": []}',
    ],
)
def test_what_cannot_be_read_goes_aside_and_stops_nothing(
    outage: Outage, tmp_path: Path, now: list[float], damaged: bytes
) -> None:
    outage.is_away = True
    waiting = open_journal(outage, tmp_path)
    waiting.write([make_execution()])
    with (tmp_path / "run" / "catalog.journal").open("ab") as file:
        file.write(damaged + b"\n")
    waiting.write([make_execution(key=1)])
    outage.is_away = False
    now[0] += 100.0
    waiting.write([make_execution(key=2)])
    assert [row.key for row in outage.catalog.read(kinds.ExecutionRow, *RUN)] == [0, 1, 2]
    (line,) = (tmp_path / "run" / "catalog.refused").read_text().splitlines()
    assert "cannot be read" in json.loads(line)["error"]
    assert "has refused 1 of the run" in (describe_waiting(tmp_path / "run") or "")


@pytest.mark.parametrize(
    "error",
    [
        TypeError("connect() got an unexpected keyword argument"),
        FileNotFoundError("ca.pem"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError("port could not be cast"),
        OverflowError("port must be 0-65535"),
        sqlite3.OperationalError("no route to host"),
    ],
)
def test_what_a_driver_raises_at_connecting_refuses_nothing(tmp_path: Path, now: list[float], error: Exception) -> None:
    is_away = [True]

    def connect() -> sqlite3.Connection:
        if is_away[0]:
            raise error
        return sqlite3.connect(tmp_path / "catalog.sqlite")

    outage = Outage(Catalog(create_engine("sqlite://", creator=connect, poolclass=NullPool)))
    waiting = open_journal(outage, tmp_path)
    waiting.write([make_execution()])
    is_away[0] = False
    now[0] += 100.0
    waiting.write([make_execution(key=1)])
    assert [row.key for row in outage.catalog.read(kinds.ExecutionRow, *RUN)] == [0, 1]
    assert describe_waiting(tmp_path / "run") is None


def test_the_runs_of_a_process_ask_a_catalog_that_is_away_once(
    outage: Outage, tmp_path: Path, now: list[float]
) -> None:
    outage.is_away = True
    for run in range(20):
        CatalogJournal(outage.find, tmp_path / str(run), "catalog").write([make_execution()])
    assert outage.asked == 1
    CatalogJournal(outage.find, tmp_path / "20", "another").write([make_execution()])
    assert outage.asked == 2


def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    (tmp_path / "catalog.journal").mkdir()
    assert "cannot be seen" in (describe_waiting(tmp_path) or "")


def test_nobody_else_reads_what_waits(outage: Outage, tmp_path: Path) -> None:
    outage.is_away = True
    before = os.umask(0)
    try:
        open_journal(outage, tmp_path).write([make_execution()])
    finally:
        os.umask(before)
    assert (tmp_path / "run" / "catalog.journal").stat().st_mode & 0o777 == 0o600


def test_when_a_pass_began_is_kept(outage: Outage) -> None:
    began = make_iteration(started=NOW, decision=None, reason="", ended=None)
    ended = make_iteration(started=None, decision="finish", reason="done", ended=NOW + timedelta(hours=1))
    outage.catalog.write([began])
    outage.catalog.end_iteration([ended])
    assert outage.catalog.read(kinds.IterationRow, *RUN) == (dataclasses.replace(ended, started=NOW),)
    outage.catalog.forget_iterations(**PLACE)
    outage.catalog.end_iteration([ended])
    assert outage.catalog.read(kinds.IterationRow, *RUN) == (ended,)
