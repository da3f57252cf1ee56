"""Replay the decisions of the reference framework."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun, IoV, filter_runs
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FindBoundaries, Report
from airflow_provider_caf.core.strategies.drive import drive_plan

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


def replay(case: dict[str, Any], params: dict[str, Any]) -> tuple[Bench, dict[str, Any]]:
    requested = case["requested_iov"]
    runs = filter_runs(
        (ExpRun(*run) for run in case["runs"]),
        requested=None if requested is None else IoV(*requested),
        ignored=(ExpRun(*run) for run in case["ignored_runs"]),
    )
    bench = Bench(case["algorithm"], case["params"].get("payload_boundaries", []))
    outcome = drive_plan(
        build_strategy(case["strategy"], params).plan(runs),
        execute=bench.execute,
        find_boundaries=bench.find_boundaries,
        commit=bench.commit,
        report=bench.report,
    )
    return bench, {
        "executions": bench.executions,
        "committed": bench.committed,
        "results": bench.results,
        "final_state": outcome.state.value,
    }


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{n}-{CASES[n]['strategy']}")
def test_strategy_decides_as_the_reference(number: int) -> None:
    case = CASES[number]
    _, got = replay(case, case["params"])
    assert got == case["expected"]


def test_there_are_all_cases() -> None:
    assert len(CASES) == 240


def test_boundaries_of_the_algorithm_decide_as_given_ones() -> None:
    found = 0
    for case in CASES:
        if not case["params"].get("payload_boundaries"):
            continue
        params = {name: value for name, value in case["params"].items() if name != "payload_boundaries"}
        bench, got = replay(case, params)
        assert got == case["expected"]
        assert bench.asked > 0
        found += 1
    assert found > 50
