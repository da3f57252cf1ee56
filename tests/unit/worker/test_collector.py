"""The collector: hooks, runs that return, choice of events, objects per run, and every way to get it wrong."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.collector import Collector, find_prefix, run_collector
from airflow_provider_caf.worker.collect.event_loop import EventLoop
from airflow_provider_caf.worker.root import load_root, open_root_file

pytestmark = pytest.mark.slow

SMALL = [(1, 1, 10.0), (1, 1, 11.0), (1, 2, 20.0), (1, 1, 12.0)]


def make_histogram() -> Any:
    return load_root().TH1D("h", "", 100, 0, 100)


class Recorder(Collector):
    """Notes every call of a hook."""

    def __init__(self) -> None:  # on purpose without super().__init__()
        self.calls: list[str] = []

    def prepare(self) -> None:
        self.calls.append("prepare")
        self.register("h", make_histogram())

    def start_run(self) -> None:
        self.calls.append(f"start {self.current_run}")

    def collect(self, event: Any) -> None:
        self.calls.append(f"{event.x:g}")
        self.get("h").Fill(event.x)

    def end_run(self) -> None:
        self.calls.append(f"end {self.current_run}")

    def finish(self) -> None:
        self.calls.append(f"finish {len(self.runs)}")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, make_events: Any) -> str:
    return str(make_events(tmp_path_factory.mktemp("small") / "small.root", SMALL))


@pytest.fixture
def output(tmp_path: Path) -> str:
    return str(tmp_path / "CollectorOutput.root")


def read(path: str, place: str) -> Any:
    file = open_root_file(path)
    item = file.Get(place)
    assert item, f"{place} is missing"
    if hasattr(item, "SetDirectory"):
        item.SetDirectory(load_root().nullptr) if not hasattr(item, "GetBranch") else None
    item._file = file
    return item


def list_keys(path: str, folder: str) -> list[str]:
    file = open_root_file(path)
    return [key.GetName() for key in file.GetDirectory(folder).GetListOfKeys()]


def test_hooks_are_called_in_order_and_a_run_may_return(small: str, output: str) -> None:
    recorder = Recorder()
    counts = run_collector(recorder, [small], (), output)
    expected = "prepare|start 1.1|10|11|end 1.1|start 1.2|20|end 1.2|start 1.1|12|end 1.1|finish 2"
    assert recorder.calls == expected.split("|")
    assert counts == {ExpRun(1, 1): 3, ExpRun(1, 2): 1}
    assert recorder.input_files == (small,)


def test_the_output_has_the_agreed_layout(small: str, output: str) -> None:
    run_collector(Recorder(), [small], (), output)
    assert sorted(list_keys(output, "Recorder")) == ["RunRange", "h"]
    assert list_keys(output, "Recorder/h") == ["h_1.1", "h_1.2"]
    assert read(output, "Recorder/h/h_1.1").GetEntries() == 3
    tree = read(output, "Recorder/RunRange")
    rows = [(tree.exp, tree.run, tree.events) for entry in range(tree.GetEntries()) if tree.GetEntry(entry)]
    assert rows == [(1, 1, 3), (1, 2, 1)]
    leaves = [(branch.GetName(), branch.GetTitle()) for branch in tree.GetListOfBranches()]
    assert leaves == [("exp", "exp/I"), ("run", "run/I"), ("events", "events/L")]


def test_a_run_that_does_not_end_at_a_file_goes_on_in_the_next(small: str, output: str) -> None:
    recorder = Recorder()
    run_collector(recorder, [small, small], (), output)
    assert recorder.calls.count("start 1.1") == 3  # the last run of the first file is the first of the second
    assert read(output, "Recorder/h/h_1.1").GetEntries() == 6


def test_granularity_all_keeps_one_object(small: str, output: str) -> None:
    collector = Recorder()
    collector.granularity = "all"
    run_collector(collector, [small], (), output)
    assert list_keys(output, "Recorder/h") == ["h_-1.-1"]
    assert read(output, "Recorder/h/h_-1.-1").GetEntries() == 4
    assert read(output, "Recorder/RunRange").GetEntries() == 2


def test_trees_and_histograms_of_each_run(small: str, output: str, hit_collector: type[Collector]) -> None:
    run_collector(hit_collector(), [small], (), output)
    tree = read(output, "Hits/hits/hits_1.1")
    assert [tree.x for entry in range(tree.GetEntries()) if tree.GetEntry(entry)] == [10.0, 11.0, 12.0]
    assert read(output, "Hits/hits/hits_1.2").GetEntries() == 1
    assert list_keys(output, "Hits/hits") == ["hits_1.1", "hits_1.2"]  # no second cycles


def test_a_large_tree_has_one_cycle(output: str, hit_collector: type[Collector]) -> None:
    class Many(hit_collector):  # type: ignore[misc,valid-type]
        def run_over(self, files: Any) -> None:
            for number in range(30_000):
                self.process_event(ExpRun(1, 1), type("Row", (), {"x": float(number % 97)}))

        def prepare(self) -> None:
            super().prepare()
            self._objects._originals["hits"].SetAutoSave(5000)

    run_collector(Many(), (), (), output)
    assert list_keys(output, "Hits/hits") == ["hits_1.1"]
    assert read(output, "Hits/hits/hits_1.1").GetEntries() == 30_000


def test_every_run_gets_every_object_even_if_empty(small: str, output: str) -> None:
    class Lazy(Recorder):
        def collect(self, event: Any) -> None:
            if event.x == 20:
                self.get("h").Fill(event.x)

    run_collector(Lazy(), [small], (), output)
    assert read(output, "Lazy/h/h_1.1").GetEntries() == 0


def test_no_event_gives_an_output_without_runs(tmp_path: Path, output: str, make_events: Any) -> None:
    assert run_collector(Recorder(), [make_events(tmp_path / "no.root", [])], (), output) == {}
    assert read(output, "Recorder/RunRange").GetEntries() == 0


def test_arrays_give_the_same_as_events(small: str, output: str, tmp_path: Path) -> None:
    class Arrays(Collector):
        prescale = 0.7

        def prepare(self) -> None:
            self.register("h", make_histogram())

        def collect_many(self, events: Any) -> None:
            self.get("h").FillN(len(events), events.x, array("d", [1.0] * len(events)))

    class Single(Recorder):
        prescale = 0.7

    first = run_collector(Arrays(), [small, small], (), output)
    second = run_collector(Single(), [small, small], (), str(tmp_path / "second.root"))
    assert first == second
    for run in first:
        a, b = read(output, f"Arrays/h/h_{run}"), read(str(tmp_path / "second.root"), f"Single/h/h_{run}")
        assert [a.GetBinContent(bin_) for bin_ in range(102)] == [b.GetBinContent(bin_) for bin_ in range(102)]


def test_a_collector_may_find_the_run_itself(small: str, output: str) -> None:
    class Own(Recorder):
        def exp_run(self, event: Any) -> ExpRun:
            return ExpRun(7, int(event.x) // 10)

    assert run_collector(Own(), [small], (), output) == {ExpRun(7, 1): 3, ExpRun(7, 2): 1}


def test_runs_may_be_branches_of_other_names_and_types(small: str, output: str) -> None:
    class Other(Recorder):
        exp_branch = "run"
        run_branch = "x"  # floating point, but whole

    assert set(run_collector(Other(), [small], (), output)) == {
        ExpRun(1, 10), ExpRun(1, 11), ExpRun(2, 20), ExpRun(1, 12),
    }  # fmt: skip


def test_input_that_is_no_tree(tmp_path: Path, output: str) -> None:
    class Text(Recorder):
        max_events_per_run = 2

        def run_over(self, files: Any) -> None:
            for file in files:
                for line in Path(file).read_text().split():
                    self.process_event(ExpRun(3, 4), type("Row", (), {"x": float(line)}), file)

    (tmp_path / "a.txt").write_text("1 2 3")
    assert run_collector(Text(), [str(tmp_path / "a.txt")], (), output) == {ExpRun(3, 4): 2}
    assert read(output, "Text/h/h_3.4").GetEntries() == 2


def test_max_events_per_run_counts_over_files(small: str, output: str) -> None:
    collector = Recorder()
    collector.max_events_per_run = 4
    assert run_collector(collector, [small, small], (), output) == {ExpRun(1, 1): 4, ExpRun(1, 2): 2}


class Chooser:
    """What the loop needs of a collector to choose events."""

    def __init__(self, prescale: float, limit: int | None) -> None:
        self.prescale = prescale
        self.max_events_per_run = limit


def choose(prescale: float, limit: int | None, source: str, stretches: list[tuple[int, int]]) -> list[int]:
    loop = EventLoop(Chooser(prescale, limit), by_event=False, by_array=False)  # type: ignore[arg-type]
    chosen: list[int] = []
    loop.counts[ExpRun(1, 1)] = 0
    for first, last in stretches:
        chosen += loop._select(ExpRun(1, 1), source, range(first, last))
    assert loop.counts[ExpRun(1, 1)] == len(chosen)
    return chosen


@given(
    prescale=st.floats(0.01, 1),
    limit=st.none() | st.integers(1, 50),
    cuts=st.lists(st.integers(0, 100), max_size=5).map(sorted),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_choice_of_events_does_not_depend_on_how_they_come(
    prescale: float, limit: int | None, cuts: list[int]
) -> None:
    bounds = [0, *cuts, 100]
    whole = choose(prescale, limit, "/a/file.root", [(0, 100)])
    assert choose(prescale, limit, "/b/file.root", list(pairwise(bounds))) == whole
    assert limit is None or len(whole) <= limit
    assert whole == sorted(set(whole))


def test_prescale_takes_about_its_part_and_differs_between_files() -> None:
    first, second = (choose(0.3, None, name, [(0, 10_000)]) for name in ("a.root", "b.root"))
    assert 2700 < len(first) < 3300
    assert first != second


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        ("prescale", 0, "The prescale of the collector 'Recorder' is 0."),
        ("prescale", 1.1, "is 1.1"),
        ("prescale", "0.5", "is '0.5'"),
        ("max_events_per_run", 0, "The max_events_per_run of the collector 'Recorder' is 0."),
        ("max_events_per_run", 1.5, "is 1.5"),
        ("granularity", "runs", "The granularity of the collector 'Recorder' is 'runs'."),
        ("prefix", "a/b", "'a/b' cannot be the prefix of the collector 'Recorder'"),
        ("prefix", "a b; $(x)", "cannot be the prefix"),
        ("prefix", "..", "'..' cannot be the prefix"),
    ],
)
def test_attributes_that_cannot_be_are_refused(output: str, attribute: str, value: Any, text: str) -> None:
    collector = Recorder()
    setattr(collector, attribute, value)
    with pytest.raises(DefinitionError) as caught:
        run_collector(collector, (), (), output)
    assert text in str(caught.value)
    assert "hint:" in str(caught.value)


def test_the_prefix_is_the_class_name_by_default() -> None:
    assert find_prefix(Recorder()) == "Recorder"


@pytest.mark.parametrize("name", ["a/b", "a b", "", ".", "..", "a..b", "x;1", "$(x)", "a'b", "a" * 201])
def test_names_of_objects_that_cannot_be_are_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="cannot be the name of an object of the collector 'Recorder'"):
        Recorder().register(name, make_histogram())


def test_a_name_is_registered_once() -> None:
    collector = Recorder()
    collector.register("h", make_histogram())
    with pytest.raises(DefinitionError, match="cannot register 'h': the name is registered already"):
        collector.register("h", make_histogram())
    with pytest.raises(DefinitionError, match="cannot register 'RunRange': the name is used by the framework"):
        collector.register("RunRange", make_histogram())


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda root: root.TNamed("a", "b"), "TNamed"),
        (lambda root: root.TF1("f", "x"), "TF1"),
        (lambda root: [1, 2], "list"),
        (lambda root: root.std.vector("int")(), "vector<int>"),
    ],
)
def test_objects_that_root_cannot_merge_are_refused(root: Any, make: Callable[[Any], Any], kind: str) -> None:
    with pytest.raises(DefinitionError, match=f"cannot register 'a': ROOT cannot merge a {kind}"):
        Recorder().register("a", make(root))


@pytest.mark.parametrize(
    "make",
    [
        lambda root: root.TH2F("a", "", 2, 0, 1, 2, 0, 1),
        lambda root: root.TH3D("a", "", 2, 0, 1, 2, 0, 1, 2, 0, 1),
        lambda root: root.TProfile("a", "", 2, 0, 1),
        lambda root: root.TGraph(),
        lambda root: root.TEfficiency("a", "", 2, 0, 1),
        lambda root: root.TNtuple("a", "", "x:y"),
    ],
)
def test_all_that_root_merges_is_taken(root: Any, output: str, small: str, make: Callable[[Any], Any]) -> None:
    class Any_(Recorder):
        def prepare(self) -> None:
            self.register("a", make(root))

        def collect(self, event: Any) -> None:
            self.get("a")

    run_collector(Any_(), [small], (), output)
    assert list_keys(output, "Any_/a") == ["a_1.1", "a_1.2"]


def test_a_filled_object_is_not_taken() -> None:
    histogram = make_histogram()
    histogram.Fill(1)
    with pytest.raises(DefinitionError, match="cannot register 'h': the object is filled already"):
        Recorder().register("h", histogram)


def test_filling_what_was_registered_is_found(small: str, output: str) -> None:
    class Wrong(Collector):
        def prepare(self) -> None:
            self.h = make_histogram()
            self.register("h", self.h)

        def collect(self, event: Any) -> None:
            self.h.Fill(event.x)

    with pytest.raises(DefinitionError) as caught:
        run_collector(Wrong(), [small], (), output)
    assert "The collector 'Wrong' filled the object that it registered as 'h'." in str(caught.value)
    assert "Fill self.get('h')" in str(caught.value)
    assert not Path(output).exists()


def test_an_unknown_object_is_named_with_those_there_are(small: str, output: str) -> None:
    class Wrong(Recorder):
        def collect(self, event: Any) -> None:
            self.get("hist")

    with pytest.raises(DefinitionError, match=r"has not registered 'hist'.\n.*registered names: h"):
        run_collector(Wrong(), [small], (), output)


def test_objects_are_asked_for_while_a_run_is_open(small: str, output: str) -> None:
    class Early(Recorder):
        def prepare(self) -> None:
            super().prepare()
            self.get("h")

    with pytest.raises(DefinitionError, match="asks for 'h' while no run is open"):
        run_collector(Early(), [small], (), output)

    class Late(Recorder):
        def finish(self) -> None:
            self.entries = [self.get("h", run).GetEntries() for run in self.runs]

    late = Late()
    run_collector(late, [small], (), output)
    assert late.entries == [3, 1]


def test_a_collector_that_collects_nothing_is_refused(small: str, output: str) -> None:
    with pytest.raises(DefinitionError, match="The collector 'Collector' collects nothing"):
        run_collector(Collector(), [small], (), output)


@pytest.mark.parametrize(("exp", "run"), [(-1, 1), (1, -1)])
def test_a_negative_run_is_refused(tmp_path: Path, output: str, make_events: Any, exp: int, run: int) -> None:
    source = make_events(tmp_path / "negative.root", [(1, 1, 0.0), (exp, run, 0.0)])
    with pytest.raises(InputError) as caught:
        run_collector(Recorder(), [source], (), output)
    assert f"Event 1 of tree 'events' in {source} belongs to run ({exp}, {run})." in str(caught.value)


@pytest.mark.parametrize("run", [None, (1,), (1, 2.5), "1.2"])
def test_a_run_that_is_none_is_refused(small: str, output: str, run: Any) -> None:
    class Wrong(Recorder):
        def exp_run(self, event: Any) -> Any:
            return run

    with pytest.raises(InputError, match="belongs to run"):
        run_collector(Wrong(), [small], (), output)


def test_a_negative_run_of_ones_own_input_is_refused(output: str) -> None:
    class Own(Recorder):
        def run_over(self, files: Any) -> None:
            self.process_event(ExpRun(1, -2), None)

    with pytest.raises(InputError, match=r"An event belongs to run .*run=-2"):
        run_collector(Own(), (), (), output)


@pytest.mark.parametrize("number", [2**31, 1_731_974_400_000, float(2**31), -1, 1.5, math.nan, math.inf])
def test_a_run_number_that_no_database_holds_is_refused_before_the_first_event(
    root: Any, tmp_path: Path, output: str, number: float
) -> None:
    file = root.TFile.Open(str(tmp_path / "large.root"), "RECREATE")
    tree, exp, run = root.TTree("events", ""), array("i", [1]), array("d", [7.0])
    tree.Branch("exp", exp, "exp/I")
    tree.Branch("run", run, "run/D")
    for run[0] in (7.0, number):
        tree.Fill()
    tree.Write()
    file.Close()

    class Counter(Recorder):
        seen = 0

        def collect(self, event: Any) -> None:
            self.seen += 1

    collector = Counter()
    with pytest.raises(InputError, match=r"Event 1 of tree 'events' in .*large\.root belongs to run"):
        run_collector(collector, [str(tmp_path / "large.root")], (), output)
    assert collector.seen == 0


def test_the_largest_run_number_is_collected(make_events: Any, tmp_path: Path, output: str) -> None:
    path = make_events(tmp_path / "largest.root", [(2**31 - 1, 2**31 - 1, 1.0)])
    assert run_collector(Recorder(), [path], (), output) == {ExpRun(2**31 - 1, 2**31 - 1): 1}


def test_a_missing_run_branch_is_named(small: str, output: str) -> None:
    collector = Recorder()
    collector.run_branch = "runs"
    with pytest.raises(InputError, match=r"has no branch 'runs'\.\n.*Did you mean 'run'"):
        run_collector(collector, [small], (), output)


def test_a_full_disk_leaves_no_output(small: str, output: str, small_disk: Any) -> None:
    with small_disk(1000), pytest.raises(CafError) as caught:
        run_collector(Recorder(), [small], (), output)
    assert f"The collector output {output} could not be written: File too large." in str(caught.value)
    assert "Free space" in str(caught.value)
    assert list(Path(output).parent.iterdir()) == []


def test_payloads_need_a_run(output: str, small: str) -> None:
    class Wrong(Recorder):
        def prepare(self) -> None:
            self.get_payload("Mean")

    with pytest.raises(DefinitionError, match="asks for payload 'Mean' while no run is open"):
        run_collector(Wrong(), [small], (), output)
