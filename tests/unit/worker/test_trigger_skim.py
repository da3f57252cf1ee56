"""The choice of events by trigger results: the decision, trees, both hooks, and every way to get it wrong."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.collector import Collector, make_collector, run_collector
from airflow_provider_caf.worker.collect.events import EventFile
from airflow_provider_caf.worker.collect.trigger_skim import TriggerColumn, TriggerSkim
from airflow_provider_caf.worker.root import load_root

pytestmark = pytest.mark.slow

COUNT = 3000
"""Events per run of the file; each third is of `mumu`, each fourth of `bhabha`."""

Results = Mapping[str, int]


def results_of(number: int) -> dict[str, int]:
    results = {"mumu": 1 if number % 3 == 0 else 0, "bhabha": 1 if number % 4 == 0 else -1}
    return results if number % 5 else {**results, "cosmic": 1}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tree with trigger results, under two names, split and not; and a branch that is something else."""
    root = load_root()
    name = tmp_path_factory.mktemp("trigger") / "events.root"
    file = root.TFile.Open(str(name), "RECREATE")
    events = root.TTree("events", "")
    numbers = {key: array("i", [0]) for key in ("exp", "run", "number")}
    for key, buffer in numbers.items():
        events.Branch(key, buffer, f"{key}/I")
    found, words = root.std.map["std::string", "int"](), root.std.vector("int")()
    events.Branch("SoftwareTriggerResult", found)
    events.Branch("unsplit", found, 32000, 0)
    events.Branch("words", words)
    numbers["exp"][0] = 1
    for number in range(2 * COUNT):
        numbers["number"][0] = number
        numbers["run"][0] = 1 + number // COUNT
        found.clear()
        for line, result in results_of(number).items():
            found[line] = result
        events.Fill()
    events.Write()
    file.Close()
    root.gROOT.cd()
    return str(name)


