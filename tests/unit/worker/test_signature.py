"""What is added is all there afterwards, or it is an error: each class, in memory as `get` does and in files as a merge."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.collected import CollectedData
from airflow_provider_caf.worker.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.root import load_root

from .object_pairs import list_pairs

# PyROOT makes Python's warnings of ROOT's.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

PAIRS = {pair[0]: pair for pair in list_pairs()}


def write_output(path: Path, objects: dict[str, Any]) -> str:
    """Write a collector output of the objects, by key such as `o_1.1`, as a foreign collector would."""
    root = load_root()
    file = root.TFile.Open(str(path), "RECREATE")
    folder = file.mkdir("P")
    inside = folder.mkdir("o")
    for key, item in objects.items():
        inside.WriteTObject(item, key)
    folder.cd()
    tree = root.TTree("RunRange", "")
    numbers = array("i", [1]), array("i", [1]), array("q", [1])
    for name, leaf, number in zip(("exp", "run", "events"), "IIL", numbers):
        tree.Branch(name, number, f"{name}/{leaf}")
    tree.Fill()
    tree.Write()
    file.Close()
    root.gROOT.cd()
    return str(path)


def merge(folder: Path, inputs: list[str]) -> CollectedData:
    """Merge outputs and open what was merged."""
    request = MergeRequest(
        collection="c", inputs=tuple(inputs), output=str(folder / "m.root"), index=str(folder / "m.json"), processes=1
    )
    merge_collection(request)
    return CollectedData([request.index], "P")
