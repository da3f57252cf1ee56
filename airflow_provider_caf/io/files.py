"""Write files so that a reader sees the old content or the new one, never a part; read JSON.

A file is written under another name in the same folder and renamed: the rename is atomic on a POSIX file
system. With `durable` (the default) the bytes and the rename are on disk before the function returns, so that
a crash of the machine is survived too. It costs a disk write per file; leave it off for what can be redone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.core.temporary import build_temporary_name

PRIVATE = 0o600
"""Permissions of what may hold a secret: variables and settings of a user, and what a user's program prints."""


def write_bytes(path: str | os.PathLike[str], data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
    """Replace a file's content in one step.

    :param path: the file; its folder must exist.
    :param data: the whole new content.
    :param durable: wait until it is on disk.
    :param mode: permissions of the new file before the umask.
    :raises CafError: if it cannot be written, say because the disk is full. The old file is then untouched.
    """
    target = Path(path)
    temporary = target.parent / build_temporary_name()
    try:
        _write_new(temporary, data, durable=durable, mode=mode)
        temporary.replace(target)
        if durable:
            _sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CafError(
            f"{target} could not be written: {error.strerror or error}.", hint=_advise(error, target)
        ) from error


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

    :raises OSError: if it cannot be.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, PRIVATE), "ab") as log:
        yield log


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """Read a JSON file.

    :param what: what the file is, for the message: "the manifest of collection 'default'".
    :raises InputError: if it is missing, unreadable, cut off or not JSON.
    """
    try:
        # UTF-8 that is broken becomes a JSON error below: UnicodeDecodeError is a ValueError.
        return json.loads(Path(path).read_bytes().decode("utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{what} is missing: there is no file {path}.", hint="Run the task that writes it again."
        ) from error
    except OSError as error:
        raise InputError(
            f"{what} could not be read from {path}: {error.strerror or error}.",
            hint="Check that the folder is mounted here and that you may read it.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{what} in {path} is not JSON, or is cut off: {error}.",
            hint="Remove the file and run the task that writes it again.",
        ) from error


def _write_new(path: Path, data: bytes, *, durable: bool, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            # A disk that runs full takes a part first, and refuses at the next write.
            rest = rest[file.write(rest) :]
        if durable:
            os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advise(error: OSError, target: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free space for {target.parent} (disk or quota) and run the task again; nothing was lost."
    if error.errno == errno.ENOENT:
        return f"The folder {target.parent} does not exist: was it removed while the task ran?"
    return f"Check that {target.parent} is mounted and that you may write there, then run the task again."
