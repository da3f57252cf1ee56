"""Opening and writing ROOT files: what ROOT only prints has to be an error."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CafError, InputError
from airflow_provider_caf.worker.root import (
    is_remote,
    keep_directory,
    load_root,
    open_root_file,
    write_root_file,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, make_events: Any) -> Path:
    path = tmp_path_factory.mktemp("good") / "good.root"
    make_events(path, [(1, 1, float(number)) for number in range(2000)])
    return path


def test_importing_root_warns_of_nothing() -> None:
    program = "from airflow_provider_caf.worker.root import load_root; print(load_root().gROOT.IsBatch())"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("True\n", "")


def test_only_the_alpha_warning_is_silenced() -> None:
    load_root()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("another one", UserWarning, stacklevel=1)
    assert len(caught) == 1


def test_a_good_file_opens(good: Path) -> None:
    file = open_root_file(str(good))
    assert file.Get("events").GetEntries() == 2000
    file.Close()


def _cut(size: Callable[[int], int]) -> Callable[[bytes], bytes]:
    return lambda data: data[: size(len(data))]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_cut(lambda size: 0), "is empty (0 bytes)"),
        (_cut(lambda size: 2), "is truncated: it has 2 bytes only"),
        (_cut(lambda size: 64), "is truncated: it has 64 bytes, its header says"),
        (_cut(lambda size: size // 2), "is truncated: it has"),
        (_cut(lambda size: size - 1), "is truncated: it has"),
        (lambda data: b"not a ROOT file at all", "is not a ROOT file"),
        (lambda data: b"%", "is not a ROOT file"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(
    good: Path, tmp_path: Path, change: Callable[[bytes], bytes], text: str
) -> None:
    path = tmp_path / "bad.root"
    path.write_bytes(change(good.read_bytes()))
    with pytest.raises(InputError) as caught:
        open_root_file(str(path))
    assert f"The input file {path} {text}" in str(caught.value)
    assert "hint:" in str(caught.value)


def test_a_file_that_was_never_closed_is_refused(tmp_path: Path) -> None:
    """A writer that was killed leaves a file that ROOT recovers without a word."""
    path = tmp_path / "open.root"
    program = (
        "import os; from airflow_provider_caf.worker.root import load_root; ROOT = load_root()\n"
        f"file = ROOT.TFile.Open({str(path)!r}, 'RECREATE')\n"
        "file.WriteTObject(ROOT.TNamed('a', 'b')); file.WriteTObject(ROOT.TNamed('c', 'd'))\n"
        "file.Flush(); os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(InputError, match=r"was not closed by the program that wrote it|is truncated"):
        open_root_file(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.root does not exist"):
        open_root_file(str(tmp_path / "missing.root"))
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        open_root_file(str(tmp_path))


@pytest.mark.parametrize("name", ["a b.root", "a;b.root", "a'b.root", 'a"b.root', "a&b.root", "ä.root", "a*b.root"])
def test_strange_names_open(good: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(good.read_bytes())
    open_root_file(str(path)).Close()


@pytest.mark.parametrize(
    ("name", "letter"), [("$(touch x).root", "$"), ("a#b.root", "#"), ("a?b.root", "?"), ("a|b.root", "|")]
)
def test_names_that_root_misreads_are_refused(good: Path, tmp_path: Path, name: str, letter: str) -> None:
    path = tmp_path / name
    path.write_bytes(good.read_bytes())
    with pytest.raises(InputError) as caught:
        open_root_file(str(path))
    assert f"{letter} means something else to it" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "expected"), [("root://host//a.root", True), ("/a/b.root", False), ("/a://b.root", False)]
)
def test_uris_are_told_from_paths(path: str, expected: bool) -> None:
    assert is_remote(path) is expected


def test_a_written_file_appears_when_it_is_complete(tmp_path: Path, root: Any) -> None:
    path = tmp_path / "out.root"
    with write_root_file(str(path), "output") as file:
        file.WriteTObject(root.TNamed("name", "title"))
        assert not path.exists()
    file = open_root_file(str(path))
    assert file.Get("name").GetTitle() == "title"
    assert [each.name for each in tmp_path.iterdir()] == ["out.root"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.root"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), write_root_file(str(path), "output"):
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["out.root"]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, root: Any, small_disk: Any) -> None:
    path = tmp_path / "out.root"

    def write() -> None:
        with write_root_file(str(path), "collector output") as file:
            file.SetCompressionLevel(0)
            for number in range(10):
                file.WriteTObject(root.TH1D(f"h{number}", "", 1000, 0, 1))

    with small_disk(20_000), pytest.raises(CafError) as caught:
        write()
    assert f"The collector output {path} could not be written: File too large." in str(caught.value)
    assert "Free space" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(CafError, match="could not be opened for writing"),
        write_root_file(f"{tmp_path}/no/x", "output"),
    ):
        pytest.fail("must not get here")


def test_bytes_are_replaced_in_one_step(tmp_path: Path, small_disk: Any) -> None:
    path = tmp_path / "data"
    write_bytes(path, b"old", "payload 'x'")
    with small_disk(10), pytest.raises(CafError, match=r"payload 'x' .*data could not be written: File too large"):
        write_bytes(path, b"0123456789ABC", "payload 'x'")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_objects_made_while_a_folder_is_current_stay(root: Any) -> None:
    with keep_directory():
        pass
    histogram = root.TH1D("made_in_memory", "", 1, 0, 1)
    assert histogram.GetDirectory() == root.gROOT
    histogram.SetDirectory(root.nullptr)


def test_a_crash_ends_the_process_by_its_signal() -> None:
    """ROOT's own handler would print for seconds and exit with 129."""
    program = (
        "import os, signal\n"
        "from airflow_provider_caf.worker.root import crash_plainly\n"
        "crash_plainly()\n"
        "os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == -11
    assert "Segmentation fault" in answer.stderr
    assert "line 4 in <module>" in answer.stderr
