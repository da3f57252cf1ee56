"""What a script says of itself, and how it chooses files."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from airflow_provider_caf.worker.basf2.dropin import prompt
from airflow_provider_caf.worker.basf2.dropin.caf.utils import IoV
from airflow_provider_caf.worker.basf2.dropin.prompt import CalibrationSettings, ValidationSettings, utils
from airflow_provider_caf.worker.basf2.dropin.prompt.release_lists import read_release_lists
from airflow_provider_caf.worker.basf2.dropin.warn import CafWarning, collecting_warnings

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
        ({"input_data_names": None}, ValueError, "input_data_names is empty"),
        ({"input_data_filters": {"mumu": []}}, ValueError, "keys of input_data_filters"),
        ({"description": ["raw"]}, TypeError, "name, expert_username, subsystem, description, … in this order"),
        ({"expert_config": [1]}, TypeError, "expert_config is a list"),
        ({"expert_config": {"a": object()}}, TypeError, "not JSON serializable"),
        ({"depends_on": ["Other"]}, TypeError, "depends_on has a str"),
    ],
)
def test_what_cannot_be_is_an_error(words: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        build(**words)


def test_the_order_of_the_arguments_is_that_of_the_newest_release() -> None:
    """As `subsystem` stands in the release's own scripts, behind `expert_username`."""
    settings = CalibrationSettings("Mean", "expert", "cdc", "text", ["raw"], ["a"], {"a": []}, [], {"b": 1}, ["P"])
    words = ["name", "expert_username", "subsystem", "description", "input_data_formats", "input_data_names"]
    words += ["input_data_filters", "depends_on", "expert_config", "produced_payloads"]
    assert list(settings._asdict()) == words
    assert settings == build(
        subsystem="cdc",
        input_data_formats=["raw"],
        input_data_names=["a"],
        input_data_filters={"a": []},
        expert_config={"b": 1},
        produced_payloads=["P"],
    )


def test_a_filter_that_is_not_known_is_told_once() -> None:
    with pytest.warns(CafWarning, match="category 'Data Tag' 'cosmics_calib' here.* Did you mean 'cosmic_calib'"):
        name = prompt.INPUT_DATA_FILTERS["Data Tag"]["cosmics_calib"]
    # Warnings are errors here.
    build(input_data_filters={"mumu": [name, f"NOT {name}"], "cosmic": []})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("Mean", "expert", "text", ["raw"], ["a"]), {}),
        (("Mean", "expert", "text", ["raw"]), {"input_data_names": ["a"]}),
        (("Mean", "expert", "text"), {"input_data_formats": ["raw"], "input_data_names": ["a"]}),
        (("Mean", "expert", None), {"input_data_formats": ["raw"], "input_data_names": ["a"]}),
    ],
)
def test_the_order_of_older_releases_is_understood(values: tuple[Any, ...], words: dict[str, Any]) -> None:
    settings = CalibrationSettings(*values, **words)
    assert (settings.subsystem, settings.description) == (None, values[2])
    assert (settings.input_data_formats, settings.input_data_names) == ({"raw"}, {"a"})


def test_the_newest_order_is_told_from_the_older_one() -> None:
    words: dict[str, Any] = {"input_data_formats": ["raw"], "input_data_names": ["a"]}
    for settings in (
        CalibrationSettings("Mean", "expert", "cdc", "text", **words),
        CalibrationSettings("Mean", "expert", "cdc", description="text", **words),
        CalibrationSettings("Mean", "expert", "cdc", description=None, **words),
        CalibrationSettings("Mean", expert_username="expert", subsystem="cdc", description="text", **words),
    ):
        assert (settings.subsystem, settings.description in ("text", None)) == ("cdc", True)
    with pytest.raises(TypeError, match="has no description"):
        CalibrationSettings("Mean", "expert", **words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"input_data_formats": ["raw", "mdts"]}, "no data format 'mdts' here; it is taken as it is. Did you mean"),
        (
            {"input_data_filters": {"mumu": ["delayed_bhabha_calib"], "cosmic": []}},
            "Did you mean 'delayedbhabha_calib'?",
        ),
        ({"input_data_filters": {"mumu": ["NOT Goood"], "cosmic": []}}, "no data filter 'Goood' here"),
        ({"input_data_filters": {"mumu": ["Data Tag: hadrom_calib"], "cosmic": []}}, "mean 'Data Tag: hadron_calib'?"),
        ({"input_data_filters": {"mumu": ["zzzz"], "cosmic": []}}, "'zzzz' here; it is taken as it is.$"),
    ],
)
def test_what_is_not_known_is_taken_with_a_warning(words: dict[str, Any], text: str) -> None:
    with pytest.warns(CafWarning, match=text) as caught:
        settings = build(**words)
    assert {name: getattr(settings, name) for name in words} == {
        name: frozenset(value) if name == "input_data_formats" else value for name, value in words.items()
    }
    # It is of the line of the script, not of ours.
    assert [Path(item.filename) for item in caught] == [Path(__file__)]


