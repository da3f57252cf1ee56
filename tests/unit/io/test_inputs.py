"""Input files: what a pattern gives, what a ROOT header tells, what an IoV selects."""

from __future__ import annotations

import importlib.util
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import is_uri
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io import inputs
from airflow_provider_caf.io.inputs import (
    check_root_files,
    find_header_fault,
    resolve_input_files,
    select_files,
)

WHERE = "calibration 'vertex', collection 'default'"


def build_header(
    *, size: int, large: bool = False, begin: int = 100, free: int | None = None, magic: bytes = b"root"
) -> bytes:
    """Make the first 64 bytes of a ROOT file of `size` bytes, closed unless `free` is 0."""
    seek_free = size - 60 if free is None else free
    form = ">4siiqqiiiBiqi" if large else ">4siiiiiiiBiii"
    version = 64000 + (1_000_000 if large else 0)
    width = 8 if large else 4
    text = struct.pack(form, magic, version, begin, size, seek_free, 55, 1, 58, width, 505, 300, 100)
    return text.ljust(64, b"\0")


def make_root_file(path: Path, *, claimed: int = 500, size: int = 500, large: bool = False) -> str:
    """Write a file of `size` bytes (sparse) whose header claims `claimed`."""
    with path.open("wb") as file:
        file.write(build_header(size=claimed, large=large)[:size])
        file.truncate(size)
    return str(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in [
        "e1/r1.root",
        "e1/r2.root",
        "e1/sub/r3.root",
        "e2/r1.root",
        "e2/notes.txt",
        "e2/.hidden.root",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


class TestResolve:
    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            (["e1/r1.root"], ["e1/r1.root"]),
            (["e1/*.root"], ["e1/r1.root", "e1/r2.root"]),
            (["e?/r1.root"], ["e1/r1.root", "e2/r1.root"]),
            (["e1/r[2-9].root"], ["e1/r2.root"]),
            (["e1/**/*.root"], ["e1/r1.root", "e1/r2.root", "e1/sub/r3.root"]),
            (["**/r1.root"], ["e1/r1.root", "e2/r1.root"]),
            (["e1/**"], ["e1/r1.root", "e1/r2.root", "e1/sub/r3.root"]),
            (["e2/*"], ["e2/notes.txt", "e2/r1.root"]),
            (["e2/.*.root"], ["e2/.hidden.root"]),
            (["e2/r1.root", "e1/r1.root"], ["e1/r1.root", "e2/r1.root"]),
            (["e1/r1.root", "e1/*1.root", "e1//r1.root", "./e1/./r1.root"], ["e1/r1.root"]),
        ],
    )
    def test_patterns_give_sorted_files_once(self, tree: Path, patterns: list[str], expected: list[str]) -> None:
        want = tuple(str(tree / name) for name in expected)
        assert resolve_input_files([f"{tree}/{pattern}" for pattern in patterns], WHERE) == want
        assert resolve_input_files(patterns, WHERE, base=tree) == want

    def test_uris_pass_through(self, tree: Path) -> None:
        uri = "root://host.example//store/a*.root"
        got = resolve_input_files([uri, f"{tree}/e2/r1.root", uri, f"file://{tree}/e1/r1.root"], WHERE)
        assert got == (f"{tree}/e1/r1.root", f"{tree}/e2/r1.root", uri)

    def test_tilde_is_the_home_folder(self, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tree))
        assert resolve_input_files(["~/e1/r2.root"], WHERE) == (f"{tree}/e1/r2.root",)

    @pytest.mark.parametrize("name", ["run[1].root", "what?.root", "a b;$(id)'\".root", "star*.root"])
    def test_an_existing_path_is_taken_literally(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        (tmp_path / "run1.root").touch()
        assert resolve_input_files([str(tmp_path / name)], WHERE) == (str(tmp_path / name),)

    def test_dots_behind_a_link_keep_their_meaning(self, tree: Path) -> None:
        (tree / "link").symlink_to(tree / "e1" / "sub")
        assert resolve_input_files([f"{tree}/link/../r1.root"], WHERE) == (f"{tree}/link/../r1.root",)

    def test_a_link_back_to_a_folder_above_is_read_once(self, tree: Path) -> None:
        (tree / "e1" / "back").symlink_to(tree / "e1")
        want = tuple(str(tree / "e1" / name) for name in ["r1.root", "r2.root", "sub/r3.root"])
        assert resolve_input_files([f"{tree}/e1/**/*.root"], WHERE) == want

    def test_a_pattern_that_matches_nothing_is_named_with_the_nearest_folder(self, tree: Path) -> None:
        with pytest.raises(InputError) as caught:
            resolve_input_files([f"{tree}/e1/*.root", f"{tree}/e3/r*/x.root"], WHERE)
        text = str(caught.value)
        assert text.startswith(f"The input files of {WHERE} could not be found: '{tree}/e3/r*/x.root' matches")
        assert f"The nearest existing folder is '{tree}', and in it: 'e1', 'e2'." in text
        assert "e1/*.root" not in text

    def test_the_nearest_folder_may_be_empty(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="and in it: nothing"):
            resolve_input_files([f"{tmp_path}/*.root"], WHERE)

    def test_a_folder_that_cannot_be_listed_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match=r"which cannot be listed \(Permission denied\)"):
            resolve_input_files([f"{tmp_path}/x.root"], WHERE)

    def test_all_bad_patterns_are_named_at_most_twenty(self, tmp_path: Path) -> None:
        with pytest.raises(InputError) as caught:
            resolve_input_files([f"{tmp_path}/{number}.root" for number in range(30)], WHERE)
        assert "/19.root' matches no file; and 10 more." in str(caught.value)
        assert str(caught.value).count("The nearest existing folder") == 1

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("data/*.root", "'data/*.root' is not an absolute path"),
            ("", "'' is not a path"),
            ("/a\0b", r"'/a\x00b' is not a path"),
            ("file://", "'file://' is not a path"),
        ],
    )
    def test_what_is_no_path_is_refused(self, pattern: str, message: str) -> None:
        with pytest.raises(InputError) as caught:
            resolve_input_files([pattern], WHERE)
        assert message in str(caught.value)
        assert "hint: Write " in str(caught.value)

    def test_a_folder_is_refused(self, tree: Path) -> None:
        with pytest.raises(InputError) as caught:
            resolve_input_files([f"{tree}/e1/"], WHERE)
        assert f"'{tree}/e1/' is a folder" in str(caught.value)
        assert f"write '{tree}/e1/*.root'" in str(caught.value)

    def test_no_pattern_at_all_is_refused(self) -> None:
        with pytest.raises(InputError, match=r"there is no pattern[^$]*Give the collection input_files"):
            resolve_input_files([], WHERE)

    def test_a_name_that_is_too_long_matches_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="matches no file"):
            resolve_input_files([f"{tmp_path}/{'x' * 5000}"], WHERE)

    @given(st.lists(st.sampled_from(["a", "b", "c.root", "root://x/a"]), min_size=1))
    def test_result_is_sorted_and_unique(self, names: list[str]) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os.path, "lexists", lambda path: True)
            patch.setattr(inputs, "_is_folder", lambda path: False)
            got = resolve_input_files(names, WHERE, base=Path("/d"))
        assert list(got) == sorted(set(got))
        assert set(got) == {name if is_uri(name) else f"/d/{name}" for name in names}


