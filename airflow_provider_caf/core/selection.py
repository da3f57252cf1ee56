"""Which of the input files of a collection are used, and how much of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

_LIMITS = ("max_files_per_run", "max_events_per_run", "max_events")


@record
class Selection(JsonRecord):
    """The rule by which input files are chosen. Their runs, and for limits of events the events in them, must be known.

    Files are taken in the order of their paths, or in a random one that depends on the seed alone. What was chosen is
    recorded in the run's folder.

    :param max_files_per_run: at most so many files of each run.
    :param max_events_per_run: files of each run until so many events are reached; the one that reaches it is taken.
    :param max_events: files of all runs until so many events are reached.
    :param min_events_per_file: leave out files with fewer events.
    :param random_seed: None takes files in the order of their paths.
    :raises DefinitionError: if a limit is below 1, or the rule limits nothing.
    """

    noun = "selection"

    max_files_per_run: int | None = None
    max_events_per_run: int | None = None
    max_events: int | None = None
    min_events_per_file: int | None = None
    random_seed: int | None = None

    def __post_init__(self) -> None:
        for name in (*_LIMITS, "min_events_per_file"):
            limit = getattr(self, name)
            if limit is not None and (type(limit) is not int or limit < 1):
                raise DefinitionError(f"{name} is {limit!r}.", hint="It has to be a whole number, at least 1.")
        seed = self.random_seed
        if seed is not None and (type(seed) is not int or seed < 0):
            raise DefinitionError(f"random_seed is {seed!r}.", hint="It has to be a whole number, at least 0.")
        if all(getattr(self, name) is None for name in (*_LIMITS, "min_events_per_file")):
            raise DefinitionError(
                "The selection limits nothing.", hint=f"Give one of {', '.join(_LIMITS)} or min_events_per_file."
            )

    @property
    def needs_events(self) -> bool:
        """Whether the number of events in each file has to be known."""
        return any(limit is not None for limit in (self.max_events_per_run, self.max_events, self.min_events_per_file))

    @property
    def needs_runs(self) -> bool:
        """Whether the runs in each file have to be known."""
        return self.max_files_per_run is not None or self.max_events_per_run is not None


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
    """Give the limit because of which a file is left out, or None."""
    if rule.min_events_per_file is not None and count < rule.min_events_per_file:
        return f"min_events_per_file: it has {count} events"
    if rule.max_files_per_run is not None and files_of_run >= rule.max_files_per_run:
        return f"max_files_per_run: run {run} has {files_of_run} files"
    if rule.max_events_per_run is not None and events_of_run >= rule.max_events_per_run:
        return f"max_events_per_run: run {run} has {events_of_run} events"
    if rule.max_events is not None and events >= rule.max_events:
        return f"max_events: {events} events are reached"
    return None
