"""Atomic writing and honest reading."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from airflow_provider_caf.core import files
from airflow_provider_caf.core.atomic import build_write_error, write_bytes
from airflow_provider_caf.core.errors import CafError, InputError


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_bytes_text_and_json_come_back(tmp_path: Path) -> None:
    write_bytes(tmp_path / "b", b"\x00\xff")
    files.write_text(tmp_path / "t", "ä\n")
    files.write_json(tmp_path / "j", {"a": [1, None, "ü"]})
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "t").read_text(encoding="utf-8") == "ä\n"
    assert files.read_json(tmp_path / "j", "the file") == {"a": [1, None, "ü"]}
    assert list_names(tmp_path) == ["b", "j", "t"]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        files.write_text(tmp_path / "script", "x", mode=0o777)
        files.write_text(tmp_path / "plain", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640


def test_the_longest_name_a_file_system_takes_works(tmp_path: Path) -> None:
    files.write_text(tmp_path / ("x" * 255), "y", durable=False)
    assert list_names(tmp_path) == ["x" * 255]


def test_a_name_that_is_not_utf8_in_the_text_survives(tmp_path: Path) -> None:
    files.write_text(tmp_path / "t", os.fsdecode(b"\xff"))
    assert (tmp_path / "t").read_bytes() == b"\xff"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(CafError, match=r"gone/f could not be written: No such file.*\n.*was it removed"):
        files.write_text(tmp_path / "gone" / "f", "x")


def test_a_folder_that_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(CafError, match=r"f could not be written: Is a directory.*\n.*you may write there"):
        files.write_text(tmp_path / "f", "x")
    assert list_names(tmp_path) == ["f"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A file size limit stands for the disk: both refuse in the middle of a write."""
    program = (
        "import resource, signal, sys\n"
        "from airflow_provider_caf.core.atomic import write_bytes\n"
        "from airflow_provider_caf.core.errors import CafError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write_bytes(sys.argv[1], b'old')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    write_bytes(sys.argv[1], b'x' * 100000)\n"
        "except CafError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "f")], capture_output=True, text=True, check=True
    )
    assert "could not be written: File too large" in done.stdout
    assert (tmp_path / "f").read_text() == "old"
    assert list_names(tmp_path) == ["f"]


def test_no_space_left_has_its_own_advice(tmp_path: Path) -> None:
    assert "Free space for" in str(build_write_error(tmp_path / "f", "", errno.ENOSPC))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_error_of_a_full_device_is_no_space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = os.open

    def open_full(path: object, flags: int, *rest: int) -> int:
        return real("/dev/full", os.O_WRONLY) if flags & os.O_CREAT else real(path, flags, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(CafError, match=r"No space left on device.*\n.*Free space for .*nothing was lost"):
        files.write_text(tmp_path / "f", "x")


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "f"
    files.write_json(target, {"n": "0" * 20000})
    program = (
        "import sys\nfrom airflow_provider_caf.core import files\n"
        "print('go', flush=True)\n"
        "for n in range(10**9):\n"
        "    files.write_json(sys.argv[1], {'n': str(n % 10) * 20000}, durable=False)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    threading.Event().wait(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert len(files.read_json(target, "the file")["n"]) == 20000


def test_numbers_that_json_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "f", float("nan"))
    assert list_names(tmp_path) == []


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the manifest is missing: there is no file .*/m\.json"):
        files.read_json(tmp_path / "m.json", "the manifest")


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe", b"hello", b"[" * 100_000])
def test_what_is_not_json_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(InputError, match=r"the manifest in .*/m\.json is not JSON, or is cut off"):
        files.read_json(tmp_path / "m.json", "the manifest")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the manifest could not be read from .*: Is a directory"):
        files.read_json(tmp_path, "the manifest")
