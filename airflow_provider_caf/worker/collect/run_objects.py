"""The objects that a collector fills: one copy of each per run, in the layout that `hadd` merges.

::

    <prefix>/RunRange                          tree: exp/I, run/I, events/L; one entry per run
    <prefix>/<name>/<name>_<exp>.<run>         granularity run
    <prefix>/<name>/<name>_-1.-1               granularity all

The run list is a tree because objects that cannot be merged make a merge of many files ten times slower.
"""

from __future__ import annotations

import re
from array import array
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.suggestions import check_word
from airflow_provider_caf.worker.collect.describe_object import describe_item
from airflow_provider_caf.worker.collect.signature import check_faults
from airflow_provider_caf.worker.root import keep_directory, load_root

RUN_RANGE = "RunRange"
ALL_RUNS = ExpRun(-1, -1)
"""Stands in the names of the objects of granularity all."""

GRANULARITIES = ("run", "all")

_ROOMY = ("TTree", "TNtuple", "TH1D", "TH2D", "TH3D", "TProfile", "TProfile2D", "TProfile3D", "TGraph", "TGraphErrors")
"""Classes that lose nothing when they are filled: most of what is collected. To look at others costs a second."""

_PROFILES = ("TProfile", "TProfile2D", "TProfile3D")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*(\.[A-Za-z0-9_+-]+)*")
_MAX_LENGTH = 200


def check_object_name(name: str, what: str) -> str:
    """Refuse a name that cannot be a folder or key of a ROOT file; else return it.

    :param what: what is named, such as `prefix of collector 'Vertex'`.
    :raises DefinitionError: if it is such a name.
    """
    if not isinstance(name, str) or len(name) > _MAX_LENGTH or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} cannot be the {what}.",
            hint=f"Use at most {_MAX_LENGTH} letters, digits, '_', '+', '-', and single dots inside.",
        )
    return name


def build_key(name: str, run: ExpRun) -> str:
    """Return the key of an object of a run."""
    return f"{name}_{run}"


