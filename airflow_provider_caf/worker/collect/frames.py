"""Run a collector on frames of ROOT: what it books for each run is filled in C++, and each event is read once.

The events of a run are found first, as in the loop over events: with run, prescale, trigger and limit. Then each run
gets an `RDataFrame` over the stretch of its files from its first to its last event. A single frame with a filter for
each run would ask every filter for every event; so many short loops are faster, and ROOT compiles what they have in
common once. They all run when everything is booked, by `RunGraphs`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.events import EventFile
from airflow_provider_caf.worker.collect.run_objects import RunObjects, check_object_name
from airflow_provider_caf.worker.collect.tree_reader import load_reader
from airflow_provider_caf.worker.root import declare, keep_directory, load_root
from airflow_provider_caf.worker.tracebacks import tell_place

_PATTERN = "*[]"
"""A frame takes a path with one of these for a pattern."""

_CHOOSER = """
#include <algorithm>
#include <vector>
#include <ROOT/RDataFrame.hxx>
namespace airflow_provider_caf {
// Keep the entries between the 1st and 2nd bound, the 3rd and 4th, and so on.
ROOT::RDF::RNode choose_entries(ROOT::RDF::RNode frame, const std::vector<ULong64_t> &bounds) {
  return frame.Filter(
      [bounds](ULong64_t entry) {
        return (std::upper_bound(bounds.begin(), bounds.end(), entry) - bounds.begin()) % 2 == 1;
      },
      {"rdfentry_"});
}
}
"""


@dataclass
class Part:
    """The chosen entries of one run, or of all runs, in one file.

    :param count: how many entries the file has.
    :param bounds: first entry, and the one after the last, of stretches that follow one another.
    """

    path: str
    count: int
    bounds: list[int] = field(default_factory=list)

    def add(self, entries: Sequence[int]) -> None:
        """Add sorted entries after those that are there."""
        stretches = [(entries.start, entries.stop)] if isinstance(entries, range) else [(at, at + 1) for at in entries]
        for first, last in stretches:
            if first == last:
                continue
            if self.bounds and self.bounds[-1] == first:
                self.bounds[-1] = last
            else:
                self.bounds += [first, last]


class FrameRun:
    """The frame of one run, or of all, and what was booked on it.

    :param run: None: all runs.
    """

    def __init__(self, run: ExpRun | None) -> None:
        self.run = run
        self.parts: list[Part] = []
        self.results: dict[str, Any] = {}
        self.trees: dict[str, str] = {}
        self.frame: Any = None
        self._counter: Any = None

    def add(self, file: EventFile, entries: Sequence[int]) -> None:
        """Add the chosen entries of a file, which may be none."""
        if not self.parts or self.parts[-1].path != file.path:
            self.parts.append(Part(file.path, file.count))
        self.parts[-1].add(entries)

    def build_place(self) -> str:
        """Say to the reader where the events are, beside its first file."""
        more = f"and {len(self.parts) - 1} more files, " if len(self.parts) > 1 else ""
        return more + ("all runs" if self.run is None else f"run {self.run}")

    @property
    def count(self) -> int:
        """How many events are chosen."""
        return sum(sum(part.bounds[1::2]) - sum(part.bounds[::2]) for part in self.parts)

    def open(self, tree: str) -> None:
        """Make the frame.

        :raises DefinitionError: if single events are chosen in several threads.
        """
        root = load_root()
        parts = [part for part in self.parts if part.bounds] or self.parts[:1]
        spec = root.RDF.Experimental.RDatasetSpec()
        bounds: list[int] = []
        offset = 0
        for number, part in enumerate(parts):
            spec.AddSample((str(number), tree, part.path))
            bounds += [offset + bound for bound in part.bounds]
            offset += part.count
        first, last = (bounds[0], bounds[-1]) if bounds else (0, 1)
        spec.WithGlobalRange((first, last))
        self.frame = root.RDF.AsRNode(root.RDataFrame(spec))
        if self.count < last - first:
            if root.ROOT.IsImplicitMTEnabled():
                raise DefinitionError(
                    "collect_frame in several threads cannot choose single events, and those of the run "
                    f"{self.run} do not follow one another.",
                    hint="Do not enable implicit multi-threading, or leave prescale, limit and trigger away.",
                )
            self.frame = declare(_CHOOSER).choose_entries(self.frame, root.std.vector["ULong64_t"](array("Q", bounds)))
        self._counter = self.frame.Count()

    def list_results(self) -> list[Any]:
        """Return all that ROOT has to run."""
        return [self._counter, *self.results.values()]

    def check_count(self) -> None:
        """Refuse a frame that has seen other events than were chosen.

        :raises InputError: with the numbers.
        """
        seen = int(self._counter.GetValue())
        if seen != self.count:
            raise InputError(
                f"ROOT's frame gave {seen} of the {self.count} events of run {self.run} in "
                f"{', '.join(part.path for part in self.parts)}.",
                hint="Make the files again, or write collect(event).",
            )


class FrameLoop:
    """All frames of a collector in one subjob.

    :param what: the collector, for messages, such as `collector 'Vertex'`.
    :param objects: where the results go.
    """

    def __init__(self, what: str, objects: RunObjects) -> None:
        self._what = what
        self._objects = objects
        self._runs: dict[ExpRun | None, FrameRun] = {}
        self._path = ""
        self._folder: TemporaryDirectory[str] | None = None
        self.current: FrameRun | None = None

    def add(self, file: EventFile, run: ExpRun | None, entries: Sequence[int]) -> None:
        """Add chosen events of a file.

        :param run: None: those of all runs go together.
        :raises InputError: if frames would not read the file as it is.
        """
        if file.path != self._path:
            check_frame_file(file)
            self._path = file.path
        self._runs.setdefault(run, FrameRun(run)).add(file, entries)

    def book(self, name: str, result: Any) -> None:
        """Keep what an action of the frame gives, under a name.

        :raises DefinitionError: if the name is taken or not allowed, there is no frame, or it is no such result.
        """
        current = self._get_current(name)
        if name in current.results or name in self._objects.names:
            raise DefinitionError(
                f"The {self._what} cannot book {name!r}: the name is booked or registered already.",
                hint="Take another name; what is booked is not registered in prepare.",
            )
        if not hasattr(result, "GetValue"):
            raise DefinitionError(
                f"The {self._what} cannot book {name!r}: a {type(result).__name__} is no result of a frame.",
                hint="Give what an action gives, such as frame.Histo1D(…); trees by book_tree.",
            )
        current.results[name] = result

    def book_tree(self, name: str, frame: Any, columns: Sequence[str]) -> None:
        """Keep columns of a frame as a tree, under a name.

        :raises DefinitionError: as `book`.
        """
        root = load_root()
        current = self._get_current(name)
        if self._folder is None:
            # Beside the output: there is room, and it goes with the job.
            self._folder = TemporaryDirectory(prefix=".frames_", dir=self._objects.folder)
        options = root.RDF.RSnapshotOptions()
        options.fLazy = True
        if hasattr(root.RDF, "ESnapshotOutputFormat"):
            # Older ROOT knows trees only; newer warns where an RNTuple becomes a tree that nobody asked for.
            options.fOutputFormat = root.RDF.ESnapshotOutputFormat.kTTree
        path = f"{self._folder.name}/{current.run}_{name}.root"
        self.book(name, frame.Snapshot(name, path, root.std.vector["std::string"](list(columns)), options))
        current.trees[name] = path

    def _get_current(self, name: str) -> FrameRun:
        """Return the run that is booked, if something may be booked under this name."""
        check_object_name(name, f"name of an object of the {self._what}")
        if self.current is None:
            raise DefinitionError(
                f"The {self._what} books {name!r} outside of collect_frame.", hint="Book in collect_frame only."
            )
        return self.current

    def run(self, collector: Any) -> None:
        """Have everything booked, run it, and return the objects to their runs.

        :param collector: its hooks `start_run`, `collect_frame` and `end_run` are called.
        :raises CafError: if ROOT could not run it.
        """
        root = load_root()
        try:
            for frame_run in self._runs.values():
                frame_run.open(collector.tree)
                collector._loop.run = frame_run.run
                if frame_run.run is not None:
                    collector.start_run()
                self.current = frame_run
                with tell_place(frame_run.parts[0].path, frame_run.build_place):
                    collector.collect_frame(frame_run.frame, frame_run.run)
            self.current = None
            results = [result for frame_run in self._runs.values() for result in frame_run.list_results()]
            try:
                root.RDF.RunGraphs(results)
            except (RuntimeError, TypeError, root.std.exception) as error:
                paths = sorted({part.path for frame_run in self._runs.values() for part in frame_run.parts})
                raise CafError(
                    f"ROOT could not run what the {self._what} booked over {', '.join(paths)}: {error}",
                    hint="A column or a formula may be wrong, or a file damaged; see the log above.",
                ) from error
            # A tree without entries may have no branches: the others say which it has.
            for frame_run in sorted(self._runs.values(), key=lambda frame_run: frame_run.count == 0):
                frame_run.check_count()
                self._take(frame_run)
            for run in filter(None, self._runs):
                collector._loop.run = run
                collector.end_run()
            collector._loop.run = None
        finally:
            self.current = None
            self._runs = {}
            if self._folder is not None:
                self._folder.cleanup()

    def _take(self, frame_run: FrameRun) -> None:
        root = load_root()
        for name, result in frame_run.results.items():
            if name not in frame_run.trees:
                self._objects.adopt(name, frame_run.run, result.GetValue())
                continue
            with keep_directory():
                file = root.TFile.Open(frame_run.trees[name])
            self._objects.adopt(name, frame_run.run, file.Get(name))
            file.Close()


def check_frame_file(file: EventFile) -> None:
    """Refuse a file that frames would not read as it is.

    :raises InputError: if its path looks like a pattern, or a branch has baskets without entries.
    """
    if any(letter in file.path for letter in _PATTERN):
        raise InputError(
            f"A frame cannot read the input file {file.path!r}: it takes the path for a pattern.",
            hint="Rename the file or folder, or make a symbolic link to it with a plain name.",
        )
    name = "" if file.tree is None else str(load_reader().find_empty_basket(file.tree))
    if name:
        raise InputError(
            f"The {file.build_where(name)} has a basket without entries, and ROOT's frames misread the event after it.",
            hint="Write collect(event), which reads it; or make the file without empty chunks.",
        )
