"""The result codes of an execution, with the numbers that the reference framework uses."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError


class ResultCode(IntEnum):
    """The result of one execution of an algorithm."""

    OK = 0
    ITERATE = 1
    NOT_ENOUGH_DATA = 2
    FAILURE = 3
    UNDEFINED = 4

    @classmethod
    def from_json(cls, value: Any) -> ResultCode:
        """Read the number.

        :raises DefinitionError: if it is none of the codes.
        """
        if not isinstance(value, int) or isinstance(value, bool) or value not in set(cls):
            raise DefinitionError(
                f"{value!r} is no result code.",
                hint="Use " + ", ".join(f"{int(code)} ({code.name})" for code in cls) + ".",
            )
        return cls(value)

    def to_json(self) -> int:
        """Return the number."""
        return int(self)

    @property
    def is_success(self) -> bool:
        """Whether the execution made payloads that may be committed."""
        return self in (ResultCode.OK, ResultCode.ITERATE)
