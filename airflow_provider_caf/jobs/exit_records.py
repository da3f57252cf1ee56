"""Read the exit records that the subjobs' wrappers have left.

All records of a set of subjobs lie in one status folder, so that one `scandir` counts them. What a job has
written is not trusted: a record has to be whole, has to be about the subjob its name says, and the work
folder is derived from that name. Anything else in the folder is passed over, and `StatusFolder.ignored` says why.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.evidence import ExitRecord, says_out_of_memory
from airflow_provider_caf.core.errors import MOUNT_ADVICE, CafError, InputError, explain_os_error
from airflow_provider_caf.core.file_names import ENDED_BY, ENDED_BY_SYSTEM, name_attempt
from airflow_provider_caf.core.files import read_json

_NAME = re.compile(r"(\d{5,9})\.((\d{1,9})(?:_r(\d{1,9}))?)\.json", re.ASCII)
_LARGEST = 1_000_000
"""Bytes. A record with thousands of outputs is far smaller."""
_ENDED_FROM_OUTSIDE = re.compile(r"the batch system sent SIG|the local pool was ended by SIG|cancelled$", re.ASCII)
"""How records said it before they had `ended_by`."""


class StatusFolder:
    """Read the records of a set of subjobs again and again; each one is read once.

    :param path: the status folder; the subjobs' folders are beside it. It need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        """Why records may be missing that are there; None: none is."""
        self.ignored: dict[str, str] = {}
        self._known: dict[str, ExitRecord] = {}

    def scan(self) -> tuple[ExitRecord, ...]:
        """Return all records there are now, in the order of subjob, try and restart.

        What could not be read as a record is in `ignored` afterwards: name → why.

        :raises InputError: if the folder cannot be read.
        """
        self.ignored = {}
        present: dict[str, ExitRecord] = {}
        for name in self._list():
            match = _NAME.fullmatch(name)
            if match is None:
                self.ignored[name] = "its name is not that of an exit record"
                continue
            # A record is never changed once it has its name.
            known = self._known.get(name)
            try:
                present[name] = known or self._read(name, match)
            except (CafError, ValueError) as error:
                self.ignored[name] = str(error)
        self._known = present
        return tuple(sorted(present.values(), key=lambda end: (end.subjob, end.attempt, end.restart)))

    def _list(self) -> list[str]:
        with explain_os_error(InputError, f"The status folder {self.path} could not be read", MOUNT_ADVICE):
            try:
                with os.scandir(self.path) as entries:
                    # What begins with a dot is being written.
                    return sorted(entry.name for entry in entries if not entry.name.startswith("."))
            except FileNotFoundError:
                return []

    def _read(self, name: str, match: re.Match[str]) -> ExitRecord:
        path = self.path / name
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            raise ValueError("it is not a file of the size of an exit record")
        subjob, label = int(match[1]), match[2]
        value = read_json(path, "An exit record")
        if not isinstance(value, dict) or value.get("version") != 1:
            raise ValueError("it is not an exit record of version 1")
        if value.get("subjob") != subjob or str(value.get("attempt")) != label:
            raise ValueError("it is about another subjob or attempt than its name says")
        reason = None if value.get("reason") is None else _read_text(value, "reason")
        return ExitRecord(
            subjob=subjob,
            attempt=int(match[3]),
            restart=int(match[4] or 0),
            folder=self.path.parent / match[1] / name_attempt(label),
            job_digest=_read_text(value, "job_digest"),
            exit_code=_read_code(value, "exit_code"),
            signal=_read_code(value, "signal"),
            host=_read_text(value, "host"),
            started=_read_time(value, "started"),
            ended=_read_time(value, "ended"),
            cpu_seconds=_read_number(value, "cpu_seconds"),
            peak_memory_kb=int(_read_number(value, "peak_memory_kb")),
            outputs=_read_outputs(value.get("outputs")),
            reason=reason,
            ended_by=_read_ended_by(value, reason),
            out_of_memory=_read_out_of_memory(value, reason),
        )


def read_exit_records(status_folder: Path) -> tuple[ExitRecord, ...]:
    """Read all records in a status folder once, see `StatusFolder.scan`."""
    return StatusFolder(status_folder).scan()


def _read_text(value: Mapping[str, Any], name: str) -> str:
    text = value.get(name)
    if not isinstance(text, str):
        raise ValueError(f"its {name!r} is not a text")
    return text


def _read_time(value: Mapping[str, Any], name: str) -> datetime:
    text = _read_text(value, name)
    try:
        # Before Python 3.11 the letter for UTC was not read.
        time = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError(f"its {name!r} is not a time with a time zone")
    return time


def _read_code(value: Mapping[str, Any], name: str) -> int | None:
    number = value.get(name)
    if number is not None and (not isinstance(number, int) or isinstance(number, bool)):
        raise ValueError(f"its {name!r} is not a whole number")
    return number


def _read_number(value: Mapping[str, Any], name: str) -> float:
    number = value.get(name)
    if not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
        raise ValueError(f"its {name!r} is not a number")
    return number


def _read_ended_by(value: Mapping[str, Any], reason: str | None) -> str | None:
    if "ended_by" not in value:
        return ENDED_BY_SYSTEM if _ENDED_FROM_OUTSIDE.match(reason or "") else None
    word = value["ended_by"]
    if word is not None and word not in ENDED_BY:
        raise ValueError(f"its 'ended_by' is {word!r}, none of {', '.join(ENDED_BY)}")
    return word if word is None else str(word)


def _read_out_of_memory(value: Mapping[str, Any], reason: str | None) -> bool:
    if "out_of_memory" not in value:
        # The reason has the operating system's own words.
        return says_out_of_memory(reason)
    flag = value["out_of_memory"]
    if not isinstance(flag, bool):
        raise ValueError(f"its 'out_of_memory' is {flag!r}, not true or false")
    return flag


def _read_outputs(value: Any) -> dict[str, int]:
    if not isinstance(value, list):
        raise ValueError("its 'outputs' are not a list")
    outputs = {}
    for entry in value:
        path, size = (entry.get("path"), entry.get("size")) if isinstance(entry, dict) else (None, None)
        if not isinstance(path, str) or not isinstance(size, int) or isinstance(size, bool):
            raise ValueError("one of its 'outputs' is not a path with a size")
        if not path or path.startswith("/") or ".." in path.split("/") or "\0" in path:
            raise ValueError(f"its output {path!r} leaves the work folder")
        outputs[path] = size
    return outputs
