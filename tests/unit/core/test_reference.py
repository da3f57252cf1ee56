from __future__ import annotations

import sys
from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.reference import load_reference, parse_reference


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("a.b:C", ("a.b", "C")),
        ("a:C.D", ("a", "C.D")),
        ("/x/my file.py:C", ("/x/my file.py", "C")),
        ("/x/a:b.py:C", ("/x/a:b.py", "C")),
    ],
)
def test_parse(reference: str, parts: tuple[str, str]) -> None:
    assert parse_reference(reference, "strategy") == parts


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "C",
        ":C",
        "a:",
        "a b:C",
        "a:C()",
        "a;b:C",
        "../x.py:C",
        "x.py:C",
        "/x:C",
        "/x.txt:C",
        "a..b:C",
        "a:C.",
        "1a:C",
    ],
)
def test_parse_refuses(reference: str) -> None:
    with pytest.raises(DefinitionError, match="names no class or function") as caught:
        parse_reference(reference, "strategy")
    assert f"The strategy {reference!r}" in str(caught.value)
    assert "'package.module:Name' or '/path/to/file.py:Name'" in str(caught.value)


def test_load_from_a_module() -> None:
    assert load_reference("pathlib:Path", "thing") is Path
    assert load_reference("pathlib:Path.cwd", "thing") == Path.cwd


def test_load_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import dataclasses\n\n@dataclasses.dataclass\nclass Mine:\n    x: int = 3\n")
    assert load_reference(f"{path}:Mine", "thing")().x == 3


def test_two_files_of_one_name_live_together(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(f"NUMBER = {number}\n")
    assert [load_reference(f"{tmp_path}/{number}/mine.py:NUMBER", "thing") for number in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module_xyz:C", "there is no module 'no_such_module_xyz'"),
        ("no_such_module_xyz.part:C", "there is no module 'no_such_module_xyz'"),
        ("pathlib.part:C", "there is no module 'pathlib.part'"),
        ("/no/such/file.py:C", "there is no file /no/such/file.py"),
        ("pathlib:Pathh", "pathlib has no 'Pathh'"),
    ],
)
def test_what_is_not_there(reference: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        load_reference(reference, "algorithm")
    assert "The algorithm" in str(caught.value)
    assert caught.value.hint


def test_a_wrong_name_is_suggested() -> None:
    with pytest.raises(DefinitionError, match="Did you mean 'PurePath'"):
        load_reference("pathlib:Purepath", "thing")


def test_a_file_that_fails_on_import(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("1 / 0\n")
    before = set(sys.modules)
    with pytest.raises(DefinitionError, match=r"bad\.py failed with ZeroDivisionError: division by zero"):
        load_reference(f"{path}:C", "thing")
    assert not {name for name in set(sys.modules) - before if name.startswith("caf_user_")}


def test_a_file_that_fails_the_second_time_leaves_the_first(tmp_path: Path) -> None:
    path = tmp_path / "changing.py"
    path.write_text("class C:\n    pass\n")
    module = load_reference(f"{path}:C", "thing").__module__
    first = sys.modules[module]
    path.write_text("raise SystemExit(3)\n")
    with pytest.raises(SystemExit):
        load_reference(f"{path}:C", "thing")
    assert sys.modules[module] is first


def test_a_file_that_opens_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "opens.py"
    path.write_text("open('/no/such/data')\n")
    with pytest.raises(DefinitionError, match="failed with FileNotFoundError"):
        load_reference(f"{path}:C", "thing")


def test_modules_that_fail_on_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "caf_test_needs.py").write_text("import no_such_module_xyz\n")
    (tmp_path / "caf_test_raises.py").write_text("raise RuntimeError('no detector')\n")
    with pytest.raises(DefinitionError, match="caf_test_needs failed with ModuleNotFoundError"):
        load_reference("caf_test_needs:C", "thing")
    with pytest.raises(DefinitionError, match="caf_test_raises failed with RuntimeError: no detector"):
        load_reference("caf_test_raises:C", "thing")
