"""Compare what a collector reads of ROOT files with what plain ROOT gives; in processes of their own: files crash ROOT.

Run as `compare_reading.py FILE…`. ROOT is loaded once, and has compiled what most files need. Simple branches of a
tree are read in one fork, and each other branch in one of its own, first by plain ROOT: where that dies there is
nothing to compare. Each file gives one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from array import array
from collections.abc import Iterator
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.worker.collect.events import EventFile, list_trees
from airflow_provider_caf.worker.collect.tree_reader import load_reader
from airflow_provider_caf.worker.root import crash_plainly, load_root, open_root_file

READS = 300
"""So many values are compared of the simple branches of a tree."""

ENTRIES = (4, 12)
"""So many entries at least and at most are read of a branch."""

OTHERS = None if "CAF_TEST_ALL_BRANCHES" in os.environ else 1
"""So many branches of a file that need a fork of their own are read; None: all. Some cost a second."""

SIMPLE = 4
"""So many simple branches of a kind are read of a tree; one of any other kind."""


def show(value: Any, depth: int = 0) -> Any:
    """Give what can be compared of a value."""
    if isinstance(value, (bool, int, float, str, bytes)) or value is None:
        return repr(value)
    if "string" in type(value).__name__:
        return str(value)
    if type(value).__name__ == "LowLevelView" and value.format in ("c", "b", "B"):
        return repr(bytes(value).partition(b"\0")[0].decode("utf-8", "surrogateescape"))
    if depth < 3 and (hasattr(value, "__len__") or hasattr(value, "size")):
        try:
            return [show(each, depth + 1) for each in value]
        except (TypeError, ValueError, AttributeError):
            pass
    return type(value).__name__


def list_kinds(branches: Any, depth: int = 0) -> Iterator[tuple[str, str, bool]]:
    """Give the names of all branches and of what is inside them, of which kind they are, and if they are numbers."""
    for branch in branches:
        kind = [depth, str(branch.ClassName()), branch.GetListOfBranches().GetEntries() > 0]
        if branch.InheritsFrom("TBranchElement"):
            kind += [branch.GetType(), branch.GetStreamerType()]
        leaves = list(branch.GetListOfLeaves())
        is_simple = kind[1] == "TBranch" and len(leaves) == 1
        for leaf in leaves:
            sizes = [leaf.GetLenStatic() > 1, bool(leaf.GetLeafCount())]
            kind += [str(leaf.ClassName()), str(leaf.GetTypeName()), *sizes]
            # Counted arrays without other dimensions are safe.
            is_simple = is_simple and not (sizes[0] and (sizes[1] or "16" in kind[-3] or "32" in kind[-3]))
        yield str(branch.GetName()), str(kind), is_simple
        yield from list_kinds(branch.GetListOfBranches(), depth + 1)


def choose_names(tree: Any) -> tuple[list[str], list[str]]:
    """Choose a few branches of each kind: those that are read together, and the others."""
    found: dict[tuple[bool, str], list[str]] = {}
    for name, kind, is_simple in list_kinds(tree.GetListOfBranches()):
        found.setdefault((is_simple, kind), []).append(name)
    simple = [name for (one, _), names in found.items() if one for name in spread(names, SIMPLE)]
    others = [names[len(names) // 2] for (one, _), names in found.items() if not one]
    return list(dict.fromkeys(simple)), list(dict.fromkeys(others))


def spread(items: list[Any], count: int) -> list[Any]:
    """Choose so many items, evenly, with the first and the last."""
    if len(items) <= count:
        return items
    if count == 1:
        return [items[len(items) // 2]]
    return [items[at * (len(items) - 1) // (count - 1)] for at in range(count)]


def choose_entries(tree: Any, names: list[str]) -> list[int]:
    """Choose entries: the first, the last, and those beside the borders of baskets."""
    count = int(tree.GetEntries())
    limit = min(max(READS // max(len(names), 1), ENTRIES[0]), ENTRIES[1])
    if count <= limit:
        return list(range(count))
    borders: set[int] = set()
    for branch in tree.GetListOfBranches():
        starts = branch.GetBasketEntry()
        borders.update(int(starts[at]) + step for at in range(1, branch.GetWriteBasket()) for step in (-1, 0))
    inner = sorted(entry for entry in borders if 0 < entry < count - 1)
    few = limit // 2
    return sorted({*range(few), *spread(inner, max(limit - few - 1, 2)), count - 1})


def read_plainly(tree: Any, branch: str) -> Any:
    """Give a branch of the event at hand as PyROOT does; None: it cannot, or gives what happens to be in memory."""
    leaf = tree.GetLeaf(branch)
    of = leaf.GetBranch() if leaf else None
    if of and of.InheritsFrom("TBranchElement") and of.GetType() in (31, 41) and not of.GetCurrentClass():
        # The numbers of a collection's objects are not beside each other; TTree::Scan gives them so.
        if leaf.GetLenStatic() > 1:
            return None
        is_real = str(leaf.GetTypeName()) in ("Float_t", "Double_t", "Double32_t", "Float16_t")
        if str(leaf.GetTypeName()) == "Bool_t":
            return [repr(bool(leaf.GetValue(at))) for at in range(leaf.GetLen())]
        return [repr(leaf.GetValue(at) if is_real else leaf.GetValueLong64(at)) for at in range(leaf.GetLen())]
    try:
        value = type(tree).__getattr__(tree, branch)
        # Where no text of a branch has a letter, PyROOT takes it for one letter.
        is_empty = leaf and leaf.ClassName() == "TLeafC" and value == "\0"
        return show("" if is_empty else value)
    except Exception:  # noqa: BLE001
        return None


class Reading:
    """The comparison of a few branches of a tree, in a fork.

    :param say: tells the parent what comes next.
    """

    def __init__(self, path: str, name: str, branches: list[str], say: Any) -> None:
        self.path = path
        self.name = name
        self.branches = branches
        self.say = say
        self.answer: dict[str, Any] = {"read": 0, "missing": 0, "refused": [], "wrong": []}

    def run(self) -> dict[str, Any]:
        """Compare."""
        try:
            self.compare()
        except CafError as error:
            self.answer["error"] = str(error)
        return self.answer

    def compare(self) -> None:
        """Read in both ways."""
        self.say("plain")
        file = open_root_file(self.path)
        tree = file.Get(self.name)
        if not isinstance(tree, load_root().TTree):
            self.say("ours")
            self.read_tuple()
            return
        rows: dict[int, dict[str, Any]] = {}
        broken: set[str] = set()
        for entry in choose_entries(tree, self.branches):
            if tree.GetEntry(entry) < 0:
                break
            rows[entry] = {each: None if each in broken else read_plainly(tree, each) for each in self.branches}
            # A class that is not known costs a compilation, each time.
            broken.update(each for each, value in rows[entry].items() if value is None)
        file.Close()
        self.say("ours")
        with EventFile(self.path, self.name) as events:
            for entry, row in rows.items():
                for branch, value in row.items():
                    self.compare_value(events, branch, entry, value)

    def compare_value(self, events: EventFile, branch: str, entry: int, value: Any) -> None:
        """Read one value as a collector does, and compare."""
        try:
            found = show(events.get_column(branch).read(entry))
        except InputError as error:
            if value is not None:
                self.answer["refused"].append([self.name, branch, entry, str(error)[:300], str(value)[:60]])
            return
        if value is None:
            self.answer["missing"] += 1
        elif found == value:
            self.answer["read"] += 1
        else:
            self.answer["wrong"].append([self.name, branch, entry, str(found)[:200], str(value)[:200]])

    def read_tuple(self) -> None:
        """Read the first fields of an RNTuple: each type costs a compilation."""
        with EventFile(self.path, self.name) as events:
            for field in events.list_branches()[:2]:
                for entry in range(min(events.count, 3)):
                    try:
                        show(events.get_column(field).read(entry))
                        self.answer["read"] += 1
                    except InputError as error:
                        self.answer["refused"].append([self.name, field, entry, str(error)[:300], ""])


def list_groups(path: str, say: Any) -> list[tuple[str, list[str]]]:
    """Give the trees of a file with the branches to read together; those that may crash are alone."""
    say("plain")
    file = open_root_file(path)
    groups: list[tuple[str, list[str]]] = []
    for name in dict.fromkeys(list_trees(file)):
        tree = file.Get(name)
        simple, others = choose_names(tree) if isinstance(tree, load_root().TTree) else ([], [])
        groups += [(name, simple), *((name, [each]) for each in others)]
    alone = [at for at, (_, branches) in enumerate(groups) if at and groups[at - 1][0] == groups[at][0]]
    left_out = set(alone) - set(alone if OTHERS is None else spread(alone, OTHERS))
    return [group for at, group in enumerate(groups) if at not in left_out]


def fork(work: Any, *words: Any) -> Any:
    """Do something in a fork and give the answer, or what it was at when it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        with os.fdopen(writer, "w") as stream:

            def say(word: str) -> None:
                stream.write(json.dumps(word) + "\n")
                stream.flush()

            try:
                json.dump(work(*words, say), stream)
            except CafError as error:
                json.dump({"error": str(error)}, stream)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        lines = stream.read().splitlines()
    os.waitpid(child, 0)
    return json.loads(lines[-1]) if lines else "plain"


