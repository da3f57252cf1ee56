"""Which database the results go to."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from sqlalchemy import Engine

from airflow_provider_caf.core.errors import DatabaseError, DefinitionError
from airflow_provider_caf.io.catalog import IterationRow, journal
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.site.places import find_catalog, open_journal
from airflow_provider_caf.triggers.batch import BatchJobTrigger


def make_row() -> IterationRow:
    return IterationRow(dag_id="dag", run_id="run", calibration="vertex", iteration=0)


def test_without_a_connection_it_is_a_file_beside_the_work_folder(tmp_path: Path) -> None:
    catalog = find_catalog(tmp_path / "caf")
    catalog.write([make_row()])
    assert [row.calibration for row in catalog.read(IterationRow, "dag", "run")] == ["vertex"]
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["caf_catalog.sqlite"]


def test_a_connection_to_a_database_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere.sqlite"
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    catalog = find_catalog(tmp_path / "caf")
    catalog.write([make_row()])
    assert [row.calibration for row in catalog.read(IterationRow, "dag", "run")] == ["vertex"]
    assert file.stat().st_size > 0
    assert not (tmp_path / "caf_catalog.sqlite").exists()


def test_the_connection_may_have_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "elsewhere.sqlite"
    monkeypatch.setenv("AIRFLOW__CAF__CATALOG_CONN_ID", "my_results")
    monkeypatch.setenv("AIRFLOW_CONN_MY_RESULTS", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    find_catalog(tmp_path / "caf").write([make_row()])
    assert file.stat().st_size > 0


def test_a_connection_that_is_no_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", json.dumps({"conn_type": "caf_batch"}))
    with pytest.raises(DefinitionError, match=r"'caf_catalog' is of type 'caf_batch', which is no SQL") as caught:
        find_catalog(tmp_path / "caf")
    assert "[caf] catalog_conn_id" in str(caught.value.hint)


@pytest.mark.parametrize("text", ['{"conn_type": ', "postgres://user:secret@host:port/", '{"conn_type": "x", "y": 1}'])
def test_a_connection_that_cannot_be_read_is_no_other_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", text)
    with pytest.raises(DefinitionError, match=r"cannot read .* in the variable AIRFLOW_CONN_CAF_CATALOG") as caught:
        find_catalog(tmp_path / "caf")
    assert "secret" not in str(caught.value)


def test_a_connection_that_is_set_and_not_there_is_no_other_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__CATALOG_CONN_ID", "my_results")
    with pytest.raises(DefinitionError, match=r"'my_results' .* catalog_conn_id, is not there"):
        find_catalog(tmp_path / "caf")
    monkeypatch.setenv("AIRFLOW__CAF__CATALOG_CONN_ID", "")
    find_catalog(tmp_path / "caf").write([make_row()])


def test_no_task_fails_where_a_provider_or_driver_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", json.dumps({"conn_type": "of_no_provider", "host": "db"}))
    with pytest.raises(DatabaseError, match=r"'caf_catalog' to the results .* cannot be used: .*of_no_provider"):
        find_catalog(tmp_path / "caf")
    run = RunLayout(work_dir=tmp_path / "caf", dag_id="dag", run_id="run")
    open_journal(run).write([make_row()])
    monkeypatch.delenv("AIRFLOW_CONN_CAF_CATALOG")
    monkeypatch.setattr(journal, "_resting", {})
    assert open_journal(run).deliver() == 0
    assert len(find_catalog(run.work_dir).read(type(make_row()), make_row().dag_id)) == 1


def test_thirty_waiters_of_one_process_hold_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each engine has a pool of connections, which the database's server counts."""
    file = tmp_path / "elsewhere.sqlite"
    monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", json.dumps({"conn_type": "sqlite", "host": str(file)}))
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(tmp_path / "caf"))
    made: list[Engine] = []
    real = DbApiHook.get_sqlalchemy_engine

    def count(self: DbApiHook, *words: Any, **more: Any) -> Engine:
        made.append(real(self, *words, **more))
        return made[-1]

    monkeypatch.setattr(DbApiHook, "get_sqlalchemy_engine", count)
    run: Any = SimpleNamespace(calibration=SimpleNamespace(name="vertex"))

    def wait(number: int) -> None:
        trigger = BatchJobTrigger("/folder", "dag", f"run_{number}", 0, "default", deadline=4e9)
        results = trigger.open_counts(run)._results
        assert results is not None
        results.catalog.write([make_row()])

    with ThreadPoolExecutor(30) as threads:
        list(threads.map(wait, range(30)))
    assert len(made) == 1


def test_the_file_beside_the_work_folder_is_opened_once_too(tmp_path: Path) -> None:
    assert find_catalog(tmp_path / "caf") is find_catalog(tmp_path / "caf")
    assert find_catalog(tmp_path / "caf") is not find_catalog(tmp_path / "other")


def test_a_connection_that_somebody_has_changed_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    for name in ("old", "new", "new"):
        extra = json.dumps({"conn_type": "sqlite", "host": str(tmp_path / f"{name}.sqlite")})
        monkeypatch.setenv("AIRFLOW_CONN_CAF_CATALOG", extra)
        opened.append(find_catalog(tmp_path / "caf"))
    assert opened[0] is not opened[1]
    assert opened[1] is opened[2]


def test_a_child_of_a_fork_has_connections_of_its_own(tmp_path: Path) -> None:
    mine = find_catalog(tmp_path / "caf")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        theirs = find_catalog(tmp_path / "caf")
        os.write(writer, b"own" if theirs is not mine and theirs is find_catalog(tmp_path / "caf") else b"shared")
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader, "rb") as said:
        assert said.read() == b"own"


def test_a_file_that_somebody_has_removed_is_made_again(tmp_path: Path) -> None:
    find_catalog(tmp_path / "caf").write([make_row()])
    for path in tmp_path.glob("caf_catalog.sqlite*"):
        path.unlink()
    find_catalog(tmp_path / "caf").write([make_row()])
    assert (tmp_path / "caf_catalog.sqlite").stat().st_mode & 0o777 == 0o600