class TestHeader:
    @pytest.mark.parametrize("large", [False, True])
    def test_a_whole_file_has_no_fault(self, large: bool) -> None:
        assert find_header_fault(build_header(size=500, large=large), 500) is None

    def test_a_file_may_be_longer_than_its_end(self) -> None:
        assert find_header_fault(build_header(size=500), 4096) is None

    @pytest.mark.parametrize(
        ("header", "size", "fault"),
        [
            (b"", 0, "is empty"),
            (b"ro", 2, "is truncated: it ends after 2 bytes, within its header"),
            (b"rx", 2, "is not a ROOT file"),
            (build_header(size=500)[:44], 44, "is truncated: it ends after 44 bytes, within its header"),
            (b"CDF\x01" + b"\0" * 60, 500, "is not a ROOT file"),
            (b"<html>" + b" " * 60, 500, "is not a ROOT file"),
            (build_header(size=500, magic=b"Root"), 500, "is not a ROOT file"),
            (build_header(size=500), 499, "is truncated: it has 499 bytes of 500"),
            (
                build_header(size=5_000_000_000, large=True),
                500,
                "is truncated: it has 500 bytes of 5000000000",
            ),
            (build_header(size=500, free=0), 500, "was never closed: the program that wrote it died"),
            (
                build_header(size=500, begin=0),
                500,
                "has a damaged ROOT header (data from byte 0 to byte 500)",
            ),
            (build_header(size=500, begin=501), 500, "has a damaged ROOT header"),
            (build_header(size=-5, free=200), 500, "has a damaged ROOT header"),
            (b"root" + b"\0" * 60, 500, "has a damaged ROOT header"),
        ],
    )
    def test_every_fault_is_told(self, header: bytes, size: int, fault: str) -> None:
        assert (find_header_fault(header, size) or "").startswith(fault)

    @given(st.binary(max_size=64), st.integers(0, 2**40))
    def test_no_bytes_make_it_raise(self, tail: bytes, size: int) -> None:
        find_header_fault(b"root" + tail, size)
        find_header_fault(tail, size)

    @given(st.integers(200, 2**31 - 1), st.booleans(), st.integers(0, 1000))
    def test_a_file_is_good_only_from_its_end_on(self, end: int, large: bool, cut: int) -> None:
        header = build_header(size=end, large=large)
        assert find_header_fault(header, end + cut) is None
        assert find_header_fault(header, end - 1 - min(cut, end - 200)) is not None


