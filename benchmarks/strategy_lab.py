"""What the benchmarks of the algorithm step share: many runs of collected data, and an algorithm that burns CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

MODULE = '''
import time

from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class RunCollector(Collector):
    prefix = "Run"

    def prepare(self):
        import ROOT

        self.register("count", ROOT.TH1D("count", "", 1, 0, 1))

    def collect(self, event):
        self.get("count").Fill(0.5)


class BurningAlgorithm(Algorithm):
    """Takes so many seconds of CPU; every so-and-so-many-th run does not suffice alone."""

    seconds = 0.0
    thin = 0

    def calibrate(self):
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        if self.thin and len(self.runs) == 1 and self.runs[0].run % self.thin == 0:
            return ResultCode.NOT_ENOUGH_DATA
        self.save_payload(len(self.runs), "Burnt")
        return ResultCode.OK
'''

MAKE_EVENTS = """
import sys, numpy, ROOT
runs = int(sys.argv[2])
branches = {"exp": numpy.full(runs, 1, dtype=numpy.int32), "run": numpy.arange(1, runs + 1, dtype=numpy.int32)}
ROOT.RDF.FromNumpy(branches).Snapshot("events", sys.argv[1])
"""

MERGE = """
import json, sys
from airflow_provider_caf.worker.collect.collector import make_collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection

events, collected, output, index, reference = sys.argv[1:]
run_collector(make_collector(reference, {}, None), [events], (), collected)
merge_collection(MergeRequest(collection="default", inputs=(collected,), output=output, index=index, processes=1))
"""


def write_module(folder: Path) -> Path:
    """Write the user's module."""
    path = folder / "burning.py"
    path.write_text(MODULE)
    return path


def make_events(path: Path, runs: int) -> None:
    """Write a file with one event in each of the runs 1.1 to 1.<runs>."""
    run_python(MAKE_EVENTS, [str(path), str(runs)])


def merge_events(events: Path, module: Path, merged: Path, index: Path) -> None:
    """Collect and merge a file as the tasks before an algorithm do."""
    merged.parent.mkdir(parents=True)
    words = [events, events.with_suffix(".collected.root"), merged, index, f"{module}:RunCollector"]
    run_python(MERGE, [str(word) for word in words])


def run_python(code: str, words: Sequence[str]) -> None:
    """Run some Python in a process of its own, so that this one never loads ROOT."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, *words], check=True)


class MemoryState(dict[str, str]):
    """Stands for Airflow's task state store, and costs nothing."""

    def get(self, key: str, default: object = None) -> object:  # type: ignore[override]
        """Return a value."""
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: object) -> None:
        """Keep a value."""
        self[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        """Forget a value."""
        self.pop(key, None)
