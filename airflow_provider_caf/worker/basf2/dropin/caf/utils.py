"""Runs, intervals of validity, databases and graphs, as scripts know them."""

from __future__ import annotations

import enum
import functools
import json
import os
import shutil
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from graphlib import CycleError, TopologicalSorter
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import ParseResult, urlparse

from airflow_provider_caf.core.iov import IoV as CoreIoV
from airflow_provider_caf.core.iov import find_iov_gaps
from airflow_provider_caf.worker.basf2.dropin.warn import warn
from airflow_provider_caf.worker.programs import enter_folder, run_program

b2info_newline = "\n       "


def B2INFO_MULTILINE(lines: Iterable[str]) -> None:
    """Print several lines as one message."""
    import basf2

    basf2.B2INFO(b2info_newline.join(lines))


class ExpRun(NamedTuple):
    """One run of one experiment."""

    exp: int
    run: int

    def make_iov(self) -> IoV:
        """Return the IoV of this run alone."""
        return IoV(self.exp, self.run, self.exp, self.run)

    def find_gap(self, other: ExpRun) -> IoV | None:
        """Return the runs between two of one experiment, or None."""
        lower, upper = sorted((self, other))
        if lower.exp != upper.exp or upper.run - lower.run <= 1:
            return None
        return IoV(lower.exp, lower.run + 1, lower.exp, upper.run - 1)


class _IoV(NamedTuple):
    exp_low: int = -1
    run_low: int = -1
    exp_high: int = -1
    run_high: int = -1


class IoV(_IoV):
    """An interval of runs, both ends in it; -1 is open."""

    @property
    def _cpp_iov(self) -> Any:
        """The experiment's own class of it."""
        import ROOT

        return ROOT.Belle2.IntervalOfValidity(*self)

    def contains(self, iov: IoV) -> bool:
        """Return whether the whole of another one lies in this one. The empty one lies in every one."""
        own, other = _normalise(self), _normalise(iov)
        return _is_empty(other) or (not _is_empty(own) and own.contains(other))

    def overlaps(self, iov: IoV) -> bool:
        """Return whether the two share a run."""
        own, other = _normalise(self), _normalise(iov)
        return not _is_empty(own) and not _is_empty(other) and own.overlaps(other)


def _normalise(iov: IoV) -> CoreIoV:
    """Return an IoV as the C++ class keeps it: an open experiment has no run, wrong ends change places."""
    low, high = ((exp, run if exp >= 0 else -1) for exp, run in (iov[:2], iov[2:]))
    kept = CoreIoV(*low, *high)
    return kept if kept.low <= kept.end else CoreIoV(*high, *low)


def _is_empty(iov: CoreIoV) -> bool:
    """Return whether an IoV has no end at all. For the C++ class that is no run, not every one."""
    return iov.exp_low < 0 and iov.exp_high < 0


@enum.unique
class AlgResult(enum.Enum):
    """The result codes of an algorithm, with the numbers of the C++ class."""

    ok = 0
    iterate = 1
    not_enough_data = 2
    failure = 3


class IoV_Result(NamedTuple):
    """An IoV, and the result code of its execution."""

    iov: IoV
    result: int


class LocalDatabase:
    """A local database.

    :param filepath: its `database.txt`.
    :param payload_dir: where its payloads are, if not beside that.
    :raises ValueError: if it is not there.
    """

    db_type = "local"

    def __init__(self, filepath: str | os.PathLike[str], payload_dir: str | os.PathLike[str] = "") -> None:
        path = Path(filepath)
        if not path.exists():
            raise ValueError(f"There is no local database {path}.")
        self.filepath = path.resolve()
        self.payload_dir = Path(payload_dir).resolve() if payload_dir else self.filepath.parent
        if not self.payload_dir.exists():
            raise ValueError(f"There is no folder of payloads {payload_dir}.")


class CentralDatabase:
    """A global tag of the central database."""

    db_type = "central"

    def __init__(self, global_tag: str) -> None:
        self.global_tag = global_tag


def find_gaps_in_iov_list(iov_list: Iterable[IoV]) -> list[IoV]:
    """Return what IoVs leave open between each other, inside an experiment."""
    return [IoV(*gap) for gap in find_iov_gaps([CoreIoV(*iov) for iov in iov_list])]


