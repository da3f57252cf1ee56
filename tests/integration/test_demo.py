"""The demonstration, as `make demo` runs it, but in the Airflow of the tests."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.beside import Beside, run_demonstration
from tests.integration.started_airflow import StartedAirflow

pytestmark = pytest.mark.airflow
BESIDE = (run_demonstration,)


@pytest.mark.parametrize("module", ["ROOT", "numpy"])
def test_the_environment_of_airflow_has_not_what_jobs_need(started: StartedAirflow, module: str) -> None:
    words = [sys.executable, "-c", f"import {module}"]
    result = subprocess.run(words, env=started.airflow.environment, capture_output=True, text=True, check=False)
    assert f"ModuleNotFoundError: No module named '{module}'" in result.stderr


def test_the_demonstration_finds_the_truth(started: StartedAirflow, beside: Beside) -> None:
    exit_code, output = beside.wait(run_demonstration)
    assert exit_code == 0, output
    for payload, constants in (("BeamSpot", 11), ("SensorOffset", 1), ("TimeOffset", 14), ("SensorGain", 4)):
        assert sum(f" {payload} " in line for line in output.splitlines()) == constants, output
        assert (started.folder / "plots" / f"{payload}.png").stat().st_size > 5000
    assert "All 30 constants are within 5 errors of the truth." in output
