"""Drive a collector over events: which run, which events, which hook."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Protocol

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.columns import find_changes
from airflow_provider_caf.worker.collect.events import Event, EventArrays, EventFile
from airflow_provider_caf.worker.collect.run_objects import RunObjects
from airflow_provider_caf.worker.collect.trigger_skim import TriggerColumn, TriggerSkim, find_results
from airflow_provider_caf.worker.tracebacks import tell_place

Stretch = tuple[ExpRun, int, int]
"""A run and its events `first … last - 1` that follow one another in a file."""

Choose = Callable[[ExpRun, Sequence[int]], Sequence[int]]
"""Choose some of the entries of a run by the trigger."""


class EventTaker(Protocol):
    """What the loop needs of a collector."""

    tree: str
    exp_branch: str
    run_branch: str
    prescale: float
    max_events_per_run: int | None
    trigger_branch: str
    _objects: RunObjects
    _copies: dict[str, Any]

    def start_run(self) -> None: ...
    def end_run(self) -> None: ...
    def exp_run(self, event: Event) -> ExpRun: ...
    def collect(self, event: Any) -> None: ...
    def collect_many(self, events: EventArrays) -> None: ...


class EventLoop:
    """Call the hooks of a collector in their order, and count events per run.

    :param by_event: whether the collector finds the run of an event itself.
    :param by_array: whether it takes many events at once.
    """

    def __init__(self, collector: EventTaker, *, by_event: bool, by_array: bool) -> None:
        self._collector = collector
        self._by_event = by_event
        self._by_array = by_array
        self._generators: dict[tuple[str, ExpRun], random.Random] = {}
        self._sources: Counter[tuple[str, ExpRun]] = Counter()
        self._seen: Counter[str] = Counter()
        self.run: ExpRun | None = None
        self.counts: dict[ExpRun, int] = {}
        self.skim: TriggerSkim | None = None
        self.most_events: int | None = None
        """So many events are looked at, the first of each file; None: all."""

    def run_over(self, files: Iterable[str]) -> None:
        """Go through the trees of all files."""
        for file, _, entries in self.choose_events(files, self.enter_run):
            self._collect(file, entries)

    def choose_events(
        self, files: Iterable[str], enter: Callable[[ExpRun], None] | None = None
    ) -> Iterator[tuple[EventFile, ExpRun, Sequence[int]]]:
        """Return the chosen events, file by file, and in a file by the runs that follow one another.

        :param enter: is told the run before its events are chosen.
        """
        for path in files:
            with EventFile(path, self._collector.tree, self.most_events) as file:
                skim, branch = self.skim, self._collector.trigger_branch
                choose = None if skim is None else TriggerColumn(file, branch, skim).choose
                # A list: all runs of a file are checked before its first event is collected.
                for run, first, last in list(self._find_stretches(file)):
                    self.counts.setdefault(run, 0)
                    if enter is not None:
                        with tell_place(path, partial("entry {}, run {}".format, first, run)):
                            enter(run)
                    yield file, run, self._select(run, path, range(first, last), choose)

    def process_event(self, run: ExpRun, event: Any, source: str) -> None:
        """Take one event of an input that is no tree."""
        number = self._seen[source]
        self._seen[source] += 1
        if self.most_events is not None and number >= self.most_events:
            return
        run = ExpRun.of_event(run, f"An event of {source}" if source else "An event")
        with tell_place(source, lambda: f"event {number}, run {run}"):
            self.enter_run(run)
            choose = None if self.skim is None else self._build_choice(self.skim, event, source)
            if self.run is not None and len(self._select(self.run, source, range(1), choose)):
                self._collector.collect(event)

    def enter_run(self, run: ExpRun) -> None:
        """Change to a run, if it is not the current one."""
        if run == self.run:
            return
        self.leave_run()
        self.run = run
        self.counts.setdefault(run, 0)
        self._collector._copies = self._collector._objects.get_copies(run)
        self._collector.start_run()

    def leave_run(self) -> None:
        """End the current run, if there is one."""
        if self.run is not None:
            self._collector.end_run()
            self._collector._copies = {}
            self.run = None

    def _collect(self, file: EventFile, entries: Sequence[int]) -> None:
        if not entries:
            return
        if self._by_array:
            with tell_place(file.path, lambda: f"entries {entries[0]} to {entries[-1]}, run {self.run}"):
                self._collector.collect_many(EventArrays(file, entries))
            return
        event = Event(file)
        collect = self._collector.collect
        with tell_place(file.path, lambda: f"entry {event._entry}, run {self.run}"):
            for entry in entries:
                event._entry = entry
                collect(event)

    def _build_choice(self, skim: TriggerSkim, event: Any, source: str) -> Choose:
        def choose(run: ExpRun, entries: Sequence[int]) -> Sequence[int]:
            results = find_results(event, self._collector.trigger_branch)
            name = PurePosixPath(source).name
            self._sources[name, run] += 1
            return entries if skim.is_chosen(results, f"{name}:{run}:{self._sources[name, run] - 1}") else ()

        return choose

    def _select(self, run: ExpRun, source: str, entries: Sequence[int], choose: Choose | None = None) -> Sequence[int]:
        prescale, limit = self._collector.prescale, self._collector.max_events_per_run
        if prescale < 1:
            name = PurePosixPath(source).name
            # One sequence per file and run: the choice does not depend on how files are split into subjobs.
            generator = self._generators.setdefault((name, run), random.Random(f"{name}:{run}"))  # noqa: S311
            entries = [entry for entry in entries if generator.random() < prescale]
        if choose is not None and entries and (limit is None or self.counts[run] < limit):
            # After the prescale, which is the cheaper of the two.
            entries = choose(run, entries)
        if limit is not None:
            entries = entries[: max(limit - self.counts[run], 0)]
        self.counts[run] += len(entries)
        return entries

    def _find_stretches(self, file: EventFile) -> Iterator[Stretch]:
        current, first = None, 0
        for entry, run in self._read_runs(file):
            if entry == 0 or run != current:
                if entry:
                    yield ExpRun.of_event(current, file.build_place(first)), first, entry
                current, first = run, entry
        if first < file.count:
            yield ExpRun.of_event(current, file.build_place(first)), first, file.count

    def _read_runs(self, file: EventFile) -> Iterator[tuple[int, Any]]:
        collector = self._collector
        if self._by_event:
            event = Event(file)
            for entry in range(file.count):
                event._entry = entry
                with tell_place(file.path, lambda: f"entry {event._entry}"):
                    run = collector.exp_run(event)
                yield entry, run
            return
        columns = [file.get_column(name) for name in (collector.exp_branch, collector.run_branch)]
        exps, runs = (column.read_range(0, file.count) for column in columns)
        for entry in find_changes(exps, runs):
            yield entry, (exps[entry], runs[entry])


def check_choice(collector: EventTaker) -> None:
    """Refuse a choice of events that makes no sense.

    :raises DefinitionError: if `prescale` or `max_events_per_run` is out of its range.
    """
    what = f"collector {type(collector).__name__!r}"
    prescale, limit = collector.prescale, collector.max_events_per_run
    if isinstance(prescale, bool) or not isinstance(prescale, (int, float)) or not 0 < prescale <= 1:
        raise DefinitionError(
            f"The prescale of the {what} is {prescale!r}.",
            hint="It is the part to take, over 0 and up to 1.",
        )
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise DefinitionError(
            f"The max_events_per_run of the {what} is {limit!r}.", hint="Use a whole number ≥ 1, or None."
        )
