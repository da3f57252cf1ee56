"""Real data through the whole chain: CMS open data, a real Airflow, real ROOT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "shared" / "data" / "zmumu" / "uproot-Zmumu.root"
FILES = 8

pytestmark = pytest.mark.skipif(
    not SOURCE.exists(),
    reason=f"needs the CMS dimuon events at {SOURCE}, which are not part of this project",
)

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


@pytest.fixture
def data(tmp_path: Path) -> Path:
    subprocess.run([sys.executable, "-W", "ignore", "-c", SPLIT, str(SOURCE), str(tmp_path), str(FILES)], check=True)
    assert len(list(tmp_path.glob("*.root"))) == FILES
    return tmp_path
