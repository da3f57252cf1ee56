"""How many subjobs of a collection may fail: a count, or a share of them all."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Union

from airflow_provider_caf.core.errors import DefinitionError

NO_FAILURES = 0

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)


def read_tolerance(value: Any, where: str) -> int | float:
    """Read a count such as 3, a share such as 0.02, or a text such as "2%".

    :raises DefinitionError: if it is none of these. 1.0 is refused: all or one could be meant.
    """
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    # Ten digits: 7 % shall be 0.07, not 0.07000000000000001, of which 100 subjobs give 8.
    number = round(float(match[1]) / 100, 10) if match is not None else value
    if isinstance(number, int) and not isinstance(number, bool) and number >= 0:
        return number
    if isinstance(number, float) and 0 <= number < 1:
        return number
    raise DefinitionError(
        f"The {where} is {value!r}.",
        hint="Give a count such as 3, or a share below 1 such as 0.02 or '2%'.",
    )


Tolerance = Annotated[Union[int, float], read_tolerance]
"""A whole number is a count; a number with a fraction, from 0 to below 1, is a share."""


def count_tolerated(tolerance: Tolerance, total: int) -> int:
    """Give how many of some subjobs may fail. One has to be left: from nothing nothing can be calibrated."""
    # Guarded against 0.29 * 100 = 28.999999999999996.
    allowed = tolerance if isinstance(tolerance, int) else math.floor(tolerance * total + 1e-9)
    return max(0, min(allowed, total - 1))