class TestCheck:
    def test_good_files_are_counted_and_uris_left_alone(self, tmp_path: Path) -> None:
        files = [make_root_file(tmp_path / f"{number}.root") for number in range(3)]
        assert check_root_files([*files, "root://host.example//a.root"], WHERE) == 3

    def test_a_file_beyond_two_gigabytes(self, tmp_path: Path) -> None:
        whole = make_root_file(tmp_path / "big.root", claimed=3 * 2**30, size=3 * 2**30, large=True)
        assert check_root_files([whole], WHERE) == 1
        cut = make_root_file(tmp_path / "cut.root", claimed=3 * 2**30, size=3 * 2**30 - 1, large=True)
        with pytest.raises(InputError, match=r"cut\.root' is truncated: it has 3221225471 bytes of 3221225472"):
            check_root_files([whole, cut], WHERE)

    def test_all_bad_files_are_named(self, tmp_path: Path) -> None:
        good = make_root_file(tmp_path / "good.root")
        (tmp_path / "empty.root").touch()
        (tmp_path / "text.root").write_text("not found\n" * 10)
        (tmp_path / "folder.root").mkdir()
        (tmp_path / "dangling.root").symlink_to(tmp_path / "nowhere")
        (tmp_path / "loop.root").symlink_to(tmp_path / "loop.root")
        os.mkfifo(tmp_path / "pipe.root")
        make_root_file(tmp_path / "cut.root", claimed=900)
        expected = {
            "missing": "is missing",
            "dangling": "is a link to a file that is missing",
            "loop": "cannot be read (Too many levels of symbolic links)",
            "empty": "is empty",
            "text": "is not a ROOT file",
            "folder": "is a folder",
            "pipe": "is not a file but a device, socket or pipe",
            "cut": "is truncated: it has 500 bytes of 900",
        }
        paths = [good, *(str(tmp_path / f"{name}.root") for name in expected)]
        with pytest.raises(InputError) as caught:
            check_root_files(paths, WHERE)
        text = str(caught.value)
        assert text.startswith(f"8 of 9 input files of {WHERE} cannot be used: ")
        for name, fault in expected.items():
            assert f"'{tmp_path}/{name}.root' {fault}" in text
        assert "good.root" not in text
        assert "hint: Copy or make these files again, or take them out of input_files." in text

    def test_a_socket_and_a_hostile_name_are_told_not_raised(self, tmp_path: Path) -> None:
        path = tmp_path / "s"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            with pytest.raises(InputError, match=r"cannot be read \(.*\).*cannot be read \(.*null byte\)"):
                check_root_files([str(path), "/a\0b"], WHERE)

    def test_a_read_error_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(descriptor: int, count: int) -> bytes:
            raise OSError(5, "Input/output error")

        path = make_root_file(tmp_path / "a.root")
        monkeypatch.setattr(os, "read", fail)
        with pytest.raises(InputError, match=r"a\.root' cannot be read \(Input/output error\)"):
            check_root_files([path], WHERE)

    @pytest.mark.parametrize("delay", [0.0, 0.002])
    def test_twenty_of_many_are_shown_in_order_fast_or_slow(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: float
    ) -> None:
        paths = [make_root_file(tmp_path / f"{number:03d}.root", claimed=900) for number in range(60)]
        really_open = os.open

        def open_late(path: str, flags: int) -> int:
            time.sleep(delay)
            return really_open(path, flags)

        monkeypatch.setattr(os, "open", open_late)
        with pytest.raises(InputError) as caught:
            check_root_files(paths, WHERE)
        text = str(caught.value)
        assert text.startswith("60 of 60 input files")
        named = [name for name in paths if name in text]
        assert named == paths[:20]
        assert "; and 40 more." in text

    @pytest.mark.parametrize(("delay", "threaded"), [(0.002, True), (0.0, False)])
    def test_only_slow_files_are_read_by_threads(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delay: float, threaded: bool
    ) -> None:
        paths = [make_root_file(tmp_path / f"{number:03d}.root") for number in range(60)]
        find_fault = inputs._find_fault
        readers = set()

        def find_late(path: str) -> str | None:
            time.sleep(delay)
            readers.add(threading.current_thread())
            return find_fault(path)

        monkeypatch.setattr(inputs, "_find_fault", find_late)
        monkeypatch.setattr(inputs, "_SLOW_SECONDS_PER_FILE", 0.001 if threaded else 1.0)
        assert check_root_files(paths, WHERE) == 60
        assert (len(readers) > 1) is threaded

    def test_no_file_is_no_fault(self) -> None:
        assert check_root_files([], WHERE) == 0


