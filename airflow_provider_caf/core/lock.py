"""A lock that a process holds as long as it, or a fork of it, lives."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_caf.core.errors import CafError, explain_os_error


@contextmanager
def hold_lock(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file; wait while another process has it. The file stays.

    No process that is started inherits it, a fork does: so it says of a program with its children whether they live.

    :param what: what the lock is of, such as `a merge into /w/merged.root`.
    :raises CafError: if the file cannot be opened, or its file system knows no locks.
    """
    with explain_os_error(CafError, f"The lock {path} of {what} could not be opened", "May you write to its folder?"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _take(descriptor, path, what)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path, what: str) -> None:
    hint = "Mount the work folder with file locking, or choose another one."
    with explain_os_error(CafError, f"The file system of {path} cannot lock files", hint):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"waiting for {what} that was started before: it holds {path}\n")
            sys.stderr.flush()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
