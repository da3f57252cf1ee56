"""What is read of the objects that a script gives; that of whole scripts is tested with the stand-in for basf2."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.worker.basf2.dropin.caf import framework
from airflow_provider_caf.worker.basf2.dropin.caf.backends import (
    ArgumentsGenerator,
    ArgumentsSplitter,
    MaxFilesSplitter,
    MaxSubjobsSplitter,
    range_arguments,
)
from airflow_provider_caf.worker.basf2.dropin.caf.runners import SeqAlgorithmsRunner
from airflow_provider_caf.worker.basf2.read_script import check_dependencies, describe_calibration, describe_splitter
from airflow_provider_caf.worker.basf2.script import check_calibrations


def build_calibration(**words: Any) -> Any:
    """Give what `describe_calibration` looks at first."""
    usable = SimpleNamespace(collector=object(), input_files=["/data/a.root"])
    given = {
        "name": "Mean",
        "collections": {"default": usable},
        "algorithms": [object()],
        "algorithms_runner": SeqAlgorithmsRunner,
    }
    return SimpleNamespace(**{**given, **words})


EMPTY = SimpleNamespace(collector=object(), input_files=[])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"collections": {"default": EMPTY}}, "'Mean' has no collection with a collector and input files"),
        ({"algorithms": []}, "'Mean' has no algorithm"),
        ({"algorithms_runner": Path}, "algorithms_runner Path, which nothing here would use"),
        ({"algorithms_runner": 7}, "algorithms_runner 7, which"),
    ],
)
def test_what_cannot_run_is_refused(words: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=said):
        describe_calibration(build_calibration(**words), tmp_path, {}, [])


def test_a_type_with_a_run_of_its_own_is_refused(tmp_path: Path) -> None:
    own = SimpleNamespace(name="Own")
    with pytest.raises(DefinitionError, match=r"'Own' is a SimpleNamespace with a run\(\) of its own"):
        describe_calibration(own, tmp_path, {}, [])


def test_an_empty_collection_is_told(tmp_path: Path) -> None:
    warnings: list[str] = []
    usable = build_calibration().collections["default"]
    calibration = build_calibration(collections={"default": usable, "cosmics": EMPTY}, algorithms=[])
    with pytest.raises(DefinitionError, match="no algorithm"):
        describe_calibration(calibration, tmp_path, {}, warnings)
    assert warnings == ["The collection 'cosmics' of calibration 'Mean' has no input files and is left out."]


@pytest.mark.parametrize(
    ("splitter", "described"),
    [
        (MaxFilesSplitter(max_files_per_subjob=3), {"max_files_per_collector_job": 3}),
        (MaxSubjobsSplitter(max_subjobs=5), {"max_collector_jobs": 5}),
    ],
)
def test_splitters_become_words_of_a_definition(splitter: Any, described: dict[str, Any]) -> None:
    assert describe_splitter(splitter, "here") == described


def test_generated_arguments_become_those_of_subjobs() -> None:
    splitter = ArgumentsSplitter(arguments_generator=ArgumentsGenerator(range_arguments, 2, 5), max_subjobs=7)
    assert describe_splitter(splitter, "here") == {
        "arguments": [{"args": [2]}, {"args": [3]}, {"args": [4]}],
        "max_subjobs": 7,
    }


def test_a_splitter_of_another_kind_is_refused() -> None:
    with pytest.raises(DefinitionError, match="splitter of here is a SimpleNamespace"):
        describe_splitter(SimpleNamespace(), "here")


def test_a_dependency_that_was_not_given_is_named() -> None:
    given = [{"name": "First", "depends_on": []}, {"name": "Second", "depends_on": ["Frist"]}]
    check_dependencies(given[:1])
    with pytest.raises(DefinitionError, match="Frist"):
        check_dependencies(given)


MEAN = framework.Calibration("Mean")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no calibration"),
        (None, "a NoneType"),
        (MEAN, "a Calibration"),
        ("Mean", "a str"),
        ([MEAN, "Mean"], "a list with a str in it"),
        ([MEAN, framework.Calibration("Mean")], "two calibrations named 'Mean'"),
    ],
)
def test_a_script_gives_calibrations(given: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "caf.framework", framework)
    assert check_calibrations(iter((MEAN,)), "caf_cdc.py") == [MEAN]
    with pytest.raises(DefinitionError, match=f"get_calibrations of caf_cdc.py gave {said}"):
        check_calibrations(given, "caf_cdc.py")
