"""SequentialRunByRun: as few runs per payload as have enough data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, ClassVar

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.strategies.base import (
    Action,
    Execution,
    Part,
    Plan,
    Report,
    Strategy,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.params import Param
from airflow_provider_caf.core.strategies.sequential import Experiment, Step, merge_steps, split_experiments

_SHOWN_REASONS = 5


class SequentialRunByRun(Strategy):
    """Take `step_size` runs at a time, and more as long as there is not enough data.

    Experiments never mix. The payloads of an experiment follow one another without a gap: each IoV ends
    just before the first run of the next one. A success is committed and reported when the next one is
    there; if the data of the experiment run out before, the rest is merged with the last success in one
    more execution.

    A failure of the algorithm, or an experiment without enough data, is reported and ends the experiment; a
    success that was held back is dropped. The other experiments are still done, and the strategy fails.
    """

    allowed_granularities: ClassVar[tuple[str, ...]] = ("run",)
    known_params: ClassVar[Mapping[str, Param]] = {
        "has_experiment_settings": Param(
            kind="bool", default=False, text="Ask `build_experiment_settings` for each experiment."
        ),
        "iov_coverage": Param(kind="iov", text="What all payloads together have to cover; it has to contain all runs."),
        "step_size": Param(kind="int", default=1, minimum=1, text="How many runs to add at a time."),
    }

    def build_experiment_settings(self, exp: int) -> Mapping[str, Any] | None:
        """Return the attributes to set on the algorithm for one experiment; a hook for subclasses.

        It is asked if the parameter `has_experiment_settings` is true. Attributes stay set, so name the same
        ones for every experiment.
        """
        return None

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        """Go through the experiments."""
        if not runs:
            return fail("There is no run to calibrate.")
        reasons = []
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            ended: Execution | None = yield from self._plan_experiment(experiment)
            if ended is not None:
                yield Report(execution=ended)
                first, last = ended.runs[0], ended.runs[-1]
                reasons.append(
                    f"The algorithm answered {ended.code.name} in experiment {first.exp} for {first} to {last}."
                )
        if not reasons:
            return complete()
        rest = len(reasons) - _SHOWN_REASONS
        return fail(" ".join(reasons[:_SHOWN_REASONS]) + (f" {rest} more experiments failed." if rest > 0 else ""))

    def split_plan(self, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
        """Take each experiment on its own."""
        for experiment in split_experiments(runs, self.params["iov_coverage"]):
            yield functools.partial(self._plan_experiment, experiment)

    def _plan_experiment(self, experiment: Experiment) -> Generator[Action, Any, Execution | None]:
        exp = experiment.runs[0].exp
        settings = self.build_experiment_settings(exp) if self.params["has_experiment_settings"] else None
        return (yield from merge_steps(experiment, self._build_steps(experiment), settings))

    def _build_steps(self, experiment: Experiment) -> tuple[Step, ...]:
        size: int = self.params["step_size"]
        runs = experiment.runs
        return tuple(Step(stop=min(first + size, len(runs)), low=runs[first]) for first in range(0, len(runs), size))
