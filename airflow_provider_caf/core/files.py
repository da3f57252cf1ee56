"""Write texts and JSON in one step, as `core/atomic.py` does with bytes; read JSON; open logs."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import InputError, explain_os_error

PRIVATE = 0o600
"""Permissions of what may hold a secret: variables and settings of a user, and what a user's program prints."""

LOCAL_URI = "file://"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_uri(path: str) -> bool:
    """Return whether an input file is named by a URI that only the job can open."""
    return _URI.match(path) is not None and not path.startswith(LOCAL_URI)


def measure_file(path: str) -> list[int] | None:
    """Return size in bytes and time of change in ns of a file; None for a URI, which only the job can open.

    :raises OSError: if it is not there.
    """
    if is_uri(path):
        return None
    state = Path(path).stat()
    return [state.st_size, state.st_mtime_ns]


def write_text(path: str | os.PathLike[str], text: str, *, durable: bool = True, mode: int = 0o666) -> None:
    """Replace a text file (UTF-8) in one step, see `write_bytes`.

    A file name that is not UTF-8 reaches us with surrogates in it; they go back to the bytes they came from.
    """
    write_bytes(path, text.encode("utf-8", "surrogateescape"), durable=durable, mode=mode)


def write_json(path: str | os.PathLike[str], value: Any, *, durable: bool = True, mode: int = 0o666) -> None:
    """Replace a JSON file in one step, see `write_bytes`.

    :param value: anything JSON can say; NaN and infinity it cannot.
    :raises TypeError: if the value has something in it that JSON does not know.
    :raises ValueError: if a number in it is not finite.
    """
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n", durable=durable, mode=mode)


@contextlib.contextmanager
def open_log(path: Path) -> Iterator[IO[bytes]]:
    """Open the file to which a user's program prints, behind what is there. Only this user may read it.

    :raises OSError: if it cannot be opened.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE), "ab") as log:
        yield log


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read a JSON file.

    :param what: what the file is, for the message: "the manifest of collection 'default'".
    :raises InputError: if it is missing, unreadable, cut off or not JSON.
    """
    hint = "Check that the folder is mounted here and that you may read it."
    missing = f"{what} is missing: there is no file {path}.", "Run the task that writes it again."
    with explain_os_error(InputError, f"{what} could not be read from {path}", hint, missing=missing):
        content = Path(path).read_bytes()
    try:
        # UTF-8 that is broken becomes a JSON error below: UnicodeDecodeError is a ValueError.
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{what} in {path} is not JSON, or is cut off: {error}.",
            hint="Remove the file and run the task that writes it again.",
        ) from error
