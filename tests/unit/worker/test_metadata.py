"""The verb `metadata`: which runs and how many events are in files."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.__main__ import main
from airflow_provider_caf.worker.collect.metadata import read_basf2

pytestmark = pytest.mark.slow

# In a process of its own: where the file is read, ROOT does not know the class, as it is without basf2.
MAKE_FILE = """
import sys
import ROOT

ROOT.gInterpreter.Declare('''
#include "TObject.h"
namespace Belle2 {
  class FileMetaData : public TObject {
  public:
    unsigned int m_nEvents = 7;
    unsigned int m_nFullEvents = 5;
    int m_experimentLow = 8, m_runLow = 3, m_eventLow = 1;
    int m_experimentHigh = 9, m_runHigh = 2, m_eventHigh = 4;
  };
}
''')
file = ROOT.TFile(sys.argv[1], "RECREATE")
tree = ROOT.TTree("persistent", "")
made = ROOT.Belle2.FileMetaData()
tree.Branch("FileMetaData", made, 32000, 99)
tree.Fill()
tree.Write()
file.Close()
"""


@pytest.fixture(scope="module")
def basf2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("basf2") / "mdst.root"
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_FILE, str(path)], check=True, timeout=120)
    return path


def test_the_metadata_of_basf2_are_read_without_its_classes(basf2_file: Path) -> None:
    assert read_basf2(str(basf2_file)) == (ExpRun(8, 3), ExpRun(9, 2), 5)


def test_a_file_that_cannot_be_read_stops_no_other(
    basf2_file: Path, tmp_path: Path, write_json: Callable[[str, Any], str]
) -> None:
    broken = tmp_path / "broken.root"
    broken.write_text("no ROOT file")
    names = {"tree": "events", "exp_branch": "exp", "run_branch": "run"}
    request = write_json("look.json", {"version": 1, "files": [str(broken), str(basf2_file)], "how": "basf2", **names})
    assert main(["metadata", request, "--output", str(tmp_path / "answer.json")]) == 0
    first, second = json.loads((tmp_path / "answer.json").read_text())["files"]
    assert not first["ok"]
    assert str(broken) in first["error"]
    assert second == {"ok": True, "low": [8, 3], "high": [9, 2], "events": 5}
