"""Read the events of a tree or RNTuple as ROOT itself gives them, and only the branches that are asked for.

All reading is ROOT's own `TBranch::GetEntry`, after `TTree::LoadTree` has found the entry in chains and friends. A loop
over a tree in PyROOT takes some 30 µs an event, as each attribute looks its branch up by name. So numbers are fetched a
thousand at a time by a small function that ROOT compiles: 0.1 µs each, no slower than ROOT's bulk reading,
which must not be mixed with this. Everything else comes through PyROOT's own attribute of the tree, event by event.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.worker.collect.tree_reader import load_reader
from airflow_provider_caf.worker.root import load_root

NUMBER_CODES = {
    "Bool_t": "b",
    "Char_t": "b",
    "UChar_t": "B",
    "Short_t": "h",
    "UShort_t": "H",
    "Int_t": "i",
    "UInt_t": "I",
    "Long_t": "q",
    "ULong_t": "Q",
    "Long64_t": "q",
    "ULong64_t": "Q",
    "Float_t": "f",
    "Float16_t": "f",
    "Double_t": "d",
    "Double32_t": "d",
}
"""ROOT's names of the number types in memory, and those of `array`."""

_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "Bool_t": bool,
    "Char_t": lambda value: chr(value & 0xFF),
    "UChar_t": chr,
}
"""What PyROOT makes of types that are more than numbers."""

_TUPLE_TYPES = {"bool": "?", "float": "f4", "double": "f8"}
_TUPLE_TYPES.update({f"std::{sign}int{bits}_t": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)})
"""The number types of an RNTuple, and those of numpy."""

TUPLE_CLASSES = ("ROOT::RNTuple", "ROOT::Experimental::RNTuple")

_BLOCK = 1024

_READ, _MISSING = 0, 1


