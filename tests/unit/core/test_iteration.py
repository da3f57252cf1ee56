from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.iteration import IterationAction, decide_iteration
from airflow_provider_caf.core.results import ResultCode

OK, ITERATE = ResultCode.OK, ResultCode.ITERATE


@pytest.mark.parametrize(
    ("codes", "iteration", "limit", "action", "limit_reached", "reason"),
    [
        ([OK], 0, 5, "FINISH", False, "No result of iteration 0 asks for another one."),
        ([], 0, 5, "FINISH", False, "No result of iteration 0 asks for another one."),
        ([OK, ITERATE], 0, 5, "ITERATE", False, "1 of 2 results of iteration 0 ask for another one; 5 left."),
        ([ITERATE], 4, 5, "ITERATE", False, "1 of 1 results of iteration 4 ask for another one; 1 left."),
        (
            [ITERATE],
            5,
            5,
            "FINISH",
            True,
            "1 of 1 results of iteration 5 ask for another one, but the limit of 5 repetitions is reached.",
        ),
        (
            [ITERATE],
            0,
            0,
            "FINISH",
            True,
            "1 of 1 results of iteration 0 ask for another one, but the limit of 0 repetitions is reached.",
        ),
        ([OK], 5, 5, "FINISH", False, "No result of iteration 5 asks for another one."),
    ],
)
def test_decision(
    codes: list[ResultCode], iteration: int, limit: int, action: str, limit_reached: bool, reason: str
) -> None:
    decision = decide_iteration(codes, iteration, limit)
    assert (decision.action.value, decision.limit_reached, decision.reason) == (action, limit_reached, reason)


@given(st.integers(0, 10))
def test_there_are_at_most_n_repetitions(limit: int) -> None:
    passes = 0
    while True:
        decision = decide_iteration([ITERATE], passes, limit)
        passes += 1
        if decision.action is IterationAction.FINISH:
            break
    assert passes == limit + 1
    assert decision.limit_reached
