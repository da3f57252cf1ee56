"""Measure how an algorithm reads its runs: through the index of the merged file, and with a TChain over all files.

At last 500 collector files of 200 runs each are made and merged, and 200 executions read one run each: the same events
of the same run, as a tree, through the index and with two chains over the collector files. The *plain* chain is over
trees that hold all runs and picks the run by reading it; the chain *by name* is over the trees of this run, one in each
file. Files and runs grow meanwhile. The time for a histogram should not, nor that for the tree of a run that is in ten
files. Where each file has events of a run, its tree grows, and so does the time to read it: each file brings a basket.
Each file that the index leads to has to be opened once. Run it as

    python benchmarks/bench_reading.py [--files 500] [--runs 200]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAKE = """
import sys
from pathlib import Path

import ROOT
from array import array

folder, first, last, runs = Path(sys.argv[1]), *map(int, sys.argv[2:])
for number in range(first, last):
    file = ROOT.TFile.Open(str(folder / f"{number}.root"), "RECREATE")
    exp, run, x = array("i", [1]), array("i", [0]), array("d", [0.0])
    tree = ROOT.TTree("events", "")
    for name, buffer, leaf in (("exp", exp, "exp/I"), ("run", run, "run/I"), ("x", x, "x/D")):
        tree.Branch(name, buffer, leaf)
    # Run 0 is in few files only, however many there are.
    for run[0] in range(0 if number < 10 else 1, runs + 1):
        x[0] = number + run[0]
        tree.Fill()
    tree.Write()
    file.Close()
"""

COLLECTOR = '''
from array import array

from airflow_provider_caf.worker import Collector


class TreeCollector(Collector):
    """Keeps run and x of each event in a tree for each run, and x in a histogram."""

    prefix = "Tree"

    def prepare(self):
        import ROOT

        tree = ROOT.TTree("x", "")
        self.run, self.value = array("i", [0]), array("d", [0.0])
        tree.Branch("run", self.run, "run/I")
        tree.Branch("x", self.value, "x/D")
        self.register("x", tree)
        self.register("h", ROOT.TH1D("h", "", 100, 0, 1000))

    def collect(self, event):
        self.run[0], self.value[0] = event.run, event.x
        self.get("x").Fill()
        self.get("h").Fill(event.x)


class PlainCollector(TreeCollector):
    """Keeps one tree for all runs."""

    prefix = "Plain"
    granularity = "all"
'''

COLLECT = """
import sys
from pathlib import Path

from airflow_provider_caf.worker.collect.collector import make_collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection

folder, module, files = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for name in ("Tree", "Plain"):
    for number in range(files):
        collector = make_collector(f"{module}:{name}Collector", {}, None)
        run_collector(collector, [str(folder / f"{number}.root")], (), str(folder / f"{name}_{number}.root"))
outputs = tuple(str(folder / f"Tree_{number}.root") for number in range(files))
merge_collection(MergeRequest(collection="default", inputs=outputs, output=str(folder / "merged.root"),
                              index=str(folder / "merged.index.json")))
"""

READ = """
import collections, json, sys, time
from pathlib import Path

import ROOT

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.collected import CollectedData

folder, files, runs, chain_runs = Path(sys.argv[1]), *map(int, sys.argv[2:])
opened = collections.Counter()
open_file = ROOT.TFile.Open

def count(path, *rest):
    opened[path] += 1
    return open_file(path, *rest)

ROOT.TFile.Open = count
data = CollectedData([str(folder / "merged.index.json")], "Tree")

def get_histogram(run):
    return data.get("h", [ExpRun(1, run)]).GetEntries()

def read(tree, selection=""):
    tree.Draw("x", selection, "goff")
    rows = tree.GetSelectedRows()
    return rows and round(rows * ROOT.TMath.Mean(rows, tree.GetV1()))

def read_tree(run):
    total = read(data.get("x", [ExpRun(1, run)]))
    data.release()
    return total

def read_rare_run(_):
    return read_tree(0)

def read_chain(name, place, selection):
    chain = ROOT.TChain(place)
    for number in range(files):
        chain.Add(str(folder / f"{name}_{number}.root"))
    return read(chain, selection)

def read_plain_chain(run):
    return read_chain("Plain", "Plain/x/x_-1.-1", f"run == {run}")

def read_chain_by_name(run):
    return read_chain("Tree", f"Tree/x/x_1.{run}", "")

def measure(function, last, expected):
    seconds = []
    for run in range(1, last + 1):
        began = time.perf_counter()
        found = function(run)
        seconds.append(time.perf_counter() - began)
        assert found == expected(run), (function.__name__, run, found, expected(run))
    return seconds

def add_up(run):
    return sum(number + run for number in range(files))

answer = {
    "histogram": measure(get_histogram, runs, lambda run: files),
    "tree": measure(read_tree, runs, add_up),
    "rare": measure(read_rare_run, runs, lambda run: sum(range(min(10, files)))),
    "plain": measure(read_plain_chain, chain_runs, add_up),
    "by_name": measure(read_chain_by_name, chain_runs, add_up),
}
print(json.dumps({**answer, "opens": dict(opened)}))
"""

WAYS = {
    "histogram": "the histogram of a run",
    "rare": "the tree of a run that is in 10 files",
    "tree": "the tree of a run that is in all files",
}


def run(code: str, *words: object) -> str:
    """Run some Python in a process of its own and give the last line that it prints."""
    argv = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().rpartition("\n")[2]


def measure(files: int, runs: int, chain_runs: int) -> dict[str, float]:
    """Make, collect, merge and read; give the median seconds of each way, and the most opens of one file.

    :raises SystemExit: if a file was not opened just once.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module = folder / "tree_collector.py"
        module.write_text(COLLECTOR)
        run(MAKE, folder, 0, files, runs)
        run(COLLECT, folder, module, files)
        answer = json.loads(run(READ, folder, files, runs, chain_runs))
    opens: dict[str, int] = answer.pop("opens")
    if set(opens.values()) != {1}:
        raise SystemExit(f"Files were opened more than once: {opens}")
    return {way: statistics.median(seconds) for way, seconds in answer.items() if seconds}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    largest = (arguments.files, arguments.runs)
    began = time.perf_counter()
    base: dict[str, float] = {}
    for files, runs in ((10, 20), (10, 100), (10, 200), (100, 200), largest):
        found = measure(files, runs, min(20, runs) if (files, runs) == largest else 0)
        base = base or found
        print(
            f"{files} files x {runs} runs, {runs} executions of one run each; every file opened once:\n"
            + "\n".join(
                f"  {what}: {1e3 * found[way]:.3f} ms, {found[way] / base[way]:.2f} times that of the smallest"
                for way, what in WAYS.items()
            ),
            flush=True,
        )
    for way, what in (("plain", "plain chain"), ("by_name", "chain by name")):
        print(
            f"  {what} over {files} files: {1e3 * found[way]:.0f} ms, {found[way] / found['tree']:.0f} times the tree's"
        )
    print(f"({time.perf_counter() - began:.0f} s with making the files)")


if __name__ == "__main__":
    main()
