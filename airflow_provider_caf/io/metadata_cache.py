"""What is known of files that were looked into once: they are not read again while size and time of change stay.

It is an SQLite file beside the work folder. It only saves time: it may be removed, and the files are read again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.io.filemap import MappedFile

_CHUNK = 500
_BUSY_SECONDS = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT, how TEXT, size INTEGER, mtime_ns INTEGER,
    exp_low INTEGER, run_low INTEGER, exp_high INTEGER, run_high INTEGER, events INTEGER,
    PRIMARY KEY (path, how)
)
"""


class MetadataCache:
    """Find and keep what is in files.

    :param file: the SQLite file; made at the first use.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def find(self, paths: Iterable[str], how: str) -> dict[str, MappedFile]:
        """Return what is known of files that have not changed since.

        :param how: how they were read; another way may find something else.
        :raises CafError: if the file is damaged or cannot be read.
        """
        states = {path: state for path in paths if (state := measure(path)) is not None}
        found = {}
        names = list(states)
        with self._open() as connection:
            for start in range(0, len(names), _CHUNK):
                chunk = names[start : start + _CHUNK]
                marks = ",".join("?" * len(chunk))
                rows = connection.execute(
                    f"SELECT path, size, mtime_ns, exp_low, run_low, exp_high, run_high, events FROM files "  # noqa: S608
                    f"WHERE how = ? AND path IN ({marks})",
                    (how, *chunk),
                )
                for path, size, mtime_ns, *iov, events in rows:
                    if states[path] == (size, mtime_ns):
                        found[path] = MappedFile(iov=IoV(*iov), events=events, size=size, mtime_ns=mtime_ns)
        return found

    def keep(self, files: Mapping[str, MappedFile], how: str) -> None:
        """Keep what was found.

        :raises CafError: if the file is damaged or cannot be written.
        """
        rows = [
            (path, how, file.size, file.mtime_ns, *file.iov, file.events)
            for path, file in files.items()
            if file.size is not None
        ]
        with self._open() as connection:
            connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.file, timeout=_BUSY_SECONDS)
            try:
                with connection:
                    connection.execute(_TABLE)
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise CafError(
                f"The cache of file metadata {self.file} cannot be used: {error}.",
                hint="Remove it: it only saves time.",
            ) from error


def measure(path: str) -> tuple[int, int] | None:
    """Return size in bytes and time of change in ns of a local file; None where there is none."""
    try:
        state = Path(path).stat()
    except (OSError, ValueError):
        return None
    return state.st_size, state.st_mtime_ns


def build_mapped(
    state: tuple[int, int] | None, low: Iterable[int], high: Iterable[int], events: int | None
) -> MappedFile:
    """Return the entry of a file that was looked into.

    :param state: what `measure` gave before the file was read: if it changes meanwhile, it is read again.
    """
    size, mtime_ns = state or (None, None)
    return MappedFile(iov=IoV.between(ExpRun(*low), ExpRun(*high)), events=events, size=size, mtime_ns=mtime_ns)
