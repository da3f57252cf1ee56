"""Jobs that a real Airflow submits by ssh: worker and triggerer reach the submit host through its connections."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.jobs.exit_records import StatusFolder
from tests.integration.started_airflow import StartedAirflow
from tests.integration.test_restart import FILES, MAKE_EVENTS
from tests.ssh_server import SshServer, start_ssh_server

pytestmark = pytest.mark.airflow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make input files."""
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(folder), str(FILES)], check=True)
    return folder


@pytest.fixture
def server(started: StartedAirflow, tmp_path: Path) -> Iterator[SshServer]:
    """Start a submit host, and define the connections to it in Airflow."""
    with start_ssh_server(tmp_path / "sshd") as running:
        add_connection(
            started,
            "login",
            "ssh",
            {"key_file": str(running.key_file), "host_key": running.host_key},
            host="127.0.0.1",
            port=running.port,
            login=running.user,
        )
        add_connection(started, "farm_shared", "caf_batch", {"system": "local", "ssh_conn_id": "login"})
        far = {"system": "local", "ssh_conn_id": "login", "remote_work_dir": str(tmp_path / "far")}
        add_connection(started, "farm_far", "caf_batch", far)
        yield running


def add_connection(started: StartedAirflow, name: str, kind: str, extra: dict[str, Any], **fields: Any) -> None:
    body = {"connection_id": name, "conn_type": kind, "extra": json.dumps(extra), **fields}
    started.airflow.call_api("POST", "/connections", body)


def test_jobs_run_on_another_host_and_are_waited_for_in_the_triggerer(
    started: StartedAirflow, server: SshServer, data: Path, tmp_path: Path
) -> None:
    (data / "slow").write_text("15")
    run_id = started.trigger("remote", {"folder": str(data)})
    seen = started.collect_states("remote", run_id)
    assert started.wait("remote", run_id) == "success", started.explain("remote", run_id)
    for calibration in ("shared", "far", "here"):
        assert "deferred" in seen[f"{calibration}.iteration_0.events.wait"]
        layout = started.find_run("remote", run_id).calibration(calibration)
        collection = layout.iteration(0).collection("events")
        records = StatusFolder(collection.jobs.status_folder).scan()
        assert [(each.subjob, each.attempt) for each in records] == [(0, 0), (1, 0), (2, 0)]
        payloads = started.open_catalog().read(PayloadRow, "remote", run_id, calibration, final=True)
        assert [(row.iov.low.run, row.value) for row in payloads] == [(run, {"events": run}) for run in (1, 2, 3)]
        assert (collection.jobs.array_folder(0) / "remote.lock").exists() == (calibration == "shared")
    # The jobs without a shared file system saw the other folder only, and nothing of Airflow is in it.
    far = [path.name for path in (tmp_path / "far").rglob("*")]
    assert "run.sh" in far
    assert "definition.json" not in far
    assert server.count_logins() >= 2
