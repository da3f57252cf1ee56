"""Compare what a collector reads of ROOT files with what plain ROOT gives; in a process of its own: files crash ROOT.

Run as `compare_reading.py plain|both FILE…`. Each file gives one line of JSON, when it is done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.worker.events import EventFile, list_trees
from airflow_provider_caf.worker.root import load_root, open_root_file

READS = 4000
"""So many values are compared of each tree, first of all events, and at least two of each branch."""


def show(value: Any, depth: int = 0) -> Any:
    """Give what can be compared of a value."""
    if isinstance(value, (bool, int, float, str, bytes)) or value is None:
        return repr(value)
    if "string" in type(value).__name__:
        return str(value)
    if type(value).__name__ == "LowLevelView" and value.format in ("c", "b", "B"):
        return bytes(value).partition(b"\0")[0].decode("latin-1")
    if depth < 3 and (hasattr(value, "__len__") or hasattr(value, "size")):
        try:
            return [show(each, depth + 1) for each in value]
        except (TypeError, ValueError, AttributeError):
            pass
    return type(value).__name__


def read_plainly(tree: Any, name: str) -> Any:
    """Give a branch of the event at hand as PyROOT does."""
    leaf = tree.GetLeaf(name)
    if leaf and leaf.GetLeafCount() and leaf.GetLenStatic() > 1:
        return None  # PyROOT would end the process
    try:
        return show(type(tree).__getattr__(tree, name))
    except (AttributeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}"


def list_names(branches: Any) -> Iterator[str]:
    """Give the names of all branches and of what is inside them."""
    for branch in branches:
        yield str(branch.GetName())
        yield from list_names(branch.GetListOfBranches())


def read_tuple(path: str, name: str) -> dict[str, Any]:
    """Read the first fields of an RNTuple: each type costs a compilation."""
    answer: dict[str, Any] = {"read": 0, "refused": 0, "wrong": []}
    with EventFile(path, name) as events:
        for field in events.list_branches()[:2]:
            for entry in range(min(events.count, 3)):
                try:
                    show(events.get_column(field).read(entry))
                    answer["read"] += 1
                except InputError:
                    answer["refused"] += 1
    return answer


def read_events(path: str, name: str, names: list[str], plain: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Read a tree as a collector does, and compare."""
    answer: dict[str, Any] = {"read": 0, "refused": 0, "wrong": []}
    with EventFile(path, name) as events:
        for each in names:
            for entry, row in plain.items():
                try:
                    found = show(events.get_column(each).read(entry))
                except InputError:
                    found = None
                if found is None or row[each] is None:
                    answer["refused"] += 1
                elif found == row[each]:
                    answer["read"] += 1
                else:
                    answer["wrong"].append([name, each, entry, str(found)[:200], str(row[each])[:200]])
    return answer


def compare_tree(path: str, name: str, mode: str) -> dict[str, Any]:
    """Read one tree in both ways, and give what differs."""
    file = open_root_file(path)
    tree = file.Get(name)
    if not isinstance(tree, load_root().TTree):
        return read_tuple(path, name)
    names = list(dict.fromkeys(list_names(tree.GetListOfBranches())))
    entries = range(min(int(tree.GetEntries()), max(READS // max(len(names), 1), 2)))
    plain = {}
    for entry in entries:
        tree.GetEntry(entry)
        plain[entry] = {each: read_plainly(tree, each) for each in names}
    file.Close()
    if mode == "plain":
        return {"read": 0, "refused": 0, "wrong": []}
    return read_events(path, name, names, plain)


def main() -> None:
    """Compare the files."""
    mode, *paths = sys.argv[1:]
    load_root().gErrorIgnoreLevel = load_root().kFatal
    for path in paths:
        answer: dict[str, Any] = {"path": path, "trees": {}}
        try:
            file = open_root_file(path)
            names = list(dict.fromkeys(list_trees(file)))
            file.Close()
            answer["trees"] = {name: compare_tree(path, name, mode) for name in names}
        except CafError as error:
            answer["error"] = str(error)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
