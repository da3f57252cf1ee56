"""What a script says of itself, and how it chooses files."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.dropin import prompt
from airflow_provider_caf.worker.basf2.dropin.caf.utils import IoV
from airflow_provider_caf.worker.basf2.dropin.prompt import CalibrationSettings, ValidationSettings, utils

WORDS: dict[str, Any] = {
    "name": "Mean",
    "expert_username": "expert",
    "description": "text",
    "input_data_formats": ["CDST"],
    "input_data_names": ["mumu", "cosmic"],
}


def build(**words: Any) -> CalibrationSettings:
    return CalibrationSettings(**{**WORDS, **words})


def test_settings_can_be_read_and_shown() -> None:
    other = build(name="Other")
    settings = build(depends_on=[other], expert_config={"a": [1]}, produced_payloads=["P"], subsystem="ecl")
    assert settings.input_data_formats == {"cdst"}
    assert (build().expert_config, build().depends_on, build().input_data_filters) == ({}, [], {})
    values = json.loads(settings.json_dumps())
    assert values["depends_on"] == ["Other"]
    assert values["input_data_names"] == ["cosmic", "mumu"]
    assert values["produced_payloads"] == ["P"]
    assert str(settings).startswith("CalibrationSettings(name='Mean'):\n  expert_username='expert'\n")
    assert build() == build()


@pytest.mark.parametrize("filters", [["Good", "NOT On", "hadron_calib"], ["Magnet: On", "NOT Run Type: cosmic", ""]])
def test_filters_are_known_ones_or_their_contrary(filters: list[str]) -> None:
    given = {"mumu": filters, "cosmic": []}
    assert build(input_data_filters=given).input_data_filters == given


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        ({"name": "x" * 65}, ValueError, "longer than 64"),
        ({"input_data_formats": []}, ValueError, "input_data_formats is empty"),
        ({"input_data_formats": ["dst"]}, ValueError, "no data format dst; use cdst, mdst, raw, udst"),
        ({"input_data_names": None}, ValueError, "input_data_names is empty"),
        ({"input_data_filters": {"mumu": []}}, ValueError, "keys of input_data_filters"),
        ({"input_data_filters": {"mumu": ["Best"], "cosmic": []}}, ValueError, "unknown filter 'Best'"),
        ({"expert_config": [1]}, TypeError, "expert_config is a list"),
        ({"expert_config": {"a": object()}}, TypeError, "not JSON serializable"),
        ({"depends_on": ["Other"]}, TypeError, "depends_on has a str"),
    ],
)
def test_what_cannot_be_is_an_error(words: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(**words)


def test_settings_of_a_validation() -> None:
    settings = ValidationSettings("Mean", "text", download_files=["x"], expert_config={"a": 1})
    assert json.loads(settings.json_dumps())["download_files"] == ["x"]
    assert "download_files=['x']" in str(settings)
    with pytest.raises(ValueError, match="longer than 64"):
        ValidationSettings("x" * 65, "text")


def test_filters_are_there_by_category() -> None:
    assert set(prompt.INPUT_DATA_FILTERS) == {"Magnet", "Beam Energy", "Run Type", "Data Tag", "Data Quality Tag"}
    assert prompt.INPUT_DATA_FILTERS["Data Tag"]["hadron_calib"] == "hadron_calib"
    assert prompt.prompt_script_package == "prompt.calibrations."


RUN_1, RUN_2 = IoV(1, 1, 1, 1), IoV(1, 2, 1, 2)
FILES = {"a": RUN_1, "b": RUN_1, "c": RUN_2, "d": RUN_1, "empty": RUN_2, "e": RUN_2}
EVENTS = {"a": 10, "b": 5, "c": 10, "d": 10, "empty": 0, "e": 10}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which files were opened; ROOT knows how many events they have."""
    names: list[str] = []

    def open_file(path: str, mode: str) -> Any:
        names.append(path)
        tree = SimpleNamespace(GetEntries=lambda: EVENTS[path])
        found = tree if path in EVENTS else None
        return SimpleNamespace(IsZombie=lambda: path == "zombie", Get=lambda name: found, Close=lambda: None)

    root = ModuleType("ROOT")
    vars(root)["TFile"] = SimpleNamespace(Open=open_file)
    monkeypatch.setitem(sys.modules, "ROOT", root)
    monkeypatch.setattr(utils, "event_counts", {})
    yield names
    assert len(names) == len(set(names)), "a file is opened once"


def test_events_are_counted_once(opened: list[str]) -> None:
    assert [utils.events_in_basf2_file(path) for path in ("a", "a", "b")] == [10, 10, 5]
    assert opened == ["a", "b"]
    for path, match in (("zombie", "cannot be read"), ("other", "no tree")):
        with pytest.raises(OSError, match=match):
            utils.events_in_basf2_file(path)


def test_files_per_run(opened: list[str]) -> None:
    assert utils.filter_by_max_files_per_run(FILES) == {"a": RUN_1, "c": RUN_2}
    assert opened == []
    assert list(utils.filter_by_max_files_per_run(FILES, 2, min_events_per_file=6)) == ["a", "d", "c", "e"]


def test_events_per_run(opened: list[str]) -> None:
    assert list(utils.filter_by_max_events_per_run(FILES, 12)) == ["a", "b", "c", "e"]
    assert list(utils.filter_by_max_events_per_run(FILES, 12, max_events_per_file=5)) == ["a", "b", "d", "c", "e"]
    assert utils.filter_by_max_events_per_run({"empty": RUN_1}, 1) == {}


def test_events_in_all(opened: list[str]) -> None:
    files = list(FILES)
    chosen = utils.filter_by_select_max_events_from_files(files, 20)
    assert chosen == sorted(chosen)
    assert sum(EVENTS[path] for path in chosen) >= 20
    assert files == list(FILES)
    assert utils.filter_by_select_max_events_from_files(files, 1000) == []


def test_a_random_choice_depends_on_the_names_alone(opened: list[str]) -> None:
    many = {f"/data/{number}.root": RUN_1 for number in range(50)}
    one = utils.filter_by_max_files_per_run(many, 5, random_select=True)
    assert one == utils.filter_by_max_files_per_run(many, 5, random_select=True)
    assert list(one) != list(many)[:5]
    utils.event_counts.update(dict.fromkeys(many, 10))
    backwards = dict(reversed(many.items()))
    for given in (many, backwards):
        assert list(utils.filter_by_max_events_per_run(given, 50, random_select=True))[:5] == list(
            utils.filter_by_max_events_per_run(many, 50, random_select=True)
        )


def test_scripts_find_runs_here_too() -> None:
    assert {"ExpRun", "IoV"} <= set(vars(utils))


def test_files_are_grouped() -> None:
    assert utils.group_files_by_iov(FILES) == {RUN_1: ["a", "b", "d"], RUN_2: ["c", "empty", "e"]}


def test_a_path_can_be_any(tmp_path: Path, opened: list[str]) -> None:
    with pytest.raises(OSError, match="no tree"):
        utils.events_in_basf2_file(tmp_path)  # type: ignore[arg-type]
