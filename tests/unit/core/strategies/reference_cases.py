"""The cases of the reference framework, and what stands for an algorithm and a database in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.iov import ExpRun, IoV, filter_runs
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FindBoundaries, Report

CASES = json.loads((Path(__file__).parents[3] / "vectors" / "strategies.json").read_text())


class Bench:
    """Stands for an algorithm and a database, and writes down what is asked of them."""

    def __init__(self, rule: dict[str, Any], boundaries: list[list[int]]) -> None:
        self.events = {ExpRun.parse(run): events for run, events in rule["events"].items()}
        self.min_events = rule["min_events"]
        self.failing = {ExpRun.parse(run) for run in rule["failing"]}
        self.iterating = {ExpRun.parse(run) for run in rule["iterating"]}
        self.boundaries = tuple(ExpRun(*run) for run in boundaries)
        self.asked = 0
        self.executions: list[dict[str, Any]] = []
        self.committed: list[list[int]] = []
        self.results: list[dict[str, Any]] = []

    def execute(self, number: int, action: Execute) -> Execution:
        code = self.answer(action.runs)
        self.executions.append(
            {"runs": [list(run) for run in action.runs], "iov": list(action.iov), "result": int(code)}
        )
        return Execution(key=number, runs=action.runs, iov=action.iov, code=code)

    def answer(self, runs: tuple[ExpRun, ...]) -> ResultCode:
        if self.failing.intersection(runs):
            return ResultCode.FAILURE
        if sum(self.events[run] for run in runs) < self.min_events:
            return ResultCode.NOT_ENOUGH_DATA
        return ResultCode.ITERATE if self.iterating.intersection(runs) else ResultCode.OK

    def find_boundaries(self, action: FindBoundaries) -> tuple[ExpRun, ...]:
        self.asked += 1
        return self.boundaries

    def commit(self, action: Commit) -> None:
        self.committed.append(list(action.iov or action.execution.iov))

    def report(self, action: Report) -> None:
        self.results.append({"iov": list(action.iov or action.execution.iov), "result": int(action.execution.code)})


def list_runs(case: dict[str, Any]) -> tuple[ExpRun, ...]:
    """Give the runs that a strategy sees."""
    requested = case["requested_iov"]
    return filter_runs(
        (ExpRun(*run) for run in case["runs"]),
        requested=None if requested is None else IoV(*requested),
        ignored=(ExpRun(*run) for run in case["ignored_runs"]),
    )


def make_bench(case: dict[str, Any]) -> Bench:
    """Give the algorithm of a case."""
    return Bench(case["algorithm"], case["params"].get("payload_boundaries", []))
