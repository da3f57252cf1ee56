"""The built-in strategies: SingleIOV, SimpleRunByRun, SequentialRunByRun and SequentialBoundaries.

The sequential ones go experiment by experiment, step after step. A *step* is a group of neighbouring runs with the
first run of its IoV. A step without enough data takes the next one in, until there is enough. A success is held back
until the next success: if the data run out first, the rest is merged with the success that was held back, and that one
is never committed.

All groups are slices of one tuple of runs, so only what is executed is copied.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import (
    Action,
    Commit,
    Execute,
    Execution,
    FindBoundaries,
    Part,
    Plan,
    Report,
    Strategy,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.params import Param

_SHOWN_REASONS = 5
_SHOWN_RUNS = 5


class SingleIOV(Strategy):
    """Execute once over all runs, whatever their experiments.

    The payloads get the IoV from the first to the last run, or `apply_iov` where it is given. They are
    committed if the algorithm answers OK or ITERATE; every other answer is a failure. The result is
    reported in any case. It is the only built-in strategy that can use data collected with the
    granularity `all`.
    """

    known_params: ClassVar[Mapping[str, Param]] = {
        "apply_iov": Param(kind="iov", text="The IoV of the payloads, instead of first to last run."),
    }

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        if not runs:
            return fail("There is no run to calibrate.")
        iov: IoV = self.params["apply_iov"] or IoV.between(runs[0], runs[-1])
        done: Execution = yield Execute(runs=runs, iov=iov)
        if not done.code.is_success:
            yield Report(execution=done)
            return fail(f"The algorithm answered {done.code.name} for the {len(runs)} runs of {iov}.")
        yield Commit(execution=done)
        yield Report(execution=done)
        return complete()


class SimpleRunByRun(Strategy):
    """Execute each run alone, never merge, and go on after a failure.

    Each result is reported. A run that is answered with OK or ITERATE is committed for just that run. If
    any run got no payload, the strategy fails at the end; the payloads of the others stay committed. With
    `allow_missing_runs`, runs without enough data do not count as failed, as long as one run got a
    payload; a real failure of the algorithm still does.
    """

    allowed_granularities: ClassVar[tuple[str, ...]] = ("run",)
    known_params: ClassVar[Mapping[str, Param]] = {
        "allow_missing_runs": Param(
            kind="bool", default=False, text="Complete even if some runs have not enough data."
        ),
    }

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        if not runs:
            return fail("There is no run to calibrate.")
        thin: list[ExpRun] = []
        failed: list[ExpRun] = []
        for run in runs:
            done: Execution = yield from self._plan_run(run)
            if done.code.is_success:
                yield Commit(execution=done)
            else:
                (thin if done.code is ResultCode.NOT_ENOUGH_DATA else failed).append(run)
            yield Report(execution=done)
        reasons = []
        for what, some in (("the algorithm failed", failed), ("not enough data", thin)):
            if some:
                shown = ", ".join(map(str, some[:_SHOWN_RUNS])) + (", …" if len(some) > _SHOWN_RUNS else "")
                reasons.append(f"{what} in {len(some)} of {len(runs)} runs ({shown})")
        if not reasons:
            return complete()
        text = "No payload: " + "; ".join(reasons) + "."
        if failed or len(thin) == len(runs) or not self.params["allow_missing_runs"]:
            return fail(text)
        return complete(text)

    def split_plan(self, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
        return (functools.partial(self._plan_run, run) for run in runs)

    def _plan_run(self, run: ExpRun) -> Generator[Action, Any, Execution]:
        done: Execution = yield Execute(runs=(run,), iov=IoV.between(run, run))
        return done


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

    Return None if all its runs are covered, else the execution that ended it, which is not reported. A success
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
        high = experiment.high if number == last else steps[number + 1].low._replace(run=steps[number + 1].low.run - 1)
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


class _Sequential(Strategy):
    """Go through the experiments, of which each is a part of the plan."""

    allowed_granularities: ClassVar[tuple[str, ...]] = ("run",)
    known_params: ClassVar[Mapping[str, Param]] = {
        "iov_coverage": Param(kind="iov", text="What all payloads together have to cover; it has to contain all runs."),
    }
    ends_at_failure: ClassVar[bool]
    """Whether an experiment that fails is the last one."""

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        if not runs:
            return fail("There is no run to calibrate.")
        reasons: list[str] = []
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            reason: str = yield from self._plan_experiment(experiment)
            if reason:
                reasons.append(reason)
                if self.ends_at_failure:
                    break
        if not reasons:
            return complete()
        rest = len(reasons) - _SHOWN_REASONS
        return fail(" ".join(reasons[:_SHOWN_REASONS]) + (f" {rest} more experiments failed." if rest > 0 else ""))

    def split_plan(self, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
        """Take each experiment on its own; where one ends the plan, what was executed after it is in vain."""
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            yield functools.partial(self._plan_experiment, experiment)

    def _plan_experiment(self, experiment: Experiment) -> Generator[Action, Any, str]:
        """Go through one experiment, and return why it failed, or nothing."""
        raise NotImplementedError


def _describe_end(ended: Execution) -> str:
    first, last = ended.runs[0], ended.runs[-1]
    return f"The algorithm answered {ended.code.name} in experiment {first.exp} for {first} to {last}."


class SequentialRunByRun(_Sequential):
    """Take `step_size` runs at a time, and more as long as there is not enough data.

    Experiments never mix. The payloads of an experiment follow one another without a gap: each IoV ends
    just before the first run of the next one. A success is committed and reported when the next one is
    there; if the data of the experiment run out before, the rest is merged with the last success in one
    more execution.

    A failure of the algorithm, or an experiment without enough data, is reported and ends the experiment; a
    success that was held back is dropped. The other experiments are still done, and the strategy fails.
    """

    known_params: ClassVar[Mapping[str, Param]] = {
        "has_experiment_settings": Param(
            kind="bool", default=False, text="Ask `build_experiment_settings` for each experiment."
        ),
        "step_size": Param(kind="int", default=1, minimum=1, text="How many runs to add at a time."),
    }
    ends_at_failure = False

    def build_experiment_settings(self, exp: int) -> Mapping[str, Any] | None:
        """Return the attributes to set on the algorithm for one experiment; a hook for subclasses.

        It is called if the parameter `has_experiment_settings` is true. Attributes stay set, so name the same
        ones for every experiment.
        """
        return None

    def _plan_experiment(self, experiment: Experiment) -> Generator[Action, Any, str]:
        runs, size = experiment.runs, self.params["step_size"]
        settings = self.build_experiment_settings(runs[0].exp) if self.params["has_experiment_settings"] else None
        firsts = range(0, len(runs), size)
        steps = tuple(Step(stop=min(first + size, len(runs)), low=runs[first]) for first in firsts)
        ended: Execution | None = yield from merge_steps(experiment, steps, settings)
        if ended is None:
            return ""
        yield Report(execution=ended)
        return _describe_end(ended)


class SequentialBoundaries(_Sequential):
    """Begin a new payload at each boundary that has enough data behind it.

    A boundary is the first run of a payload. The algorithm is asked for them, experiment by experiment,
    unless `payload_boundaries` gives them; an empty list there means one payload for each experiment. The
    first run of each experiment always is a boundary. One without data before the next is left out: the
    payload before it goes on. Else the rule is that of SequentialRunByRun, with the runs between two
    boundaries as a step.

    A failure of the algorithm, an experiment without enough data, or an algorithm that finds no boundary
    ends the strategy at once. That last result is not reported, and a success that was held back is
    dropped; payloads of earlier experiments stay committed.
    """

    known_params: ClassVar[Mapping[str, Param]] = {
        "payload_boundaries": Param(
            kind="runs",
            text="The first runs of the payloads; null asks the algorithm, [] is one per experiment.",
        ),
    }
    ends_at_failure = True

    def _plan_experiment(self, experiment: Experiment) -> Generator[Action, Any, str]:
        runs, exp = experiment.runs, experiment.runs[0].exp
        boundaries: tuple[ExpRun, ...] | None = self.params["payload_boundaries"]
        if boundaries is None:
            boundaries = yield FindBoundaries(runs=runs)
            if not boundaries:
                return f"The algorithm found no payload boundary in experiment {exp}."
        lows = sorted({ExpRun(exp, 0), *(boundary for boundary in boundaries if boundary.exp == exp)})
        firsts = [bisect_left(runs, low) for low in lows]
        stops = [*firsts[1:], len(runs)]
        steps = tuple(Step(stop=stop, low=low) for low, first, stop in zip(lows, firsts, stops) if first < stop)
        ended: Execution | None = yield from merge_steps(experiment, steps)
        return "" if ended is None else _describe_end(ended)
