"""A class of the user, given as itself or by its reference."""

from __future__ import annotations

import types
from typing import Any

import pytest

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.strategies import SingleIOV
from airflow_provider_caf.definitions.references import build_reference


class Outer:
    class Inner:
        pass

    def method(self) -> None:
        pass


def function() -> None:
    pass


@pytest.mark.parametrize(
    ("value", "end"),
    [(Outer, ":Outer"), (Outer.Inner, ":Outer.Inner"), (function, ":function"), (Outer.method, ":Outer.method")],
)
def test_a_class_or_function_becomes_its_reference(value: Any, end: str) -> None:
    assert build_reference(value, "collector") == f"{__name__}{end}"


@pytest.mark.parametrize(
    "text",
    ["module:Name", "package.module:Name", "module:Outer.Inner", "/path/to/file.py:Name", "/with space/f.py:Name"],
)
def test_a_written_reference_stays_as_it_is(text: str) -> None:
    assert build_reference(text, "collector") == text


@pytest.mark.parametrize("text", ["{{ params.collector }}", "module:{{ params.name }}"])
def test_a_template_is_left_to_the_task(text: str) -> None:
    assert build_reference(text, "collector") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Name",
        "module.Name",
        "module:",
        ":Name",
        "file.py:Name",
        "/file.txt:Name",
        "a b:C",
        "a:b c",
        "a;b:C",
        "a:b:c",
    ],
)
def test_what_names_no_class_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build_reference(text, "collector of collection 'hits'")
    assert caught.value.what == f"The collector of collection 'hits' {text!r} names no class or function."
    assert caught.value.hint == "Write it as 'package.module:Name' or '/path/to/file.py:Name'."


@pytest.mark.parametrize("value", [7, None, 1.5, {"a": 1}])
def test_what_is_no_class_is_refused(value: Any) -> None:
    with pytest.raises(DefinitionError, match="is no class or function"):
        build_reference(value, "collector")


def make_class(module: str, qualname: str = "MyCollector") -> type:
    return types.new_class("MyCollector", (), {}, lambda body: body.update(__module__=module, __qualname__=qualname))


@pytest.mark.parametrize("module", ["__main__", "unusual_prefix_0a1b2c3d_my_dag"])
def test_a_class_of_the_dag_file_itself_is_refused(module: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        build_reference(make_class(module), "collector of collection 'hits'")
    text = str(caught.value)
    assert "The collector of collection 'hits' is MyCollector, which is defined in the DAG file itself." in text
    assert "A job cannot import that file." in text
    assert "Move MyCollector into a module beside the DAG file" in text


def test_the_made_up_name_is_the_one_that_airflow_gives_to_dag_files() -> None:
    from airflow.utils.file import get_unique_dag_module_name

    assert get_unique_dag_module_name("/dags/my_dag.py").startswith("unusual_prefix_")


def test_a_class_in_a_function_is_refused() -> None:
    class Local:
        pass

    with pytest.raises(DefinitionError) as caught:
        build_reference(Local, "algorithm of calibration 'vertex'")
    assert "which is defined inside a function. A job cannot import it." in caught.value.what
    assert "top level of a module" in str(caught.value.hint)


def test_a_lambda_is_refused() -> None:
    with pytest.raises(DefinitionError, match="inside a function"):
        build_reference(lambda: None, "pre_collector")


def test_classes_and_strings_give_the_same_definition() -> None:
    def make(collector: Any, algorithm: Any, strategy: Any, before: Any) -> Any:
        calibration = Calibration(
            "vertex",
            collections={"hits": Collection(collector, "/data/*.root", pre_collector=before)},
            algorithms=Algorithm(algorithm, strategy, pre_algorithm=before),
        )
        return CAF("demo", [calibration]).resolve()

    home = __name__
    strategy = f"{SingleIOV.__module__}:SingleIOV"
    by_name = make(f"{home}:Outer", f"{home}:Outer.Inner", strategy, f"{home}:function")
    assert make(Outer, Outer.Inner, SingleIOV, function) == by_name
