"""Python functions as jobs: over real jobs of the local system. Only Airflow's context is a stand-in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.operators.function import BatchFunctionOperator
from airflow_provider_caf.steps.function_code import read_function
from tests.unit.operators.test_jobs import context, work_dir

__all__ = ["context", "work_dir"]  # fixtures

DAG_FILE = r'''
import math
from airflow.sdk import task

FACTOR = 2

@task.batch(backend="local")
def add(numbers, *, scale: float = 1.0, more: list[int] | None = None):
    """Add."""
    import math
    def double(number):
        return 2 * number
    return {"sum": sum(double(number) for number in numbers) * scale, "pi": round(math.pi, 2), "more": more}

def uses_module(x):
    return math.sqrt(x)

def uses_constant(x):
    return [FACTOR * number for number in range(x)]

def uses_in_default(x, y=FACTOR):
    return x

def uses_inside(x):
    def inner():
        return FACTOR
    return inner()

def uses_helper():
    import side_module
    return side_module.answer()

def annotated(x: math.ceil) -> task:
    y: FACTOR = x
    return y

def catches():
    try:
        return int("x")
    except ValueError as error:
        return str(error)

if True:
    def indented():
        text = """a
b"""
        return text

class Holder:
    def method(self):
        return 1

def generates():
    yield 1

async def waits():
    return 1

def around():
    word = 1
    def inside():
        return word
    return inside
'''
MODULE = """
SCALE = 3

def scale(x):
    return SCALE * x

def day(ds=None):
    return ds

def count(file):
    with open(file, "a") as log:
        log.write("x")
    return open(file).read()

def gives_object():
    return object()

def gives_nan():
    return float("nan")

def breaks():
    raise ValueError("no beam")

def imports():
    import no_such_module
"""


@pytest.fixture
def dag_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Give a DAG file as Airflow loads it: under a name that nobody can import."""
    folder = tmp_path / "dags"
    folder.mkdir()
    (folder / "side_module.py").write_text("def answer():\n    return 42\n")
    file = folder / "my_dag.py"
    file.write_text(DAG_FILE)
    monkeypatch.syspath_prepend(str(folder))
    spec = spec_from_file_location("unusual_prefix_abc_my_dag", file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Give a module of the user that can be imported."""
    (tmp_path / "my_functions.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield import_module("my_functions")
    del sys.modules["my_functions"]


def call(context: Any, function: Callable[..., Any], *args: Any, **words: Any) -> Any:
    operator = BatchFunctionOperator(task_id="jobs", python_callable=function, op_args=list(args), **words)
    return operator.execute(context)


def test_a_function_of_a_dag_file_runs_as_a_job(context: dict[str, Any], dag_file: ModuleType) -> None:
    assert task.batch  # found by the provider's entry
    named = {"scale": 0.5, "more": [3]}
    result = call(context, dag_file.add.function, [1, 2], op_kwargs=named)
    assert result == {"sum": 3.0, "pi": 3.14, "more": [3]}


def test_it_has_the_link_to_the_page() -> None:
    assert [link.name for link in BatchFunctionOperator.operator_extra_links] == ["CAF page"]


def test_modules_beside_it_travel(context: dict[str, Any], dag_file: ModuleType) -> None:
    assert call(context, dag_file.uses_helper) == 42


def test_a_function_in_a_block_keeps_its_texts(context: dict[str, Any], dag_file: ModuleType) -> None:
    assert call(context, dag_file.indented) == "a\nb"


@pytest.mark.parametrize("name", ["annotated", "catches"])
def test_what_python_does_not_evaluate_is_no_stranger(dag_file: ModuleType, name: str) -> None:
    assert read_function(getattr(dag_file, name)).text


@pytest.mark.parametrize(
    ("name", "stranger"),
    [("uses_module", "math"), ("uses_constant", "FACTOR"), ("uses_in_default", "FACTOR"), ("uses_inside", "FACTOR")],
)
def test_what_is_not_in_its_text_is_found_before_it_travels(dag_file: ModuleType, name: str, stranger: str) -> None:
    with pytest.raises(DefinitionError, match=f"The function '{name}' uses {stranger} from around it") as caught:
        read_function(getattr(dag_file, name))
    assert "import and define within it" in str(caught.value)


@pytest.mark.parametrize(
    ("find", "said"),
    [
        (lambda file: file.generates, "is a generator"),
        (lambda file: file.waits, "is asynchronous"),
        (lambda file: file.around(), "uses word from around it"),
        (lambda file: lambda: 1, "A lambda cannot run as a job"),
        (lambda file: len, "is no function"),
        (lambda file: file.Holder().method, "is no function"),
    ],
)
def test_what_cannot_travel_is_refused(dag_file: ModuleType, find: Callable[[ModuleType], Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        BatchFunctionOperator(task_id="jobs", python_callable=find(dag_file))


def test_a_function_of_a_module_travels_with_it(context: dict[str, Any], module: Any) -> None:
    assert read_function(module.scale).reference == "my_functions:scale"
    assert call(context, module.scale, 2) == 6


def test_words_of_the_context_are_given(context: dict[str, Any], module: Any) -> None:
    assert call({**context, "ds": "2026-01-02"}, module.day) == "2026-01-02"


def test_arguments_without_a_json_form_are_refused(context: dict[str, Any], module: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"argument of function 'scale' holds .* which JSON"):
        call(context, module.scale, {1, 2})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gives_object", "which JSON cannot carry"),
        ("gives_nan", "which JSON cannot carry"),
        ("breaks", "no beam"),
        ("imports", "no_such_module"),
    ],
)
def test_a_failure_is_told_with_the_end_of_its_log(context: dict[str, Any], module: Any, name: str, said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        call(context, getattr(module, name), max_retries=0)


def test_commands_have_no_place_beside_a_function(module: Any) -> None:
    with pytest.raises(DefinitionError, match="has 'commands'"):
        BatchFunctionOperator(task_id="jobs", python_callable=module.scale, op_args=[1], commands=[["ls"]])


def test_what_is_done_is_not_called_again(context: dict[str, Any], module: Any, tmp_path: Path) -> None:
    assert [call(context, module.count, str(tmp_path / name)) for name in ("a", "a", "b")] == ["x", "x", "x"]
