"""How many subjobs may fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.tolerance import count_tolerated


@pytest.mark.parametrize(
    ("tolerance", "total", "allowed"),
    [
        (0, 100, 0),
        (3, 100, 3),
        (0.02, 100, 2),
        (0.02, 99, 1),
        (0.02, 49, 0),
        # In floating point 0.29 · 100 is below 29.
        (0.29, 100, 29),
        (0.07, 100, 7),
        # One has to be left.
        (100, 5, 4),
        (0.99, 5, 4),
        (1, 1, 0),
    ],
)
def test_how_many(tolerance: float, total: int, allowed: int) -> None:
    assert count_tolerated(tolerance, total) == allowed


@given(st.integers(0, 1000) | st.floats(0, 1, exclude_max=True), st.integers(1, 1000))
def test_laws(tolerance: float, total: int) -> None:
    allowed = count_tolerated(tolerance, total)
    assert 0 <= allowed < total
    assert allowed <= tolerance or allowed <= tolerance * total + 1e-6
