"""A real Airflow for the tests of this folder: scheduler, triggerer, DAG processor and API server, started once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_caf.io.private_airflow import PrivateAirflow
from tests.integration.started_airflow import StartedAirflow

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedAirflow]:
    """Start Airflow once for all tests of this folder, and stop it at the end."""
    folder = tmp_path_factory.mktemp("airflow")
    shutil.copytree(DAGS, folder / "dags")
    work_dir = folder / "work"
    settings = {"AIRFLOW__CAF__WORK_DIR": str(work_dir), "AIRFLOW__CAF__DEFER_AFTER": "3"}
    with PrivateAirflow(folder / "home", folder / "dags", settings=settings) as airflow:
        yield StartedAirflow(airflow, work_dir)