class RunObjects:
    """Copies of the registered objects, made when a run first asks for them.

    :param what: the collector, for messages, such as `collector 'Vertex'`.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._originals: dict[str, Any] = {}
        self._copies: dict[ExpRun, dict[str, Any]] = {}
        self._directory: Any = None
        self._is_per_run = True

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names, in their order."""
        return tuple(self._originals)

    def open(self, file: Any, prefix: str, granularity: str) -> None:
        """Say where the objects go.

        :param file: the output file; trees write into it while they are filled.
        """
        self._is_per_run = granularity == "run"
        self._directory = file.mkdir(check_object_name(prefix, f"prefix of the {self._what}"))

    def register(self, name: str, original: Any) -> None:
        """Take an object of which each run gets a copy.

        :raises DefinitionError: if the name is taken or not allowed, or ROOT cannot merge such an object, or it
            is not empty.
        """
        check_object_name(name, f"name of an object of the {self._what}")
        if name in self._originals or name == RUN_RANGE:
            reason = "is used by the framework" if name == RUN_RANGE else "is registered already"
            raise DefinitionError(
                f"The {self._what} cannot register {name!r}: the name {reason}.", hint="Take another name."
            )
        root = load_root()
        if not isinstance(original, root.TObject) or not _can_merge(original):
            raise DefinitionError(
                f"The {self._what} cannot register {name!r}: ROOT cannot merge a {_name_type(original)}.",
                hint="Register a TTree, a histogram, a TProfile, a TGraph or another class with Merge().",
            )
        if count_content(original):
            raise DefinitionError(
                f"The {self._what} cannot register {name!r}: the object is filled already.",
                hint=f"Register it empty; fill self.get({name!r}), which is the copy of the current run.",
            )
        if hasattr(original, "SetDirectory"):
            # Nobody but us keeps it: a folder that is closed would delete it.
            original.SetDirectory(root.nullptr)
        self._originals[name] = original

    def get_copies(self, run: ExpRun) -> dict[str, Any]:
        """Return the copies that a run has; `add_copy` adds to the same mapping."""
        return self._copies.setdefault(run if self._is_per_run else ALL_RUNS, {})

    def add_copy(self, name: str, run: ExpRun) -> Any:
        """Return the copy of an object for a run, made now if there is none.

        :raises DefinitionError: if nothing is registered under that name.
        """
        copies = self.get_copies(run)
        if name in copies:
            return copies[name]
        check_word(name, self._originals, f"The {self._what} has not registered {name!r}.", "registered names")
        if self._directory is None:
            raise DefinitionError(
                f"The {self._what} asks for {name!r} before any run.",
                hint="Ask for it in start_run or later.",
            )
        copies[name] = self._copy(name, run if self._is_per_run else ALL_RUNS)
        return copies[name]

    @property
    def folder(self) -> str:
        """The folder of the output file."""
        return str(Path(self._directory.GetFile().GetName()).absolute().parent)

    def adopt(self, name: str, run: ExpRun | None, item: Any) -> None:
        """Take a finished object as the copy of a run. With the first one of a name, an empty one is registered.

        :param run: None: the one for all runs.
        :raises DefinitionError: as `register`, and if it cannot be emptied.
        """
        if not isinstance(item, load_root().TObject) or not _can_merge(item):
            raise DefinitionError(
                f"The {self._what} cannot keep {name!r}: ROOT cannot merge a {_name_type(item)}.",
                hint="Book histograms, profiles, graphs or another class with Merge().",
            )
        copies = self._copies.setdefault(ALL_RUNS if run is None else run, {})
        key = build_key(name, ALL_RUNS if run is None else run)
        if isinstance(item, load_root().TTree):
            if name in self._originals and not item.GetEntries():
                return
            with keep_directory(self._get_folder(name)):
                copies[name] = item.CloneTree(-1, "fast")
            copies[name].SetName(key)
        else:
            copies[name] = _clone(item, key)
        if name not in self._originals:
            self.register(name, _build_empty(copies[name], name))

    def write(self, events: dict[ExpRun, int]) -> None:
        """Write all objects of all runs.

        :param events: how many events were collected of each run; every run gets every object, if empty.
        :raises DefinitionError: if a registered object was filled itself, or a copy has lost what was filled into it.
        """
        for name, original in self._originals.items():
            if count_content(original):
                raise DefinitionError(
                    f"The {self._what} filled the object that it registered as {name!r}.",
                    hint=f"Fill self.get({name!r}), which is the copy of the current run.",
                )
            for run in sorted(events):
                self.add_copy(name, run)
        for run in sorted(self._copies):
            for name in self._originals:
                if name in self._copies[run]:
                    self._check_copy(name, run)
                    self._write_object(self._get_folder(name), self._copies[run][name], build_key(name, run))
        self._write_run_range(events)

    def _copy(self, name: str, run: ExpRun) -> Any:
        original = self._originals[name]
        key = build_key(name, run)
        if isinstance(original, load_root().TTree):
            # The copy shares the addresses of the original's branches, and writes itself into its folder.
            with keep_directory(self._get_folder(name)):
                copy = original.CloneTree(0)
            copy.SetName(key)
            return copy
        return _clone(original, key)

    def _get_folder(self, name: str) -> Any:
        return self._directory.mkdir(name, "", True)

    def _check_copy(self, name: str, run: ExpRun) -> None:
        """Refuse a copy whose numbers were too small for what was filled into it. Doubles have no such limit."""
        copy = self._copies[run][name]
        if copy.IsA().GetName() in _ROOMY:
            return
        try:
            check_faults(describe_item(copy), f"object {name!r} of run {run} of the {self._what}")
        except InputError as error:
            raise DefinitionError(error.what, hint=error.hint) from error

    def _write_object(self, folder: Any, copy: Any, key: str) -> None:
        root = load_root()
        if isinstance(copy, root.TTree):
            # A tree that grew saved itself now and then: only the last state is kept.
            with keep_directory(folder):
                written = copy.Write("", root.TObject.kOverwrite)
        else:
            if copy.IsA().GetName() in _PROFILES:
                # ROOT's merge takes it from the first file for all, and the first may have seen no weight yet.
                copy.Sumw2()
            written = folder.WriteTObject(copy, key)
        if written <= 0:
            raise CafError(
                f"The {self._what} could not write {key!r}.",
                hint="The disk may be full; what ROOT says is in the log above.",
            )

    def _write_run_range(self, events: dict[ExpRun, int]) -> None:
        root = load_root()
        with keep_directory(self._directory):
            tree = root.TTree(RUN_RANGE, "runs and their collected events")
        numbers = {"exp": array("i", [0]), "run": array("i", [0]), "events": array("q", [0])}
        for name, letter in (("exp", "I"), ("run", "I"), ("events", "L")):
            tree.Branch(name, numbers[name], f"{name}/{letter}")
        for run in sorted(events):
            numbers["exp"][0], numbers["run"][0] = run
            numbers["events"][0] = events[run]
            tree.Fill()
        self._write_object(self._directory, tree, RUN_RANGE)
        tree.ResetBranchAddresses()


def count_content(item: Any) -> float:
    """Count the entries or points in an object of ROOT; 0 where it cannot say."""
    for method in ("GetEntries", "GetN"):
        if hasattr(item, method):
            return float(getattr(item, method)())
    return 0.0


def _clone(item: Any, name: str) -> Any:
    """Return a copy that is in no folder: one that is closed would delete it."""
    copy = item.Clone(name)
    if hasattr(copy, "SetDirectory"):
        copy.SetDirectory(load_root().nullptr)
    return copy


def _build_empty(item: Any, name: str) -> Any:
    """Return an empty object of the same kind."""
    root = load_root()
    if isinstance(item, root.TTree):
        with keep_directory():
            return item.CloneTree(0)
    empty = _clone(item, name)
    if isinstance(empty, root.TGraph):
        empty.Set(0)
    elif hasattr(empty, "Reset"):
        empty.Reset()
    return empty


def _can_merge(item: Any) -> bool:
    kind = item.IsA()
    if str(kind.GetName()) == "TGraphMultiErrors":
        # Its Merge writes beyond the arrays of the errors.
        return False
    return bool(kind.GetMerge()) or bool(kind.InheritsFrom("TTree"))


def _name_type(item: Any) -> str:
    return str(item.IsA().GetName()) if hasattr(item, "IsA") else type(item).__name__
