"""SingleIOV and SimpleRunByRun: one execution over everything, or each run alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, ClassVar

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import (
    Action,
    Commit,
    Execute,
    Execution,
    Part,
    Plan,
    Report,
    Strategy,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.params import Param

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
        """Execute, report, and commit if it was a success."""
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
        """Execute run after run."""
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
        """Take each run on its own."""
        return (functools.partial(self._plan_run, run) for run in runs)

    def _plan_run(self, run: ExpRun) -> Generator[Action, Any, Execution]:
        done: Execution = yield Execute(runs=(run,), iov=IoV.between(run, run))
        return done
