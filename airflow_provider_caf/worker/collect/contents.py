"""Find out what is in a collector output, or in several that were merged: runs and objects by prefix."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.record import record
from airflow_provider_caf.worker.collect.merge_objects import Key, list_keys
from airflow_provider_caf.worker.collect.run_objects import ALL_RUNS, RUN_RANGE
from airflow_provider_caf.worker.root import load_root, open_root_file


@record
class Content:
    """What was found in a file under one prefix.

    :param granularity: None where there are no objects.
    """

    granularity: str | None
    events: Mapping[ExpRun, int]
    objects: Mapping[str, Mapping[ExpRun, str]]

    def list_places(self) -> set[str]:
        """Return where the objects are in the file."""
        return {place for places in self.objects.values() for place in places.values()}


def inspect_file(path: str, what: str) -> tuple[dict[str, Content], dict[str, Key]]:
    """Find out what a collector output holds, by prefix and by path.

    :param what: what the file is, for messages.
    :raises InputError: if it cannot be read or is no collector output.
    """
    file = open_root_file(path, what)
    try:
        return inspect_open_file(file, path, what)
    finally:
        file.Close()
        load_root().gROOT.cd()


def inspect_open_file(file: Any, path: str, what: str) -> tuple[dict[str, Content], dict[str, Key]]:
    """Find out what an open collector output holds, as `inspect_file`."""
    keys = list_keys(file)
    prefixes = sorted(place for place, key in keys.items() if key.kind == "folder" and "/" not in place)
    if not prefixes:
        raise InputError(
            f"The {what} {path} has no folder of a collector.",
            hint=f"It needs <prefix>/{RUN_RANGE} and <prefix>/<name>/<name>_<exp>.<run>.",
        )
    return {prefix: _inspect_prefix(file, keys, prefix, f"{what} {path}") for prefix in prefixes}, keys


def _inspect_prefix(file: Any, keys: Mapping[str, Key], prefix: str, where: str) -> Content:
    run_range = keys.get(f"{prefix}/{RUN_RANGE}")
    if run_range is None or run_range.type != "TTree":
        raise InputError(
            f"The folder {prefix!r} in the {where} has no tree {RUN_RANGE!r}.",
            hint="A collector that is not written in Python has to write it: exp/I, run/I, events/L.",
        )
    objects: dict[str, dict[ExpRun, str]] = {}
    for place, key in keys.items():
        parts = place.split("/")
        if parts[0] == prefix and len(parts) == 2 and key.kind == "folder":
            objects[parts[1]] = {}
        elif parts[0] == prefix and len(parts) == 3:
            match = re.fullmatch(rf"{re.escape(parts[1])}_(-1\.-1|[0-9]+\.[0-9]+)", parts[2])
            if match:
                objects[parts[1]][ExpRun(*map(int, match[1].split(".")))] = place
    kinds = {run == ALL_RUNS for places in objects.values() for run in places}
    if len(kinds) > 1:
        raise InputError(
            f"The folder {prefix!r} in the {where} has objects of single runs and of all runs.",
            hint="A collector writes one or the other.",
        )
    granularity = None if not kinds else "all" if kinds.pop() else "run"
    events = _read_run_range(file.Get(f"{prefix}/{RUN_RANGE}"), f"{prefix}/{RUN_RANGE} in the {where}")
    return Content(granularity=granularity, events=events, objects=objects)


def _read_run_range(tree: Any, where: str) -> dict[ExpRun, int]:
    events: dict[ExpRun, int] = {}
    try:
        for number in range(tree.GetEntries()):
            if tree.GetEntry(number) <= 0:
                raise AttributeError("entry cannot be read")
            run = ExpRun(int(tree.exp), int(tree.run))
            events[run] = events.get(run, 0) + int(tree.events)
    except AttributeError as error:
        raise InputError(
            f"The tree {where} cannot be read: {error}.", hint="It needs the branches exp/I, run/I and events/L."
        ) from error
    return events