ROOT_SCRIPT = """
import os, signal, sys
import ROOT
def fill(name):
    file = ROOT.TFile(name, "RECREATE")
    hist = ROOT.TH1D("h", "h", 1000, 0, 1)
    hist.Write()
    return file
fill("closed.root").Close()
ROOT.TFile("nothing.root", "RECREATE").Close()
file = fill("crashed.root")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def real_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that ROOT itself wrote: closed, closed without content, and left open by a crash."""
    if importlib.util.find_spec("ROOT") is None:
        pytest.skip("ROOT is not installed")
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([sys.executable, "-W", "ignore", "-c", ROOT_SCRIPT], cwd=folder, check=False, capture_output=True)
    return folder


class TestRealFiles:
    @pytest.mark.parametrize("name", ["closed.root", "nothing.root"])
    def test_a_file_that_root_closed_is_good(self, real_files: Path, name: str) -> None:
        assert check_root_files([str(real_files / name)], WHERE) == 1

    def test_a_file_that_a_crash_left_open_is_told(self, real_files: Path) -> None:
        with pytest.raises(InputError, match=r"crashed\.root' was never closed"):
            check_root_files([str(real_files / "crashed.root")], WHERE)

    @pytest.mark.parametrize("kept", [1, 3, 20, 63, 64, 300])
    def test_a_real_file_cut_anywhere_is_told(self, real_files: Path, tmp_path: Path, kept: int) -> None:
        path = tmp_path / "cut.root"
        path.write_bytes((real_files / "closed.root").read_bytes()[:kept])
        with pytest.raises(InputError, match=r"cut\.root' is truncated"):
            check_root_files([str(path)], WHERE)


class TestSelect:
    IOVS = {  # noqa: RUF012
        "a": IoV(1, 0, 1, 9),
        "b": IoV(1, 10, 1, 19),
        "c": IoV(2, 0, 2, -1),
        "d": IoV(0, 0, -1, -1),
    }

    @pytest.mark.parametrize(
        ("requested", "expected"),
        [
            (None, "abcd"),
            (IoV(1, 5, 1, 5), "ad"),
            (IoV(1, 9, 1, 10), "abd"),
            (IoV(1, 20, 1, -1), "d"),
            (IoV(2, 100, 2, 200), "cd"),
            (IoV(0, 0, -1, -1), "abcd"),
        ],
    )
    def test_files_that_overlap_are_kept_in_order(self, requested: IoV | None, expected: str) -> None:
        assert select_files(["a", "b", "c", "d"], self.IOVS, requested) == tuple(expected)

    def test_a_file_of_unknown_runs_is_an_error(self) -> None:
        with pytest.raises(InputError) as caught:
            select_files(["a", "x", "y"], self.IOVS, IoV(1, 0, 1, 5))
        assert "The IoV 1,0,1,5 is requested, but the runs in 2 of 3 input files" in str(caught.value)
        assert "'x'; 'y'." in str(caught.value)
        assert "files_to_iovs" in str(caught.value)

    def test_paths_may_be_written_as_in_the_definition(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/me")
        written = ["~/a.root", "/data//./b.root", "file:///data/c.root", "root://host.example//d.root"]
        resolved = ("/home/me/a.root", "/data/b.root", "/data/c.root", "root://host.example//d.root")
        iovs = dict.fromkeys(written, IoV(1, 0, 1, 9))
        assert select_files(resolved, iovs, IoV(1, 3, 1, 3)) == resolved
        assert select_files(resolved, iovs, IoV(1, 10, 1, 10)) == ()

    def test_unknown_runs_do_not_matter_without_a_request(self) -> None:
        assert select_files(["x"], {}, None) == ("x",)
