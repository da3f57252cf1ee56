"""SingleIOV: one execution over everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.strategies.base import (
    Commit,
    Execute,
    Execution,
    Plan,
    Report,
    Strategy,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.params import Param


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
