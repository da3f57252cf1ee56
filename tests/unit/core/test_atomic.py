"""Writing in one step: what a disk refuses is told. Killed writers are tested in `io/test_files.py`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from airflow_provider_caf.core.atomic import build_write_error, publish_file, sync, write_bytes
from airflow_provider_caf.core.errors import CafError


def refuse(number: int) -> object:
    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_system_that_cannot_sync_a_folder_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    sync(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError, match="Invalid argument"):
        sync(file)


def test_a_folder_that_fails_to_sync_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)


def test_what_cannot_be_published_is_told(tmp_path: Path) -> None:
    with pytest.raises(CafError, match=rf"The merged file {tmp_path}/b could not be written: No such file"):
        publish_file(tmp_path / "a", tmp_path / "b", "merged file")


def test_a_file_is_published_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    publish_file(tmp_path / "a", tmp_path / "b")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("b", b"new")]


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced(tmp_path: Path, *, durable: bool) -> None:
    for content in (b"old", b"new"):
        write_bytes(tmp_path / "f", content, durable=durable, mode=0o600)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"new")]
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_what_the_file_is_stands_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(CafError, match=rf"The answer {tmp_path}/gone/f could not be written: No such file"):
        write_bytes(tmp_path / "gone" / "f", b"", "answer")


@pytest.mark.parametrize(
    ("number", "text", "hint"),
    [
        (0, "a write failed", "Free space for /out"),
        (errno.EDQUOT, "Disk quota exceeded", "Free space for /out"),
        (errno.ENOENT, "No such file", "was it removed"),
        (errno.EACCES, "Permission denied", "Check that /out is mounted"),
    ],
)
def test_the_advice_fits_the_reason(number: int, text: str, hint: str) -> None:
    error = build_write_error("/out/file", "", number)
    assert error.what.startswith(f"/out/file could not be written: {text}")
    assert error.hint is not None
    assert hint in error.hint
