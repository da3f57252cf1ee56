"""The collector, and the file that it writes to."""

from array import array

from basf2._logging import B2FATAL, B2INFO
from basf2._modules import Module
from basf2._random import generator


class HistoManager(Module):
    """Open a file for the objects of collectors."""

    PARAMS = {"histoFileName": "histofile.root", "workDirName": "."}

    def open_file(self):
        """Open it."""
        import ROOT

        return ROOT.TFile.Open(self.get("histoFileName"), "RECREATE")

    def initialize(self):
        self.world.histograms = self.open_file()
        if not self.world.histograms or self.world.histograms.IsZombie():
            B2FATAL(f"The file {self.get('histoFileName')} cannot be written")

    def terminate(self):
        self.world.histograms.Close()


class CaTest(Module):
    """A collector: a histogram and a tree of the values of each run.

    ::

        <name of the module>/RunRange
                            /MyHisto/MyHisto_<exp>.<run>     TH1D; -1.-1 for the granularity `all`
                            /MyTree/MyTree_<exp>.<run>       exp/I, run/I, event/I, value/D
    """

    PARAMS = {
        "granularity": "run",
        "maxEventsPerRun": -1,
        "preScale": 1.0,
        "spread": 15.0,
        "sideFile": "",
    }

    def initialize(self):
        import ROOT

        if self.get("granularity") not in ("run", "all"):
            B2FATAL(f"Invalid granularity option provided: '{self.get('granularity')}'")
        self._root = ROOT
        self._range = ROOT.Belle2.RunRange()
        self._range.setGranularity(self.get("granularity"))
        self._histograms = {}
        self._trees = {}
        self._counts = {}
        self._folder = None
        self._side = open(self.get("sideFile"), "w") if self.get("sideFile") else None  # noqa: SIM115 - until terminate

    def beginRun(self):
        # Also a run of which nothing is collected has been there.
        event = self.world.event
        self._range.add(event.exp, event.run)
        self._make_folder()

    def event(self):
        event = self.world.event
        run = (event.exp, event.run)
        limit = self.get("maxEventsPerRun")
        if -1 < limit <= self._counts.get(run, 0):
            return
        if self.get("preScale") < 1 and generator.random() >= self.get("preScale"):
            return
        self._counts[run] = self._counts.get(run, 0) + 1
        key = run if self.get("granularity") == "run" else (-1, -1)
        if key not in self._histograms:
            self._make_objects(key)
        self._histograms[key].Fill(event.value)
        self._fill_tree(key)
        if self._side:
            self._side.write(f"{event.exp} {event.run} {event.event} {event.value}\n")

    def terminate(self):
        self._make_folder()
        for key, histogram in self._histograms.items():
            self._folder.Get("MyHisto").WriteTObject(histogram)
            self._folder.Get("MyTree").WriteTObject(self._trees[key][0])
        self._folder.WriteTObject(self._range, "RunRange")
        if self._side:
            self._side.close()
        B2INFO(f"{self.name()}: {len(self._counts)} runs, {sum(self._counts.values())} events")

    def _make_folder(self):
        if self._folder is not None:
            return
        if self.world.histograms is None:
            B2FATAL(f"The collector {self.name()} needs a HistoManager in its path.")
        if self.world.histograms.GetKey(self.name()) or self.world.histograms.GetDirectory(self.name()):
            B2FATAL(f"There are two collectors {self.name()}: use set_name.")
        self._folder = self.world.histograms.mkdir(self.name())
        for name in ("MyHisto", "MyTree"):
            self._folder.mkdir(name)

    def _make_objects(self, key):
        text = f"{key[0]}.{key[1]}"
        self._histograms[key] = self._root.TH1D(f"MyHisto_{text}", "values", 1000, -50, 50)
        self._histograms[key].SetDirectory(self._root.nullptr)
        tree = self._root.TTree(f"MyTree_{text}", "values")
        tree.SetDirectory(self._folder.Get("MyTree"))
        numbers = {name: array("i", [0]) for name in ("exp", "run", "event")}
        for name, number in numbers.items():
            tree.Branch(name, number, f"{name}/I")
        numbers["value"] = array("d", [0.0])
        tree.Branch("value", numbers["value"], "value/D")
        self._trees[key] = (tree, numbers)

    def _fill_tree(self, key):
        tree, numbers = self._trees[key]
        for name, number in numbers.items():
            number[0] = getattr(self.world.event, name)
        tree.Fill()
