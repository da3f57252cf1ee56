"""Measure what a merge costs, and which part of it is the check that nothing is lost.

Collector outputs are made as many subjobs leave them, for some runs each: a tree of ten branches; the same with the
histograms that go with it; histograms of one, two and three dimensions, profiles and a sparse one; many small
histograms in many files. They are merged by one process, as the package does it; without a look at any object; and as
ROOT's `TFileMerger` does it, which compares nothing. All list the keys and write the index. They are done in turn,
several times. Shown are the medians of the CPU times, of user and system, and of the ratios of the check's turns:
others on the machine count for less. Run it as

    python benchmarks/bench_merge.py [--files 16] [--runs 5] [--times 25]

With ROOT 6.40 on two cores that had some 25 other processes waiting, the check changed the CPU time of a merge so:
trees 1 %, trees and histograms 2 %, histograms 11 to 14 %, many small ones in four groups 12 %. Against `TFileMerger`,
a checked merge took 30 % more for trees, 23 % for trees and histograms, 3 % for histograms, and 25 % less for many
small ones, whose files are opened once. What it compiles took 1.1 to 1.4 s, once for each merge.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect import merge, merge_objects
from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.collect.merge_objects import Key, ObjectMerger, compile_merger, load_merger
from airflow_provider_caf.worker.collect.signature import FileTally
from airflow_provider_caf.worker.root import load_root, open_root_file

ENTRIES = 20000
"""Entries of each object of a run; small histograms have 100."""

TREE = ("tree",)
PLAIN = ("TH1D", "TH2F", "TProfile")
KINDS: dict[str, tuple[tuple[str, ...], int]] = {
    "trees": (TREE, 1),
    "trees and histograms": (TREE + PLAIN, 1),
    "histograms": ((*PLAIN, "TH1F", "TH2D", "TH3F", "TProfile2D", "THnSparseD"), 1),
    "many small ones": (("small",) * 40, 4),
}
"""What is collected, and how many times as many files there are."""


class BenchCollector(Collector):
    """Fills each object of a run at once."""

    prefix = "Bench"
    kinds: tuple[str, ...] = ()
    count_runs: int = 1

    def prepare(self) -> None:
        """Register an object of each kind."""
        for number, kind in enumerate(self.kinds):
            self.register(f"o{number}", self._make(kind))

    def run_over(self, files: Any) -> None:
        """Go through the runs."""
        for run in range(self.count_runs):
            self.process_event(ExpRun(1, run), numpy.random.default_rng(run))

    def collect(self, event: Any) -> None:
        """Fill the objects of a run; the event is a generator of random numbers."""
        for number, kind in enumerate(self.kinds):
            item = self.get(f"o{number}")
            if kind == "tree":
                for row in event.normal(size=(ENTRIES, len(self.values))):
                    for value, one in zip(self.values, row, strict=True):
                        value[0] = one
                    item.Fill()
            elif kind in ("TH1D", "TH1F", "small"):
                count = 100 if kind == "small" else ENTRIES
                item.FillN(count, event.normal(size=count), numpy.ones(count))
            elif kind in ("TH2F", "TH2D", "TProfile"):
                item.FillN(ENTRIES, event.normal(size=ENTRIES), event.normal(size=ENTRIES), numpy.ones(ENTRIES))
            else:
                for row in event.normal(size=(ENTRIES // 10, 4)):
                    item.Fill(row) if kind == "THnSparseD" else item.Fill(*row[:3])

    def _make(self, kind: str) -> Any:
        root = load_root()
        if kind == "tree":
            tree = root.TTree("tree", "")
            self.values = [array("f", [0.0]) for _ in range(10)]
            for number, value in enumerate(self.values):
                tree.Branch(f"x{number}", value, f"x{number}/F")
            return tree
        if kind == "THnSparseD":
            return root.THnSparseD("o", "", 4, array("i", [10] * 4), array("d", [-5] * 4), array("d", [5] * 4))
        bins = {"small": 50, "TH1D": 200, "TH1F": 200, "TProfile": 100, "TH3F": 20}.get(kind, 50)
        axes = 3 if "3" in kind else 2 if "2" in kind else 1
        return getattr(root, "TH1F" if kind == "small" else kind)("o", "", *((bins, -5, 5) * axes))


@cache
def load_unchecked() -> Any:
    """Compile the merge of objects without a look at any of them."""
    load_merger()
    opening = "namespace airflow_provider_caf {"
    code = merge_objects._MERGER.replace(opening, f"{opening} namespace unchecked {{") + "}"
    code = code.replace("blame_cycles", "blame_no_cycles")  # of two of one name, the compiler takes none
    for look in ('counts ? tally.add(item, paths[next - 1]) : ""', "tally.check(sum)"):
        assert look in code, look
        code = code.replace(look, '""')
    assert load_root().gInterpreter.Declare(code)
    return load_root().airflow_provider_caf.unchecked


class Unchecked(ObjectMerger):
    """Looks at no object, and has no tally of any."""

    def __init__(self, tally: FileTally, *, counted: bool = False) -> None:
        super().__init__(tally, counted=counted)
        self._nothing = load_merger().Tally()

    def check(self) -> None:
        """Find nothing wrong."""

    def _add(self, merger: Any, place: str, key: Key) -> None:
        merger.add(place, self._nothing)


def merge_plainly(
    inputs: Sequence[str],
    output: str,
    shown: str,
    merger: ObjectMerger,
    inspect: Callable[[Any, str], Mapping[str, Key]] = lambda file, path: {},
) -> None:
    """Merge files as ROOT does it, and compare nothing."""
    for path in inputs:
        file = open_root_file(path)
        inspect(file, path)
        file.Close()
    plain = load_root().TFileMerger(False, False)
    plain.SetPrintLevel(0)
    plain.OutputFile(output, "RECREATE", 101)
    for path in inputs:
        plain.AddFile(path, False)
    assert plain.Merge(), shown


def measure(function: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    began = time.process_time()
    function()
    return time.process_time() - began


def make_inputs(folder: Path, kinds: tuple[str, ...], count: int, runs: int) -> tuple[str, ...]:
    """Make some outputs of the same content, and give their paths."""
    collector = BenchCollector()
    collector.kinds, collector.count_runs = kinds, runs
    first = folder / "0.root"
    run_collector(collector, [], (), str(first))
    paths = [first, *(folder / f"{number}.root" for number in range(1, count))]
    for path in paths[1:]:
        shutil.copy(first, path)
    return tuple(map(str, paths))


def compare(inputs: tuple[str, ...], folder: Path, times: int) -> list[tuple[float, float, float]]:
    """Give the seconds of merges by ROOT alone, by ours without the check, and with it, as they were done in turn."""
    output, index = str(folder / "merged.root"), str(folder / "merged.json")
    request = MergeRequest(collection="bench", inputs=inputs, output=output, index=index, processes=1)
    found = []
    for _ in range(times):
        checked = measure(lambda: merge_collection(request))
        with mock.patch.object(FileTally, "check"):
            with (
                mock.patch.object(merge, "ObjectMerger", Unchecked),
                mock.patch.object(merge_objects, "load_merger", load_unchecked),
            ):
                unchecked = measure(lambda: merge_collection(request))
            with mock.patch.object(merge, "merge_files", merge_plainly):
                plain = measure(lambda: merge_collection(request))
        found.append((plain, unchecked, checked))
    return found[1:]  # what is used first is compiled


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--times", type=int, default=25)
    options = parser.parse_args()
    load_root()
    print(f"to compile what merges objects, once for each merge: {measure(compile_merger):.2f} s")
    load_unchecked()
    print(f"{'':<22}{'files':>6}{'objects':>9}{'MB':>6}{'TFileMerger':>13}{'unchecked':>11}{'checked':>9}{'check':>8}")
    for name, (kinds, factor) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            inputs = make_inputs(Path(folder), kinds, options.files * factor, options.runs)
            size = sum(Path(path).stat().st_size for path in inputs) / 1e6
            found = compare(inputs, Path(folder), options.times + 1)
        objects = len(inputs) * len(kinds) * options.runs
        share = median(checked / unchecked - 1 for _, unchecked, checked in found)
        plain, unchecked, checked = map(median, zip(*found, strict=True))
        times = f"{plain:>11.3f} s{unchecked:>9.3f} s{checked:>7.3f} s"
        print(f"{name:<22}{len(inputs):>6}{objects:>9}{size:>6.0f}{times}{share:>8.1%}")


if __name__ == "__main__":
    main()
