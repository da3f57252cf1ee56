"""Measure what a merge costs, and which part of it is the check that nothing is lost.

Collector outputs are made as many subjobs leave them: a tree of ten branches, histograms and profiles, for each of some
runs. They are merged by one process, as the package does it and without the check: then keys are listed only, and no
object of the inputs and of the merged file is looked at. What the check costs is a time for each object, not
for each event: with few events in a run it is a larger part. Both are done in turn, several times, and the CPU
time of the quickest of each is compared: others who use the machine do not count. Run it as

    python benchmarks/bench_merge.py [--files 16] [--runs 5] [--events 20000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from array import array
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect import contents, merge
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.collect.describe_object import Key, load_describer
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.collect.signature import FileTally
from airflow_provider_caf.worker.root import load_root

BRANCHES = 10


class BenchCollector(Collector):
    """Fills random numbers."""

    prefix = "Bench"
    count_runs: int = 1
    count_events: int = 1
    seed: int = 0

    def prepare(self) -> None:
        """Register a tree, a profile and histograms of one and two dimensions."""
        root = load_root()
        tree = root.TTree("hits", "")
        self.values = [array("f", [0.0]) for _ in range(BRANCHES)]
        for number, value in enumerate(self.values):
            tree.Branch(f"x{number}", value, f"x{number}/F")
        self.register("hits", tree)
        self.register("mass", root.TH1D("mass", "", 200, -5, 5))
        self.register("plane", root.TH2F("plane", "", 50, -5, 5, 50, -5, 5))
        self.register("profile", root.TProfile("profile", "", 100, -5, 5))

    def run_over(self, files: Any) -> None:
        """Go through made-up events."""
        random = numpy.random.default_rng(self.seed)
        for number in range(self.count_runs * self.count_events):
            if number % 1000 == 0:
                block = random.normal(size=(1000, BRANCHES))
            self.process_event(ExpRun(1, 1 + number // self.count_events), block[number % 1000])

    def collect(self, event: Any) -> None:
        """Fill all."""
        for value, number in zip(self.values, event, strict=True):
            value[0] = number
        self.get("hits").Fill()
        self.get("mass").Fill(event[0])
        self.get("plane").Fill(event[0], event[1])
        self.get("profile").Fill(event[0], event[1])


class NoTally(FileTally):
    """Compares nothing."""

    def add(self, keys: Iterable[Key], path: str) -> None:
        """Forget the keys of a file."""

    def check(self, keys: Iterable[Key], indexed: Container[str]) -> None:
        """Find nothing wrong."""


def list_plainly(folder: Any, path: str, what: str, above: str = "") -> Iterator[Key]:
    """List the keys of a file without reading an object."""
    for key in folder.GetListOfKeys():
        place, type_name = f"{above}{key.GetName()}", str(key.GetClassName())
        is_folder = type_name == "TDirectoryFile"
        yield Key(place=place, type=type_name, cycles=1, is_folder=is_folder, description=None)
        if is_folder:
            yield from list_plainly(folder.GetDirectory(key.GetName()), path, what, f"{place}/")


def measure(function: Callable[[], object]) -> float:
    """Give the CPU seconds of a call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--events", type=int, default=20000)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"to compile what describes objects, once: {measure(load_describer):.2f} s")
        inputs = []
        for number in range(options.files):
            collector = BenchCollector()
            collector.count_runs, collector.count_events, collector.seed = options.runs, options.events, number
            inputs.append(str(folder / f"{number}.root"))
            run_collector(collector, [], (), inputs[-1])
        size = sum(Path(path).stat().st_size for path in inputs) / 1e6
        print(f"{len(inputs)} files with {options.runs} runs of {options.events} events, {size:.0f} MB")
        request = MergeRequest(
            collection="bench",
            inputs=tuple(inputs),
            output=str(folder / "merged.root"),
            index=str(folder / "merged.json"),
            processes=1,
        )
        measure(lambda: merge_collection(request))
        plain, checked = [], []
        for _ in range(options.times):
            checked.append(measure(lambda: merge_collection(request)))
            with mock.patch.object(contents, "list_keys", list_plainly), mock.patch.object(merge, "FileTally", NoTally):
                plain.append(measure(lambda: merge_collection(request)))
        extra = min(checked) - min(plain)
        print(f"without the check {min(plain):.2f} s, with it {min(checked):.2f} s")
        print(f"the check: {extra / min(plain):.1%}")


if __name__ == "__main__":
    main()