def split_runs_by_exp(runs: Iterable[ExpRun]) -> list[list[ExpRun]]:
    """Return the runs of each experiment as a list of their own, in order."""
    return [list(group) for _, group in groupby(runs, key=lambda run: run.exp)]


def runs_overlapping_iov(iov: IoV, runs: Iterable[ExpRun]) -> set[ExpRun]:
    """Return the runs that lie in an IoV."""
    return {run for run in runs if run.make_iov().overlaps(iov)}


def iov_from_runs(runs: Sequence[ExpRun]) -> IoV:
    """Return the IoV from the first to the last run of a list."""
    return IoV(*runs[0], *runs[-1])


def iov_from_runvector(iov_vector: Iterable[Any]) -> IoV:
    """Return the IoV from the first to the last run of a C++ vector."""
    return iov_from_runs(runs_from_vector(iov_vector))


def vector_from_runs(runs: Iterable[tuple[int, int]]) -> Any:
    """Return runs as the C++ classes want them."""
    import ROOT

    pair = ROOT.std.pair("int", "int")
    vector = ROOT.std.vector(pair)()
    for run in runs:
        vector.push_back(pair(*run))
    return vector


def runs_from_vector(exprun_vector: Iterable[Any]) -> list[ExpRun]:
    """Return the runs of a C++ vector."""
    return [ExpRun(int(pair.first), int(pair.second)) for pair in exprun_vector]


def find_run_lists_from_boundaries(boundaries: Sequence[ExpRun], runs: Iterable[ExpRun]) -> dict[IoV, list[ExpRun]]:
    """Return the runs between each boundary and the next one, by IoV. All are of one experiment."""
    lasts = [*(boundary.run - 1 for boundary in boundaries[1:]), -1]
    iovs = [IoV(*start, start.exp, last) for start, last in zip(boundaries, lasts)]
    known = list(runs)
    return {iov: sorted(runs_overlapping_iov(iov, known)) for iov in iovs}


def find_sources(dependencies: Mapping[str, Iterable[str]]) -> deque[str]:
    """Return the nodes on which nothing points, the last one first."""
    targets = {target for following in dependencies.values() for target in following}
    return deque(reversed([node for node in dependencies if node not in targets]))


def topological_sort(dependencies: Mapping[str, Iterable[str]]) -> list[str]:
    """Return an order of nodes, or nothing where they depend on each other in a circle.

    :param dependencies: node → the nodes that come after it.
    """
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for node, following in dependencies.items():
        sorter.add(node)
        for target in following:
            sorter.add(target, node)
    try:
        return list(sorter.static_order())
    except CycleError as error:
        warn(f"The dependencies go in a circle: {' -> '.join(map(str, error.args[1]))}.")
        return []


def all_dependencies(
    dependencies: Mapping[str, Iterable[str]], order: Iterable[str] | None = None
) -> OrderedDict[str, list[str]]:
    """Return for each node all that come after it, at any distance: in the order of a set, as in the reference."""

    def collect(node: str, seen: set[str]) -> None:
        for target in dependencies[node]:
            if target not in seen:
                seen.add(target)
                collect(target, seen)

    found: OrderedDict[str, list[str]] = OrderedDict()
    for node in order or dependencies:
        seen: set[str] = set()
        collect(node, seen)
        found[node] = list(seen)
    return found


