"""A real Airflow for the tests of this folder: scheduler, triggerer, DAG processor and API server, started once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.started_airflow import StartedAirflow
from tests.private_airflow import PrivateAirflow

DAGS = Path(__file__).parent / "dags"
DEFINITIONS = Path(__file__).parent / "definitions"
PROJECT = Path(__file__).parents[2]
STRATEGIES = Path(__file__).parents[1] / "strategies"


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedAirflow]:
    """Start Airflow once for all tests of this folder, and stop it at the end."""
    folder = tmp_path_factory.mktemp("airflow")
    shutil.copytree(DAGS, folder / "dags")
    shutil.copytree(STRATEGIES, folder / "dags" / "strategies")
    work_dir = folder / "work"
    # One of the definitions is broken on purpose; it is no matter for the others.
    shutil.copytree(DEFINITIONS, folder / "definitions")
    for name in ("caf_definitions.py", "caf_script_runner.py"):
        shutil.copy(PROJECT / "dags" / name, folder / "dags")
    settings = {
        "AIRFLOW__CAF__DEFINITIONS_FOLDER": str(folder / "definitions"),
        "AIRFLOW__CAF__WORK_DIR": str(work_dir),
        "AIRFLOW__CAF__DEFER_AFTER": "3",
    }
    with PrivateAirflow(folder / "home", folder / "dags", settings=settings, parallelism=8) as airflow:
        yield StartedAirflow(airflow, work_dir)
