"""The demonstration, as `make demo` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def list_processes_of(home: Path) -> list[str]:
    """Give the command lines of all processes whose AIRFLOW_HOME is this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"AIRFLOW_HOME={home}\0" in (process / "environ").read_text(errors="replace"):
                found.append((process / "cmdline").read_text(errors="replace").replace("\0", " "))
        except OSError:
            continue  # it has just ended, or is somebody else's
    return found


def test_the_demonstration_finds_the_truth_and_leaves_nothing_running(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(PROJECT / "scripts" / "demo.py"), "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "120"},
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    output = result.stdout
    for payload, constants in (("BeamSpot", 11), ("SensorOffset", 1), ("TimeOffset", 14), ("SensorGain", 4)):
        assert sum(f" {payload} " in line for line in output.splitlines()) == constants, output
        assert (tmp_path / "plots" / f"{payload}.png").stat().st_size > 5000
    assert "All 30 constants are within 5 errors of the truth." in output
    assert list_processes_of(tmp_path / "airflow") == []