def past_from_future_dependencies(future_dependencies: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Turn a graph around: node → what comes before it."""
    past: dict[str, list[str]] = defaultdict(list)
    for node, following in future_dependencies.items():
        for target in following:
            past[target].append(node)
    return past


def decode_json_string(object_string: str) -> Any:
    """Read JSON."""
    return json.loads(object_string)


def method_dispatch(func: Callable[..., Any]) -> Any:
    """Choose a method by the type of its first argument after `self`."""
    dispatcher = functools.singledispatch(func)

    def wrapper(*args: Any, **words: Any) -> Any:
        return dispatcher.dispatch(args[1].__class__)(*args, **words)

    functools.update_wrapper(wrapper, func)
    wrapper.register = dispatcher.register  # type: ignore[attr-defined]
    return wrapper


def temporary_workdir(path: Any) -> AbstractContextManager[None]:
    """Work in a folder, and go back to the one before."""
    return enter_folder(path)


class PathExtras:
    """Ask a path which modules are in it."""

    def __init__(self, path: Any = None) -> None:
        self.path = path

    def _list_names(self) -> list[str]:
        return [module.name() for module in self.path.modules()] if self.path else []

    def __contains__(self, module_name: str) -> bool:
        return module_name in self._list_names()

    def index(self, module_name: str) -> int:
        """Return the place of the first module of a name.

        :raises ValueError: if there is none.
        """
        return self._list_names().index(module_name)


def merge_local_databases(list_database_dirs: Iterable[str], output_database_dir: str) -> None:
    """Copy local databases into a new one, one after the other."""
    target = Path(output_database_dir)
    target.mkdir()
    with (target / "database.txt").open("w", encoding="utf-8") as text:
        for folder in map(Path, list_database_dirs):
            for path in folder.iterdir():
                if path.is_file() and path.name != "database.txt":
                    shutil.copy(path, target)
            text.write((folder / "database.txt").read_text("utf-8"))


def get_file_iov_tuple(file_path: str) -> tuple[str, IoV]:
    """Return a file and the IoV of its data."""
    return file_path, get_iov_from_file(file_path)


def get_iov_from_file(file_path: str) -> IoV:
    """Return the IoV of the data in a file, as the software's own command tells it."""
    # Which Python function knows it is not the same in all releases; the command is.
    argv = ["b2file-metadata-show", "--json", str(file_path)]
    shown = run_program(argv, captures=True)
    shown.check_returncode()
    found = json.loads(shown.stdout)
    return IoV(found["experimentLow"], found["runLow"], found["experimentHigh"], found["runHigh"])


def make_file_to_iov_dictionary(
    file_path_patterns: Iterable[str], polling_time: float = 10, pool: Any = None, filterfalse: Any = None
) -> dict[str, IoV]:
    """Return the IoV of the data in each file.

    :param polling_time: not used.
    :param pool: not used.
    :param filterfalse: files for which it says true are left out.
    """
    paths = find_absolute_file_paths(file_path_patterns)
    return {path: get_iov_from_file(path) for path in paths if filterfalse is None or not filterfalse(path)}


def find_absolute_file_paths(file_path_patterns: Iterable[str]) -> list[str]:
    """Return the files that patterns name; URIs stay as they are."""
    found: dict[str, None] = {}
    for pattern in file_path_patterns:
        if "://" in pattern:
            found[pattern] = None
            continue
        path = Path(pattern).absolute()
        parent = Path(path.anchor)
        for file in sorted(parent.glob(str(path.relative_to(parent)))):
            if file.is_file():
                found[str(file)] = None
    return list(found)


def create_directories(path: str | os.PathLike[str], overwrite: bool = True) -> None:
    """Make a folder, empty unless it may stay as it is."""
    folder = Path(path)
    if folder.exists() and overwrite:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def find_int_dirs(dir_path: str | os.PathLike[str]) -> list[Path]:
    """Return the folders whose names are whole numbers."""
    folder = Path(dir_path)
    return [entry for entry in folder.iterdir() if entry.is_dir() and entry.name.isdigit()] if folder.is_dir() else []


def parse_raw_data_iov(file_path: str) -> IoV:
    """Return the run of a raw data file by its path: `…/e0003/4S/r00123/…`."""
    exps = [part for part in Path(file_path).parts if part.startswith("e") and part[1:].isdigit()]
    runs = [part for part in Path(file_path).parts if part.startswith("r") and part[1:].isdigit()]
    if len(exps) != 1 or len(runs) != 1:
        raise ValueError(f"The path {file_path} has not one folder e<number> and one r<number>.")
    return ExpRun(int(exps[0][1:]), int(runs[0][1:])).make_iov()


def parse_file_uri(file_uri: str) -> ParseResult:
    """Return the parts of a URI; a path without a scheme is a file."""
    return urlparse(file_uri, scheme="file", allow_fragments=False)


UNBOUND_EXPRUN = ExpRun(-1, -1)


def grouper(n: int, iterable: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Cut into tuples of n; the last one may be shorter."""
    iterator = iter(iterable)
    while chunk := tuple(islice(iterator, n)):
        yield chunk


def pairwise(iterable: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each item with the one after it."""
    items = list(iterable)
    return zip(items, items[1:])
