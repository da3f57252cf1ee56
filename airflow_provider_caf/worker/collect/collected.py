"""Read what was collected, through the index that the merge wrote.

An object of some runs is found by its name in the index: no file is searched, each file is opened once, and
what is read does not grow with the number of files or runs that are not asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.worker.collect.moments import load_moments
from airflow_provider_caf.worker.collect.run_objects import ALL_RUNS
from airflow_provider_caf.worker.collect.signature import Tally
from airflow_provider_caf.worker.root import keep_directory, load_root, open_root_file, record_errors

VERSION = 1

_MEMORY_LIMIT = 256 * 1024 * 1024
"""Trees that are larger than this together, in bytes on disk, are merged into a scratch file."""


@record
class CollectedPrefix:
    """What one collection holds under one prefix.

    :param file: the merged file.
    :param events: how many events were collected of each run.
    :param objects: where each object of each run is in the file; granularity all has the run -1.-1.
    """

    file: str
    granularity: str
    events: Mapping[ExpRun, int]
    objects: Mapping[str, Mapping[ExpRun, str]]


def read_index(path: str) -> dict[str, CollectedPrefix]:
    """Read the index of one collection: its prefixes.

    :raises InputError: if it is missing, cut off or of another form.
    """
    try:
        value = json.loads(Path(path).read_text("utf-8"))
        if value["version"] != VERSION:
            raise ValueError(f"its version is {value['version']!r}, this program knows {VERSION}")
        # Nothing is merged where the outputs stay as they are; there is no prefix then.
        file = str(Path(path).parent / (value["file"] or ""))
        return {
            prefix: CollectedPrefix(
                file=file,
                granularity=str(value["granularity"]),
                events={ExpRun(exp, run): events for exp, run, events in content["runs"]},
                objects={
                    name: {_parse_run(text): place for text, place in places.items()}
                    for name, places in content["objects"].items()
                },
            )
            for prefix, content in value["prefixes"].items()
        }
    except FileNotFoundError as error:
        raise InputError(f"The index {path} of collected data does not exist.", hint="Run the merge again.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The index {path} of collected data cannot be read: {type(error).__name__}: {error}.",
            hint="Run the merge again.",
        ) from error


class CollectedData:
    """What the collectors of a calibration left for one algorithm.

    :param indexes: the index of each collection. Collections with one prefix are one to the algorithm.
    :param prefix: what the algorithm reads; None: whatever is there.
    :param what: the algorithm, for messages, such as `algorithm 'BeamSpot'`.
    :param scratch: a folder for large intermediate files.
    :raises InputError: if an index cannot be read.
    :raises DefinitionError: if no collector has the prefix.
    """

    def __init__(
        self,
        indexes: Sequence[str],
        prefix: str | None = None,
        *,
        what: str = "algorithm",
        scratch: str = ".",
    ) -> None:
        self._what = what
        self._scratch = scratch
        self._parts: dict[str, list[CollectedPrefix]] = {}
        for path in indexes:
            for name, part in read_index(path).items():
                self._parts.setdefault(name, []).append(part)
        self.prefix = prefix
        if prefix is not None:
            self._find_parts(prefix)
        self._readers: dict[str, FileReader] = {}
        self._trees: list[Any] = []
        self._scratch_files: list[Any] = []

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All prefixes that were collected, sorted."""
        return tuple(sorted(self._parts))

    @property
    def runs(self) -> tuple[ExpRun, ...]:
        """The collected runs of the prefix, or of all where it is not said, sorted."""
        chosen = self.prefixes if self.prefix is None else (self.prefix,)
        return tuple(sorted({run for name in chosen for part in self._parts[name] for run in part.events}))

    @property
    def granularity(self) -> str:
        """The granularity of what the algorithm reads.

        :raises InputError: if collections differ in it.
        """
        chosen = self.prefixes if self.prefix is None else (self.prefix,)
        found = {part.granularity for name in chosen for part in self._parts[name]}
        if len(found) > 1:
            raise InputError(
                f"The {self._what} reads collections of granularity run and all: {', '.join(chosen)}.",
                hint="Give all its collectors one granularity, or name the prefix that it reads.",
            )
        return found.pop() if found else "run"

    def list_names(self, prefix: str | None = None) -> tuple[str, ...]:
        """Return the names of the objects of a prefix, or of all that the algorithm reads, sorted."""
        chosen = prefix or self.prefix
        parts = self._find_parts(chosen) if chosen else [part for found in self._parts.values() for part in found]
        return tuple(sorted({name for part in parts for name in part.objects}))

    def get(self, name: str, runs: Iterable[ExpRun], prefix: str | None = None) -> Any:
        """Return an object merged over some runs; a new one at each call. A tree is valid until `release`.

        :param prefix: where to look, if not in the prefix of the algorithm.
        :raises InputError: if there is no such object, or none for any of the runs; or if those of the runs do not fit
            together, or their sum is not what was added.
        """
        parts = self._find_parts(prefix or self.prefix or self._guess_prefix(name))
        parts = [part for part in parts if name in part.objects]
        if not parts:
            raise InputError(
                f"The {self._what} asks for the object {name!r}, which was not collected.",
                hint=build_word_hint(name, self.list_names(prefix), "collected objects"),
            )
        wanted = sorted(set(runs))
        places = [
            (part.file, part.objects[name][run])
            for part in parts
            for run in ([ALL_RUNS] if part.granularity == "all" else wanted)
            if run in part.objects[name]
        ]
        if not places:
            raise InputError(
                f"The {self._what} asks for the object {name!r}, which was collected for none of the runs "
                f"{', '.join(map(str, wanted[:10]))}{', …' if len(wanted) > 10 else ''}.",
                hint="Another collection has these runs. Ask the same runs of all collections.",
            )
        items = [self._read(file, place) for file, place in places]
        item = items[0]
        if len(items) > 1:
            tally = Tally(f"object {name!r}")
            for added, (file, place) in zip(items, places):
                tally.add(added, f"{place} of {file}")
            item = self._add(items, name, tally)
            tally.check(item)
        if hasattr(item, "SetName"):
            item.SetName(name)
        if isinstance(item, load_root().TTree):
            self._trees.append(item)
        return item

    def count_events(self, run: ExpRun) -> int:
        """Count the collected events of a run."""
        chosen = self.prefixes if self.prefix is None else (self.prefix,)
        return sum(part.events.get(run, 0) for name in chosen for part in self._parts[name])

    def release(self) -> None:
        """Delete the trees that `get` gave. Who still has one sees a null object, not freed memory."""
        for tree in self._trees:
            tree.__destruct__()
        self._trees.clear()
        for file in self._scratch_files:
            file.Close()
        self._scratch_files.clear()

    def close(self) -> None:
        """Close all files."""
        self.release()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _find_parts(self, prefix: str) -> list[CollectedPrefix]:
        if prefix not in self._parts:
            raise DefinitionError(
                f"The {self._what} needs what a collector with the prefix {prefix!r} collects; none has it.",
                hint=build_word_hint(prefix, self._parts, "collected prefixes"),
            )
        return self._parts[prefix]

    def _guess_prefix(self, name: str) -> str:
        having = [prefix for prefix in self.prefixes if any(name in part.objects for part in self._parts[prefix])]
        if len(having) > 1:
            raise InputError(
                f"The {self._what} asks for the object {name!r}, which several collectors have: {', '.join(having)}.",
                hint=f"Set `prefix` of the algorithm, or say which: get({name!r}, prefix={having[0]!r}).",
            )
        if having:
            return having[0]
        raise InputError(
            f"The {self._what} asks for the object {name!r}, which was not collected.",
            hint=build_word_hint(name, self.list_names(), "collected objects"),
        )

    def _read(self, path: str, place: str) -> Any:
        if path not in self._readers:
            self._readers[path] = FileReader(path)
        return self._readers[path].read(place)

    def _add(self, items: list[Any], name: str, tally: Tally) -> Any:
        """Add objects that fit together. What was read of them is used up.

        :raises InputError: if ROOT cannot, or reports that it left something out.
        """
        with record_errors(warnings=lambda: not tally.is_known) as messages:
            is_tree = isinstance(items[0], load_root().TTree)
            result = self._merge_trees(items) if is_tree else _merge_objects(items)
        if result is None or messages:
            message = f" ROOT says: {messages[0]}" if messages else ""
            raise InputError(
                f"The object {name!r} of {len(items)} runs cannot be merged.{message}",
                hint="Register a class that ROOT can merge. If it is a tree, the disk may be full.",
            )
        return result

    def _merge_trees(self, trees: list[Any]) -> Any:
        """Put trees together, baskets as they are, in memory as long as they are not large; None if that fails."""
        root = load_root()
        size = sum(tree.GetZipBytes() for tree in trees)
        compression = trees[0].GetCurrentFile().GetCompressionSettings()
        if size < _MEMORY_LIMIT:
            file = root.TMemFile("merged.root", "RECREATE", "", compression)
        else:
            path = Path(self._scratch) / build_temporary_name("scratch.root")
            file = root.TFile.Open(str(path), "RECREATE", "", compression)
            # Removed at once: it lives until it is closed, also when this process is killed.
            path.unlink()
        self._scratch_files.append(file)
        items = root.TList()
        for tree in trees:
            items.Add(tree)
        with keep_directory(file):
            merged = root.TTree.MergeTrees(items, "fast")
        items.Clear()
        if not merged or file.TestBit(root.TFile.kWriteError):
            return None
        for tree in trees:
            tree.__destruct__()
        return merged


