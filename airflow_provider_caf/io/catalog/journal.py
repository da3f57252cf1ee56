"""Writes to the results catalog, which wait beside the files of a run while the catalog cannot take them.

No task fails for the catalog: it is a record for readers. What it does not take is a line of a journal, and all later
writes of the run come behind it, so that they are delivered in their order. A line is removed when all are delivered.
Who is killed before delivers them again, from the first one on: each write replaces what it says anew, so that the rows
are the same after it.

What the catalog refuses for its content would be refused for ever. It goes into a file of its own, with the reason.
"""

from __future__ import annotations

import base64
import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_all
from airflow_provider_caf.core.errors import CafError, explain_os_error
from airflow_provider_caf.core.files import PRIVATE, write_text
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.io.catalog.rows import IterationRow, OfRun, PayloadRow
from airflow_provider_caf.io.catalog.store import Catalog, RowsRefused
from airflow_provider_caf.io.catalog.tables import TABLES

log = logging.getLogger(__name__)

_FILE, _REFUSED, _LOCK = "catalog.journal", "catalog.refused", "catalog.lock"
_TABLES = {rows.table.name: rows for rows in TABLES.values()}

_CALLS = frozenset(
    {
        *("write", "write_final_payloads", "mark_final_payloads", "end_iteration"),
        *("forget_iterations", "forget_algorithm"),
    }
)

_REST = 30.0
"""Seconds after a failure in which this process does not ask the catalog again."""

_RESTS = 4
"""So many times what the failure took is the rest at least: a server that does not answer takes minutes to say so."""

_resting: dict[str, float] = {}
"""Catalog → until when, on the monotonic clock."""


class CatalogJournal:
    """Write to the catalog for one DAG run, now or later. The methods are those of `Catalog`; none fails for it.

    :param find: gives the catalog; it may fail where the connection cannot be had.
    :param folder: of the run. It is made where it is not there.
    :param catalog: the same word for all journals of one catalog: a process asks one that is away once for all of them.
    """

    def __init__(self, find: Callable[[], Catalog], folder: Path, catalog: str) -> None:
        self._find = find
        self._folder = folder
        self._catalog = catalog

    def write(self, rows: Iterable[OfRun]) -> None:
        """Write rows of any kinds; see `Catalog.write`."""
        if found := list(rows):
            self._do("write", rows=found)

    def write_final_payloads(self, dag_id: str, run_id: str, calibration: str, rows: Sequence[PayloadRow]) -> None:
        """Write the payloads of a final database; see `Catalog.write_final_payloads`."""
        self._do("write_final_payloads", rows=rows, dag_id=dag_id, run_id=run_id, calibration=calibration)

    def mark_final_payloads(self, dag_id: str, run_id: str, calibration: str, iteration: int) -> None:
        """Mark the payloads of a pass as final; see `Catalog.mark_final_payloads`."""
        self._do("mark_final_payloads", dag_id=dag_id, run_id=run_id, calibration=calibration, iteration=iteration)

    def end_iteration(self, rows: Sequence[IterationRow]) -> None:
        """Note how passes ended; see `Catalog.end_iteration`."""
        self._do("end_iteration", rows=rows)

    def forget_iterations(self, dag_id: str, run_id: str, calibration: str, first: int = 0) -> None:
        """Remove the rows of a calibration from a pass on; see `Catalog.forget_iterations`."""
        self._do("forget_iterations", dag_id=dag_id, run_id=run_id, calibration=calibration, first=first)

    def forget_algorithm(self, dag_id: str, run_id: str, calibration: str, iteration: int, algorithm: str) -> None:
        """Remove the rows of an algorithm in a pass; see `Catalog.forget_algorithm`."""
        place: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "calibration": calibration}
        self._do("forget_algorithm", **place, iteration=iteration, algorithm=algorithm)

    def read(self, *args: Any, **words: Any) -> tuple[Any, ...]:
        """Read rows for a hint; see `Catalog.read`. Nothing, where the catalog cannot be read."""
        try:
            return self._find().read(*args, **words)
        except CafError as error:
            log.warning("%s", error)
            return ()

    def deliver(self) -> int:
        """Deliver what waits, and return how many writes still do."""
        if self._file.exists():
            with self._lock():
                self._deliver()
        return _count_lines(self._file)

    @property
    def _file(self) -> Path:
        return self._folder / _FILE

    def _do(self, call: str, *, rows: Sequence[OfRun] | None = None, **words: Any) -> None:
        with self._lock():
            rests = _resting.get(self._catalog, 0.0) > time.monotonic()
            if self._file.exists():
                self._append(_build_line(call, rows, words))
                if not rests:
                    self._deliver()
            elif rests or not self._apply(call, rows, words):
                self._append(_build_line(call, rows, words))

    def _apply(self, call: str, rows: Sequence[OfRun] | None, words: Mapping[str, Any]) -> bool:
        """Return whether it is done with: written, or refused for good."""
        began = time.monotonic()
        try:
            getattr(self._find(), call)(**words, **({} if rows is None else {"rows": rows}))
        except RowsRefused as error:
            self._put_aside(error, json.loads(_build_line(call, rows, words)))
        except CafError as error:
            now = time.monotonic()
            _resting[self._catalog] = now + max(_REST, _RESTS * (now - began))
            log.warning("What goes into the results catalog waits in %s. %s", self._file, error)
            return False
        return True

    def _put_aside(self, reason: object, write: Mapping[str, Any]) -> None:
        self._append(json.dumps({"error": str(reason), **write}), _REFUSED)
        log.error("This write is lost to the results catalog. It is in %s. %s", self._folder / _REFUSED, reason)

    def _deliver(self) -> None:
        lines = _read_lines(self._file)
        for number, line in enumerate(lines):
            try:
                call, rows, words = _read_line(line)
            except (ValueError, KeyError, TypeError) as error:
                # Its writer was killed, or is of a later version.
                self._put_aside(f"The line cannot be read: {error!r}.", {"line": line})
                continue
            if not self._apply(call, rows, words):
                write_text(self._file, "".join(f"{left}\n" for left in lines[number:]), mode=PRIVATE)
                return
        self._file.unlink(missing_ok=True)
        log.info("%d writes that had waited are in the results catalog.", len(lines))

    def _append(self, line: str, name: str = _FILE) -> None:
        path = self._folder / name
        hint = "Has its disk space, and may you write there?"
        with explain_os_error(CafError, f"The journal {path} of the results catalog could not be written", hint):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                end = file.seek(0, os.SEEK_END)
                # Behind what a killed writer has left, a line begins anew.
                begin = "\n" if end > 0 and os.pread(descriptor, 1, end - 1) != b"\n" else ""
                write_all(file.write, f"{begin}{line}\n".encode())

    @contextmanager
    def _lock(self) -> Iterator[None]:
        hint = "May you write to the work folder?"
        with explain_os_error(CafError, f"The folder {self._folder} could not be made", hint):
            self._folder.mkdir(parents=True, exist_ok=True)
        with hold_lock(self._folder / _LOCK, f"the journal of {self._folder}"):
            yield


