"""SequentialBoundaries: payloads begin at given runs."""

from __future__ import annotations

import functools
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, ClassVar

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.strategies.base import (
    Action,
    Execution,
    FindBoundaries,
    Part,
    Plan,
    Strategy,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.params import Param
from airflow_provider_caf.core.strategies.sequential import Experiment, Step, merge_steps, split_experiments


class SequentialBoundaries(Strategy):
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

    allowed_granularities: ClassVar[tuple[str, ...]] = ("run",)
    known_params: ClassVar[Mapping[str, Param]] = {
        "iov_coverage": Param(kind="iov", text="What all payloads together have to cover; it has to contain all runs."),
        "payload_boundaries": Param(
            kind="runs",
            text="The first runs of the payloads; null asks the algorithm, [] is one per experiment.",
        ),
    }

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        """Go through the experiments."""
        if not runs:
            return fail("There is no run to calibrate.")
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            reason: str = yield from self._plan_experiment(experiment)
            if reason:
                return fail(reason)
        return complete()

    def split_plan(self, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
        """Take each experiment on its own; if one fails, what was executed for those after it is in vain."""
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            yield functools.partial(self._plan_experiment, experiment)

    def _plan_experiment(self, experiment: Experiment) -> Generator[Action, Any, str]:
        """Go through one experiment, and say why it failed, or nothing."""
        exp = experiment.runs[0].exp
        boundaries: tuple[ExpRun, ...] | None = self.params["payload_boundaries"]
        if boundaries is None:
            boundaries = yield FindBoundaries(runs=experiment.runs)
            if not boundaries:
                return f"The algorithm found no payload boundary in experiment {exp}."
        ended: Execution | None = yield from merge_steps(experiment, _build_steps(experiment.runs, boundaries))
        if ended is None:
            return ""
        return f"The algorithm answered {ended.code.name} in experiment {exp} for {ended.runs[0]} to {ended.runs[-1]}."


def _build_steps(runs: tuple[ExpRun, ...], boundaries: Iterable[ExpRun]) -> tuple[Step, ...]:
    exp = runs[0].exp
    lows = sorted({ExpRun(exp, 0), *(boundary for boundary in boundaries if boundary.exp == exp)})
    firsts = [bisect_left(runs, low) for low in lows]
    stops = [*firsts[1:], len(runs)]
    return tuple(Step(stop=stop, low=low) for low, first, stop in zip(lows, firsts, stops) if first < stop)
