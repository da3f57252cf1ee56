"""SimpleRunByRun: each run alone."""

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
        reasons = [
            f"{what} in {len(some)} of {len(runs)} runs ({_show_runs(some)})"
            for what, some in (("the algorithm failed", failed), ("not enough data", thin))
            if some
        ]
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


def _show_runs(runs: list[ExpRun]) -> str:
    shown = ", ".join(str(run) for run in runs[:_SHOWN_RUNS])
    return shown if len(runs) <= _SHOWN_RUNS else f"{shown}, …"
