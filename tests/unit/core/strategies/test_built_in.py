"""What the vectors do not hold: ends, reasons, own hooks, and what only a caller can get wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import BUILT_IN, SequentialRunByRun, build_strategy
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FinalState, Outcome, Report, Strategy
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.core.strategies.params import Param

OK, ITERATE, POOR, FAILURE, UNDEFINED = ResultCode


def follow(
    strategy: Strategy,
    runs: Sequence[tuple[int, int]],
    codes: Sequence[ResultCode],
    boundaries: Sequence[ExpRun] = (),
) -> tuple[Outcome, list[Execute], list[IoV], list[ResultCode]]:
    """Answer in turn; gives the outcome, what was executed, committed and reported."""
    executed: list[Execute] = []
    committed: list[IoV] = []
    reported: list[ResultCode] = []

    def execute(number: int, action: Execute) -> Execution:
        executed.append(action)
        return Execution(key=number, runs=action.runs, iov=action.iov, code=codes[number])

    outcome = drive_plan(
        strategy.plan(tuple(ExpRun(*run) for run in runs)),
        execute=execute,
        find_boundaries=lambda action: boundaries,
        commit=lambda action: committed.append(action.execution.iov),
        report=lambda action: reported.append(action.execution.code),
        write_file=lambda action: pytest.fail(str(action)),
    )
    return outcome, executed, committed, reported


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_run_at_all(name: str) -> None:
    outcome, executed, _, _ = follow(build_strategy(name, {}), [], [])
    assert outcome == Outcome(state=FinalState.FAILED, reason="There is no run to calibrate.")
    assert executed == []


@pytest.mark.parametrize("code", [POOR, FAILURE, UNDEFINED])
def test_single_iov_says_why_it_failed(code: ResultCode) -> None:
    outcome, _, committed, reported = follow(build_strategy("SingleIOV", {}), [(1, 2), (3, 4)], [code])
    assert outcome.reason == f"The algorithm answered {code.name} for the 2 runs of 1,2,3,4."
    assert (committed, reported) == ([], [code])


@pytest.mark.parametrize(
    ("codes", "allowed", "state", "reason"),
    [
        ([OK, ITERATE, OK], False, "COMPLETED", ""),
        ([OK, POOR, OK], True, "COMPLETED", "No payload: not enough data in 1 of 3 runs (1.2)."),
        ([OK, POOR, OK], False, "FAILED", "No payload: not enough data in 1 of 3 runs (1.2)."),
        ([POOR, POOR, POOR], True, "FAILED", "No payload: not enough data in 3 of 3 runs (1.1, 1.2, 1.3)."),
        ([OK, UNDEFINED, OK], True, "FAILED", "No payload: the algorithm failed in 1 of 3 runs (1.2)."),
        (
            [POOR, FAILURE, OK],
            True,
            "FAILED",
            "No payload: the algorithm failed in 1 of 3 runs (1.2); not enough data in 1 of 3 runs (1.1).",
        ),
    ],
)
def test_simple_run_by_run(codes: list[ResultCode], allowed: bool, state: str, reason: str) -> None:
    strategy = build_strategy("SimpleRunByRun", {"allow_missing_runs": allowed})
    outcome, _, committed, reported = follow(strategy, [(1, 1), (1, 2), (1, 3)], codes)
    assert (outcome.state.value, outcome.reason) == (state, reason)
    assert reported == codes
    assert len(committed) == sum(code.is_success for code in codes)


def test_many_runs_are_not_all_named() -> None:
    outcome, *_ = follow(build_strategy("SimpleRunByRun", {}), [(1, n) for n in range(7)], [POOR] * 7)
    assert outcome.reason == "No payload: not enough data in 7 of 7 runs (1.0, 1.1, 1.2, 1.3, 1.4, …)."


@pytest.mark.parametrize("name", ["SequentialRunByRun", "SequentialBoundaries"])
@pytest.mark.parametrize("coverage", [[1, 2, 1, 9], [1, 0, 1, 4], [2, 0, -1, -1]])
def test_coverage_that_leaves_runs_out(name: str, coverage: list[int]) -> None:
    strategy = build_strategy(name, {"iov_coverage": coverage})
    with pytest.raises(DefinitionError) as caught:
        follow(strategy, [(1, 1), (1, 5)], [OK, OK])
    text = str(caught.value)
    assert f"'iov_coverage' {','.join(map(str, coverage))} does not contain all runs" in text
    assert "from 1.1 to 1.5" in text


class TestSequentialRunByRun:
    def test_a_failure_drops_the_success_held_back_and_goes_on(self) -> None:
        strategy = build_strategy("SequentialRunByRun", {})
        outcome, executed, committed, reported = follow(
            strategy, [(1, 1), (1, 2), (1, 3), (2, 5)], [OK, FAILURE, ITERATE]
        )
        assert [action.runs[0] for action in executed] == [ExpRun(1, 1), ExpRun(1, 2), ExpRun(2, 5)]
        assert committed == [IoV(2, 0, 2, 5)]
        assert reported == [FAILURE, ITERATE]
        assert outcome.reason == "The algorithm answered FAILURE in experiment 1 for 1.2 to 1.2."

    def test_the_merged_tail_may_fail(self) -> None:
        strategy = build_strategy("SequentialRunByRun", {})
        outcome, executed, committed, reported = follow(strategy, [(1, 1), (1, 2)], [OK, POOR, POOR])
        assert executed[-1] == Execute(runs=(ExpRun(1, 1), ExpRun(1, 2)), iov=IoV(1, 1, 1, 2))
        assert (committed, reported) == ([], [POOR])
        assert outcome.reason == "The algorithm answered NOT_ENOUGH_DATA in experiment 1 for 1.1 to 1.2."

    def test_an_undefined_answer_is_a_failure(self) -> None:
        outcome, executed, _, reported = follow(build_strategy("SequentialRunByRun", {}), [(1, 1), (1, 2)], [UNDEFINED])
        assert outcome.state is FinalState.FAILED
        assert (len(executed), reported) == (1, [UNDEFINED])

    def test_many_failures_are_not_all_named(self) -> None:
        outcome, *_ = follow(build_strategy("SequentialRunByRun", {}), [(exp, 0) for exp in range(8)], [FAILURE] * 8)
        assert outcome.reason.count("answered FAILURE") == 5
        assert outcome.reason.endswith("3 more experiments failed.")

    def test_settings_per_experiment(self) -> None:
        class Mine(SequentialRunByRun):
            known_params: ClassVar[Mapping[str, Param]] = {"floor": Param(kind="int", text="Least.", default=5)}

            def build_experiment_settings(self, exp: int) -> Mapping[str, Any]:
                return {"min_events": self.params["floor"] if exp == 7 else 100}

        runs = [(6, 1), (7, 1), (7, 2)]
        _, executed, _, _ = follow(Mine({"has_experiment_settings": True, "floor": 9}), runs, [OK] * 3)
        assert [action.settings for action in executed] == [
            {"min_events": 100},
            {"min_events": 9},
            {"min_events": 9},
        ]
        _, executed, _, _ = follow(Mine(), runs, [OK] * 3)
        assert [action.settings for action in executed] == [None] * 3
        plain = SequentialRunByRun({"has_experiment_settings": True})
        _, executed, _, _ = follow(plain, runs, [OK] * 3)
        assert [action.settings for action in executed] == [None] * 3


class TestSequentialBoundaries:
    def test_no_boundary_found(self) -> None:
        outcome, executed, _, _ = follow(build_strategy("SequentialBoundaries", {}), [(4, 1)], [])
        assert outcome.reason == "The algorithm found no payload boundary in experiment 4."
        assert executed == []

    def test_an_empty_list_is_one_payload_for_each_experiment(self) -> None:
        strategy = build_strategy("SequentialBoundaries", {"payload_boundaries": []})
        outcome, _, committed, _ = follow(strategy, [(4, 1), (4, 7), (5, 2), (5, 3)], [OK, OK])
        assert outcome.state is FinalState.COMPLETED
        assert committed == [IoV(4, 1, 4, -1), IoV(5, 0, 5, 3)]

    def test_boundaries_of_the_algorithm_may_be_of_any_experiment_and_order(self) -> None:
        strategy = build_strategy("SequentialBoundaries", {"payload_boundaries": None})
        found = [ExpRun(9, 9), ExpRun(4, 6), ExpRun(4, 3), ExpRun(4, 4), ExpRun(4, 6)]
        _, executed, committed, _ = follow(strategy, [(4, 1), (4, 5), (4, 7)], [OK] * 3, found)
        assert [action.runs for action in executed] == [(ExpRun(4, 1),), (ExpRun(4, 5),), (ExpRun(4, 7),)]
        # Between the boundaries 3 and 4 there is no run, so 3 is left out.
        assert committed == [IoV(4, 1, 4, 3), IoV(4, 4, 4, 5), IoV(4, 6, 4, 7)]

    def test_a_failure_ends_it_without_a_report(self) -> None:
        strategy = build_strategy("SequentialBoundaries", {"payload_boundaries": []})
        outcome, executed, committed, reported = follow(strategy, [(1, 1), (2, 1), (3, 1)], [ITERATE, FAILURE])
        assert (len(executed), committed, reported) == (2, [IoV(1, 1, 1, -1)], [ITERATE])
        assert outcome.reason == "The algorithm answered FAILURE in experiment 2 for 2.1 to 2.1."


class MergeEqual(Strategy):
    """An expert's strategy: look at every run first, commit late, with IoVs of its own."""

    def plan(self, runs: tuple[ExpRun, ...]) -> Any:
        looked = []
        for run in runs:
            done = yield Execute(runs=(run,), iov=IoV.between(run, run), settings={"forced": run == runs[0]})
            looked.append(done)
        first = looked[0]
        equal = [done for done in looked if done.output == first.output]
        yield Commit(execution=first, iov=IoV.between(first.runs[0], equal[-1].runs[-1]))
        yield Report(execution=first, iov=IoV.between(first.runs[0], equal[-1].runs[-1]))
        return Outcome(state=FinalState.COMPLETED, reason=f"{len(equal)} of {len(looked)} are equal.")


def test_an_experts_own_strategy() -> None:
    committed = []
    outcome = drive_plan(
        MergeEqual().plan((ExpRun(1, 1), ExpRun(1, 2), ExpRun(1, 3))),
        execute=lambda number, action: Execution(
            key=number, runs=action.runs, iov=action.iov, code=OK, output={"dead": action.runs[0].run > 2}
        ),
        find_boundaries=lambda action: (),
        commit=lambda action: committed.append((action.execution.key, action.iov)),
        report=lambda action: None,
        write_file=lambda action: pytest.fail(str(action)),
    )
    assert committed == [(0, IoV(1, 1, 1, 2))]
    assert outcome.reason == "2 of 3 are equal."
