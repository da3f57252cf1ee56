"""An axis over the runs of all experiments."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.status.series import find_experiments

_GAP = 0.03
"""Between two experiments, as a part of the whole axis."""
_MOST_TICKS = 8


@record
class Stretch:
    """An experiment on the axis, from its first run to its last one."""

    exp: int
    low: int
    high: int
    offset: float


class RunAxis:
    """Place runs and IoVs on an axis. Open ends, and what lies outside, are cut off at the edges.

    :param runs: what the axis has to show.
    """

    def __init__(self, runs: Iterable[ExpRun]) -> None:
        experiments = find_experiments(runs)
        gap = max(1.0, _GAP * sum(high - low + 1 for _, low, high in experiments))
        self.stretches: list[Stretch] = []
        offset = 0.0
        for exp, low, high in experiments:
            self.stretches.append(Stretch(exp=exp, low=low, high=high, offset=offset))
            offset += high - low + 1 + gap
        self.end = offset - gap if self.stretches else 1.0

    def place(self, run: ExpRun, *, is_end: bool = False) -> float:
        """Return the place where a run begins, or where it ends."""
        if run.exp < 0:
            return self.end
        for stretch in self.stretches:
            if stretch.exp == run.exp:
                at = stretch.high if run.run < 0 else min(max(run.run, stretch.low), stretch.high)
                return stretch.offset + at - stretch.low + is_end
            if stretch.exp > run.exp:
                return stretch.offset
        return self.end

    def span(self, iov: IoV) -> tuple[float, float]:
        """Return begin and end of an IoV."""
        begin = self.place(iov.low)
        return begin, max(self.place(iov.high, is_end=True), begin + 0.2)

    def list_ticks(self) -> list[tuple[float, str]]:
        """Return places with their labels: the first run of each experiment, and round numbers between."""
        step = _find_step(self.end / _MOST_TICKS)
        free = 0.0
        ticks = []
        for stretch in self.stretches:
            if stretch.offset >= free:
                ticks.append((stretch.offset, f"e{stretch.exp} r{stretch.low}"))
                free = stretch.offset + step
            for run in range(step * ((stretch.low + step) // step), stretch.high + 1, step):
                at = stretch.offset + run - stretch.low
                if at >= free:
                    ticks.append((at, str(run)))
                    free = at + step
        return ticks


def _find_step(rough: float) -> int:
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power >= rough:
                return factor * power
        power *= 10
