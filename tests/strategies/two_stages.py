"""A strategy with a cheap pass that groups runs, and the real measurement of each group."""

from __future__ import annotations

from typing import ClassVar

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import (
    Commit,
    Execute,
    Param,
    Plan,
    Report,
    Strategy,
    WriteFile,
    complete,
    fail,
)


class TwoStages(Strategy):
    """Count the entries of each run first; then measure groups that have enough of them together."""

    known_params: ClassVar = {
        "entries": Param(kind="int", default=10, minimum=1, text="A group with so many takes no more runs.")
    }

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        if not runs:
            return fail("There is no run to calibrate.")
        checks = []
        # All are asked for before one is looked at: then they can be executed at the same time.
        for run in runs:
            checks.append((yield Execute(runs=(run,), iov=IoV.between(run, run), settings={"stage": "check"})))
        groups: list[list[ExpRun]] = []
        counts: list[int] = []
        for run, done in zip(runs, checks, strict=True):
            if not (done.code.is_success or done.code is ResultCode.NOT_ENOUGH_DATA):
                return fail(f"The check of run {run} gave {done.code.name}.")
            if not groups or groups[-1][0].exp != run.exp or counts[-1] >= self.params["entries"]:
                groups.append([])
                counts.append(0)
            groups[-1].append(run)
            counts[-1] += done.output["entries"]
        for number, group in enumerate(groups):
            done = yield Execute(
                runs=tuple(group),
                iov=IoV.between(group[0], group[-1]),
                settings={"stage": "measure"},
                input={"entries": counts[number]},
            )
            if not done.code.is_success:
                return fail(f"The measurement from {group[0]} to {group[-1]} gave {done.code.name}.")
            yield WriteFile(name=f"group_{number}.json", content=done.output)
            yield Commit(execution=done)
            yield Report(execution=done)
        return complete()