def _merge_objects(items: list[Any]) -> Any:
    """Add all to the first by its `Merge`, and give it; None if that fails."""
    root = load_root()
    first = items[0]
    if not hasattr(first, "Merge"):
        return None
    others = root.TList()
    for item in items[1:]:
        others.Add(item)
    moments = load_moments().Moments(first, others)
    try:
        # Only this one has no default for what a TFileMerger passes.
        merged = first.Merge(others, root.nullptr) if isinstance(first, root.THStack) else first.Merge(others)
    finally:
        # A list that still has items looks at them when it goes, and some may have gone before.
        others.Clear()
    moments.put()
    return None if merged is not None and merged < 0 else first


class FileReader:
    """One open merged file. Folders are looked up once."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open_root_file(path, "merged file")
        self._folders: dict[str, Any] = {}

    def read(self, place: str) -> Any:
        """Read the object at a place; a new one at each call, which belongs to the caller.

        :raises InputError: if it is not there.
        """
        root = load_root()
        folder_name, _, key_name = place.rpartition("/")
        folder = self._folders.get(folder_name)
        if folder is None:
            folder = self._folders[folder_name] = self._file.GetDirectory(folder_name)
        key = folder.GetKey(key_name) if folder else None
        item = key.ReadObj() if key else None
        root.gROOT.cd()
        if not item:
            raise InputError(
                f"The merged file {self._path} has no {place!r}, which its index names.",
                hint="Run the merge again.",
            )
        if isinstance(item, root.TTree):
            # It reads from the file, which owns it.
            root.SetOwnership(item, False)
            return item
        if hasattr(item, "SetDirectory"):
            item.SetDirectory(root.nullptr)
        root.SetOwnership(item, True)
        return item

    def close(self) -> None:
        """Close the file."""
        self._folders.clear()
        self._file.Close()


def _parse_run(text: str) -> ExpRun:
    return ALL_RUNS if text == str(ALL_RUNS) else ExpRun.parse(text)