@hypothesis.given(name=strategies.text())
def test_no_name_of_a_filter_is_an_error(name: str) -> None:
    """New tags come with every release: no list of ours is complete."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for category in (*prompt.INPUT_DATA_FILTERS, "New"):
            assert prompt.INPUT_DATA_FILTERS[category][name] == name
    known = [name in names for names in prompt.INPUT_DATA_FILTERS.values()]
    assert len(caught) == known.count(False) + 2
    assert "New" not in prompt.INPUT_DATA_FILTERS


def test_settings_of_a_validation() -> None:
    settings = ValidationSettings("Mean", "text", download_files=["x"], expert_config={"a": 1})
    assert json.loads(settings.json_dumps())["download_files"] == ["x"]
    assert "download_files=['x']" in str(settings)
    with pytest.raises(ValueError, match="longer than 64"):
        ValidationSettings("x" * 65, "text")


def test_filters_are_there_by_category() -> None:
    assert set(prompt.INPUT_DATA_FILTERS) == {"Magnet", "Beam Energy", "Run Type", "Data Tag", "Data Quality Tag"}
    assert prompt.INPUT_DATA_FILTERS["Data Tag"]["hadron_calib"] == "hadron_calib"
    assert prompt.INPUT_DATA_FILTERS["Data Tag"]["delayedbhabha_calib"] == "delayedbhabha_calib"


def test_scripts_of_a_release_have_their_places() -> None:
    """As `b2caf-prompt-run` finds them there."""
    assert prompt.prompt_script_package == "prompt.calibrations."
    assert prompt.prompt_script_dir == "calibration/scripts/prompt/calibrations"
    assert prompt.prompt_validation_script_package == "prompt.validations."
    assert prompt.prompt_validation_script_dir == "calibration/scripts/prompt/validations"


RELEASE = """
import basf2
INPUT_DATA_FILTERS = {"Data Tag": {"new_calib": "Data Tag: new_calib"}}
class CalibrationSettings(namedtuple("Settings", ["name"])):
    allowed_data_formats = frozenset({"raw", "new"})
"""


def test_the_lists_of_a_release_are_read_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_release_lists() == {}
    (tmp_path / "prompt").mkdir()
    (tmp_path / "prompt" / "__init__.py").write_text(RELEASE)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert read_release_lists() == {
        "INPUT_DATA_FILTERS": {"Data Tag": {"new_calib": "Data Tag: new_calib"}},
        "allowed_data_formats": {"raw", "new"},
    }
    (tmp_path / "prompt" / "__init__.py").write_text("INPUT_DATA_FILTERS = make_filters()")
    with pytest.warns(CafWarning, match="is no plain list"):
        assert read_release_lists() == {}


def test_warnings_are_collected_once_and_others_pass() -> None:
    found: list[str] = ["known"]

    def build_badly() -> None:
        with collecting_warnings(found):
            for _ in range(2):
                build(input_data_formats=["new"])
            warnings.warn("other", stacklevel=1)

    with pytest.warns(UserWarning, match="other"):
        build_badly()

    def fail() -> None:
        with collecting_warnings(found):
            build(input_data_formats=["newer"])
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    texts = [f"There is no data format {name!r} here; it is taken as it is." for name in ("new", "newer")]
    assert found == ["known", *texts]


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
    # 0 is the default, and no limit.
    assert utils.filter_by_max_events_per_run(FILES, 12, False, 0) == utils.filter_by_max_events_per_run(FILES, 12)
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
