"""How many subjobs of a collection may fail: a count, or a share of them all."""

from __future__ import annotations

import math
from typing import Union

Tolerance = Union[int, float]
"""A whole number is a count; a number with a fraction, from 0 to below 1, is a share."""


def count_tolerated(tolerance: Tolerance, total: int) -> int:
    """Return how many of some subjobs may fail. One has to be left: from nothing nothing can be calibrated."""
    # Guarded against 0.29 * 100 = 28.999999999999996.
    allowed = tolerance if isinstance(tolerance, int) else math.floor(tolerance * total + 1e-9)
    return max(0, min(allowed, total - 1))
