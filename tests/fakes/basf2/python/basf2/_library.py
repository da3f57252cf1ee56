"""The modules that are registered."""

import glob
import random

from basf2._logging import B2FATAL, B2INFO
from basf2._modules import Module


class RootInput(Module):
    """Read events from ROOT files."""

    PARAMS = {"inputFileName": "", "inputFileNames": [], "entrySequences": [], "ignoreCommandLineOverride": False}

    def read_events(self, event):
        """Fill the event with one after the other."""
        import ROOT

        names = list(self.get("inputFileNames")) or [self.get("inputFileName")]
        files = [path for name in names for path in (sorted(glob.glob(name)) or [name])]
        sequences = self.get("entrySequences")
        if sequences and len(sequences) != len(files):
            B2FATAL(
                f"Number of provided filenames does not match the number of given entrySequences parameters: "
                f"len(inputFileNames) = {len(files)}, len(entrySequences) = {len(sequences)}"
            )
        for number, path in enumerate(files):
            file = ROOT.TFile.Open(path)
            if not file or file.IsZombie():
                B2FATAL(f"Input file {path} cannot be opened")
            yield from self._read_tree(file.Get("tree"), sequences[number] if sequences else None, event)
            file.Close()

    @staticmethod
    def _read_tree(tree, sequence, event):
        first, last = map(int, sequence.split(":")) if sequence else (0, tree.GetEntries() - 1)
        has_trigger = bool(tree.GetBranch("SoftwareTriggerResult"))
        for entry in range(first, min(last + 1, tree.GetEntries())):
            tree.GetEntry(entry)
            event.exp, event.run, event.event, event.value = tree.exp, tree.run, tree.event, tree.value
            event.trigger = {str(k): int(v) for k, v in tree.SoftwareTriggerResult} if has_trigger else None
            yield event


class HistoManager(Module):
    """Open a file for the histograms of other modules."""

    PARAMS = {"histoFileName": "histofile.root"}

    def open_file(self):
        import ROOT

        return ROOT.TFile.Open(self.get("histoFileName"), "RECREATE")

    def initialize(self):
        self.world.histograms = self.open_file()

    def terminate(self):
        self.world.histograms.Close()


class CaTest(Module):
    """A collector: a histogram of the values of each run."""

    PARAMS = {"granularity": "run", "spread": 15, "sideFile": ""}

    def initialize(self):
        import ROOT

        self._root = ROOT
        self._histograms = {}
        self._runs = set()
        self._side = open(self.get("sideFile"), "w") if self.get("sideFile") else None  # noqa: SIM115

    def event(self):
        event = self.world.event
        run = (event.exp, event.run)
        self._runs.add(run)
        key = run if self.get("granularity") == "run" else (-1, -1)
        if key not in self._histograms:
            name = f"MyHisto_{key[0]}.{key[1]}"
            self._histograms[key] = self._root.TH1D(name, "values", 1000, -50, 50)
            self._histograms[key].SetDirectory(self._root.nullptr)
        self._histograms[key].Fill(event.value)
        if self._side:
            self._side.write(f"{event.exp} {event.run} {event.event} {event.value}\n")

    def terminate(self):
        folder = self.world.histograms.mkdir(self.name())
        inner = folder.mkdir("MyHisto")
        for key, histogram in self._histograms.items():
            inner.WriteTObject(histogram, f"MyHisto_{key[0]}.{key[1]}")
        runs = "".join(f"({exp},{run})" for exp, run in sorted(self._runs))
        folder.WriteTObject(self._root.TNamed("RunRange", f"{self.get('granularity')} {runs}"), "RunRange")
        if self._side:
            self._side.close()
        B2INFO(f"{self.name()}: {len(self._runs)} runs")


class TriggerSkim(Module):
    """Give 1 for events that the trigger chose."""

    PARAMS = {
        "triggerLines": [],
        "expectedResult": 1,
        "logicMode": "or",
        "useRandomNumbersForPreScale": True,
        "resultOnMissing": None,
    }

    def initialize(self):
        if self.get("logicMode") not in ("or", "and"):
            B2FATAL("You have entered an invalid parameter for logicMode.")
        self._counters = {}

    def event(self):
        results = self.world.event.trigger
        missing = self.get("resultOnMissing")
        if results is None:
            if missing is None:
                B2FATAL("There are no trigger results.")
            self.return_value(missing)
            return
        found = [self._check(line, results, missing) for line in self.get("triggerLines")]
        self.return_value(all(found) if self.get("logicMode") == "and" else any(found))

    def _check(self, line, results, missing):
        name, prescale = (line, 1) if isinstance(line, str) else line
        if name not in results:
            if missing is None:
                B2FATAL(f"There is no trigger line {name}.")
            return bool(missing)
        if results[name] != self.get("expectedResult"):
            return False
        if prescale == 1:
            return True
        if self.get("useRandomNumbersForPreScale"):
            return random.randrange(prescale) == 0
        self._counters[name] = self._counters.get(name, 0) + 1
        return self._counters[name] % prescale == 1


class Progress(Module):
    """Do nothing."""

    PARAMS = {"maxN": 3}


class Gearbox(Module):
    """Do nothing."""

    PARAMS = {"fileName": ""}


class Geometry(Module):
    """Do nothing."""

    PARAMS = {"components": [], "useDB": True}


MODULES = {each.__name__: each for each in (RootInput, HistoManager, CaTest, TriggerSkim, Progress, Gearbox, Geometry)}
MODULES["SeqRootInput"] = type("SeqRootInput", (RootInput,), {})
