"""A strategy of a calibration script's own, which runs as a whole in the algorithm's process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from airflow_provider_caf.core.errors import AlgorithmFailed
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, Plan, Report, Strategy, complete, fail


class ScriptStrategy(Strategy):
    """Execute once, over all runs: the script's strategy does the rest, and says what it has done.

    What it has committed has IoVs of its own. A restart begins it anew.
    """

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        """Commit what the script's strategy committed, and report what it reported."""
        done: Execution = yield Execute(runs=runs, iov=IoV.spanning(runs))
        if done.output is None:
            # It broke; the executor says how.
            yield Report(execution=done)
            return fail("The script's strategy did not come to its end.")
        yield Commit(execution=done)
        for iov, code in read_results(done.output):
            inside = tuple(run for run in runs if iov.contains(run))
            yield Report(execution=replace(done, runs=inside or runs, iov=iov, code=code), iov=iov)
        state = done.output.get("final_state")
        if state == "COMPLETED":
            return complete()
        return fail(f"The script's strategy sent {'no final state' if state is None else state}.")


def read_results(output: Any) -> list[tuple[IoV, ResultCode]]:
    """Return what a script's strategy reported: IoVs with result codes.

    :raises AlgorithmFailed: if it is something else.
    """
    try:
        return [(IoV(*map(int, iov)), ResultCode(int(code))) for iov, code in output["results"]]
    except (KeyError, TypeError, ValueError) as error:
        raise AlgorithmFailed(
            f"The script's strategy reported {output!r}.", hint="It sends IoV_Result objects to its queue."
        ) from error
