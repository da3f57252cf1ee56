"""Log how far something long is, with its rate and the time that is left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_caf.core.durations import describe_seconds

log = logging.getLogger(__name__)

INTERVAL = 10.0
"""Seconds between two lines."""


class Progress:
    """Count what is done, and log a line now and then.

    :param what: what is done, such as `Looking into the files of collection 'hits'`.
    :param total: how many there are.
    :param unit: the name of many of them.
    :param clock: gives seconds.
    """

    def __init__(self, what: str, total: int, unit: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._total = total
        self._unit = unit
        self._clock = clock
        self._began = clock()
        self._shown = self._began
        self._done = 0

    def add(self, number: int) -> None:
        """Say that more is done."""
        self.set(self._done + number)

    def set(self, done: int) -> None:
        """Say how much is done in all."""
        self._done = done
        now = self._clock()
        if now - self._shown >= INTERVAL and done:
            self._shown = now
            log.info("%s", self.describe())

    def describe(self) -> str:
        """Return the line: `<what>: 1200 of 5000 files, 340 files/s, 11 s left`."""
        seconds = max(self._clock() - self._began, 1e-9)
        rate = self._done / seconds
        shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
        left = f", {describe_seconds((self._total - self._done) / rate)} left" if self._done else ""
        return f"{self._what}: {self._done} of {self._total} {self._unit}, {shown} {self._unit}/s{left}"


@contextmanager
def following(file: Path, progress: Progress, *, interval: float = 2.0) -> Iterator[None]:
    """Log, while something runs in another process, how much of it is done by the number in a file.

    :param file: is removed at the end; it may not be there yet.
    :param interval: seconds between two looks.
    """
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(interval):
            try:
                progress.set(int(file.read_text(encoding="ascii")))
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                # It only tells people how far it is; what it is about goes on.
                log.warning("How far it is cannot be read from %s: %s", file, error)
                return

    thread = threading.Thread(target=look, name="caf-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        file.unlink(missing_ok=True)
