"""The kernel's own count of how often an algorithm process opens what was collected."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

IN_ACCESS, IN_OPEN, IN_CLOSE = 0x1, 0x20, 0x18
EVENT = struct.Struct("iIII")

OPENS = 2
"""One to compare the file's size with its header, and one by ROOT."""


@contextmanager
def watch_opens(path: Path) -> Iterator[list[int]]:
    """Count how often processes open a file, one after the other. inotify sees also what ROOT opens by itself.

    Equal events that follow one another become one in the queue; reads and ends in between keep opens apart.

    :returns: a list that holds one item for each open when the context ends.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    opens: list[int] = []
    try:
        mask = IN_ACCESS | IN_OPEN | IN_CLOSE
        assert libc.inotify_add_watch(descriptor, os.fsencode(path), mask) >= 0, os.strerror(ctypes.get_errno())
        yield opens
        opens += [mask for mask in read_masks(descriptor) if mask & IN_OPEN]
    finally:
        os.close(descriptor)


def read_masks(descriptor: int) -> Iterator[int]:
    """Give the mask of each event that waits."""
    while True:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        while data:
            _, mask, _, length = EVENT.unpack_from(data)
            yield mask
            data = data[EVENT.size + length :]


def test_the_watch_counts_each_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with watch_opens(path) as opens:
        for _ in range(3):
            path.read_bytes()
    assert len(opens) == 3


@pytest.mark.parametrize("strategy", ["SingleIOV", "SimpleRunByRun"])
def test_no_file_is_opened_more_than_once(lab: Any, strategy: str) -> None:
    lab.prepare(lab.calibration(algorithms=lab.algorithm(strategy=strategy)))
    lab.take_merged()
    with watch_opens(lab.layout().iteration(0).collection("default").merged_file) as opens:
        result = lab.calibrate()
    assert result.executions == {"SingleIOV": 1, "SimpleRunByRun": 4}[strategy]
    assert len(opens) == OPENS
