"""File maps of the experiment's tool: what it writes is read, what we write it loads, and nothing else is loaded."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import resource
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.filemap import MappedFile
from airflow_provider_caf.steps.pickled_map import read_pickled_map, write_pickled_map
from airflow_provider_caf.worker.basf2 import pickled_map
from airflow_provider_caf.worker.basf2.pickled_map import dump_map, read_map

UTILS = """
from collections import namedtuple
import ROOT

class IoV(namedtuple("IoV_Factory", ["exp_low", "run_low", "exp_high", "run_high"])):
    def __new__(cls, exp_low=-1, run_low=-1, exp_high=-1, run_high=-1):
        return super().__new__(cls, exp_low, run_low, exp_high, run_high)

    def __init__(self, *numbers):
        self._cpp_iov = ROOT.TNamed("IntervalOfValidity", "of C++")
"""
"""As the experiment's class is made: a named tuple that carries a C++ object, here one of ROOT's own."""

FILES = {"/data/a.root": [8, 1, 8, 12], "root://host//b.root": [9, 0, -1, -1], "/ä\n'.root": [10, -1, 10, -1]}


def run_python(code: str, folder: Path) -> str:
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder in which `caf.utils` is as in the experiment's software."""
    (tmp_path / "caf").mkdir()
    (tmp_path / "caf" / "__init__.py").touch()
    (tmp_path / "caf" / "utils.py").write_text(UTILS)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_the_experiment_writes_is_read(experiment: Path, protocol: int) -> None:
    code = f"""
import pickle
from caf.utils import IoV
with open("map.pkl", "bw") as file:
    pickle.dump({{path: IoV(*iov) for path, iov in {FILES!r}.items()}}, file, {protocol})
"""
    run_python(code, experiment)
    assert b"_CPPInstance__expand__" in (experiment / "map.pkl").read_bytes()
    assert read_map(experiment / "map.pkl") == FILES
    # In a process of its own, as the command does it; an open end is read as basf2 means it.
    found = read_pickled_map(experiment / "map.pkl")
    assert [str(mapped.iov) for mapped in found.values()] == ["8,1,8,12", "9,0,-1,-1", "10,0,10,-1"]
    assert list(found) == list(FILES)


@pytest.mark.slow
def test_what_we_write_the_experiment_loads(experiment: Path) -> None:
    files = {path: MappedFile(iov=IoV.of_basf2(iov)) for path, iov in FILES.items()}
    write_pickled_map(experiment / "map.pkl", files)
    code = """
import pickle
with open("map.pkl", "br") as file:
    found = pickle.load(file)
print({path: (type(iov).__module__, *iov, iov._cpp_iov.GetTitle()) for path, iov in found.items()})
"""
    expected = {path: ("caf.utils", *mapped.iov, "of C++") for path, mapped in files.items()}
    assert run_python(code, experiment) == f"{expected}\n"
    assert read_pickled_map(experiment / "map.pkl") == files


def test_a_pickle_of_ours_names_one_class_and_leaves_nothing_behind() -> None:
    before = dict(sys.modules)
    data = dump_map(FILES)
    names = [argument for opcode, argument, _ in pickletools.genops(data) if opcode.name == "SHORT_BINUNICODE"]
    assert [name for name in names if name not in FILES] == ["caf.utils", "IoV"]
    assert sys.modules == before


