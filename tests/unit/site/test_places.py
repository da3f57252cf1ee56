"""Which database the results go to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.io.catalog import IterationRow
from airflow_provider_caf.site.places import find_catalog


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
