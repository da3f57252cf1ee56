"""Replay the decisions of the reference framework."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.drive import drive_plan
from tests.unit.core.strategies.reference_cases import CASES, Bench, list_runs, make_bench


def replay(case: dict[str, Any], params: dict[str, Any]) -> tuple[Bench, dict[str, Any]]:
    bench = make_bench(case)
    outcome = drive_plan(
        build_strategy(case["strategy"], params).plan(list_runs(case)),
        execute=bench.execute,
        find_boundaries=bench.find_boundaries,
        commit=bench.commit,
        report=bench.report,
        write_file=lambda action: pytest.fail(str(action)),
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
