"""The last lines of a text or a log: what a message shows of something long."""

from __future__ import annotations

import os
from pathlib import Path


def cut_tail(text: str, lines: int = 20) -> str:
    """Give the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])


def read_tail(path: Path, lines: int = 20, size: int = 16 * 1024) -> str:
    """Give the last lines of a log; nothing if there is none.

    :param size: of so many bytes at its end; more are not read.
    """
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(end - size, 0))
            text = log.read(size).decode("utf-8", "replace")
    except OSError:
        return ""  # the failure itself is told; a log that is gone adds nothing
    return cut_tail(text, lines)
