"""Wait for what a test has set going: as long as a slow and busy machine needs, and no longer than it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

LIMIT = 120.0
"""Seconds after which it will not come any more. It says nothing about how quick anything is."""


def wait_until(
    is_so: Callable[[], object], describe: Callable[[], object] = lambda: "not so", *, limit: float = LIMIT
) -> None:
    """Wait until something is so.

    :param describe: gives what is seen instead, when it does not come.
    :param limit: in seconds, where others than this machine are waited for.
    """
    deadline = time.monotonic() + limit
    while not is_so():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended; its parent may not have looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def is_running_with(word: str) -> bool:
    """Tell whether there is a process whose command line holds a word."""
    return any(word.encode() in _read_words(entry) for entry in Path("/proc").glob("[0-9]*"))


def _read_words(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""  # it has ended meanwhile
