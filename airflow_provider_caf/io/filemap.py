"""File maps: which IoV and how many events are in which file, as `airflow caf filemap` writes them.

::

    {"version": 1, "how": <how the files were looked into, or null>,
     "files": {<path>: {"iov": [exp, run, exp, run], "events": <n or null>,
                        "size": <bytes or null>, "mtime_ns": <or null>}, …}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.json_form import (
    ObjectReader,
    read_object,
    read_optional,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.files import read_json, write_json

_VERSION = 1
_NUMBER = read_optional(read_whole_number)
_TEXT = read_optional(read_text)


@record
class MappedFile:
    """What is known of one file.

    :param iov: from its first to its last run.
    :param events: how many there are, None where nobody counted.
    :param size: in bytes, when it was looked at; None for a file that is no local one.
    :param mtime_ns: when it was changed last, in ns; None as for `size`.
    """

    iov: IoV
    events: int | None = None
    size: int | None = None
    mtime_ns: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads."""
        return {"iov": self.iov.to_json(), "events": self.events, "size": self.size, "mtime_ns": self.mtime_ns}

    @classmethod
    def from_json(cls, value: Any, where: str) -> MappedFile:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, where)
        mapped = cls(
            iov=reader.take("iov", read_with(IoV.from_json)),
            events=reader.take_or("events", _NUMBER, None),
            size=reader.take_or("size", _NUMBER, None),
            mtime_ns=reader.take_or("mtime_ns", _NUMBER, None),
        )
        reader.finish()
        return mapped


def read_filemap(path: Path) -> dict[str, MappedFile]:
    """Read a file map.

    :raises InputError: if it is missing or cut off, or of another version.
    :raises DefinitionError: if a field is missing, unknown or wrong.
    """
    return read_filemap_and_how(path)[0]


def read_filemap_and_how(path: Path) -> tuple[dict[str, MappedFile], str | None]:
    """Read a file map, and how its files were looked into; None where it does not say.

    :raises InputError: if it is missing or cut off, or of another version.
    :raises DefinitionError: if a field is missing, unknown or wrong.
    """
    where = f"file map {str(path)!r}"
    reader = ObjectReader(read_json(path, f"The {where}"), where)
    version = reader.take("version", read_whole_number)
    if version != _VERSION:
        raise InputError(
            f"The {where} has version {version}, not {_VERSION}.", hint="Make it again: airflow caf filemap."
        )
    how = reader.take_or("how", _TEXT, None)
    files = reader.take("files", read_object)
    reader.finish()
    found = {file: MappedFile.from_json(value, f"entry {file!r} of the {where}") for file, value in files.items()}
    return found, how


def write_filemap(path: Path, files: Mapping[str, MappedFile], how: str | None = None) -> None:
    """Write a file map, whole or not at all.

    :param how: a text that differs where something else may be found in the same files.
    """
    entries = {file: mapped.to_json() for file, mapped in sorted(files.items())}
    write_json(path, {"version": _VERSION, "how": how, "files": entries})
