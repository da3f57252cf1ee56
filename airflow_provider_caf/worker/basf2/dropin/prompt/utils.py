"""Choose input files, as scripts do. What is chosen at random is the same for the same files."""

from __future__ import annotations

import os
import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from airflow_provider_caf.worker.basf2.dropin.caf.utils import ExpRun, IoV

event_counts: dict[str, int] = {}
"""File → events, of files that were counted. It is recorded with the script's arguments, so that a second call of the
script opens no file."""


def events_in_basf2_file(file_path: str) -> int:
    """Count the events of a file.

    :raises OSError: if it cannot be read.
    """
    path = os.fspath(file_path)
    if path not in event_counts:
        import ROOT

        file = ROOT.TFile.Open(path, "READ")
        if not file or file.IsZombie():
            raise OSError(f"The file {path} cannot be read.")
        tree = file.Get("tree")
        if not tree:
            raise OSError(f"The file {path} has no tree 'tree'.")
        event_counts[path] = int(tree.GetEntries())
        file.Close()
    return event_counts[path]


def filter_by_max_files_per_run(
    files_to_iov: Mapping[str, IoV],
    max_files_per_run: int = 1,
    min_events_per_file: int = 0,
    random_select: bool = False,
) -> OrderedDict[str, IoV]:
    """Return at most so many files of each run; with `min_events_per_file` only those with enough events."""
    chosen: OrderedDict[ExpRun, list[str]] = OrderedDict()
    for path in _order(list(files_to_iov), random_select):
        run = ExpRun(files_to_iov[path].exp_low, files_to_iov[path].run_low)
        files = chosen.setdefault(run, [])
        if len(files) < max_files_per_run and (
            not min_events_per_file or events_in_basf2_file(path) >= min_events_per_file
        ):
            files.append(path)
    return OrderedDict((path, run.make_iov()) for run, files in chosen.items() for path in files)


def group_files_by_iov(files_to_iov: Mapping[str, IoV]) -> OrderedDict[IoV, list[str]]:
    """Return the files of each IoV."""
    grouped: OrderedDict[IoV, list[str]] = OrderedDict()
    for iov, items in groupby(files_to_iov.items(), lambda item: item[1]):
        grouped.setdefault(iov, []).extend(path for path, _ in items)
    return grouped


def filter_by_max_events_per_run(
    files_to_iov: Mapping[str, IoV],
    max_events_per_run: int,
    random_select: bool = False,
    max_events_per_file: int = 0,
) -> OrderedDict[str, IoV]:
    """Return files of each run until there are so many events. Empty files are left out.

    :param max_events_per_file: no file counts for more; 0: there is no such limit.
    """
    chosen: OrderedDict[str, IoV] = OrderedDict()
    for iov, files in sorted(group_files_by_iov(files_to_iov).items()):
        paths, _ = _take_events(_order(files, random_select), max_events_per_run, max_events_per_file)
        chosen.update(dict.fromkeys(paths, iov))
    return chosen


def filter_by_select_max_events_from_files(
    input_file_list: Sequence[str], select_max_events_from_files: int
) -> list[str]:
    """Return files, chosen at random and sorted, until there are so many events; none where all have too few."""
    chosen, total = _take_events(_order(input_file_list, True), select_max_events_from_files)
    return sorted(chosen) if total >= select_max_events_from_files else []


def _take_events(files: Iterable[str], wanted: int, most: int = 0) -> tuple[list[str], int]:
    """Return files until there are so many events, without empty ones, and the number of their events.

    :param most: no file counts for more; 0: there is no such limit.
    """
    chosen: list[str] = []
    total = 0
    for path in files:
        if total >= wanted:
            break
        events = events_in_basf2_file(path)
        if events:
            total += min(events, most) if most else events
            chosen.append(path)
    return chosen, total


def _order(files: Iterable[str], is_random: bool) -> list[str]:
    """Return files in their order, or in one that depends on their names alone."""
    if not is_random:
        return list(files)
    items = sorted(files)
    random.Random("\0".join(items)).shuffle(items)  # noqa: S311 - a choice, no secret
    return items
