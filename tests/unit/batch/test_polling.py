"""When to look again, and when something has lasted long enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.polling import Patience, decide_interval, decide_over

PATIENCE = Patience(shortest=2.0, longest=60.0, share=0.05)


@pytest.mark.parametrize(
    ("waited", "interval"), [(-100.0, 2.0), (0.0, 2.0), (40.0, 2.0), (100.0, 5.0), (1200.0, 60.0), (1e9, 60.0)]
)
def test_quick_at_first_and_slower_on_long_waits(waited: float, interval: float) -> None:
    assert decide_interval(waited, PATIENCE) == interval


@given(st.floats(0, 1e7), st.floats(0, 1e7))
def test_it_never_gets_quicker(first: float, second: float) -> None:
    early, late = sorted((first, second))
    assert PATIENCE.shortest <= decide_interval(early, PATIENCE) <= decide_interval(late, PATIENCE) <= PATIENCE.longest


@pytest.mark.parametrize(
    ("since", "now", "limit", "over"),
    [
        (None, 1e9, 0.0, False),
        (5.0, 5.0, 0.0, True),
        (5.0, 14.9, 10.0, False),
        (5.0, 15.0, 10.0, True),
        (5.0, 0.0, 1.0, False),
    ],
)
def test_over(since: float | None, now: float, limit: float, over: bool) -> None:
    assert decide_over(since, now, limit) is over
