"""Find out which runs and how many events are in files: the verb `metadata`.

::

    {"version": 1, "files": [<path>, …], "how": "tree" or "basf2",
     "tree": "events", "exp_branch": "exp", "run_branch": "run"}

The answer is `{"version": 1, "files": [{"ok": true, "low": [exp, run], "high": [exp, run], "events": n} or
{"ok": false, "error": …, "hint": …}, …]}`, in the order of the files. `basf2` reads what basf2 itself keeps in each of
its files: the tree `persistent` with the object `FileMetaData` (framework/dataobjects/include/FileMetaData.h).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.events import EventFile
from airflow_provider_caf.worker.root import open_root_file

_BASF2_TREE = "persistent"
_BASF2_LEAVES = ("m_experimentLow", "m_runLow", "m_experimentHigh", "m_runHigh", "m_nFullEvents")


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Look into the files that the request names."""
    return {"files": [_look_into(path, request) for path in request["files"]]}


def _look_into(path: str, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        low, high, events = read_basf2(path) if request["how"] == "basf2" else read_tree(path, request)
    except CafError as error:
        return {"ok": False, "error": error.what, "hint": error.hint}
    return {"ok": True, "low": list(low), "high": list(high), "events": events}


def read_tree(path: str, names: Mapping[str, str]) -> tuple[ExpRun, ExpRun, int]:
    """Return the first and the last run in the tree of a file, and the number of its events.

    :param names: `tree`, `exp_branch`, `run_branch`.
    :raises InputError: if the file cannot be read, or has no such tree or branch, or no event.
    """
    with EventFile(path, names["tree"]) as file:
        if not file.count:
            raise InputError(f"The tree {names['tree']!r} in {path} has no event.", hint="Leave the file out.")
        columns = [file.get_column(names[word]).read_range(0, file.count) for word in ("exp_branch", "run_branch")]
        where = f"An event of tree {names['tree']!r} in {path}"
        runs = [ExpRun.of_event(run, where) for run in set(zip(*columns))]
        return min(runs), max(runs), file.count


def read_basf2(path: str) -> tuple[ExpRun, ExpRun, int]:
    """Return the first and the last run of a file of basf2, and the number of its events.

    :raises InputError: if the file cannot be read, or has no such metadata.
    """
    file = open_root_file(path)
    try:
        tree = file.Get(_BASF2_TREE)
        leaves = [tree.GetLeaf(name) for name in _BASF2_LEAVES] if tree and hasattr(tree, "GetLeaf") else []
        if not leaves or not all(leaves) or tree.GetEntries() < 1:
            raise InputError(
                f"The file {path} has no FileMetaData of basf2 that can be read.",
                hint=f"It would be in the tree {_BASF2_TREE!r}. Read the runs from a tree of events instead.",
            )
        tree.GetEntry(0)
        numbers = [int(leaf.GetValue()) for leaf in leaves]
    finally:
        file.Close()
    return ExpRun(*numbers[0:2]), ExpRun(*numbers[2:4]), numbers[4]
