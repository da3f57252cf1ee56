"""The job app: the same sources give the same bytes, the user's modules travel, and nothing is imported."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.job_app import pack_entries
from airflow_provider_caf.io.job_app import build_job_app, collect_user_modules

COLLECTOR = """from airflow_provider_caf.worker import Collector
class Hits(Collector):
    def collect(self, event): pass
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder with the user's modules: plain ones, a package, and one without __init__.py."""
    folder = tmp_path / "sources"
    files = {
        "plain.py": "import math, numpy\nimport beside\n" + COLLECTOR,
        "beside.py": "def f():\n    from deep import thing\nimport airflow_provider_caf.core\n",
        "deep.py": "thing = 1\n",
        "unused.py": "raise RuntimeError('must not be imported')\n",
        "pack/__init__.py": "raise_later = 1\n",
        "pack/hits.py": "from . import tools\nfrom pack.sub.more import x\nimport beside\n" + COLLECTOR,
        "pack/tools.py": "",
        "pack/sub/__init__.py": "",
        "pack/sub/more.py": "x = 1\n",
        "pack/data.txt": "not Python",
        "space/inner/hits.py": COLLECTOR,
        "loud.py": "raise RuntimeError('must not be imported')\n" + COLLECTOR,
        "broken.py": "def f(:\n    pass\n",
        "random.py": COLLECTOR,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return tmp_path / "app.pyz"


def list_user_files(app: Path) -> list[str]:
    with zipfile.ZipFile(app) as archive:
        names = [name for name in archive.namelist() if name.startswith("user/") and not name.endswith("/")]
    return sorted(name.removeprefix("user/") for name in names if name != "user/_files.json")


def describe(app: Path, references: list[str], tmp_path: Path) -> list[dict[str, Any]]:
    request, answer = tmp_path / "refs.json", tmp_path / "answer.json"
    request.write_text(json.dumps({"version": 1, "collectors": [{"reference": each} for each in references]}))
    # -I: neither the current folder nor PYTHONPATH; only what travels is there.
    command = [sys.executable, "-I", "-S", str(app), "describe", str(request), "--output", str(answer)]
    subprocess.run(command, check=True)
    answers: list[dict[str, Any]] = json.loads(answer.read_text())["collectors"]
    return answers


def test_it_runs_with_nothing_installed(app: Path, sources: Path, tmp_path: Path) -> None:
    (sources / "plain.py").write_text("import beside\n" + COLLECTOR)
    references = ["plain:Hits", "pack.hits:Hits", "space.inner.hits:Hits"]
    digest = build_job_app(app, references, [str(sources)])
    assert digest == hashlib.sha256(app.read_bytes()).hexdigest()
    assert [each["prefix"] for each in describe(app, references, tmp_path)] == ["Hits"] * 3


def test_a_file_named_by_its_path_travels(app: Path, sources: Path, tmp_path: Path) -> None:
    reference = f"{sources}/pack/hits.py:Hits"
    (sources / "pack" / "hits.py").write_text(COLLECTOR)
    build_job_app(app, [reference], [])
    (sources / "pack" / "hits.py").unlink()  # the job's machine may not have it
    assert describe(app, [reference], tmp_path)[0]["ok"]


def test_what_a_module_imports_travels_with_it(app: Path, sources: Path) -> None:
    build_job_app(app, ["plain:Hits"], [str(sources)])
    assert list_user_files(app) == ["beside.py", "deep.py", "plain.py"]
    build_job_app(app, [f"{sources}/plain.py:Hits"], [])
    assert list_user_files(app) == ["beside.py", "deep.py", "plain.py"]


def test_what_lies_on_another_search_path_travels(app: Path, sources: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (sources / "deep.py").rename(other / "deep.py")
    build_job_app(app, ["plain:Hits"], [str(sources), str(other)])
    assert list_user_files(app) == ["beside.py", "deep.py", "plain.py"]


def test_a_package_travels_whole(app: Path, sources: Path) -> None:
    build_job_app(app, ["pack.hits:Hits"], [str(sources)])
    assert list_user_files(app) == [
        "beside.py",
        "deep.py",
        "pack/__init__.py",
        "pack/hits.py",
        "pack/sub/__init__.py",
        "pack/sub/more.py",
        "pack/tools.py",
    ]


def test_installed_modules_do_not_travel_unless_named(app: Path, tmp_path: Path) -> None:
    installed = tmp_path / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "named.py").write_text("import other\n" + COLLECTOR)
    (installed / "other.py").write_text("")
    build_job_app(app, ["named:Hits"], [str(installed)])
    assert list_user_files(app) == ["named.py"]


def test_no_module_is_imported(app: Path, sources: Path) -> None:
    build_job_app(app, ["loud:Hits"], [str(sources)])
    assert "loud" not in sys.modules


def test_only_what_needs_nothing_travels(app: Path) -> None:
    build_job_app(app, [], [])
    with zipfile.ZipFile(app) as archive:
        names = {"/".join(name.split("/")[:2]) for name in archive.namelist() if name.startswith("airflow_provider")}
        assert names == {
            "airflow_provider_caf/",
            "airflow_provider_caf/__init__.py",
            "airflow_provider_caf/py.typed",
            "airflow_provider_caf/core",
            "airflow_provider_caf/execution",
            "airflow_provider_caf/worker",
        }
        assert archive.testzip() is None
        assert not any("__pycache__" in name for name in archive.namelist())


def test_the_same_sources_give_the_same_bytes(app: Path, sources: Path, tmp_path: Path) -> None:
    references = ["pack.hits:Hits", "plain:Hits"]
    first = build_job_app(app, references, [str(sources)])
    os.utime(sources / "plain.py", (1, 1))
    (sources / "pack" / "tools.py").chmod(0o600)
    assert build_job_app(tmp_path / "second.pyz", references[::-1] * 2, [str(sources)]) == first
    (sources / "deep.py").write_text("thing = 2\n")
    assert build_job_app(app, references, [str(sources)]) != first


def test_entries_are_sorted_with_their_folders() -> None:
    data = pack_entries({"b/c/d.py": b"1", "a.py": b"2"})
    assert data == pack_entries({"a.py": b"2", "b/c/d.py": b"1"})


@pytest.mark.parametrize(
    ("reference", "text", "hint"),
    [
        ("plian:Hits", "there is no module 'plian' in ", "Did you mean 'plain'?"),
        ("pack.hit:Hits", "has no module 'hit'", "Check the spelling"),
        ("plain.inner:Hits", "has no module 'inner'", "Check the spelling"),
        ("math:sin", "the module 'math' is not Python source of yours", "a module of your own"),
        ("random:Hits", "the module 'random' is not Python source of yours", "a module of your own"),
        ("{}/random.py:Hits", "Python has a module of that name", "Rename it"),
        ("{}/gone.py:Hits", "there is no file {}/gone.py", "Check the path"),
        ("broken:Hits", "{}/broken.py:1: It is not Python:", "Correct it"),
        ("airflow_provider_caf.io.inputs:check_root_files", "only core, execution, worker do", "a class of your own"),
        ("airflow_provider_caf:CAF", "only core, execution, worker do", "a class of your own"),
        ("no reference", "names no class or function", "Write it as"),
        ("a;b:C", "names no class or function", "Write it as"),
    ],
)
def test_what_cannot_travel_is_told(app: Path, sources: Path, reference: str, text: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build_job_app(app, [reference.format(sources)], [str(sources)])
    assert text.format(sources) in str(caught.value)
    assert hint in str(caught.value)
    assert not app.exists()


def test_a_file_that_is_no_module_name_is_told(app: Path, sources: Path) -> None:
    (sources / "my-hits 2.py").write_text(COLLECTOR)
    with pytest.raises(DefinitionError, match=r"cannot be the name of a module\.\n.*Rename it, say to my_hits_2\.py"):
        build_job_app(app, [f"{sources}/my-hits 2.py:Hits"], [])


def test_two_files_of_one_name_are_told(app: Path, sources: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(COLLECTOR)
    with pytest.raises(DefinitionError, match=r"cannot travel together: both would be the module 'plain'"):
        build_job_app(app, [f"{tmp_path}/plain.py:Hits", "plain:Hits"], [str(sources)])
    # The same file, named in two ways, is one.
    modules, files = collect_user_modules([f"{sources}/plain.py:Hits", "plain:Hits"], [str(sources)])
    assert sorted(modules) == ["beside", "deep", "plain"]
    assert files == {f"{sources}/plain.py": "plain"}


def test_classes_of_the_package_itself_travel_anyway(app: Path) -> None:
    build_job_app(app, ["airflow_provider_caf.worker.collect.collector:Collector"], [])
    assert list_user_files(app) == []
