"""What an algorithm answers, with the numbers the reference framework uses."""

from __future__ import annotations

from enum import IntEnum


class ResultCode(IntEnum):
    """The answer of one execution of an algorithm."""

    OK = 0
    ITERATE = 1
    NOT_ENOUGH_DATA = 2
    FAILURE = 3
    UNDEFINED = 4

    @property
    def is_success(self) -> bool:
        """Tell whether the execution made payloads that may be committed."""
        return self in (ResultCode.OK, ResultCode.ITERATE)
