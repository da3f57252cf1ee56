"""The guide to strategies: its examples do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import Commit, Execute, Execution
from airflow_provider_caf.core.strategies.drive import drive_plan

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-strategy.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
RUNS = (ExpRun(1, 1), ExpRun(1, 2), ExpRun(2, 1))


def run_block(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[number], f"{PAGE.name}, block {number}", "exec"), names)
    return names


def drive(plan: Any) -> tuple[list[Execute], list[Commit]]:
    executed: list[Execute] = []
    commits: list[Commit] = []

    def execute(number: int, action: Execute) -> Execution:
        executed.append(action)
        return Execution(key=number, runs=action.runs, iov=action.iov, code=ResultCode.OK)

    drive_plan(
        plan,
        execute=execute,
        find_boundaries=lambda action: (),
        commit=commits.append,
        report=lambda action: None,
        write_file=lambda action: None,
    )
    return executed, commits


def test_the_first_example_makes_a_payload_for_each_experiment() -> None:
    _, commits = drive(run_block(0)["ByExperiment"]().plan(RUNS))
    assert [commit.execution.iov for commit in commits] == [IoV(1, 0, 1, -1), IoV(2, 0, 2, -1)]


def test_the_example_with_parameters_sets_them_per_experiment() -> None:
    executed, _ = drive(run_block(1)["PerExperiment"]({"least": 3, "least_of": {"2": 1}}).plan(RUNS))
    assert [action.settings for action in executed] == [{"least": 3}, {"least": 3}, {"least": 1}]


def test_the_example_of_a_test_passes() -> None:
    assert run_block(2)["outcome"].state.value == "COMPLETED"


def test_there_are_no_other_examples() -> None:
    assert len(BLOCKS) == 3
