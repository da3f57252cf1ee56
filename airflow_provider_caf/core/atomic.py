"""Write a file so that a reader sees the old content or the new one, never a part.

A file is written under another name in the same folder and renamed: the rename is atomic on a POSIX file
system. With `durable` (the default) the bytes and the rename are on disk before the function returns, so that
a crash of the machine is survived too. It costs a disk write per file; leave it off for what can be redone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from pathlib import Path

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.temporary import build_temporary_name

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk, a quota or a file size limit is exhausted."""


def write_bytes(
    path: str | os.PathLike[str], data: bytes, what: str = "", *, durable: bool = True, mode: int = 0o666
) -> None:
    """Replace a file's content in one step.

    :param path: the file; its folder must exist.
    :param data: the whole new content.
    :param what: what the file is to the reader of an error, such as `answer`.
    :param durable: wait until it is on disk.
    :param mode: permissions of the new file before the umask.
    :raises CafError: if it cannot be written, say because the disk is full. The old file is then untouched.
    """
    target = Path(path)
    temporary = target.parent / build_temporary_name()
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            write_all(file.write, data)
            if durable:
                os.fsync(descriptor)
        temporary.replace(target)
        if durable:
            sync(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise build_write_error(target, what, error.errno or 0) from error


def write_all(write: Callable[[memoryview], int], data: bytes) -> None:
    """Write all bytes: a disk that runs full takes a part first, and refuses at the next write.

    :param write: the unbuffered write of a file, which returns how many bytes it took.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[write(rest) :]


def publish_file(temporary: Path, target: Path, what: str = "") -> None:
    """Rename a written file to its own name, after its bytes are on disk.

    :raises CafError: if that fails.
    """
    try:
        sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise build_write_error(target, what, error.errno or 0) from error


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or the names in a folder, are on disk.

    :raises OSError: if they cannot be put there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do this with a folder, see fsync(2).
        if error.errno != errno.EINVAL or not Path(path).is_dir():
            raise
    finally:
        os.close(descriptor)


def build_write_error(path: str | os.PathLike[str], what: str, number: int) -> CafError:
    """Build the error of a file that could not be written.

    :param what: what the file is to the reader, such as `merged file`.
    :param number: the errno of the failed write, 0 where it is not known.
    """
    reason = os.strerror(number) if number > 0 else "a write failed"
    folder = Path(path).parent
    if number in (*NO_SPACE, 0):
        hint = f"Free space for {folder} (disk or quota), then run this again; nothing was lost."
    elif number == errno.ENOENT:
        hint = f"The folder {folder} does not exist: was it removed while this ran?"
    else:
        hint = f"Check that {folder} is mounted and that you may write there, then run this again; nothing was lost."
    return CafError(f"{f'The {what} ' if what else ''}{path} could not be written: {reason}.", hint=hint)
