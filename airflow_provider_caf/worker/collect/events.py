"""The events of an input file, of which only the branches are read that are asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.worker.collect.columns import (
    NUMBER_CODES,
    TUPLE_CLASSES,
    Column,
    NumberColumn,
    TableColumn,
    TextColumn,
    TreeColumn,
    TupleColumn,
)
from airflow_provider_caf.worker.collect.tree_reader import load_reader
from airflow_provider_caf.worker.root import load_root, open_root_file


class EventFile(AbstractContextManager["EventFile"]):
    """One input file with its events.

    :param path: the file.
    :param tree_name: the tree or RNTuple, with its folders if it has some.
    :param most: at most so many events count, the first ones; None: all.
    :raises InputError: if the file cannot be read, or the tree is not there.
    """

    def __init__(self, path: str, tree_name: str, most: int | None = None) -> None:
        root = load_root()
        self.path = path
        self.tree_name = tree_name
        self.file = open_root_file(path)
        self.frame: Any = None
        # A name that is not there gives a null object, one of another kind an object that is no tree.
        self.tree = self.file.Get(tree_name)
        if getattr(type(self.tree), "__cpp_name__", "") in TUPLE_CLASSES:
            self.tree = None
            try:
                self.frame = root.RDataFrame(tree_name, path)
                self.count = int(self.frame.Count().GetValue())
            except (RuntimeError, TypeError, root.std.exception) as error:
                # An RNTuple as it was written before its format was fixed, or by a later ROOT.
                self.close()
                reason = str(error).strip().rpartition("\n")[2].strip()
                raise InputError(
                    f"ROOT cannot read the RNTuple {tree_name!r} of {path}: {reason}",
                    hint="Write it again with a ROOT of version 6.34 or later, or use a tree.",
                ) from error
        elif self.tree and isinstance(self.tree, root.TTree):
            self.count = int(self.tree.GetEntries())
        else:
            trees = list(list_trees(self.file))
            self.close()
            raise InputError(
                f"The input file {path} has no tree {tree_name!r}.",
                hint=build_word_hint(tree_name, trees, "trees") + " Set `tree` of the collector.",
            )
        if most is not None:
            self.count = min(self.count, most)
        self._columns: dict[str, Column] = {}

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no event of it may be used any more."""
        self._columns = {}
        self.tree = self.frame = None
        self.file.Close()

    def get_column(self, name: str) -> Column:
        """Return the reader of a branch.

        :raises InputError: if there is no such branch, with the ones that are there.
        """
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._open_column(name)
        return column

    def list_branches(self) -> list[str]:
        """Return the names of the branches, or the fields of an RNTuple."""
        if self.tree is None:
            return [str(name) for name in self.frame.GetColumnNames()]
        return [str(branch.GetName()) for branch in self.tree.GetListOfBranches()]

    def build_where(self, name: str) -> str:
        """Say where a branch is to the reader."""
        return f"branch {name!r} of tree {self.tree_name!r} in {self.path}"

    def build_place(self, entry: int) -> str:
        """Say where an event is to the reader."""
        return f"Event {entry} of tree {self.tree_name!r} in {self.path}"

    def _open_column(self, name: str) -> Column:
        where = self.build_where(name)
        if self.tree is None:
            is_there = self.frame.HasColumn(name)
        else:
            reader = load_reader()
            # What stands behind an alias; a formula is no branch.
            target = str(self.tree.GetAlias(name) or name)
            is_there = reader.find_branch(self.tree, target) or reader.find_leaf(self.tree, target)
        if not is_there:
            raise InputError(
                f"The tree {self.tree_name!r} in {self.path} has no branch {name!r}.",
                hint=build_word_hint(name, self.list_branches(), "branches"),
            )
        if self.tree is None:
            return TupleColumn(self.frame, name, where)
        kind = str(reader.find_number_type(self.tree, target))
        if kind in NUMBER_CODES:
            return NumberColumn(self.tree, target, kind, where)
        if reader.is_text(self.tree, target):
            return TextColumn(self.tree, target, where)
        kind = str(reader.find_table_type(self.tree, target))
        return TableColumn(self.tree, target, where, kind) if kind else TreeColumn(self.tree, target, where)


class Event:
    """The event at hand: its branches are its attributes.

    It is one object for all events: keep values of it, not the event.
    """

    __slots__ = ("_columns", "_entry", "_file")

    def __init__(self, file: EventFile) -> None:
        self._file = file
        self._columns: dict[str, Any] = {}
        self._entry = 0

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """Return a branch by its name, which need not be one of Python, such as `event["track.pt"]`."""
        try:
            column = self._columns[name]
        except KeyError:
            column = self._columns[name] = self._file.get_column(name)
        return column.read(self._entry)


class EventArrays:
    """Several events of one run at once: their branches are its attributes, as numpy arrays.

    :param file: the input file.
    :param entries: the entries in the file, sorted.
    """

    def __init__(self, file: EventFile, entries: Sequence[int]) -> None:
        self._file = file
        self._entries = entries
        self._arrays: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """Return one branch.

        :raises InputError: if there is no such branch, or it has not one number per event.
        """
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def _read(self, name: str) -> Any:
        np = _load_numpy()
        column = self._file.get_column(name)
        first, last = (min(self._entries), max(self._entries) + 1) if self._entries else (0, 0)
        values = np.asarray(column.read_range(first, last), dtype=column.dtype)
        if isinstance(self._entries, range):
            return values
        return values[np.asarray(self._entries, dtype=np.int64) - first]


def list_trees(folder: Any, place: str = "") -> Iterator[str]:
    """Return the names of the trees in a file, with their folders."""
    for key in folder.GetListOfKeys():
        kind, name = str(key.GetClassName()), f"{place}{key.GetName()}"
        if kind in ("TTree", "TNtuple", "TNtupleD", "TChain", *TUPLE_CLASSES):
            yield name
        elif kind.startswith("TDirectory"):
            yield from list_trees(key.ReadObj(), f"{name}/")


def _load_numpy() -> Any:
    try:
        # Not a part of what a job needs: who writes collect_many asks for it.
        return import_module("numpy")
    except ImportError as error:
        raise CafError(
            f"collect_many needs numpy, which {sys.executable} does not have: {error}.",
            hint="Write collect(event) instead, or use a Python that has numpy.",
        ) from error
