"""Writes to the results catalog, which wait beside the files of a run while the catalog cannot take them.

No task fails for the catalog: it is a record for readers. What it does not take is a line of a journal, and all later
writes of the run come behind it, so that they are delivered in their order. A line is removed when all are delivered.
Who is killed before delivers them again, from the first one on: each write replaces what it says anew, so that the rows
are the same after it.

What the catalog refuses for its content would be refused for ever. It goes into a file of its own, with the reason.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from airflow_provider_caf.core.atomic import write_all
from airflow_provider_caf.core.errors import CafError, DatabaseError, explain_os_error
from airflow_provider_caf.core.files import PRIVATE, write_text
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.io.catalog.rows import IterationRow, OfRun, PayloadRow
from airflow_provider_caf.io.catalog.store import OF_DRIVERS, Catalog
from airflow_provider_caf.io.catalog.tables import TABLES

log = logging.getLogger(__name__)

_FILE, _REFUSED, _LOCK = "catalog.journal", "catalog.refused", "catalog.lock"
_TABLES = {rows.table.name: rows for rows in TABLES.values()}

_REST = 30.0
"""Seconds after a failure in which this process does not ask the catalog again."""

_RESTS = 4
"""So many times what the failure took is the rest at least: a server that does not answer takes minutes to say so."""

_resting: dict[str, float] = {}
"""Folder of a run → until when, on the monotonic clock."""


class CatalogJournal:
    """Write to the catalog for one DAG run, now or later. The methods are those of `Catalog`; none fails for it.

    :param find: gives the catalog; it may fail where the connection cannot be had.
    :param folder: of the run. It is made where it is not there.
    """

    def __init__(self, find: Callable[[], Catalog], folder: Path) -> None:
        self._find = find
        self._folder = folder

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
        if count_waiting(self._folder):
            with self._lock():
                self._deliver()
        return count_waiting(self._folder)

    def _do(self, call: str, *, rows: Sequence[OfRun] | None = None, **words: Any) -> None:
        with self._lock():
            if _resting.get(str(self._folder), 0.0) > time.monotonic():
                self._append(_build_line(call, rows, words))
            elif count_waiting(self._folder):
                self._append(_build_line(call, rows, words))
                self._deliver()
            else:
                given = words if rows is None else {**words, "rows": rows}
                if not self._apply(call, given):
                    self._append(_build_line(call, rows, words))

    def _apply(self, call: str, words: Mapping[str, Any]) -> bool:
        """Return whether it is done with: written, or refused for good."""
        began = time.monotonic()
        catalog = None
        try:
            catalog = self._find()
            getattr(catalog, call)(**words)
        except CafError as error:
            # Where there is no catalog yet, it has refused nothing.
            if catalog is not None and _is_refused(error):
                rows = words.get("rows")
                rest = {name: value for name, value in words.items() if name != "rows"}
                refused = {"error": str(error), **json.loads(_build_line(call, rows, rest))}
                self._append(json.dumps(refused), _REFUSED)
                log.error("This write is lost to the results catalog. It is in %s. %s", self._folder / _REFUSED, error)
                return True
            now = time.monotonic()
            _resting[str(self._folder)] = now + max(_REST, _RESTS * (now - began))
            log.warning("What goes into the results catalog waits in %s. %s", self._folder / _FILE, error)
            return False
        return True

    def _deliver(self) -> None:
        file = self._folder / _FILE
        lines = _read_lines(file)
        for number, line in enumerate(lines):
            try:
                call = json.loads(line)
            except ValueError:
                log.warning("A line of %s was cut off when its writer was killed: %.80s", file, line)
                continue
            words = call["words"] | ({} if call["rows"] is None else {"rows": list(map(_read_row, call["rows"]))})
            if not self._apply(call["call"], words):
                write_text(file, "".join(f"{left}\n" for left in lines[number:]), mode=PRIVATE)
                return
        file.unlink()
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


def count_waiting(folder: Path) -> int:
    """Return how many writes of a run wait for the catalog.

    :param folder: of the run.
    """
    return len(_read_lines(folder / _FILE))


def count_refused(folder: Path) -> int:
    """Return how many writes of a run the catalog has refused for their content.

    :param folder: of the run.
    """
    return len(_read_lines(folder / _REFUSED))


def describe_waiting(folder: Path) -> str | None:
    """Return what readers have to know of a run's writes that are not in the catalog; None: all are there.

    :param folder: of the run.
    """
    waiting, refused = count_waiting(folder), count_refused(folder)
    parts = []
    if waiting:
        parts.append(
            f"{waiting} {'write' if waiting == 1 else 'writes'} of this run could not be made in the results catalog "
            "yet, so what is shown is behind. The next task of the run delivers them, or 'airflow caf report'."
        )
    if refused:
        parts.append(f"The results catalog has refused {refused} of the run: {folder / _REFUSED} has them, and why.")
    return " ".join(parts) or None


def _is_refused(error: CafError) -> bool:
    """Return whether the content is at fault, and not the catalog, its server or the rights of its user."""
    cause = error.__cause__
    is_of_values = isinstance(cause, StatementError) and not isinstance(cause, DBAPIError)
    refused = (DataError, IntegrityError, *OF_DRIVERS)
    return isinstance(error, DatabaseError) and (is_of_values or isinstance(cause, refused))


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return text.splitlines()


def _build_line(call: str, rows: Sequence[OfRun] | None, words: Mapping[str, Any]) -> str:
    tables = [TABLES[type(row)] for row in rows or ()]
    shown = [[table.table.name, table.list_fields(row)] for table, row in zip(tables, rows or (), strict=True)]
    return json.dumps({"call": call, "words": words, "rows": None if rows is None else shown}, default=_encode)


def _read_row(line: Sequence[Any]) -> OfRun:
    name, values = line
    row: OfRun = _TABLES[name].decode_row(values)
    return row


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{value!r} has no place in a journal")