class Single(Collector):
    """Notes which events it gets, and whether the trigger results can be read as well."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prepare(self) -> None:
        self.register("h", load_root().TH1D("h", "", 10, 0, 10))

    def collect(self, event: Any) -> None:
        if event.number % 100 == 0:
            results = {str(line): result for line, result in event.SoftwareTriggerResult}
            assert results == results_of(event.number)
        self.seen.append(event.number)


class Many(Single):
    def collect_many(self, events: Any) -> None:
        self.seen += events.number.tolist()


def collect(cls: type[Single], path: str, output: Path, skim: Any, **attributes: Any) -> list[int]:
    collector = cls()
    collector.trigger_skim = skim
    for name, value in attributes.items():
        setattr(collector, name, value)
    counts = run_collector(collector, [path], (), str(output))
    assert sum(counts.values()) == len(collector.seen)
    return collector.seen


MUMU = [number for number in range(2 * COUNT) if number % 3 == 0]


@pytest.mark.parametrize(
    ("parameters", "results", "chosen"),
    [
        ({}, {"a": 1, "b": 0}, True),
        ({}, {"a": 0, "b": 0}, False),
        ({}, {"a": 0, "b": -1, "c": 1}, False),
        ({"logicMode": "and"}, {"a": 1, "b": 0}, False),
        ({"logicMode": "and"}, {"a": 1, "b": 1}, True),
        ({"expectedResult": 0}, {"a": 1, "b": 0}, True),
        ({"expectedResult": -1}, {"a": 1, "b": 0}, False),
        ({"expectedResult": -1, "logicMode": "and"}, {"a": -1, "b": -1}, True),
        ({"resultOnMissing": 0}, None, False),
        ({"resultOnMissing": 1}, None, True),
        ({"resultOnMissing": True}, None, True),
        ({"resultOnMissing": 0}, {"a": 0}, False),
        ({"resultOnMissing": 1}, {"a": 0}, True),
        # A line that is missing counts as said; the others still have a say.
        ({"resultOnMissing": 0}, {"a": 1}, True),
        ({"resultOnMissing": 1, "logicMode": "and"}, {"a": 0}, False),
        ({"resultOnMissing": 1, "logicMode": "and"}, {"a": 1}, True),
    ],
)
def test_decision(parameters: dict[str, Any], results: Results | None, chosen: bool) -> None:
    skim = TriggerSkim(["a", ("b", 1)], **parameters)
    assert [skim.is_chosen(results, str(number)) for number in range(3)] == [chosen] * 3
    assert (skim.seen, skim.chosen) == (3, 3 * chosen)


def test_a_line_that_is_missing_is_an_error_with_those_there_are() -> None:
    with pytest.raises(InputError) as caught:
        TriggerSkim(["mumu"]).is_chosen({"mumu_2trk": 1, "bhabha": 0}, "event 7")
    assert "The trigger line 'mumu' is missing: event 7." in str(caught.value)
    assert "Known lines of this event: bhabha, mumu_2trk. If that may be, set resultOnMissing" in str(caught.value)


def test_results_that_are_missing_are_an_error() -> None:
    with pytest.raises(InputError, match="There are no trigger results: event 7"):
        TriggerSkim(["mumu"]).is_chosen(None, "event 7")


@pytest.mark.parametrize("expected", [1, 0])
def test_a_random_prescale_takes_about_its_part(expected: int) -> None:
    skim = TriggerSkim([["a", 5]], expectedResult=expected)
    chosen = [number for number in range(10_000) if skim.is_chosen({"a": expected}, f"file:1.1:{number}")]
    assert 1850 < len(chosen) < 2150
    again = TriggerSkim([["a", 5]], expectedResult=expected)
    assert [n for n in reversed(range(10_000)) if again.is_chosen({"a": expected}, f"file:1.1:{n}")] == chosen[::-1]
    assert not skim.is_chosen({"a": 1 - expected}, f"file:1.1:{chosen[0]}")


def test_random_prescales_of_two_lines_are_independent() -> None:
    skim = TriggerSkim([["a", 2], ["b", 2]], logicMode="and")
    assert 2300 < sum(skim.is_chosen({"a": 1, "b": 1}, str(number)) for number in range(10_000)) < 2700


def test_a_counter_keeps_exactly_one_in_n() -> None:
    skim = TriggerSkim([["a", 3], ("b", 2)], useRandomNumbersForPreScale=False)
    only_a = [skim.is_chosen({"a": 1, "b": 0}, "") for _ in range(7)]
    assert only_a == [True, False, False, True, False, False, True]
    assert [skim.is_chosen({"a": 0, "b": 1}, "") for _ in range(4)] == [True, False, True, False]
    # The counter of `b` goes on, though `a` alone decided.
    assert [skim.is_chosen({"a": 1, "b": 1}, "") for _ in range(3)] == [True, False, True]
    skim.restart()
    assert (skim.seen, skim.is_chosen({"a": 1, "b": 0}, "")) == (0, True)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"triggerLines": "mumu"}, "The triggerLines of a TriggerSkim are 'mumu'."),
        ({"triggerLines": []}, "The triggerLines of a TriggerSkim are []."),
        ({"triggerLines": None}, "are None"),
        ({"triggerLines": [3]}, "has the trigger line 3."),
        ({"triggerLines": [""]}, "has the trigger line ''."),
        ({"triggerLines": [["a", 1, 2]]}, "has the trigger line ['a', 1, 2]."),
        ({"triggerLines": [["a", 0]]}, "The prescale of the trigger line 'a' is 0."),
        ({"triggerLines": [["a", 1.5]]}, "is 1.5."),
        ({"triggerLines": [["a", True]]}, "is True."),
        ({"triggerLines": ["a", ["a", 2]]}, "has the trigger line 'a' twice."),
        ({"expectedResult": 2}, "The expectedResult of a TriggerSkim is 2."),
        ({"expectedResult": True}, "is True."),
        ({"expectedResult": 1.0}, "is 1.0."),
        ({"logicMode": "xor"}, "The logicMode of a TriggerSkim is 'xor'."),
        ({"useRandomNumbersForPreScale": 1}, "The useRandomNumbersForPreScale of a TriggerSkim is 1."),
        ({"resultOnMissing": 2}, "The resultOnMissing of a TriggerSkim is 2."),
        ({"resultOnMissing": "0"}, "is '0'."),
        ({"triggerLine": ["a"]}, "The trigger_skim of the collector 'Single' has no parameter 'triggerLine'."),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_before_the_first_file(parameters: dict[str, Any], text: str) -> None:
    collector = Single()
    collector.trigger_skim = {"triggerLines": ["a"], **parameters}
    with pytest.raises(DefinitionError) as caught:
        run_collector(collector, ["not_there.root"], (), "not_there_either.root")
    assert text in str(caught.value)
    assert "hint:" in str(caught.value)


@pytest.mark.parametrize(
    ("skim", "branch", "text"),
    [
        (["mumu"], "b", r"The trigger_skim of the collector 'Single' is \['mumu'\]"),
        ({"logicMode": "or"}, "b", "The trigger_skim of the collector 'Single' has no triggerLines"),
        (None, "", "The trigger_branch of the collector 'Single' is ''"),
        (None, 3, "The trigger_branch of the collector 'Single' is 3"),
    ],
)
def test_settings_that_cannot_be_are_refused(skim: Any, branch: Any, text: str) -> None:
    collector = Single()
    collector.trigger_skim, collector.trigger_branch = skim, branch
    with pytest.raises(DefinitionError, match=text):
        run_collector(collector, (), (), "not_there.root")


def test_a_definition_sets_it(calibrators: Path) -> None:
    reference, lines = f"{calibrators}:HitCollector", ["mumu", ["bhabha", 10]]
    settings = {"trigger_skim": {"triggerLines": lines}, "trigger_branch": "hlt"}
    collector = make_collector(reference, settings, None)
    assert (collector.trigger_skim, collector.trigger_branch) == ({"triggerLines": lines}, "hlt")
    with pytest.raises(DefinitionError, match="The logicMode of a TriggerSkim is 'nor'"):
        make_collector(reference, {"trigger_skim": {"triggerLines": lines, "logicMode": "nor"}}, None)


@pytest.mark.parametrize("cls", [Single, Many])
@pytest.mark.parametrize("branch", ["SoftwareTriggerResult", "unsplit"])
def test_chosen_events_of_a_tree(
    path: str, tmp_path: Path, cls: type[Single], branch: str, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = collect(cls, path, tmp_path / "o.root", {"triggerLines": ["mumu"]}, trigger_branch=branch)
    assert seen == MUMU
    assert f"the trigger skim chose {len(MUMU)} of {2 * COUNT} events" in capfd.readouterr().out


@pytest.mark.parametrize("is_random", [True, False])
def test_both_hooks_get_the_same_events_every_time(path: str, tmp_path: Path, is_random: bool) -> None:
    skim = {
        "triggerLines": [["mumu", 4], ["bhabha", 50], ["cosmic", 7]],
        "useRandomNumbersForPreScale": is_random,
        "resultOnMissing": 0,
    }
    first, again, many = (collect(cls, path, tmp_path / "o.root", skim, prescale=0.7) for cls in (Single, Single, Many))
    assert first == again == many
    results = [results_of(number) for number in first]
    assert 0 < len(first) < 2 * COUNT
    assert all(1 in each.values() for each in results)


def test_a_finished_skim_begins_anew_in_each_subjob(path: str, tmp_path: Path) -> None:
    skim = TriggerSkim([["mumu", 2]], useRandomNumbersForPreScale=False)
    expected = MUMU[::2]
    assert collect(Single, path, tmp_path / "o.root", skim) == expected
    assert collect(Single, path, tmp_path / "o.root", skim) == expected


def test_the_limit_counts_chosen_events(path: str, tmp_path: Path) -> None:
    seen = collect(Single, path, tmp_path / "o.root", {"triggerLines": ["mumu"]}, max_events_per_run=2)
    assert seen == [0, 3, COUNT, COUNT + 3]


def test_events_of_another_run_order(path: str, tmp_path: Path) -> None:
    class Mixed(Single):
        def exp_run(self, event: Any) -> ExpRun:
            return ExpRun(1, event.number % 2)

    assert collect(Mixed, path, tmp_path / "o.root", {"triggerLines": ["mumu"]}) == MUMU


def test_a_choice_of_all_or_of_none(path: str, tmp_path: Path) -> None:
    every = {"triggerLines": ["x"], "resultOnMissing": 1}
    assert len(collect(Many, path, tmp_path / "o.root", every)) == 2 * COUNT
    assert len(collect(Many, path, tmp_path / "o.root", every, trigger_branch="no")) == 2 * COUNT
    none = {"triggerLines": ["x"], "resultOnMissing": 0}
    assert collect(Many, path, tmp_path / "o.root", none) == []
    assert collect(Many, path, tmp_path / "o.root", none, trigger_branch="no") == []


@pytest.mark.parametrize(
    ("lines", "branch", "text"),
    [
        (["cosmic"], "SoftwareTriggerResult", "The trigger line 'cosmic' is missing: branch 'SoftwareTriggerResult'"),
        (["cosmic"], "SoftwareTriggerResult", "entry 1."),
        (["cosmic"], "SoftwareTriggerResult", "Known lines of this event: bhabha, mumu."),
        (["mumu"], "SoftwareTriggerResults", "there is no branch 'SoftwareTriggerResults' of tree 'events' in"),
        (["mumu"], "SoftwareTriggerResults", "Did you mean 'SoftwareTriggerResult'?"),
        (["mumu"], "words", "it is no std::map<std::string,int>."),
        (["mumu"], "number", "it is no std::map<std::string,int>."),
    ],
)
def test_what_is_missing_in_a_tree_is_named(
    path: str, tmp_path: Path, lines: list[str], branch: str, text: str
) -> None:
    with pytest.raises(InputError) as caught:
        collect(Single, path, tmp_path / "o.root", {"triggerLines": lines}, trigger_branch=branch)
    assert text in str(caught.value)
    assert not (tmp_path / "o.root").exists()


def test_an_entry_that_cannot_be_read_is_an_error(path: str) -> None:
    with EventFile(path, "events") as file:
        column = TriggerColumn(file, "SoftwareTriggerResult", TriggerSkim(["mumu"]))
        with pytest.raises(InputError, match="cannot be read at entry 6000: the file is damaged"):
            column.choose(ExpRun(1, 1), [0, 2 * COUNT])


def build_map(results: Results) -> Any:
    made = load_root().std.map["std::string", "int"]()
    for line, result in results.items():
        made[line] = result
    return made


@pytest.mark.parametrize("form", [dict, build_map])
@pytest.mark.parametrize("is_mapping", [True, False])
def test_events_that_come_from_no_tree(tmp_path: Path, form: Callable[[Any], Any], is_mapping: bool) -> None:
    class Own(Single):
        def run_over(self, files: Any) -> None:
            for number in range(12):
                row = {"number": number, "hlt": form(results_of(number))}
                self.process_event(ExpRun(1, 1), row if is_mapping else type("Row", (), row)(), "a.txt")

        def collect(self, event: Any) -> None:
            self.seen.append(event["number"] if is_mapping else event.number)

    skim = {"triggerLines": [["mumu", 2]], "useRandomNumbersForPreScale": False}
    assert collect(Own, "", tmp_path / "o.root", skim, trigger_branch="hlt") == [0, 6]
    random = collect(Own, "", tmp_path / "o.root", {"triggerLines": [["mumu", 2]]}, trigger_branch="hlt")
    assert set(random) <= {0, 3, 6, 9}


@pytest.mark.parametrize(
    ("row", "text"),
    [({}, "There are no trigger results: a.txt:1.1:0"), ({"SoftwareTriggerResult": 3}, "of an event are 3")],
)
def test_events_without_results_that_come_from_no_tree(tmp_path: Path, row: dict[str, Any], text: str) -> None:
    class Own(Single):
        def run_over(self, files: Any) -> None:
            self.process_event(ExpRun(1, 1), row, "/data/a.txt")

    with pytest.raises(CafError, match=text):
        collect(Own, "", tmp_path / "o.root", {"triggerLines": ["mumu"]})
