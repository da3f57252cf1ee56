"""The base class of collectors: what reads the events of a subjob and fills objects per run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.event_loop import EventLoop, check_choice
from airflow_provider_caf.worker.collect.events import Event, EventArrays
from airflow_provider_caf.worker.collect.frames import FrameLoop
from airflow_provider_caf.worker.collect.run_objects import GRANULARITIES, RunObjects, check_object_name
from airflow_provider_caf.worker.collect.trigger_skim import TriggerSkim, check_trigger_skim
from airflow_provider_caf.worker.constants import ConstantsReader
from airflow_provider_caf.worker.root import load_root, write_root_file
from airflow_provider_caf.worker.user_code import apply_settings, load_user_class, make_user_object, refuse_arguments

RESERVED = ("input_files", "iteration", "arguments", "current_run", "runs")
"""Attributes that the framework sets; a definition cannot."""


class Collector:
    """Collect what an algorithm needs from the events of some files.

    Write the hooks that are wanted: `prepare` registers objects, `collect` fills `self.get(name)`. A run may
    come back, in the same file or in another one: it has its objects again then.
    """

    prefix: str | None = None
    """The folder of its objects in the output; None: the name of the class."""

    granularity: str = "run"
    """`run`: objects are kept per run; `all`: one object for all runs."""

    max_events_per_run: int | None = None
    """At most so many events are collected of each run in one subjob."""

    prescale: float = 1.0
    """The part of the events that is collected, chosen at random but the same in every try."""

    trigger_skim: Mapping[str, Any] | TriggerSkim | None = None
    """The parameters of a `TriggerSkim`: only events that it chooses are collected."""

    trigger_branch: str = "SoftwareTriggerResult"
    """The branch of the trigger results, a `std::map<std::string,int>`; used with `trigger_skim`."""

    tree: str = "events"
    """The tree of the events in the input files."""

    exp_branch: str = "exp"
    """The branch of the experiment number; see `exp_run`."""

    run_branch: str = "run"
    """The branch of the run number; see `exp_run`."""

    input_files: tuple[str, ...] = ()
    """The files of this subjob."""

    iteration: int = 0
    """The number of the pass, from 0."""

    arguments: Mapping[str, Any] = {}
    """The generated arguments of this subjob."""

    _objects: RunObjects
    _copies: dict[str, Any]
    _loop: EventLoop
    _frames: FrameLoop
    _constants: ConstantsReader

    def __new__(cls, *words: Any, **options: Any) -> Collector:
        """Make the state here, so that a subclass may forget to call `super().__init__()`."""
        refuse_arguments(cls, words, options)
        self = super().__new__(cls)
        self._objects = RunObjects(f"collector {cls.__name__!r}")
        self._frames = FrameLoop(f"collector {cls.__name__!r}", self._objects)
        self._copies = {}
        self._loop = EventLoop(
            self,
            by_event=cls.exp_run is not Collector.exp_run,
            by_array=cls.collect_many is not Collector.collect_many,
        )
        self._constants = ConstantsReader(())
        return self

    def prepare(self) -> None:
        """Register objects; called once, before the first event."""

    def start_run(self) -> None:
        """Get ready for `self.current_run`; called whenever the run changes."""

    def collect(self, event: Any) -> None:
        """Take one event.

        :param event: its branches are its attributes. It is one object for all events.
        """
        raise DefinitionError(
            f"The collector {type(self).__name__!r} collects nothing.",
            hint="Write collect(self, event), collect_many(self, events) or collect_frame(self, frame, run).",
        )

    def collect_many(self, events: EventArrays) -> None:
        """Take many events of the current run at once; written instead of `collect` where speed counts.

        :param events: its branches are its attributes, as numpy arrays of `len(events)` numbers.
        """
        raise NotImplementedError

    def collect_frame(self, frame: Any, run: ExpRun | None) -> None:
        """Book what ROOT shall fill of all events of a run; written instead of `collect` where speed counts most.

        Nothing is read yet: hand the results of the frame's actions to `self.book`, and columns for trees to
        `self.book_tree`. ROOT fills them when all runs are booked, before `end_run`.

        :param frame: an `RDataFrame` of the run's chosen events, in all files.
        :param run: the run; None with the granularity `all`, where the frame has all events.
        """
        raise NotImplementedError

    def end_run(self) -> None:
        """Finish `self.current_run` for now; it may come back."""

    def finish(self) -> None:
        """Do what is left after the last event; `self.runs` are known, `self.get(name, run)` works."""

    def exp_run(self, event: Event) -> ExpRun:
        """Return the run of an event; the base class takes it from `exp_branch` and `run_branch`."""
        return ExpRun(event[self.exp_branch], event[self.run_branch])

    def run_over(self, files: Sequence[str]) -> None:
        """Go through all input files. Override it for input that is no ROOT tree.

        An override calls `self.process_event(run, event, file)` for each event.
        """
        if not has_written(self, "collect_frame"):
            self._loop.run_over(files)
            return
        is_all = self.granularity == "all"
        for file, run, entries in self._loop.choose_events(files):
            self._frames.add(file, None if is_all else run, entries)
        self._frames.run(self)

    def process_event(self, run: ExpRun, event: Any, source: str = "") -> None:
        """Hand one event to `collect`, with changes of run, prescale and limit as for trees.

        :param source: the file of the event; the choice of the prescale depends on it.
        """
        self._loop.process_event(run, event, source)

    def register(self, name: str, item: Any) -> None:
        """Declare an object of which each run gets a copy.

        :param item: an empty tree, histogram, profile, graph, or anything else that ROOT can merge.
        :raises DefinitionError: if the name is taken or not allowed, or ROOT cannot merge such an object.
        """
        self._objects.register(name, item)

    def book(self, name: str, result: Any) -> None:
        """Keep the result of an action of the frame as the run's object of that name; in `collect_frame`.

        :param result: such as `frame.Histo1D(…)`, `frame.Profile1D(…)`, `frame.Graph(…)`.
        :raises DefinitionError: if the name is taken or not allowed, or it is no such result.
        """
        self._frames.book(name, result)

    def book_tree(self, name: str, frame: Any, columns: Sequence[str]) -> None:
        """Keep columns of the frame as the run's tree of that name; in `collect_frame`.

        :param frame: the frame, or what was made of it by `Filter`, `Define` and the like.
        :raises DefinitionError: if the name is taken or not allowed.
        """
        self._frames.book_tree(name, frame, columns)

    def get(self, name: str, run: ExpRun | None = None) -> Any:
        """Return the copy of a registered object.

        :param run: whose copy; None: the current run's.
        :raises DefinitionError: if nothing is registered under that name, or there is no current run.
        """
        if run is None:
            if name in self._copies:
                return self._copies[name]
            run = self._loop.run
            if run is None:
                if self.granularity == "all" and self.runs:
                    return self._objects.add_copy(name, self.runs[0])
                raise DefinitionError(
                    f"The collector {type(self).__name__!r} asks for {name!r} while no run is open.",
                    hint="Ask in start_run, collect or end_run; or say of which run: self.get(name, run).",
                )
        return self._objects.add_copy(name, run)

    def get_payload(self, name: str, exp_run: ExpRun | None = None) -> Any:
        """Read constants through the database chain.

        :param exp_run: for which run; None: the current one.
        :raises DatabaseError: if no database of the chain has them.
        """
        run = self.current_run if exp_run is None else exp_run
        if run is None:
            raise DefinitionError(
                f"The collector {type(self).__name__!r} asks for payload {name!r} while no run is open.",
                hint="Ask in start_run; or say for which run: self.get_payload(name, run).",
            )
        return self._constants.get(name, run)

    @property
    def current_run(self) -> ExpRun | None:
        """The run of the event at hand; None before the first and after the last."""
        return self._loop.run

    @property
    def runs(self) -> tuple[ExpRun, ...]:
        """The runs seen so far, sorted."""
        return tuple(sorted(self._loop.counts))


def has_written(collector: Collector, hook: str) -> bool:
    """Return whether a collector has a hook of its own."""
    return getattr(type(collector), hook) is not getattr(Collector, hook)


def check_hooks(collector: Collector) -> None:
    """Refuse hooks that would not be called.

    :raises DefinitionError: if a collector has `collect_frame` and what does not go with it.
    """
    if not has_written(collector, "collect_frame"):
        return
    others = ["collect", "collect_many", "run_over"]
    if collector.granularity == "all":
        others += ["start_run", "end_run"]
    for hook in others:
        if has_written(collector, hook):
            because = " with the granularity 'all'" if hook.endswith("_run") else ""
            raise DefinitionError(
                f"The collector {type(collector).__name__!r} has collect_frame and {hook}, which is not called "
                f"beside it{because}.",
                hint="Keep one of the two.",
            )


def find_prefix(collector: Collector) -> str:
    """Return the folder of a collector's objects.

    :raises DefinitionError: if it cannot be a folder's name.
    """
    name = type(collector).__name__
    return check_object_name(collector.prefix or name, f"prefix of the collector {name!r}")


def check_collector(collector: Collector) -> None:
    """Refuse wrong attributes.

    :raises DefinitionError: with the attribute's name.
    """
    find_prefix(collector)
    check_choice(collector)
    check_hooks(collector)
    what = f"collector {type(collector).__name__!r}"
    check_trigger_skim(collector.trigger_skim, collector.trigger_branch, what)
    if collector.granularity not in GRANULARITIES:
        raise DefinitionError(
            f"The granularity of the collector {type(collector).__name__!r} is {collector.granularity!r}.",
            hint="Use 'run' or 'all'.",
        )


def make_collector(reference: str, settings: Mapping[str, Any], granularity: str | None) -> Collector:
    """Make a collector of the user and set its attributes.

    :param granularity: instead of its own, where the definition says so.
    :raises DefinitionError: if it is not there, cannot be made, or has no such setting.
    """
    cls = load_user_class(reference, Collector, "collector")
    collector = make_user_object(cls, reference, "collector")
    apply_settings(collector, settings, RESERVED, f"collector {cls.__name__!r}")
    if granularity is not None:
        collector.granularity = granularity
    check_collector(collector)
    return collector


def run_collector(
    collector: Collector, files: Iterable[str], chain: Iterable[DatabaseEntry], output: str
) -> dict[ExpRun, int]:
    """Run a collector over files and write what it collected.

    :param output: the file to write; it appears when all is done.
    :returns: how many events were collected of each run.
    :raises InputError: if an input file cannot be read.
    :raises CafError: if the output cannot be written.
    """
    check_collector(collector)
    collector.input_files = tuple(files)
    collector._constants = ConstantsReader(chain)
    root = load_root()
    loop = collector._loop
    loop.skim = None
    if collector.trigger_skim is not None:
        loop.skim = TriggerSkim.from_setting(collector.trigger_skim, f"collector {type(collector).__name__!r}")
        loop.skim.restart()
    with write_root_file(output, "collector output") as file:
        collector._objects.open(file, find_prefix(collector), collector.granularity)
        # Objects that are made in the hooks must not land in the output file by themselves.
        root.gROOT.cd()
        collector.prepare()
        collector.run_over(collector.input_files)
        loop.leave_run()
        collector.finish()
        collector._objects.write(loop.counts)
    if loop.skim is not None:
        sys.stdout.write(f"the trigger skim chose {loop.skim.chosen} of {loop.skim.seen} events\n")
    return dict(loop.counts)
