"""Measure a collector on frames against the loop over events, per event.

One million events with ten columns in a few runs are made, with LZ4, which is fast to read. A collector fills a
histogram of each column with `collect`, the other books the same with `collect_frame`. The loop gets a tenth of the
events, in a file of its own, as it takes minutes for all; its time is multiplied. Both run in processes of their own,
after a first run that loads ROOT and compiles. The frame reads the smaller file, too, and the histograms are compared
bin by bin. With --runs the same events are cut into more runs. Run it as

    python benchmarks/bench_frames.py [--events 1000000] [--loop-events 100000] [--columns 10] [--runs 10]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

MAKE = """
import sys

import ROOT

path, events, columns, runs = sys.argv[1], *map(int, sys.argv[2:])
frame = ROOT.RDataFrame(events).Define("exp", "1").Define("run", f"int(rdfentry_ * {runs} / {events})")
for column in range(columns):
    frame = frame.Define(f"x{column}", f"gRandom->Gaus({column}, 1)")
options = ROOT.RDF.RSnapshotOptions()
options.fCompressionAlgorithm, options.fCompressionLevel = ROOT.ROOT.RCompressionSetting.EAlgorithm.kLZ4, 4
frame.Snapshot("events", path, "", options)
"""

COLLECT = """
import json, sys, time

from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.root import load_root

ROOT = load_root()
way, path, output, columns = *sys.argv[1:4], int(sys.argv[4])

class Loop(Collector):
    prefix = "Bench"

    def prepare(self):
        for column in range(columns):
            self.register(f"h{column}", ROOT.TH1D(f"h{column}", "", 100, -5, 15))

    def collect(self, event):
        for number, name in names:
            self.get(number).Fill(getattr(event, name))

names = [(f"h{column}", f"x{column}") for column in range(columns)]

class Frame(Collector):
    prefix = "Bench"

    def collect_frame(self, frame, run):
        for column in range(columns):
            self.book(f"h{column}", frame.Histo1D((f"h{column}", "", 100, -5, 15), f"x{column}"))

cls = {"loop": Loop, "frame": Frame}[way]
warm = cls()
warm.max_events_per_run = 1
run_collector(warm, [path], (), output)
wall, cpu = time.perf_counter(), time.process_time()
counts = run_collector(cls(), [path], (), output)
used = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
print(json.dumps({**used, "events": sum(counts.values())}))
"""

COMPARE = """
import sys

import ROOT

def read(path):
    file = ROOT.TFile.Open(path)
    found = {}
    for folder in file.Get("Bench").GetListOfKeys():
        if folder.IsFolder() and folder.GetName() != "RunRange":
            for key in folder.ReadObj().GetListOfKeys():
                item = key.ReadObj()
                found[key.GetName()] = [item.GetBinContent(at) for at in range(item.GetNcells())]
    return found

loop, frame = map(read, sys.argv[1:])
print(len(loop) if loop == frame else "different")
"""


def run(code: str, *words: object) -> str:
    """Run some Python in a process of its own and give the last line that it prints."""
    argv = [sys.executable, "-W", "ignore", "-c", code, *map(str, words)]
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().rpartition("\n")[2]


def main() -> None:
    """Measure and print.

    :raises SystemExit: if the two do not agree.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--loop-events", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, events in (("all", arguments.events), ("few", arguments.loop_events)):
            run(MAKE, folder / f"{file}.root", events, arguments.columns, arguments.runs)
        found = {}
        for way, file in (("loop", "few"), ("frame", "few"), ("frame", "all")):
            words = (way, folder / f"{file}.root", folder / f"{way}_{file}.root", arguments.columns)
            found[way, file] = json.loads(run(COLLECT, *words))
            used = found[way, file]
            print(f"{way}: {used['events']} events in {used['wall']:.2f} s, {used['cpu']:.2f} s of CPU", flush=True)
        same = run(COMPARE, folder / "loop_few.root", folder / "frame_few.root")
    loop, frame = found["loop", "few"], found["frame", "all"]
    counts = (loop["events"], frame["events"])
    if same != str(arguments.columns * arguments.runs) or counts != (arguments.loop_events, arguments.events):
        raise SystemExit(f"The two do not agree: {same} histograms, {counts} events")
    ratios = {key: loop[key] / counts[0] / (frame[key] / counts[1]) for key in ("cpu", "wall")}
    print(
        f"{arguments.columns} columns, {arguments.runs} runs; {same} histograms agree; per event the frame is "
        f"{ratios['cpu']:.1f} times as fast by CPU, {ratios['wall']:.1f} by the clock"
    )


if __name__ == "__main__":
    main()
