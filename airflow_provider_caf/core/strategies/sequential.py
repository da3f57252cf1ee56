"""What SequentialRunByRun and SequentialBoundaries share: one experiment, step after step.

A *step* is a group of neighbouring runs with the first run of its IoV. A step without enough data takes
the next one in, until there is enough. A success is held back until the next success: if the data run out
first, the rest is merged with the success that was held back, and that one is never committed.

All groups are slices of one tuple of runs, so only what is executed is copied.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import groupby
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Action, Commit, Execute, Execution, Report


@record
class Step:
    """Neighbouring runs that are executed together.

    :param stop: index after the last run; the step begins where the one before it stops.
    :param low: where the IoV of the payloads begins if the step begins an execution.
    """

    stop: int
    low: ExpRun


@record
class Experiment:
    """The runs of one experiment and the ends of what its payloads have to cover.

    :param low: the first run of the first IoV.
    :param high: the last run of the last IoV, -1 where it is open.
    """

    runs: tuple[ExpRun, ...]
    low: ExpRun
    high: ExpRun


def split_experiments(runs: Sequence[ExpRun], coverage: IoV | None) -> tuple[Experiment, ...]:
    """Split sorted runs by experiment.

    Payloads of an experiment cover all of it, from run 0 to an open end, so that no gap is left between two
    experiments. Only the very first and last end are those of the data, or of the coverage where it is given.

    :param coverage: what the payloads of all experiments together have to cover.
    :raises DefinitionError: if there are runs outside the coverage.
    """
    if coverage is not None and runs and not (coverage.contains(runs[0]) and coverage.contains(runs[-1])):
        raise DefinitionError(
            f"The parameter 'iov_coverage' {coverage} does not contain all runs, which reach from {runs[0]} "
            f"to {runs[-1]}.",
            hint="Make it larger, or request a smaller IoV.",
        )
    groups = [tuple(group) for _, group in groupby(runs, key=lambda run: run.exp)]
    experiments = []
    for number, group in enumerate(groups):
        low, high = ExpRun(group[0].exp, 0), ExpRun(group[0].exp, -1)
        if number == 0:
            low = group[0] if coverage is None else coverage.low
        if number == len(groups) - 1:
            high = group[-1] if coverage is None else coverage.high
        experiments.append(Experiment(runs=group, low=low, high=high))
    return tuple(experiments)


def merge_steps(
    experiment: Experiment, steps: Sequence[Step], settings: Mapping[str, Any] | None = None
) -> Generator[Action, Any, Execution | None]:
    """Execute the steps of one experiment, commit and report its successes.

    Gives None if all its runs are covered, else the execution that ended it, which is not reported. A success
    that was held back is dropped then.

    :param steps: at least one; together they hold all runs, in order.
    :param settings: what the algorithm gets with every execution.
    """
    runs = experiment.runs
    held: Execution | None = None
    held_first = first = 0
    low = experiment.low
    last = len(steps) - 1
    done: Execution | None = None
    for number, step in enumerate(steps):
        high = experiment.high if number == last else _run_before(steps[number + 1].low)
        done = yield Execute(runs=runs[first : step.stop], iov=IoV.between(low, high), settings=settings)
        if done.code.is_success:
            if held is not None:
                yield Commit(execution=held)
                yield Report(execution=held)
            held, held_first, done = done, first, None
            if number != last:
                first, low = step.stop, steps[number + 1].low
        elif done.code is not ResultCode.NOT_ENOUGH_DATA:
            return done
    if done is not None:
        if held is None:
            return done
        iov = IoV.between(held.iov.low, experiment.high)
        held = yield Execute(runs=runs[held_first:], iov=iov, settings=settings)
        if not held.code.is_success:
            return held
    assert held is not None
    yield Commit(execution=held)
    yield Report(execution=held)
    return None


def _run_before(run: ExpRun) -> ExpRun:
    return ExpRun(run.exp, run.run - 1)
