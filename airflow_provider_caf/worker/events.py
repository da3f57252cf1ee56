"""Read the events of a tree, fast and only the branches that somebody asks for.

Iterating over a tree in PyROOT takes some 35 µs an event, because each event reads every branch and each
attribute looks its branch up by name. Here a branch with one number per event is read by ROOT's bulk
interface, a whole basket at a time (50 ns an event), when it is first asked for. Every other branch (vectors,
arrays, objects) is read event by event through the tree.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.worker.root import load_root, open_root_file

_CODES = {
    "Bool_t": "b",
    "Char_t": "b",
    "UChar_t": "B",
    "Short_t": "h",
    "UShort_t": "H",
    "Int_t": "i",
    "UInt_t": "I",
    "Long64_t": "q",
    "ULong64_t": "Q",
    "Float_t": "f",
    "Double_t": "d",
}
"""ROOT's names of the number types, and those of `array`."""

_BUFFER_SIZE = 32 * 1024


class EventFile:
    """One input file with its tree of events.

    :param path: the file.
    :param tree_name: the tree, with its folders if it has some.
    :raises InputError: if the file cannot be read, or the tree is not there.
    """

    def __init__(self, path: str, tree_name: str) -> None:
        self.path = path
        self.tree_name = tree_name
        self.file = open_root_file(path)
        # A name that is not there gives a null object, one of another kind an object that is no tree.
        self.tree = self.file.Get(tree_name)
        if not self.tree or not hasattr(self.tree, "GetBranch"):
            trees = list(list_trees(self.file))
            self.close()
            raise InputError(
                f"The input file {path} has no tree {tree_name!r}.",
                hint=build_word_hint(tree_name, trees, "trees") + " Set `tree` of the collector.",
            )
        self.count = int(self.tree.GetEntries())
        self._columns: dict[str, NumberColumn | TreeColumn] = {}

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no event of it may be used any more."""
        self._columns = {}
        self.tree = None
        self.file.Close()

    def get_column(self, name: str) -> NumberColumn | TreeColumn:
        """Give the reader of a branch.

        :raises InputError: if there is no such branch, with the ones that are there.
        """
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._open_column(name)
        return column

    def _open_column(self, name: str) -> NumberColumn | TreeColumn:
        branch = self.tree.GetBranch(name)
        if not branch:
            names = [each.GetName() for each in self.tree.GetListOfBranches()]
            raise InputError(
                f"The tree {self.tree_name!r} in {self.path} has no branch {name!r}.",
                hint=build_word_hint(name, names, "branches"),
            )
        where = f"branch {name!r} of tree {self.tree_name!r} in {self.path}"
        leaves = branch.GetListOfLeaves()
        leaf = leaves.At(0) if leaves.GetEntries() == 1 else None
        # A class derived from TBranch stores its numbers in ways of its own, such as Double32_t.
        if leaf and branch.ClassName() == "TBranch" and leaf.GetLen() == 1 and not leaf.GetLeafCount():
            code = _CODES.get(leaf.GetTypeName())
            if code is not None and _supports_bulk(branch):
                return NumberColumn(branch, code, where, is_flag=leaf.GetTypeName() == "Bool_t")
        return TreeColumn(self.tree, branch, name, where)


class NumberColumn:
    """A branch with one number per event, read a basket at a time.

    :param code: the type of its numbers, as `array` has it.
    :param where: what it is to the reader.
    """

    def __init__(self, branch: Any, code: str, where: str, *, is_flag: bool = False) -> None:
        root = load_root()
        self._branch = branch
        self._code = code
        self._where = where
        self._is_flag = is_flag
        self._buffer = root.TBufferFile(root.TBuffer.kWrite, _BUFFER_SIZE)
        entries = branch.GetBasketEntry()
        # Bulk reading starts at the first entry of a basket only.
        self._starts = [entries[number] for number in range(branch.GetWriteBasket())]
        self._first = 0
        self._values: Sequence[Any] = ()
        self._all: array[Any] | None = None

    def read(self, entry: int) -> Any:
        """Give the number of an event."""
        index = entry - self._first
        if not 0 <= index < len(self._values):
            self._load(entry)
            index = entry - self._first
        return self._values[index]

    def read_all(self, count: int) -> Sequence[Any]:
        """Give the numbers of the first `count` events, as an array of their type."""
        if self._all is None:
            values = array(self._code)
            while len(values) < count:
                values.extend(self._read_basket(len(values)))
            self._all = values[:count]
        return self._all

    @property
    def dtype(self) -> str:
        """The type of its numbers, as numpy has it."""
        return "?" if self._is_flag else self._code

    def _load(self, entry: int) -> None:
        first = self._starts[max(bisect_right(self._starts, entry) - 1, 0)] if self._starts else 0
        values = self._read_basket(first)
        while entry >= first + len(values):
            first += len(values)
            values = self._read_basket(first)
        # A list gives its items faster than an array, which makes a new object at each access.
        self._values = [bool(value) for value in values] if self._is_flag else values.tolist()
        self._first = first

    def _read_basket(self, first: int) -> array[Any]:
        count = self._branch.GetBulkRead().GetEntriesSerialized(first, self._buffer)
        if count <= 0:
            raise build_read_error(self._where, first)
        values = array(self._code, bytes(count * array(self._code).itemsize))
        self._buffer.ReadFastArray(values, count)
        return values


class TreeColumn:
    """A branch of any other kind, read event by event. The value is valid until the next event."""

    def __init__(self, tree: Any, branch: Any, name: str, where: str) -> None:
        self._tree = tree
        self._branch = branch
        self._name = name
        self._where = where
        self._entry = -1

    def read(self, entry: int) -> Any:
        """Give the value of an event."""
        if entry != self._entry:
            if self._tree.LoadTree(entry) < 0 or self._branch.GetEntry(entry) < 0:
                raise build_read_error(self._where, entry)
            self._entry = entry
        return getattr(self._tree, self._name)

    def read_all(self, count: int) -> Sequence[Any]:
        """Give the numbers of the first `count` events.

        :raises InputError: if the branch holds something else than one number per event.
        """
        values = [self.read(entry) for entry in range(count)]
        if not all(isinstance(value, (bool, int, float)) for value in values):
            raise InputError(f"The {self._where} has not one number per event.", hint="Read it in collect(event).")
        return values

    @property
    def dtype(self) -> None:
        """Left to numpy."""
        return None


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
        try:
            column = self._columns[name]
        except KeyError:
            if name.startswith("__"):
                raise AttributeError(name) from None
            column = self._columns[name] = self._file.get_column(name)
        return column.read(self._entry)

    def __getitem__(self, name: str) -> Any:
        """Give a branch whose name is no Python name, such as `event["track.pt"]`."""
        return getattr(self, name)


class EventArrays:
    """Several events of one run at once: their branches are its attributes, as numpy arrays.

    :param file: the input file.
    :param entries: the entries in the file, sorted.
    """

    def __init__(self, file: EventFile, entries: Sequence[int]) -> None:
        self._file = file
        self._entries = entries

    def __len__(self) -> int:
        return len(self._entries)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> Any:
        """Give one branch.

        :raises InputError: if there is no such branch, or it has not one number per event.
        """
        np = _load_numpy()
        column = self._file.get_column(name)
        values = np.asarray(column.read_all(self._file.count))
        if column.dtype is not None:
            values = values.view(column.dtype)
        if isinstance(self._entries, range):
            return values[self._entries.start : self._entries.stop]
        return values[np.asarray(self._entries, dtype=np.int64)]


def list_trees(file: Any) -> Iterator[str]:
    """Give the names of the trees at the top of a file."""
    for key in file.GetListOfKeys():
        if key.GetClassName() in ("TTree", "TNtuple", "TNtupleD"):
            yield str(key.GetName())


def build_read_error(where: str, entry: int) -> InputError:
    """Give the error of an event that cannot be read."""
    return InputError(
        f"The {where} cannot be read at entry {entry}: the file is damaged.",
        hint="Make the file again, or take it out of the input files.",
    )


def _load_numpy() -> Any:
    try:
        # Not a part of what a job needs: who writes collect_many asks for it.
        return import_module("numpy")
    except ImportError as error:
        raise CafError(
            f"collect_many needs numpy, which {sys.executable} does not have: {error}.",
            hint="Write collect(event) instead, or use a Python that has numpy.",
        ) from error


def _supports_bulk(branch: Any) -> bool:
    # Experiments have ROOT versions in which the interface is younger than the branch class.
    return hasattr(branch, "SupportsBulkRead") and bool(branch.SupportsBulkRead())
