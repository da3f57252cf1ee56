"""The last lines of a text or a log: what a message shows of something long."""

from __future__ import annotations

import os
from pathlib import Path


def cut_tail(text: str, lines: int = 20) -> str:
    """Return the last lines of a text."""
    return "\n".join(text.splitlines()[-lines:])


def read_tail(path: Path, lines: int = 20, size: int = 16 * 1024, start: int = 0) -> str:
    """Return the last lines of a log; nothing if there is none.

    :param size: of so many bytes at its end; more are not read.
    :param start: nothing before this byte is read.
    """
    return cut_tail(_read_last(path, size, start)[0].decode("utf-8", "replace"), lines)


def read_end(path: Path, size: int) -> tuple[str, bool] | None:
    """Return the end of a log, and whether that is all of it; None if there is none or it is empty.

    :param size: at most so many bytes; of a longer log the first line that is cut is left out.
    """
    content, length = _read_last(path, size)
    is_whole = length <= size
    if not is_whole:
        content = content.partition(b"\n")[2] or content
    return (content.decode("utf-8", "replace"), is_whole) if content else None


def _read_last(path: Path, size: int, start: int = 0) -> tuple[bytes, int]:
    """Return the last bytes of a file, and its length; nothing where it is gone: that adds nothing to a failure."""
    try:
        with path.open("rb") as log:
            length = log.seek(0, os.SEEK_END)
            log.seek(max(length - size, start))
            return log.read(size), length
    except OSError:
        return b"", 0
