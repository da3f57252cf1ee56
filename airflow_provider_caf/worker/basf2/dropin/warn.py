"""What the drop-in modules tell the author of a script and do not refuse."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_OURS = __name__.rpartition(".")[0]


class CafWarning(UserWarning):
    """Something in a script that works, and may be meant otherwise."""


def warn(text: str) -> None:
    """Warn of the line of the script that has called into these modules."""
    level = 2
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(_OURS):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, CafWarning, stacklevel=level)


@contextmanager
def collecting_warnings(found: list[str]) -> Iterator[None]:
    """Put the warnings of these modules into a list, each once; all others are shown as ever."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", CafWarning)
            yield
    finally:
        for item in caught:
            if not issubclass(item.category, CafWarning):
                warnings.warn_explicit(item.message, item.category, item.filename, item.lineno)
            elif str(item.message) not in found:
                found.append(str(item.message))
