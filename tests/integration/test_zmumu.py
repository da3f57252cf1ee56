"""Real data through the whole chain: CMS open data, a real Airflow, real ROOT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.integration.beside import Beside
from tests.integration.started_airflow import StartedAirflow

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "zmumu" / "uproot-Zmumu.root"
FILES = 8

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.skipif(
        not SOURCE.exists(),
        reason=f"needs the CMS dimuon events at {SOURCE}, which are not part of this project",
    ),
]

SPLIT = """
import sys, ROOT
source, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = ROOT.TFile.Open(source)
events = file.Get("events")
for part in range(count):
    with ROOT.TFile.Open(f"{folder}/dimuon_{part}.root", "RECREATE"):
        first, last = part * events.GetEntries() // count, (part + 1) * events.GetEntries() // count
        events.CopyTree("", "", last - first, first).Write()
"""


def run_zmumu(started: StartedAirflow) -> str:
    """Cut the events into files, let the DAG run over them, and give the run's id."""
    data = started.folder / "zmumu"
    data.mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", SPLIT, str(SOURCE), str(data), str(FILES)], check=True)
    assert len(list(data.glob("*.root"))) == FILES
    run_id = started.trigger("zmumu", {"data_folder": str(data)})
    assert started.wait("zmumu", run_id) == "success", started.explain("zmumu", run_id)
    return run_id


BESIDE = (run_zmumu,) if SOURCE.exists() else ()


def test_momentum_scale_of_real_dimuon_events(started: StartedAirflow, beside: Beside) -> None:
    run_id = beside.wait(run_zmumu)
    prepared = started.read_xcom("zmumu", run_id, "by_run.prepare")
    assert prepared["collections"] == {"default": {"files": FILES, "subjobs": FILES}}

    payloads = started.open_catalog().read(PayloadRow, "zmumu", run_id, final=True)
    by_run: dict[IoV, Any] = {row.iov: row.value for row in payloads if row.calibration == "by_run"}
    together: list[Any] = [row.value for row in payloads if row.calibration == "together"]
    assert set(by_run) == {IoV(1, 148029, 1, 148029), IoV(1, 148031, 1, 148031)}
    assert len(together) == 1

    # The muons of 2010 were measured within a percent or two, with some 500 of them.
    for constant in (*by_run.values(), *together):
        assert 0 < constant["error"] < 0.005
        assert abs(constant["value"] - 1) < 0.02
        assert 0.5 < constant["resolution"] < 3.0
    # Both runs together say more than each alone, and lie between them.
    assert together[0]["error"] < min(constant["error"] for constant in by_run.values())
    low, high = sorted(constant["value"] for constant in by_run.values())
    assert low < together[0]["value"] < high

    database = LocalDatabase(started.find_run("zmumu", run_id).calibration("by_run").database)
    assert database.verify() == 2
