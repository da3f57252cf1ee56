"""A strategy as the experts of a detector's channel masks need it: runs are merged by what was seen in them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import (
    Commit,
    Execute,
    Execution,
    Param,
    Plan,
    Report,
    Strategy,
    WriteFile,
    complete,
    fail,
)


class BrokenExecution(Exception):
    """The algorithm answered what no merging can mend."""


@dataclass
class Group:
    """Neighbouring runs with one result.

    :param is_forced: True if the algorithm was told to make do.
    """

    runs: tuple[ExpRun, ...]
    done: Execution
    is_forced: bool

    @property
    def channels(self) -> set[int]:
        return set(self.done.output["channels"])

    def is_poor(self, entries: int) -> bool:
        return not self.is_forced and (not self.done.code.is_success or self.done.output["entries"] < entries)


class MergeByContent(Strategy):
    """Execute each run alone, merge the poor ones with a neighbour, and join equal neighbours.

    The algorithm says in `output` which `channels` it has seen, and in how many `entries`. A run without enough of
    them is merged with a neighbour that has seen all its channels. If there is none, the algorithm is told by `force`
    to make do. Neighbours with the same channels become one. Excluded runs get no payload. Nothing is committed
    before all is known, and nothing at all if the algorithm fails somewhere.
    """

    known_params: ClassVar = {
        "entries": Param(kind="int", default=1, minimum=1, text="A run with fewer entries is poor."),
        "excluded_runs": Param(kind="runs", default=(), text="Runs that no payload may cover."),
    }

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        excluded = set(self.params["excluded_runs"])
        chosen = [run for run in runs if run not in excluded]
        if not chosen:
            return fail("There is no run to calibrate.")
        experiments: list[list[Group]] = []
        try:
            for _, each in groupby(chosen, key=lambda run: run.exp):
                experiments.append((yield from self.find_groups(tuple(each))))
        except BrokenExecution as error:
            return fail(str(error))
        summary = []
        for groups in experiments:
            for number, group in enumerate(groups):
                last = groups[number + 1].runs[0].run - 1 if number + 1 < len(groups) else group.runs[-1].run
                for iov in cut_out(group.runs[0], last, excluded):
                    yield Commit(execution=group.done, iov=iov)
                    summary.append([str(iov), len(group.channels)])
                yield Report(execution=group.done)
        yield WriteFile(name="channels.json", content=summary)
        return complete(f"{len(summary)} payloads")

    def find_groups(self, runs: tuple[ExpRun, ...]) -> Generator[Any, Any, list[Group]]:
        """Group the runs of one experiment."""
        groups: list[Group] = []
        # All are asked for before one is looked at: then they can be executed at the same time.
        for run in runs:
            groups.append((yield from self.measure((run,))))
        yield from self.merge_poor(groups)
        yield from self.join_equal(groups)
        return groups

    def measure(self, runs: tuple[ExpRun, ...], force: bool = False) -> Generator[Any, Any, Group]:
        iov = IoV.between(runs[0], runs[-1])
        done = yield Execute(runs=runs, iov=iov, settings={"force": force})
        if not (done.code.is_success or (done.code is ResultCode.NOT_ENOUGH_DATA and not force)):
            raise BrokenExecution(
                f"The algorithm answered {done.code.name} for {runs[0]} to {runs[-1]}{', forced' if force else ''}."
            )
        return Group(runs=runs, done=done, is_forced=force)

    def merge_poor(self, groups: list[Group]) -> Generator[Any, Any, None]:
        """Merge until no group is poor, or has no neighbour that fits."""
        number = 0
        while number < len(groups):
            if not groups[number].is_poor(self.params["entries"]):
                number += 1
                continue
            fitting = [
                other
                for other in (number - 1, number + 1)
                if 0 <= other < len(groups) and groups[number].channels <= groups[other].channels
            ]
            if fitting:
                number = min(number, fitting[0])
                yield from self.merge(groups, number)
            else:
                groups[number] = yield from self.measure(groups[number].runs, force=True)
                number += 1

    def join_equal(self, groups: list[Group]) -> Generator[Any, Any, None]:
        """Join neighbours with the same channels; what suffices alone has to suffice together."""
        number = 0
        while number + 1 < len(groups):
            if groups[number].channels == groups[number + 1].channels:
                is_forced = groups[number].is_forced or groups[number + 1].is_forced
                yield from self.merge(groups, number, force=is_forced)
                if not groups[number].done.code.is_success:
                    first, last = groups[number].runs[0], groups[number].runs[-1]
                    raise BrokenExecution(f"The runs {first} to {last} suffice alone, and not when joined.")
            else:
                number += 1

    def merge(self, groups: list[Group], first: int, force: bool = False) -> Generator[Any, Any, None]:
        runs = groups[first].runs + groups[first + 1].runs
        groups[first : first + 2] = [(yield from self.measure(runs, force))]


def cut_out(low: ExpRun, last: int, excluded: set[ExpRun]) -> Iterator[IoV]:
    """Give the IoVs from a run to the run `last` of its experiment, without the excluded runs."""
    start = low.run
    for run in sorted(each.run for each in excluded if each.exp == low.exp and low.run <= each.run <= last):
        if start < run:
            yield IoV(low.exp, start, low.exp, run - 1)
        start = run + 1
    if start <= last:
        yield IoV(low.exp, start, low.exp, last)
