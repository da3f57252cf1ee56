"""File maps: which IoV and how many events are in which file, as `airflow caf filemap` writes them.

::

    {"version": 1, "how": <how the files were looked into, or null>,
     "files": {<path>: {"iov": [exp, run, exp, run], "events": <n or null>,
                        "size": <bytes or null>, "mtime_ns": <or null>}, …}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record


@record
class MappedFile(JsonRecord):
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


@record
class _FileMap(JsonRecord):
    version = 1
    version_error = InputError
    version_hint = "Make it again: airflow caf filemap."

    how: str | None = None
    files: Mapping[str, MappedFile]


def read_filemap(path: Path) -> dict[str, MappedFile]:
    """Read a file map, see `read_filemap_and_how`."""
    return read_filemap_and_how(path)[0]


def read_filemap_and_how(path: Path) -> tuple[dict[str, MappedFile], str | None]:
    """Read a file map, and how its files were looked into; None where it does not say.

    :raises InputError: if it is missing or cut off, or of another version.
    :raises DefinitionError: if a field is missing, unknown or wrong.
    """
    where = f"file map {str(path)!r}"
    found = _FileMap.from_json(read_json(path, f"The {where}"), where)
    return dict(found.files), found.how


def write_filemap(path: Path, files: Mapping[str, MappedFile], how: str | None = None) -> None:
    """Write a file map, whole or not at all.

    :param how: a text that differs where something else may be found in the same files.
    """
    write_json(path, _FileMap(how=how, files=dict(sorted(files.items()))).to_json())
