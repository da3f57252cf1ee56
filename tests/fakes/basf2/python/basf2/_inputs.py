"""Modules that read events, or make them."""

import glob

from basf2 import _options
from basf2._logging import B2FATAL
from basf2._modules import Module
from basf2._params import ListOf


class RootInput(Module):
    """Read events from ROOT files."""

    PARAMS = {
        "inputFileName": "",
        "inputFileNames": ListOf(str),
        "entrySequences": ListOf(str),
        "ignoreCommandLineOverride": False,
        "skipNEvents": 0,
        "branchNames": ListOf(str),
        "excludeBranchNames": ListOf(str),
        "branchNamesPersistent": ListOf(str),
        "parentLevel": 0,
        "collectStatistics": False,
        "recovery": True,
        "cacheSize": 0,
    }
    makes_events = False

    def initialize(self):
        names = list(self.get("inputFileNames")) or [self.get("inputFileName")]
        if _options.input_files and not self.get("ignoreCommandLineOverride"):
            names = _options.input_files
        self._files = [path for name in names for path in (sorted(glob.glob(name)) or [name]) if path]
        if not self._files:
            B2FATAL("There are no input files.")
        sequences = self.get("entrySequences")
        if sequences and len(sequences) != len(self._files):
            B2FATAL(
                f"Number of provided filenames does not match the number of given entrySequences parameters: "
                f"len(inputFileNames) = {len(self._files)}, len(entrySequences) = {len(sequences)}"
            )
        self._sequences = sequences or [""] * len(self._files)

    def read_events(self, event):
        """Fill the event with one after the other."""
        skip = self.get("skipNEvents")
        for path, sequence in zip(self._files, self._sequences, strict=True):
            for _ in self._read_file(path, sequence, event):
                if skip:
                    skip -= 1
                    continue
                yield event

    @staticmethod
    def _read_file(path, sequence, event):
        import ROOT

        file = ROOT.TFile.Open(path)
        tree = file.Get("tree") if file and not file.IsZombie() else None
        if not tree:
            B2FATAL(f"Input file {path} cannot be opened, or has no events")
        has_trigger = bool(tree.GetBranch("SoftwareTriggerResult"))
        for entry in list_entries(sequence, tree.GetEntries()):
            tree.GetEntry(entry)
            event.exp, event.run, event.event, event.value = tree.exp, tree.run, tree.event, tree.value
            event.trigger = {str(k): int(v) for k, v in tree.SoftwareTriggerResult} if has_trigger else None
            yield event
        file.Close()


class EventInfoSetter(Module):
    """Make events without data, where there is no input; behind an input module it does nothing."""

    PARAMS = {
        "evtNumList": ListOf(int, default=[1]),
        "runList": ListOf(int, default=[0]),
        "expList": ListOf(int, default=[0]),
        "skipNEvents": 0,
        "production": 0,
    }
    makes_events = True

    def read_events(self, event):
        """Fill the event with one after the other."""
        lists = (self.get("expList"), self.get("runList"), self.get("evtNumList"))
        if len(set(map(len, lists))) > 1:
            B2FATAL("The expList, runList and evtNumList of EventInfoSetter are not of one length.")
        for exp, run, count in zip(*lists, strict=True):
            for number in range(1, (_options.max_events or count) + 1):
                event.exp, event.run, event.event, event.value, event.trigger = exp, run, number, 0.0, None
                yield event


def list_entries(sequence, count):
    """Give the entries that a sequence such as `0:99,200` names; both ends belong to it. An empty one names all."""
    if not sequence:
        return range(count)
    entries = []
    for part in sequence.split(","):
        first, colon, last = part.partition(":")
        low = int(first or 0)
        high = int(last or count - 1) if colon else low
        entries += range(low, min(high, count - 1) + 1)
    return entries