class Column(ABC):
    """A branch of a tree or a field of an RNTuple.

    :param where: what it is to the reader.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    @property
    def dtype(self) -> str | None:
        """The type of its numbers, as numpy has it; None: left to numpy."""
        return None

    @abstractmethod
    def read(self, entry: int) -> Any:
        """Return the value of an event."""

    def read_range(self, first: int, last: int) -> Sequence[Any]:
        """Return the numbers of the events `first … last - 1`, as an array of their type where it is known.

        :raises InputError: if there is something else than one number per event.
        """
        values = [self.read(entry) for entry in range(first, last)]
        if not all(isinstance(value, (bool, int, float)) for value in values):
            raise InputError(f"The {self._where} has not one number per event.", hint="Read it in collect(event).")
        return values


class NumberColumn(Column):
    """A branch with one number per event, fetched many events at a time.

    :param kind: ROOT's name of its type.
    """

    def __init__(self, tree: Any, name: str, kind: str, where: str) -> None:
        super().__init__(where)
        self._tree = tree
        self._name = name
        self._kind = kind
        self._first = 0
        self._values: Sequence[Any] = ()

    def read(self, entry: int) -> Any:
        index = entry - self._first
        if not 0 <= index < len(self._values):
            self._load(entry)
            index = entry - self._first
        return self._values[index]

    def read_range(self, first: int, last: int) -> Sequence[Any]:
        values = self._fetch(first, last)
        if len(values) < last - first:
            raise self._build_error(first + len(values))
        return values

    @property
    def dtype(self) -> str:
        return "?" if self._kind == "Bool_t" else NUMBER_CODES[self._kind]

    def _load(self, entry: int) -> None:
        # Whole blocks, so that going backwards is not slow.
        first, last = entry - entry % _BLOCK, min(entry - entry % _BLOCK + _BLOCK, int(self._tree.GetEntries()))
        values = self._fetch(first, last)
        if entry >= first + len(values):
            # One before it cannot be read: nobody asked for that.
            first, values = entry, self._fetch(entry, last)
        if not values:
            raise self._build_error(entry)
        # A list gives its items faster than an array, which makes a new object at each access.
        convert = _CONVERSIONS.get(self._kind)
        self._values = values.tolist() if convert is None else [convert(value) for value in values]
        self._first = first

    def _fetch(self, first: int, last: int) -> array[Any]:
        count = max(last - first, 0)
        values = array(NUMBER_CODES[self._kind], bytes(count * array(NUMBER_CODES[self._kind]).itemsize))
        done = load_reader().read_numbers(self._tree, self._name, self._kind, first, count, values) if count else 0
        return values[:done]

    def _build_error(self, entry: int) -> InputError:
        state = load_reader().read_event(self._tree, entry, self._name)
        if state == _READ:
            kind = str(load_reader().find_number_type(self._tree, self._name)) or "something else"
            return InputError(
                f"The {self._where} was {self._kind} and is {kind} at entry {entry}.",
                hint="The files of a chain have to hold the same types.",
            )
        return build_read_error(self._where, entry, state)


class TreeColumn(Column):
    """A branch of any other kind, read event by event. The value is valid until the next event."""

    def __init__(self, tree: Any, name: str, where: str) -> None:
        super().__init__(where)
        self._tree = tree
        self._name = name
        self._entry = -1
        self._value: Any = None

    def read(self, entry: int) -> Any:
        if entry != self._entry:
            self._entry = -1
            state = load_reader().read_event(self._tree, entry, self._name)
            if state != _READ:
                raise build_read_error(self._where, entry, state)
            self._check()
            try:
                self._value = self._get_value()
            except (AttributeError, TypeError) as error:
                raise InputError(
                    f"The {self._where} cannot be read in Python: {error}.",
                    hint="If it has several leaves, ask for one of them by its name.",
                ) from error
            self._entry = entry
        return self._value

    def _check(self) -> None:
        danger = str(load_reader().find_danger(self._tree, self._name))
        if danger:
            raise InputError(
                f"The {self._where} cannot be read in Python: it is {danger}.",
                hint="Make the dictionary of its class known: ROOT.gInterpreter.GenerateDictionary, or the library of "
                "the program that wrote the file. Or ask for the numbers inside.",
            )

    def _get_value(self) -> Any:
        # Not getattr: a branch may have the name of one of the tree's methods.
        return type(self._tree).__getattr__(self._tree, self._name)


class TextColumn(TreeColumn):
    """A branch or leaf of texts, `name/C`. Bytes that are no UTF-8 become surrogates, as in names of files."""

    def _check(self) -> None:
        """Texts are read without PyROOT."""

    def _get_value(self) -> str:
        leaf = load_reader().find_leaf(self._tree, self._name)
        size = load_reader().measure_text(leaf)
        text = array("b", bytes(size))
        if size:
            load_reader().copy_text(leaf, text, size)
        return text.tobytes().decode("utf-8", "surrogateescape")


class TableColumn(TreeColumn):
    """A branch of arrays that PyROOT cannot give: lists, for `x[n][2]` lists of lists.

    :param kind: ROOT's name of the numbers' type.
    """

    def __init__(self, tree: Any, name: str, where: str, kind: str) -> None:
        super().__init__(tree, name, where)
        if kind not in NUMBER_CODES:
            raise InputError(
                f"The {where} cannot be read in Python: it is {kind}, more than a list of numbers.",
                hint="Read it with a frame: collect_frame.",
            )
        self._kind = kind

    def _check(self) -> None:
        """Numbers are read without PyROOT."""

    def _get_value(self) -> Any:
        leaf = load_reader().find_leaf(self._tree, self._name)
        code = NUMBER_CODES[self._kind]
        if leaf.IsA() == load_root().TLeafElement.Class():
            code = "d" if code in "fd" else "Q" if code == "Q" else "q"
        values = array(code, bytes(leaf.GetLen() * array(code).itemsize))
        if values:
            load_reader().copy_table(leaf, values, code in "fd")
        convert = _CONVERSIONS.get(self._kind)
        rows: list[Any] = values.tolist() if convert is None else [convert(value) for value in values]
        for size in reversed(find_sizes(str(leaf.GetTitle()), leaf.GetLenStatic()) if leaf.GetLeafCount() else []):
            rows = [rows[at : at + size] for at in range(0, len(rows), size)]
        return rows


def find_sizes(title: str, count: int) -> list[int]:
    """Return the fixed dimensions of a leaf, the innermost last.

    :param title: such as `x[n][2][3]`; those of packed numbers do not tell.
    :param count: their product.
    """
    sizes = [int(size) for size in re.findall(r"\[(\d+)\]", title)]
    return sizes if prod(sizes) == count else [count]


class TupleColumn(Column):
    """A field of an RNTuple, read whole when it is first asked for."""

    def __init__(self, frame: Any, name: str, where: str) -> None:
        super().__init__(where)
        self._kind = str(frame.GetColumnType(name))
        try:
            # The result has to live as long as its values.
            self._result = frame.Take[self._kind](name)
            self._values = self._result.GetValue()
        except (TypeError, RuntimeError, AttributeError) as error:
            raise InputError(
                f"The {where} cannot be read: {error}.", hint="What ROOT says is in the log above."
            ) from error

    def read(self, entry: int) -> Any:
        return self._values[entry]

    @property
    def dtype(self) -> str | None:
        return _TUPLE_TYPES.get(self._kind)


def find_changes(*columns: Sequence[Any]) -> list[int]:
    """Return the places where one of several columns of equal length may change its number, with the first place.

    Arrays are compared in C++, as one loop over a million events in Python costs as much as all that a frame fills.
    """
    places: set[int] = set()
    for values in columns:
        if isinstance(values, array):
            places.update(load_reader().find_changes(values, len(values), values.itemsize) if values else ())
        else:
            places.update(range(len(values)))
    return sorted(places)


def build_read_error(where: str, entry: int, state: int | None = None) -> InputError:
    """Return the error of an event that cannot be read.

    :param state: why, as the reader says it; None: not known.
    """
    if state == _MISSING:
        return InputError(
            f"The {where} has nothing for entry {entry}.",
            hint="A friend tree, or a branch filled by itself, is shorter, or its index does not have this event. "
            "ROOT would give the value of another event.",
        )
    return InputError(
        f"The {where} cannot be read at entry {entry}: the file is damaged.",
        hint="Make the file again, or take it out of the input files.",
    )