def compare_file(path: str) -> dict[str, Any]:
    """Compare one file."""
    answer: dict[str, Any] = {
        "path": path,
        "read": 0,
        "missing": 0,
        "refused": [],
        "wrong": [],
        "plain": [],
        "ours": [],
    }
    groups = fork(list_groups, path)
    if not isinstance(groups, list):
        return {**answer, "error": str(groups)}
    for name, branches in groups:
        found = fork(lambda *words: Reading(*words).run(), path, name, branches)
        if isinstance(found, str):
            answer[found].append([name, *branches])
            continue
        for key in ("read", "missing", "refused", "wrong"):
            answer[key] += found[key]
        if "error" in found:
            answer["error"] = found["error"]
    return answer


def warm_up() -> None:
    """Read a harmless tree in this process, so that ROOT compiles for it once what each fork would compile again."""
    root = load_root()
    numbers: dict[str, array[Any]] = {
        "n": array("i", [2]),
        "fixed[2]": array("f", [1, 2]),
        "counted[n]": array("d", [1, 2]),
    }
    objects = {"floats": root.std.vector["float"]([1.0]), "text": root.std.string("a")}
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/tree.root"
        file = root.TFile.Open(path, "RECREATE")
        tree = root.TTree("tree", "")
        for name, values in numbers.items():
            tree.Branch(name.partition("[")[0], values, f"{name}/{values.typecode.upper()}")
        for name, item in objects.items():
            tree.Branch(name, item)
        tree.Fill()
        tree.Write()
        branches = [str(branch.GetName()) for branch in tree.GetListOfBranches()]
        file.Close()
        list_groups(path, str)
        answer = Reading(path, "tree", branches, str).run()
    if answer["read"] != len(branches):
        raise RuntimeError(f"The harmless tree is not read as it should be: {answer}")


def main() -> None:
    """Compare the files."""
    crash_plainly()
    load_root().gErrorIgnoreLevel = load_root().kFatal
    load_reader()
    warm_up()
    for path in sys.argv[1:]:
        sys.stdout.write(json.dumps(compare_file(path)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
