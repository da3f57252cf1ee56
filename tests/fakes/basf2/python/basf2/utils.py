"""What basf2 knows of files."""


class FileMetaData:
    """The metadata of a file; the stand-in looks at the events themselves."""

    def __init__(self, path, runs, events):
        self._path = path
        self._runs = runs
        self._events = events

    def getLfn(self):
        """Give the name of the file."""
        return self._path

    def getNFullEvents(self):
        """Give the number of events."""
        return self._events

    def getNEvents(self):
        """Give the number of events."""
        return self._events

    def getExperimentLow(self):
        """Give the experiment of the first run."""
        return self._runs[0][0] if self._runs else -1

    def getRunLow(self):
        """Give the first run."""
        return self._runs[0][1] if self._runs else -1

    def getExperimentHigh(self):
        """Give the experiment of the last run."""
        return self._runs[-1][0] if self._runs else -1

    def getRunHigh(self):
        """Give the last run."""
        return self._runs[-1][1] if self._runs else -1


def get_file_metadata(filename):
    """Give the metadata of a file."""
    import ROOT

    file = ROOT.TFile.Open(str(filename))
    tree = file.Get("tree") if file and not file.IsZombie() else None
    if not tree:
        raise KeyError(f"Cannot find FileMetaData object in {filename}")
    tree.SetBranchStatus("*", 0)
    for name in ("exp", "run"):
        tree.SetBranchStatus(name, 1)
    runs, count = set(), int(tree.GetEntries())
    for entry in range(count):
        tree.GetEntry(entry)
        runs.add((int(tree.exp), int(tree.run)))
    file.Close()
    return FileMetaData(str(filename), sorted(runs), count)
