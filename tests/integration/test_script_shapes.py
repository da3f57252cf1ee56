"""Three shapes of real calibration scripts, run to their end on small numbers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_caf.io.catalog import PayloadRow
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.integration.beside import Beside
from tests.integration.started_airflow import StartedAirflow

pytestmark = pytest.mark.airflow

RUNS = (1, 2, 3)

MAKE_EVENTS = """
import sys, numpy, ROOT
for run in (1, 2, 3):
    branches = {"exp": numpy.full(run, 5, dtype=numpy.int32), "run": numpy.full(run, run, dtype=numpy.int32)}
    ROOT.RDF.FromNumpy(branches).Snapshot("events", f"{sys.argv[1]}/run_{run}.root")
"""
EVENTS = sum(RUNS)


def run_shapes(started: StartedAirflow) -> dict[str, str]:
    """Trigger all three at once, and wait for them."""
    folder = started.folder / "shapes"
    folder.mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(folder)], check=True)
    conf = {"input_data": {"events": [f"{folder}/*.root"]}}
    ids = {name: started.trigger(name, conf) for name in ("gain_chain", "three_by_three", "alignment")}
    for name, run_id in ids.items():
        assert started.wait(name, run_id) == "success", started.explain(name, run_id)
    return ids


BESIDE = (run_shapes,)


@pytest.fixture(scope="module")
def runs(beside: Beside) -> dict[str, str]:
    return beside.wait(run_shapes)


def test_a_chain_of_eleven_with_unsaved_intermediates(started: StartedAirflow, runs: dict[str, str]) -> None:
    rows = started.open_catalog().read(PayloadRow, "gain_chain", runs["gain_chain"], final=True)
    # Each has seen the constant of the one before it, saved or not.
    last = [row for row in rows if row.name == "rungain2"]
    assert [row.value for row in last] == [{"value": 11}] * len(RUNS)
    assert [row.value for row in rows if row.name == "coscorr1"] == [{"value": 10}]
    joined = LocalDatabase(started.find_run("gain_chain", runs["gain_chain"]).folder / "outputdb")
    assert {entry.name for entry in joined.entries()} == {"coscorr1", "rungain2"}


def test_three_algorithms_with_three_collectors(started: StartedAirflow, runs: dict[str, str]) -> None:
    rows = started.open_catalog().read(PayloadRow, "three_by_three", runs["three_by_three"], final=True)
    assert {name: sum(row.name == name for row in rows) for name in ("Gain", "Time", "Shape")} == {
        "Gain": 1,
        "Time": len(RUNS),
        "Shape": len(RUNS),
    }


def test_an_alignment_with_side_files_that_rewrites_what_was_collected(
    started: StartedAirflow, runs: dict[str, str]
) -> None:
    rows = started.open_catalog().read(PayloadRow, "alignment", runs["alignment"])
    assert [row.value for row in sorted(rows, key=lambda row: row.iteration)] == [
        {
            # Twice, not four times, in the second pass: each pass rewrites a copy of its own.
            "residuals": 2.0 * 4 * EVENTS,
            "lines": 4 * EVENTS,
            "sources": ["cosmics", "halo", "laser", "physics"],
            "passes": [number],
        }
        for number in (0, 1)
    ]
