"""What a strategy of a script sends: the result of each IoV, and the state in which it ends."""

from __future__ import annotations

from typing import Any


class StrategyResults:
    """Take what a strategy sends, in the place of the reference's queue between processes.

    `results` has each IoV with its result code, as plain numbers: C++ enums cannot be sent.
    """

    def __init__(self) -> None:
        self.results: list[tuple[tuple[int, ...], int]] = []
        self.final_state: str | None = None

    def put(self, message: Any) -> None:
        """Take a result, or the final state."""
        if message["type"] == "result":
            iov, code = message["value"]
            self.results.append((tuple(map(int, iov)), int(code)))
        else:
            self.final_state = str(message["value"])
