"""A collector on frames through a real job: the app runs two subjobs, their outputs are merged, an algorithm reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.worker.collect.collect import OUTPUT_FILE
from airflow_provider_caf.worker.collect.collected import CollectedData
from tests.unit.worker.array_records import write_array_record

pytestmark = pytest.mark.slow

COLLECTOR = """
from airflow_provider_caf.worker import Collector

class Frames(Collector):
    prefix = "Frames"

    def collect_frame(self, frame, run):
        self.book("h", frame.Histo1D(("h", "", 10, 0, 100), "x"))
        self.book_tree("tree", frame, ["x"])
"""

ROWS = (
    [(1, 1, number) for number in range(4)] + [(1, 2, 20.0)],
    [(1, 2, 30.0 + number) for number in range(3)],
)
"""The second run is in both subjobs."""


def write_array(folder: Path, sources: list[str]) -> Path:
    """Write the job files, the app and the array, and give the path of the array."""
    (folder / "in").mkdir()
    (folder / "frames.py").write_text(COLLECTOR)
    build_job_app(folder / "app.pyz", ())
    for number, source in enumerate(sources):
        job = {
            "version": 1,
            "calibration": "c",
            "collection": "default",
            "iteration": 0,
            "subjob": number,
            "command": None,
            "collector": f"{folder / 'frames.py'}:Frames",
            "settings": {},
            "granularity": "run",
            "input_files": [source],
            "output_patterns": [OUTPUT_FILE],
            "database_chain": [],
            "arguments": {},
            "pre_collector": None,
        }
        (folder / "in" / f"{number:05d}.json").write_text(json.dumps(job))
    elements = [[number] for number in range(len(sources))]
    return write_array_record(folder / "array.json", folder, elements, str(folder / "app.pyz"))


def test_from_the_app_to_the_algorithm(tmp_path: Path, make_events: Any, merge_outputs: Any) -> None:
    array = write_array(
        tmp_path, [make_events(tmp_path / f"events_{number}.root", rows) for number, rows in enumerate(ROWS)]
    )
    outputs = []
    for number in range(len(ROWS)):
        words = [str(tmp_path / "app.pyz"), "subjob", "--array", str(array), "--element", str(number)]
        ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        record = json.loads((tmp_path / "out" / "status" / f"{number:05d}.0.json").read_text())
        assert [each["path"] for each in record["outputs"]] == [OUTPUT_FILE]
        outputs.append(str(Path(record["folder"]) / OUTPUT_FILE))
    data = CollectedData([merge_outputs(tmp_path / "merged", outputs)])
    runs = [ExpRun(1, 1), ExpRun(1, 2)]
    assert [data.count_events(run) for run in runs] == [4, 4]
    assert [data.get("h", [run]).GetEntries() for run in runs] == [4, 4]
    assert data.get("h", runs[1:]).GetMean() == (20 + 30 + 31 + 32) / 4
    assert sorted(event.x for event in data.get("tree", runs)) == [0, 1, 2, 3, 20, 30, 31, 32]
