"""HTCondor without a shared file system on a real Airflow: submitted, shown, watched and judged by its tasks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.started_airflow import StartedAirflow

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif("CAF_TEST_BACKEND" in os.environ, reason="the commands on PATH are those of a real system"),
]


def test_what_was_submitted_is_shown_and_comes_home(started: StartedAirflow, tmp_path: Path) -> None:
    file = tmp_path / "input.txt"
    file.write_text("data\n")
    run_id = started.trigger("farm", {"file": str(file)})
    assert started.wait("farm", run_id) == "success"
    jobs = started.find_run("farm", run_id).calibration("far").iteration(0).collection("jobs").jobs
    assert (jobs.attempt_folder(0, 0) / "out.txt").read_text() == "data\n"
    task = started.airflow.call_api("GET", f"/dags/farm/dagRuns/{quote(run_id)}/taskInstances/submit")
    (shown,) = read_shown(task["rendered_fields"]["submitted"])
    assert shown["command"][0] == "condor_submit"
    texts = {Path(path).name: text for path, text in shown["files"].items()}
    # Of this the record of the array knows nothing.
    assert str(file).lstrip("/") in texts["inputs.txt"]
    for path, text in shown["files"].items():
        assert Path(path).read_text().startswith(text)


def read_shown(value: Any) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(value) if isinstance(value, str) else value
    return shown
