"""Choose the input files of a collection by its selection."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.definitions.collection import Selection


def choose_files(
    files: Sequence[str], iovs: Mapping[str, IoV], events: Mapping[str, int], rule: Selection
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Choose files by a rule; the same rule and files give the same choice.

    :param iovs: the IoV of the data in each file; for limits of a run it has to be one run.
    :param events: the number of events in each file, where the rule needs it.
    :return: the chosen files, sorted, and for each other file why it was left out.
    :raises InputError: if a limit is for a run and a file has several, or nothing is left.
    """
    order = sorted(files)
    if rule.needs_runs:
        several = [file for file in order if iovs[file].low != iovs[file].end]
        if several:
            raise InputError(
                f"The selection has limits for each run, but {len(several)} of {len(order)} files hold several runs, "
                f"such as {several[0]!r}.",
                hint="Use max_events and min_events_per_file, or files of one run each.",
            )
    if rule.random_seed is not None:
        # Not for secrets: the same seed has to give the same files.
        random.Random(rule.random_seed).shuffle(order)  # noqa: S311
    chosen: list[str] = []
    left_out: dict[str, str] = {}
    files_of: Counter[ExpRun] = Counter()
    events_of: Counter[ExpRun] = Counter()
    for file in order:
        run = iovs[file].low if rule.needs_runs else ExpRun(0, 0)
        count = events.get(file, 0)
        reason = _find_reason(rule, run, count, files_of[run], events_of[run], sum(events_of.values()))
        if reason is not None:
            left_out[file] = reason
            continue
        chosen.append(file)
        files_of[run] += 1
        events_of[run] += count
    if files and not chosen:
        raise InputError(
            f"The selection leaves none of the {len(files)} files.",
            hint=f"The first one was left out because of {left_out[order[0]]}. Change the limits.",
        )
    return tuple(sorted(chosen)), left_out


def _find_reason(
    rule: Selection, run: ExpRun, count: int, files_of_run: int, events_of_run: int, events: int
) -> str | None:
    """Return the limit because of which a file is left out, or None."""
    if rule.min_events_per_file is not None and count < rule.min_events_per_file:
        return f"min_events_per_file: it has {count} events"
    if rule.max_files_per_run is not None and files_of_run >= rule.max_files_per_run:
        return f"max_files_per_run: run {run} has {files_of_run} files"
    if rule.max_events_per_run is not None and events_of_run >= rule.max_events_per_run:
        return f"max_events_per_run: run {run} has {events_of_run} events"
    if rule.max_events is not None and events >= rule.max_events:
        return f"max_events: {events} events are reached"
    return None