class Evil:
    """What a pickle calls when it is loaded as Python does it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


EVIL: dict[str, Any] = {
    "posix.system": {"/a": Evil(os.system, "touch evil")},
    "builtins.eval": Evil(eval, "open('evil', 'w')"),
    "builtins.getattr": {Evil(getattr, "", "join"): 1},
    "subprocess.Popen": [Evil(subprocess.Popen, ["touch", "evil"])],
    "collections.OrderedDict": OrderedDict(a=1),
    "io.open": Evil(io.open, "evil", "w"),
}


@pytest.mark.parametrize("name", EVIL)
@pytest.mark.parametrize("protocol", range(6))
def test_whatever_else_a_pickle_names_is_not_loaded(
    name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.pkl").write_bytes(pickle.dumps(EVIL[name], protocol, fix_imports=False))
    with pytest.raises(InputError, match=r"The pickle names .*, which no file map has"):
        read_map(tmp_path / "map.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["map.pkl"]


@pytest.mark.parametrize(
    "data",
    [
        b"cos\nsystem\n(S'touch evil'\ntR.",
        b"ccaf.utils\nIoV.__class__\n.",
        b"ccaf.utils\nos\n.",
        b"cROOT\ngSystem\n.",
        b"clibROOTPythonizations\nother\n.",
        b"\x80\x04\x8c\x09caf.utils\x8c\x0cIoV.__init__\x93.",
    ],
)
def test_a_pickle_made_by_hand_gets_nowhere(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.pkl").write_bytes(data)
    with pytest.raises(InputError, match="which no file map has"):
        read_map(tmp_path / "map.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["map.pkl"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1], "holds a list: a file map is a dictionary"),
        ({1: (1, 1, 1, 1)}, "has the entry 1"),
        ({"/a": (1, 1, 1)}, "has the entry '/a'"),
        ({"/a": (1, 1, 1, True)}, "has the entry '/a'"),
        ({"/a": (1, 1, 1, 1.0)}, "has the entry '/a'"),
        ({"/a": [1, 1, 1, 1]}, "has the entry '/a'"),
        ({"/a": "1,1,1,1"}, "has the entry '/a'"),
    ],
)
def test_something_else_than_a_map_is_an_error(value: Any, text: str, tmp_path: Path) -> None:
    (tmp_path / "map.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(InputError, match=text):
        read_map(tmp_path / "map.pkl")


def test_a_file_that_is_cut_off_or_missing_is_an_error(tmp_path: Path) -> None:
    whole = dump_map(FILES)
    for length in range(len(whole)):
        (tmp_path / "map.pkl").write_bytes(whole[:length])
        with pytest.raises(InputError, match="is no pickle of a file map, or is cut off"):
            read_map(tmp_path / "map.pkl")
    with pytest.raises(InputError, match="cannot be read"):
        read_map(tmp_path / "none.pkl")


def test_a_plain_tuple_is_an_iov_too(tmp_path: Path) -> None:
    (tmp_path / "map.pkl").write_bytes(pickle.dumps({"/a": (1, 2, 3, 4)}))
    assert read_map(tmp_path / "map.pkl") == {"/a": [1, 2, 3, 4]}


@pytest.mark.slow
def test_the_process_has_limits(tmp_path: Path) -> None:
    """A pickle of some bytes may say that gigabytes follow."""
    bomb = b"\x80\x04X" + (2**31).to_bytes(4, "little") + b"x"
    (tmp_path / "map.pkl").write_bytes(bomb)
    with pytest.raises(InputError, match="is no pickle of a file map, or is cut off"):
        read_pickled_map(tmp_path / "map.pkl")
    (tmp_path / "evil.pkl").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match=r"The pickle names posix\.system"):
        read_pickled_map(tmp_path / "evil.pkl")
    (tmp_path / "map.pkl").write_bytes(dump_map({"/a": [1, 1, 1, 1]}))
    code = """
import resource
from airflow_provider_caf.worker.basf2 import pickled_map
pickled_map.run({"read": "map.pkl"})
print(resource.getrlimit(resource.RLIMIT_AS)[0], resource.getrlimit(resource.RLIMIT_CPU)[0])
"""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n{code}"
    limits = [int(word) for word in run_python(code, tmp_path).split()]
    assert all(0 < found <= pickled_map._LIMITS[limit] for found, limit in zip(limits, LIMITS, strict=True))


LIMITS = resource.RLIMIT_AS, resource.RLIMIT_CPU
