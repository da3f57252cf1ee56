"""The values of an imported database reach the catalog."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.values import read_values
from airflow_provider_caf.worker.constants import build_payload

pytestmark = pytest.mark.slow


@pytest.fixture
def database(tmp_path: Path) -> LocalDatabase:
    database = LocalDatabase(tmp_path / "by_hand")
    file = tmp_path / "made.root"
    for number, value in enumerate((1.5, {"a": 2})):
        file.write_bytes(build_payload(value, "Spot"))
        database.commit([("Spot", file, IoV(1, number, 1, number))])
    return database


def test_values_are_read_where_root_is(database: LocalDatabase) -> None:
    assert read_values(database, database.entries(), Resources()) == [1.5, {"a": 2}]
    assert read_values(database, (), Resources()) == []


def test_a_python_that_cannot_is_told_and_fails_nothing(
    database: LocalDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_values(database, database.entries(), Resources(python="/bin/false")) == [None, None]
    assert "cannot be shown" in caplog.text
