"""Loading the user's classes: what is not there is told with what is, and settings are attributes that exist."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.worker.algorithm.algorithm import Algorithm, make_algorithm
from airflow_provider_caf.worker.collect.collector import Collector, make_collector
from airflow_provider_caf.worker.user_code import apply_settings, list_settings, load_user_class, load_user_code


def load(reference: str) -> Any:
    return load_user_class(reference, Collector, "collector")


def test_a_class_is_loaded_from_a_file_and_from_a_module(
    calibrators: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load(f"{calibrators}:HitCollector").prefix == "Hits"
    (tmp_path / "caf_test_module.py").write_text(calibrators.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    assert load("caf_test_module:HitCollector").prefix == "Hits"


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("HitColector", "has no 'HitColector'", "Did you mean 'HitCollector'?"),
        ("MeanAlgorithm", "is a class, but not a subclass of Collector", "import Collector"),
        ("no_function", "is a int, but not a subclass of Collector", "Derive it"),
        ("choose_files", "is a function, but not a subclass of Collector", "Derive it"),
        ("Collector", "is the base class itself", "Name your subclass of Collector"),
    ],
)
def test_a_name_that_is_no_collector_is_told(calibrators: Path, name: str, text: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load(f"{calibrators}:{name}")
    assert text in str(caught.value)
    assert hint in str(caught.value)


def test_a_module_that_is_not_there_is_told_with_the_paths_searched() -> None:
    with pytest.raises(DefinitionError) as caught:
        load("no_such_module_anywhere:Hits")
    text = str(caught.value)
    assert "there is no module 'no_such_module_anywhere'. Searched in: " in text
    assert repr(next(path for path in sys.path if path)) in text


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=rf"there is no file {tmp_path}/no\.py"):
        load(f"{tmp_path}/no.py:Hits")


@pytest.mark.parametrize("reference", ["Hits", "a.b", "a;b:C", "$(x):C", "a/b.py:C", ":C", "m:", "../x.py:C"])
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(DefinitionError, match="names no class or function"):
        load(reference)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("def f():\n    raise KeyError('gone')\nf()\n", "failed with KeyError: 'gone'"),
        ("x = = 1\n", "failed with SyntaxError"),
        ("import nothing_like_this\n", "failed with ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("raise SystemExit(4)\n", "its module ended the program (4)"),
        ("import sys; sys.exit('bye')\n", "its module ended the program ('bye')"),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_with_its_last_lines(tmp_path: Path, code: str, text: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(code)
    with pytest.raises(DefinitionError) as caught:
        load(f"{path}:Hits")
    assert text in str(caught.value)
    if "KeyError" in text:
        assert f'    |   File "{path}", line 2, in f' in str(caught.value)
        assert "    |     raise KeyError('gone')" in str(caught.value)


def test_a_definition_inside_a_job_gets_advice(tmp_path: Path) -> None:
    path = tmp_path / "definition.py"
    path.write_text("import airflow_provider_caf.not_in_a_job\n")
    with pytest.raises(DefinitionError, match=r"keep the collector in a module apart from the DAG \(definition\.py\)"):
        load(f"{path}:Hits")


class Plain:
    number = 1
    text: str
    _hidden = 2

    def __init__(self) -> None:
        self.own: list[int] = []

    @property
    def fixed(self) -> int:
        return 1

    @property
    def positive(self) -> int:
        return self.own[0]

    @positive.setter
    def positive(self, value: int) -> None:
        if value < 0:
            raise ValueError("must be positive")
        self.own = [value]

    def method(self) -> None:
        """Do nothing."""

    @staticmethod
    def static() -> None:
        """Do nothing."""

    class Inner:
        """Nothing."""


def test_settings_are_public_data() -> None:
    assert list_settings(Plain(), ("number",)) == ["own", "positive", "text"]
    item = Plain()
    apply_settings(item, {"positive": 3, "text": "x"}, (), "thing")
    assert (item.own, item.text) == ([3], "x")


@pytest.mark.parametrize("name", ["numbr", "_hidden", "fixed", "method", "static", "Inner", "__class__"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        apply_settings(Plain(), {name: 1}, (), "thing")
    assert f"The thing has no setting {name!r}." in str(caught.value)
    assert "Known settings: number, own, positive, text." in str(caught.value)


def test_a_value_that_the_class_refuses_is_told() -> None:
    with pytest.raises(DefinitionError, match="The setting 'positive' of the thing cannot be -1: must be positive"):
        apply_settings(Plain(), {"positive": -1}, (), "thing")


@pytest.mark.parametrize("name", ["input_files", "current_run", "runs", "iteration", "arguments"])
def test_what_the_framework_sets_is_no_setting_of_a_collector(calibrators: Path, name: str) -> None:
    with pytest.raises(DefinitionError, match=f"The collector 'HitCollector' has no setting '{name}'"):
        make_collector(f"{calibrators}:HitCollector", {name: 1}, None)


def test_a_collector_gets_its_settings_and_granularity(calibrators: Path) -> None:
    collector = make_collector(f"{calibrators}:HitCollector", {"scale": 3.0, "limit": 4}, "all")
    assert (vars(collector)["scale"], vars(collector)["limit"], collector.granularity) == (3.0, 4, "all")


def test_a_constructor_that_fails_is_told(tmp_path: Path) -> None:
    path = tmp_path / "needy.py"
    path.write_text(
        "from airflow_provider_caf.worker import Algorithm, Collector\n"
        "class Needy(Collector):\n    def __init__(self, x): pass\n"
        "class Empty(Algorithm): pass\n"
    )
    with pytest.raises(DefinitionError, match=r"cannot be made: TypeError: .*required positional argument: 'x'"):
        make_collector(f"{path}:Needy", {}, None)
    with pytest.raises(DefinitionError, match=r"The algorithm 'Empty' has no calibrate\(\)"):
        make_algorithm(f"{path}:Empty", {}, None)


def test_a_function_is_loaded(calibrators: Path) -> None:
    assert load_user_code(f"{calibrators}:choose_files", "function")({"input_files": ["a", "skip"]}) == ["a"]


def test_the_base_algorithm_is_no_algorithm() -> None:
    with pytest.raises(NotImplementedError):
        Algorithm().calibrate()


@pytest.mark.parametrize("base", [Algorithm, Collector])
def test_arguments_that_nobody_takes_are_an_error(base: type) -> None:
    class Plain(base):  # type: ignore[misc]
        pass

    class Open(base):  # type: ignore[misc]
        def __init__(self, size: int) -> None:
            self.size = size

    with pytest.raises(TypeError, match=r"Plain\(\) takes no arguments"):
        Plain(size=3)
    assert Open(size=3).size == 3
