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
from airflow_provider_caf.worker.root import declare, load_root

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

_READER = """
#include <cstring>
#include <string>
#include <vector>
#include <TBranch.h>
#include <TBranchElement.h>
#include <TClass.h>
#include <TFriendElement.h>
#include <TList.h>
#include <TLeaf.h>
#include <TObjArray.h>
#include <TTree.h>
#include <TVirtualCollectionProxy.h>
namespace airflow_provider_caf {
enum State { kRead, kMissing, kDamaged };
// Find the branch and the leaf that a name stands for, as PyROOT does.
TBranch *find_branch(TTree *tree, const std::string &name) {
  auto *branch = tree->GetBranch(name.c_str());
  return branch ? branch : tree->GetBranch((name + '.').c_str());
}
TLeaf *find_leaf(TTree *tree, const std::string &name) {
  auto *leaf = tree->GetLeaf(name.c_str());
  auto *branch = find_branch(tree, name);
  if (leaf || !branch) return leaf;
  if ((leaf = branch->GetLeaf(name.c_str()))) return leaf;
  auto *leaves = branch->GetListOfLeaves();
  return leaves->GetEntries() == 1 ? static_cast<TLeaf *>(leaves->At(0)) : nullptr;
}
// Give the type of a branch that is one number and nothing else, or nothing.
std::string find_number_type(TTree *tree, const std::string &name) {
  auto *leaf = find_leaf(tree, name);
  if (!leaf || leaf->GetLenStatic() != 1 || leaf->GetLeafCount()) return "";
  if (!std::strcmp(leaf->ClassName(), "TLeafC")) return "";
  auto *branch = leaf->GetBranch();
  auto *named = find_branch(tree, name);
  // In a branch of several leaves the fetching ahead of one would move the others.
  const bool is_alone = branch->IsA() == TBranch::Class() && branch->GetListOfLeaves()->GetEntries() == 1;
  return is_alone && (!named || named == branch) ? leaf->GetTypeName() : "";
}
// PyROOT 6.40 ends the process at arrays with a counted and other dimensions, and at arrays of types without a
// converter; of numbers in a collection of split objects it gives what lies beside the first in memory.
bool is_in_collection(TBranch *branch) {
  auto *element = dynamic_cast<TBranchElement *>(branch);
  return element && (element->GetType() == 31 || element->GetType() == 41);
}
// Give the type of the numbers of an array that PyROOT cannot give, or nothing.
std::string find_table_type(TTree *tree, const std::string &name) {
  auto *leaf = find_leaf(tree, name);
  if (!leaf || (!leaf->GetLeafCount() && leaf->GetLenStatic() == 1)) return "";
  const std::string type = leaf->GetTypeName();
  auto *branch = leaf->GetBranch();
  const bool is_table = leaf->GetLeafCount() && leaf->GetLenStatic() != 1;
  const bool is_packed = type == "Double32_t" || type == "Float16_t";
  if (branch->IsA() == TBranch::Class()) return is_table || is_packed ? type : "";
  auto *element = dynamic_cast<TBranchElement *>(branch);
  if (!element || element->GetCurrentClass()) return "";
  if (is_in_collection(branch)) return is_table ? "an array in objects of a collection" : type;
  return is_table ? "an array in an object" : is_packed ? type : "";
}
void copy_table(TLeaf *leaf, void *numbers, bool is_real) {
  if (leaf->GetBranch()->IsA() == TBranch::Class()) {
    std::memcpy(numbers, leaf->GetValuePointer(), static_cast<std::size_t>(leaf->GetLen()) * leaf->GetLenType());
    return;
  }
  for (int at = 0, count = leaf->GetLen(); at < count; ++at)
    if (is_real) static_cast<double *>(numbers)[at] = leaf->GetValue(at);
    else static_cast<Long64_t *>(numbers)[at] = leaf->GetValueLong64(at);
}
// A collection without a dictionary is kept as a vector of pairs, whatever its class is.
bool is_makeshift(TClass *type, int depth = 0) {
  auto *proxy = type ? type->GetCollectionProxy() : nullptr;
  if (!proxy || depth > 9) return false;
  const bool is_emulated = proxy->GetProperties() & TVirtualCollectionProxy::kIsEmulated;
  if (is_emulated && proxy->GetCollectionType() != ROOT::kSTLvector) return true;
  return is_makeshift(proxy->GetValueClass(), depth + 1);
}
// Say why PyROOT would end the process at a branch that has been read, or nothing.
std::string find_danger(TTree *tree, const std::string &name) {
  auto *element = dynamic_cast<TBranchElement *>(find_branch(tree, name));
  auto *leaf = find_leaf(tree, name);
  if (element) {
    auto *own = element->GetCurrentClass();
    if (own && own != element->GetTargetClass() && element->GetID() >= 0) {
      // PyROOT adds an offset to the address of the object that holds this one.
      if (is_in_collection(element)) return "a part of each object in a collection";
      if (!element->GetObject()) return "a part of an object whose class has no dictionary";
    } else {
      own = TClass::GetClass(element->GetClassName());
    }
    if (is_makeshift(own)) return std::string("of the class ") + own->GetName() + ", which has no dictionary";
  }
  if (!leaf) return "";
  auto *type = TClass::GetClass(leaf->GetTypeName(), true, true);
  if (is_makeshift(type)) return std::string("of the class ") + type->GetName() + ", which has no dictionary";
  return "";
}
// Reach what a branch keeps of its baskets: &Baskets::f… is a pointer to a member of TBranch.
struct Baskets : TBranch {
  static void drop_empty(TBranch *branch) {
    auto &last = branch->*(&Baskets::fWriteBasket);
    auto *entries = branch->*(&Baskets::fBasketEntry);
    auto *seeks = branch->*(&Baskets::fBasketSeek);
    auto *bytes = branch->*(&Baskets::fBasketBytes);
    auto *loaded = branch->GetListOfBaskets();
    int kept = 0;
    for (int number = 0; number <= last; ++number) {
      if (number < last && entries[number] == entries[number + 1]) continue;
      if (kept < number) {
        entries[kept] = entries[number], seeks[kept] = seeks[number], bytes[kept] = bytes[number];
        if (number < loaded->GetSize()) loaded->AddAt(loaded->RemoveAt(number), kept);
      }
      ++kept;
    }
    if (last >= 0) last = kept - 1;
  }
};
std::string find_empty_basket(TObjArray *branches) {
  for (auto *item : *branches) {
    auto *branch = static_cast<TBranch *>(item);
    const auto *entries = branch->GetBasketEntry();
    for (int number = 0; number < branch->GetWriteBasket(); ++number)
      if (entries[number] == entries[number + 1] && entries[number] < branch->GetEntryNumber())
        return branch->GetFullName().Data();
    const auto found = find_empty_basket(branch->GetListOfBranches());
    if (!found.empty()) return found;
  }
  return "";
}
std::string find_empty_basket(TTree *tree) {
  auto found = find_empty_basket(tree->GetListOfBranches());
  if (found.empty() && tree->GetListOfFriends())
    for (auto *item : *tree->GetListOfFriends())
      if (auto *other = static_cast<TFriendElement *>(item)->GetTree(); other && found.empty())
        found = find_empty_basket(other->GetListOfBranches());
  return found;
}
// uproot and others write baskets without entries. ROOT takes such a basket for the first entry of the next, and gives
// what happens to be in memory: TBranch::GetBasketAndFirst finds the first of equal starts. So they are left out.
void drop_empty_baskets(TBranch *branch) {
  Baskets::drop_empty(branch);
  for (auto *leaf : *branch->GetListOfLeaves())
    if (auto *count = static_cast<TLeaf *>(leaf)->GetLeafCount())
      if (count->GetBranch()->GetReadEntry() < 0) Baskets::drop_empty(count->GetBranch());
  for (auto *part : *branch->GetListOfBranches()) drop_empty_baskets(static_cast<TBranch *>(part));
}
// Read a branch where its own tree stands: a friend stands at another entry than the tree, or at none.
int read_here(TBranch *branch) {
  const auto entry = branch->GetTree()->GetReadEntry();
  const bool is_split = branch->GetListOfBranches()->GetEntries() > 0;
  if (entry < 0 || (!is_split && entry >= branch->GetEntryNumber())) return kMissing;
  // All of a split object, as its parts may depend on each other.
  auto *top = branch->GetMother() ? branch->GetMother() : branch;
  if (top->GetReadEntry() < 0) drop_empty_baskets(top);
  return top->GetEntry(entry) < 0 ? kDamaged : kRead;
}
int read_event(TTree *tree, Long64_t entry, const std::string &name) {
  if (tree->LoadTree(entry) < 0) return kDamaged;
  auto *branch = find_branch(tree, name);
  auto *leaf = find_leaf(tree, name);
  const int state = branch ? read_here(branch) : kRead;
  if (state != kRead || !leaf || leaf->GetBranch() == branch) return state;
  return read_here(leaf->GetBranch());
}
// Give the places where a number is not the one before it, with the first.
std::vector<Long64_t> find_changes(const void *numbers, Long64_t count, int size) {
  const auto *at = static_cast<const char *>(numbers);
  std::vector<Long64_t> places;
  for (Long64_t place = 0; place < count; ++place, at += size)
    if (place == 0 || std::memcmp(at, at - size, size)) places.push_back(place);
  return places;
}
// Give how many numbers could be read.
Long64_t read_numbers(TTree *tree, const std::string &name, const std::string &type, Long64_t first, Long64_t count,
                      void *numbers) {
  auto *out = static_cast<char *>(numbers);
  TLeaf *leaf = nullptr;
  bool is_fixed = false;
  for (Long64_t done = 0; done < count; ++done) {
    if (tree->LoadTree(first + done) < 0) return done;
    // A chain, or one among the friends, deletes its branches with each change of file.
    if (!is_fixed) {
      if (find_number_type(tree, name) != type) return done;
      leaf = find_leaf(tree, name);
      is_fixed = leaf->GetBranch()->GetTree() == tree;
    }
    if (read_here(leaf->GetBranch()) != kRead) return done;
    std::memcpy(out, leaf->GetValuePointer(), leaf->GetLenType());
    out += leaf->GetLenType();
  }
  return count;
}
}
"""


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


def load_reader() -> Any:
    """Return the functions that read events, compiled once in a process."""
    return declare(_READER)
