"""The collectors and algorithms of the laboratory, as text: each test run writes them to modules of its own."""

from __future__ import annotations

CALIBRATORS = '''
import os
import pathlib
import signal
import time

from airflow_provider_caf.core.strategies import Commit, Execute, Report, Strategy, complete, fail
from airflow_provider_caf.worker import Algorithm, Collector, ExpRun, IoV, ResultCode


class HitCollector(Collector):
    """Keeps x, minus the shift that was found before."""

    prefix = "Hits"
    scale = 1.0
    seen = ""  # a payload to note for every run

    def prepare(self):
        import ROOT

        self.register("x", ROOT.TH1D("x", "", 1000, -100, 100))

    def start_run(self):
        self.shift = self.get_payload("Shift", self.current_run)["value"] if self.iteration else 0.0
        if self.seen:
            print("saw", self.current_run, self.get_payload(self.seen, self.current_run))

    def collect(self, event):
        self.get("x").Fill(self.scale * event.x - self.shift)


class OtherCollector(HitCollector):
    prefix = "Other"


class AllCollector(HitCollector):
    granularity = "all"


class MeanAlgorithm(Algorithm):
    """The mean of x in each IoV."""

    prefix = "Hits"
    least = 1
    payload = "Mean"
    behaviour = ""
    mark = ""
    talks = False
    chatter = 0
    seconds = 0.0

    def calibrate(self):
        if self.talks:
            print("calibrates", self.runs, flush=True)
        time.sleep(self.seconds)
        entries = self.get("x").GetEntries()
        self.output["entries"] = entries
        if self.chatter:
            self.output["chatter"] = "x" * self.chatter
        if entries < self.least:
            return ResultCode.NOT_ENOUGH_DATA
        if self.runs[-1] == ExpRun(1, 3) or "at once" in self.behaviour:
            if "raise" in self.behaviour:
                raise RuntimeError("no convergence after 17 steps")
            if "crash" in self.behaviour and not os.path.exists("crashed"):
                print("about to crash", flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
            if "nonsense" in self.behaviour:
                return "fine"
            if "fail" in self.behaviour:
                return ResultCode.FAILURE
            if "exit" in self.behaviour:
                os._exit(3)
            if "kill" in self.behaviour:
                os.kill(os.getpid(), signal.SIGKILL)
            if "hang" in self.behaviour:
                time.sleep(600)
            if "close" in self.behaviour:
                os.closerange(3, 100)
                time.sleep(600)
        self.save_payload({"value": self.get("x").GetMean(), "iteration": self.iteration}, self.payload)
        return ResultCode.ITERATE if "iterate" in self.behaviour else ResultCode.OK


class ShiftAlgorithm(Algorithm):
    """The mean of all, until it does not move any more."""

    prefix = "Hits"

    def calibrate(self):
        mean = self.get("x").GetMean()
        before = self.get_payload("Shift")["value"] if self.iteration else 0.0
        self.save_payload({"value": before + mean, "iteration": self.iteration}, "Shift")
        return ResultCode.OK if abs(mean) < 0.5 else ResultCode.ITERATE


class ReadingAlgorithm(Algorithm):
    """Notes what it can see of other payloads."""

    prefix = "Hits"
    reads = []

    def calibrate(self):
        self.output = {name: self.get_payload(name) for name in self.reads}
        self.save_payload({"seen": self.output}, "Read")
        return ResultCode.OK


class BigAlgorithm(Algorithm):
    """Writes a payload of about a megabyte that cannot be compressed much."""

    prefix = "Hits"

    def calibrate(self):
        import random

        generator = random.Random(1)
        self.save_payload([generator.random() for _ in range(50000)], "Big")
        return ResultCode.OK


class MergingAlgorithm(Algorithm):
    """Adds up payloads of other calibrations; it collects nothing."""

    reads = "Mean"

    def calibrate(self):
        values = [self.get_payload(self.reads, run)["value"] for run in self.runs]
        self.save_payload({"sum": sum(values), "runs": len(values)}, "Merged")
        return ResultCode.OK


class GettingAlgorithm(MergingAlgorithm):
    def calibrate(self):
        self.get("x")


class ValidatingAlgorithm(Algorithm):
    """Saves nothing."""

    prefix = "Hits"

    def calibrate(self):
        self.output["mean"] = self.get("x").GetMean()
        return ResultCode.OK


class SideFileAlgorithm(Algorithm):
    """Notes which files it can reach."""

    prefix = "Hits"

    def calibrate(self):
        self.output = {"files": self.output_files, "input": list(self.input_files)}
        return ResultCode.OK


def take_side_files(algorithm):
    return [path for paths in algorithm.output_files.values() for path in paths if path.endswith(".side")]


def take_nonsense(algorithm):
    return "a.root"


class NeedsAnother(MeanAlgorithm):
    prefix = "Vertex"


class FirstRunsStrategy(Strategy):
    """Commits the first run and fails at the second."""

    def plan(self, runs):
        done = yield Execute(runs=runs[:1], iov=IoV.spanning(runs[:1]))
        yield Commit(execution=done)
        yield Report(execution=done)
        yield Execute(runs=runs[1:2], iov=IoV.spanning(runs[1:2]))
        return fail("the second run looks strange")


class HoleStrategy(Strategy):
    """Executes every run, and commits all but the second."""

    def plan(self, runs):
        for number, run in enumerate(runs):
            done = yield Execute(runs=(run,), iov=IoV.spanning((run,)))
            yield Report(execution=done)
            if number != 1:
                yield Commit(execution=done)
        return complete()


class BrokenStrategy(Strategy):
    """Commits the first run and has a mistake in its code."""

    def plan(self, runs):
        done = yield Execute(runs=runs[:1], iov=IoV.spanning(runs[:1]))
        yield Commit(execution=done)
        return complete(runs["first"])


class GreedyAlgorithm(MeanAlgorithm):
    """Takes more memory with each execution, prints a lot, and tells who executed it."""

    kept = ()

    def calibrate(self):
        self.kept = (*self.kept, b"x" * 60_000_000)
        for _ in range(1000):
            print("y" * 1000)
        code = super().calibrate()
        self.output.update(pid=os.getpid(), cpus=self.cpus, threads=os.environ["OMP_NUM_THREADS"])
        return code


class InsideAlgorithm(MeanAlgorithm):
    """Saves payloads with IoVs of their own; one changes inside a run and carries the events as data."""

    def calibrate(self):
        for run in self.runs:
            self.save_payload({"x": self.get("x", runs=[run]).GetMean()}, "ByRun", IoV.between(run, run))
        self.save_payload([{"from_event": 0, "value": 1}, {"from_event": 500, "value": 2}], "ByEvent")
        return ResultCode.OK


def shift_all(algorithm):
    """Move what was collected, in the files themselves."""
    import ROOT

    for path in algorithm.input_files:
        print("changes", path, flush=True)
        file = ROOT.TFile.Open(path, "UPDATE")
        folders = [file]
        while folders:
            folder = folders.pop()
            for key in list(folder.GetListOfKeys()):
                item = key.ReadObj()
                if isinstance(item, ROOT.TDirectory):
                    folders.append(item)
                elif isinstance(item, ROOT.TH1D):
                    item.GetXaxis().SetLimits(-100 + 7, 100 + 7)
                    item.ResetStats()
                    folder.WriteObject(item, item.GetName(), "overwrite")
        file.Close()


def warm_up(algorithm):
    (pathlib.Path.cwd() / "warm").write_text("yes")


def skim(job):
    pathlib.Path("skimmed").write_text("yes")


NOT_A_CLASS = 7
'''

PLAIN_CALIBRATORS = '''
"""The same algorithms without ROOT: what was collected is known here, and a payload's file is the text of its value."""
import json
import pathlib

from airflow_provider_caf.worker import constants
from airflow_provider_caf.worker.collect import collected
from lab_calibrators import *

HITS = {hits}


class Sample:
    """Answers as a histogram of these values does."""

    def __init__(self, values):
        self._values = values

    def GetEntries(self):
        return float(len(self._values))

    def GetMean(self):
        return sum(self._values) / len(self._values)


collected.CollectedData.get = lambda self, name, runs, prefix: Sample([x for run in runs for x in HITS[run]])
constants.build_payload = lambda value, name: json.dumps(value, sort_keys=True).encode()
constants.read_payload = lambda path, name: json.loads(pathlib.Path(path).read_text())
'''

NO_ROOT = '''
"""Stands for ROOT where nobody needs it: it can be imported, and that is all."""


class PyConfig:
    pass


class gROOT:
    @staticmethod
    def SetBatch(is_on):
        pass
'''
