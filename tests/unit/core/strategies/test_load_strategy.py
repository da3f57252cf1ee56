from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.strategies import BUILT_IN, build_strategy, load_strategy
from airflow_provider_caf.core.strategies.built_in import SequentialRunByRun, SingleIOV


@pytest.mark.parametrize("name", ["SingleIOV", "SequentialRunByRun", "SimpleRunByRun", "SequentialBoundaries"])
def test_built_in(name: str) -> None:
    assert load_strategy(name) is BUILT_IN[name]
    assert load_strategy(name).__name__ == name


def test_unknown_name() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_strategy("SingleIoV")
    assert str(caught.value) == (
        "There is no strategy 'SingleIoV'.\n"
        "  hint: Did you mean 'SingleIOV'? "
        "Known strategies: SequentialBoundaries, SequentialRunByRun, SimpleRunByRun, SingleIOV. "
        "One of your own is named as 'package.module:Class' or '/path/to/file.py:Class'."
    )


def test_from_a_module() -> None:
    reference = "airflow_provider_caf.core.strategies.built_in:SingleIOV"
    assert load_strategy(reference) is SingleIOV


def test_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "klm.py"
    path.write_text(
        "from airflow_provider_caf.core.strategies import SequentialRunByRun\n"
        "from airflow_provider_caf.core.strategies.params import Param\n"
        "class KLM(SequentialRunByRun):\n"
        "    known_params = {'floor': Param(kind='int', text='Least hits.', default=7)}\n"
    )
    strategy = build_strategy(f"{path}:KLM", {"step_size": 2})
    assert isinstance(strategy, SequentialRunByRun)
    assert (strategy.params["floor"], strategy.params["step_size"]) == (7, 2)
    with pytest.raises(DefinitionError, match="The strategy KLM has no parameter 'flor'"):
        build_strategy(f"{path}:KLM", {"flor": 2})


@pytest.mark.parametrize("reference", ["pathlib:Path", "json:dumps"])
def test_no_strategy(reference: str) -> None:
    with pytest.raises(DefinitionError, match=f"The strategy '{reference}' is not a subclass of Strategy"):
        load_strategy(reference)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module_xyz:S", "The strategy cannot be loaded: there is no module 'no_such_module_xyz'"),
        ("/no/such.py:S", "The strategy cannot be loaded: there is no file /no/such.py"),
        ("pathlib:S", "The strategy 'pathlib:S' is not there: pathlib has no 'S'"),
        ("a b:S", "The strategy 'a b:S' names no class or function"),
    ],
)
def test_what_is_not_there(reference: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        load_strategy(reference)
