"""The one Airflow of all tests that need one: scheduler, triggerer, DAG processor and API server, started once.

It has neither ROOT nor numpy (`no_root/sitecustomize.py`). The demonstration's jobs have them, and all of its
algorithms are jobs here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.worker.constants import build_payload
from demo import CONNECTION, build_connection
from tests.integration.metrics_server import MetricsServer
from tests.integration.started_airflow import StartedAirflow
from tests.private_airflow import PrivateAirflow

TESTS = Path(__file__).parents[1]
PROJECT = TESTS.parent


@contextlib.contextmanager
def start_airflow() -> Iterator[StartedAirflow]:
    """Start it with all DAGs and definitions of the project and its tests, and stop it at the end."""
    # Pictures show paths in it.
    folder = Path(tempfile.mkdtemp(prefix="caf-"))
    dags, definitions = folder / "dags", folder / "definitions"
    for source in (PROJECT / "dags", TESTS / "integration" / "dags", TESTS / "browser" / "dags"):
        shutil.copytree(source, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("definitions", "__pycache__"))
    shutil.copytree(TESTS / "strategies", dags / "strategies")
    # One of the definitions is broken on purpose; it is no matter for the others.
    for source in (PROJECT / "dags" / "definitions", TESTS / "integration" / "definitions"):
        shutil.copytree(source, definitions, dirs_exist_ok=True)
    _make_jobs_of_algorithms(definitions / "demo_calibration.yaml")
    metrics = MetricsServer()
    settings = {
        "AIRFLOW__CAF__DEFER_AFTER": "3",
        "AIRFLOW__CAF__DEFINITIONS_FOLDER": str(definitions),
        "AIRFLOW__CAF__WORK_DIR": str(folder / "work"),
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer,red:viewer:red",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [_describe_bundle("ours", dags), _describe_bundle("theirs", TESTS / "browser" / "red_dags", "red")]
        ),
        # Few files and definitions change, and who changes one lets Airflow read it. The scheduler looks at all runs in
        # each round, and there are so many at once that it would otherwise take half a core for itself.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        f"AIRFLOW_CONN_{CONNECTION.upper()}": build_connection("local", {"PYTHONPATH": ""}),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
        "CAF_TEST_MESSAGES": str(folder / "messages.txt"),
        "CAF_TEST_BY_HAND": str(_make_database(folder / "by_hand")),
        "PYTHONPATH": str(TESTS / "integration" / "no_root"),
    }
    # The commands of batch systems that stand for real ones, where no real one is to be used.
    if "CAF_TEST_BACKEND" not in os.environ:
        (folder / "farm").mkdir()
        path = (TESTS / "fakes" / "bin", Path(sys.executable).parent, os.environ.get("PATH", os.defpath))
        settings |= {
            "FAKE_BATCH": str(folder / "farm"),
            "FAKE_SYSTEM": "htcondor",
            "PATH": os.pathsep.join(map(str, path)),
        }
    airflow = PrivateAirflow(
        folder / "home", dags, settings=settings, parallelism=8, first_commands=[["teams", "create", "red"]]
    )
    with airflow:
        yield StartedAirflow(airflow, folder, metrics)
    metrics.close()
    assert _list_processes_of(airflow.home) == []
    shutil.rmtree(folder)


def _make_jobs_of_algorithms(definition: Path) -> None:
    """Let all algorithms of a definition run where its collectors do."""
    words = yaml.safe_load(definition.read_text())
    for calibration in words["calibrations"]:
        for algorithm in calibration["algorithms"]:
            algorithm["backend"] = "inherit"
    definition.write_text(yaml.safe_dump(words, sort_keys=False))


def _describe_bundle(name: str, folder: Path, team: str | None = None) -> dict[str, Any]:
    """Give what Airflow is told of a folder of DAGs."""
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundle = {"name": name, "classpath": classpath, "kwargs": {"path": str(folder), "refresh_interval": 60}}
    return bundle if team is None else {**bundle, "team_name": team}


def _make_database(folder: Path) -> Path:
    """Make a local database by hand, and give its folder."""
    file = folder.with_suffix(".payload")
    file.write_bytes(build_payload({"value": 0.02}, "Spot"))
    LocalDatabase(folder).commit([("Spot", file, IoV(7, 0, 7, 9))])
    return folder


def _list_processes_of(home: Path) -> list[str]:
    """Give the command lines of all processes whose AIRFLOW_HOME is this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"AIRFLOW_HOME={home}\0" in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue  # it has just ended, or is somebody else's
    return found