def describe_waiting(folder: Path) -> str | None:
    """Return what readers have to know of a run's writes that are not in the catalog; None: all are there.

    :param folder: of the run.
    """
    try:
        waiting, refused = (_count_lines(folder / name) for name in (_FILE, _REFUSED))
    except OSError as error:
        return f"Whether the results catalog has all of this run cannot be seen: {error}."
    parts = []
    if waiting:
        parts.append(
            f"{waiting} {'write' if waiting == 1 else 'writes'} of this run could not be made in the results catalog "
            "yet, so what is shown is behind. The next task of the run delivers them, or 'airflow caf report'."
        )
    if refused:
        parts.append(f"The results catalog has refused {refused} of the run: {folder / _REFUSED} has them, and why.")
    return " ".join(parts) or None


def _count_lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a journal. What is damaged in one makes it no JSON any more: all that we write is ASCII."""
    try:
        text = path.read_text("ascii", "backslashreplace")
    except FileNotFoundError:
        return []
    return text.splitlines()


def _build_line(call: str, rows: Sequence[OfRun] | None, words: Mapping[str, Any]) -> str:
    tables = [TABLES[type(row)] for row in rows or ()]
    shown = [[table.table.name, table.list_fields(row)] for table, row in zip(tables, rows or (), strict=True)]
    return json.dumps({"call": call, "words": words, "rows": None if rows is None else shown}, default=_encode)


def _read_line(line: str) -> tuple[str, list[OfRun] | None, dict[str, Any]]:
    """Return the method of `Catalog`, its rows and its other words.

    :raises ValueError: if the line was cut off.
    :raises KeyError: if it has something that this version does not know.
    :raises TypeError: the same.
    """
    value = json.loads(line)
    call, rows, words = value["call"], value["rows"], value["words"]
    if call not in _CALLS:
        raise KeyError(call)
    inspect.signature(getattr(Catalog, call)).bind(None, **words, **({} if rows is None else {"rows": rows}))
    return call, None if rows is None else [_TABLES[name].decode_row(fields) for name, fields in rows], words


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} has no place in a journal")
