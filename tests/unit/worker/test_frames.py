"""Collectors on frames: what they give is what the loop over events gives, for each choice of events."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.collect.collector import Collector, check_collector, run_collector

ROWS = (
    [(1, 1, number) for number in range(10)] + [(1, 2, number) for number in range(5)],
    [(1, 2, 50 + number) for number in range(5)] + [(1, 3, number) for number in range(5)] + [(1, 2, 70)],
)
"""The second run is in both files, and comes back in the second of them."""


class EventCollector(Collector):
    prefix = "Made"

    def prepare(self) -> None:
        import ROOT

        self.x = array("d", [0.0])
        tree = ROOT.TTree("tree", "")
        tree.Branch("x", self.x, "x/D")
        self.register("tree", tree)
        self.register("h", ROOT.TH1D("h", "", 100, 0, 100))
        self.register("p", ROOT.TProfile("p", "", 10, 0, 100))

    def collect(self, event: Any) -> None:
        self.x[0] = event.x
        self.get("tree").Fill()
        self.get("h").Fill(event.x)
        self.get("p").Fill(event.x, 2 * event.x)


class FrameCollector(Collector):
    prefix = "Made"

    def collect_frame(self, frame: Any, run: ExpRun | None) -> None:
        assert run == self.current_run
        self.book_tree("tree", frame, ["x"])
        self.book("h", frame.Histo1D(("h", "", 100, 0, 100), "x"))
        self.book("p", frame.Define("y", "2 * x").Profile1D(("p", "", 10, 0, 100), "x", "y"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, make_events: Any) -> list[str]:
    folder = tmp_path_factory.mktemp("frames")
    return [make_events(folder / f"{number}.root", rows) for number, rows in enumerate(ROWS)]


def dump(root: Any, path: str) -> dict[str, Any]:
    """Give the content of all objects of an output."""
    file = root.TFile.Open(path)
    found: dict[str, Any] = {}
    for key in file.Get("Made").GetListOfKeys():
        if key.GetClassName() == "TTree":
            found[key.GetName()] = [(event.exp, event.run, event.events) for event in key.ReadObj()]
            continue
        for item in (inner.ReadObj() for inner in key.ReadObj().GetListOfKeys()):
            if item.InheritsFrom("TTree"):
                branches = [branch.GetName() for branch in item.GetListOfBranches()]
                found[item.GetName()] = [branches, [event.x for event in item]]
            else:
                bins = [(item.GetBinContent(at), item.GetBinError(at)) for at in range(item.GetNcells())]
                found[item.GetName()] = [item.ClassName(), item.GetEntries(), item.GetMean(), bins]
    file.Close()
    root.gROOT.cd()
    return found


@pytest.mark.parametrize(
    "choice",
    [{}, {"prescale": 0.5}, {"max_events_per_run": 4}, {"granularity": "all"}, {"granularity": "all", "prescale": 0.3}],
    ids=str,
)
def test_a_frame_gives_what_the_loop_over_events_gives(
    root: Any, files: list[str], tmp_path: Path, choice: dict[str, Any]
) -> None:
    answers = []
    for cls in (EventCollector, FrameCollector):
        collector = cls()
        for name, value in choice.items():
            setattr(collector, name, value)
        path = str(tmp_path / f"{cls.__name__}.root")
        answers.append((run_collector(collector, files, (), path), dump(root, path)))
    assert answers[0] == answers[1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_run_of_an_event_may_be_found_by_the_collector_and_a_run_may_be_empty(
    root: Any, files: list[str], tmp_path: Path
) -> None:
    class Own(FrameCollector):
        max_events_per_run = 3
        ended: list[Any]

        def exp_run(self, event: Any) -> ExpRun:
            return ExpRun(event.run, int(event.x) // 50)

        def prepare(self) -> None:
            self.started: list[Any] = []
            self.ended = []

        def start_run(self) -> None:
            self.started.append(self.current_run)

        def end_run(self) -> None:
            self.ended.append((self.current_run, self.get("h").GetEntries()))

        def finish(self) -> None:
            assert self.get("h", ExpRun(2, 1)).GetEntries() == 3

    collector = Own()
    run_collector(collector, files, (), str(tmp_path / "own.root"))
    runs = [ExpRun(1, 0), ExpRun(2, 0), ExpRun(2, 1), ExpRun(3, 0)]
    assert sorted(collector.started) == runs
    assert sorted(collector.ended) == [(run, 3) for run in runs]


def test_a_run_of_which_nothing_is_chosen_has_empty_objects(root: Any, files: list[str], tmp_path: Path) -> None:
    answers = []
    for cls in (EventCollector, FrameCollector):
        collector = cls()
        collector.prescale = 0.02
        path = str(tmp_path / f"{cls.__name__}.root")
        answers.append((run_collector(collector, files, (), path), dump(root, path)))
    assert answers[0] == answers[1]
    assert 0 in answers[0][0].values()


@pytest.mark.parametrize(
    ("base", "text"),
    [
        ({"collect": lambda self, event: None}, "has collect_frame and collect, which is not called"),
        ({"collect_many": lambda self, events: None}, "has collect_frame and collect_many"),
        ({"run_over": lambda self, files: None}, "has collect_frame and run_over"),
        ({"granularity": "all", "end_run": lambda self: None}, "end_run, .* with the granularity 'all'"),
    ],
)
def test_hooks_that_would_not_be_called_are_refused(base: dict[str, Any], text: str) -> None:
    with pytest.raises(DefinitionError, match=text):
        check_collector(type("Both", (FrameCollector,), base)())


@pytest.mark.parametrize(
    ("book", "text"),
    [
        (lambda self, frame: [self.book("h", frame.Count()) for _ in range(2)], "the name is booked or registered"),
        (lambda self, frame: self.book("h", 3), "a int is no result of a frame"),
        (lambda self, frame: self.book("a/b", frame.Count()), "'a/b' cannot be the name"),
    ],
)
def test_a_booking_that_cannot_be_is_refused(files: list[str], tmp_path: Path, book: Any, text: str) -> None:
    cls = type("Bad", (Collector,), {"collect_frame": lambda self, frame, run: book(self, frame)})
    with pytest.raises(DefinitionError, match=text):
        run_collector(cls(), files, (), str(tmp_path / "bad.root"))


def test_booking_has_its_place(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"books 'h' outside of collect_frame"):
        FrameCollector().book("h", None)


def test_a_formula_that_fails_names_the_files(files: list[str], tmp_path: Path) -> None:
    class Bad(Collector):
        def collect_frame(self, frame: Any, run: ExpRun | None) -> None:
            wrong = frame.Define("y", 'throw std::runtime_error("no y"); return x;')
            self.book("h", wrong.Histo1D(("h", "", 10, 0, 1), "y"))

    with pytest.raises(CafError, match=r"ROOT could not run what the collector 'Bad' booked over .*0\.root"):
        run_collector(Bad(), files, (), str(tmp_path / "bad.root"))
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_frames_take_for_a_pattern_is_refused(make_events: Any, tmp_path: Path) -> None:
    path = make_events(tmp_path / "run[1].root", [(1, 1, 0.0)])
    with pytest.raises(CafError, match="it takes the path for a pattern"):
        run_collector(FrameCollector(), [path], (), str(tmp_path / "output.root"))


def read_numbers(output: str, root: Any) -> dict[ExpRun, list[float]]:
    """Give the values of the booked trees, by run."""
    file = root.TFile.Open(output)
    found = {}
    for key in file.Get("Made/tree").GetListOfKeys():
        exp, _, run = key.GetName().rpartition("_")[2].partition(".")
        found[ExpRun(int(exp), int(run))] = [event.value for event in key.ReadObj()]
    file.Close()
    root.gROOT.cd()
    return found


class ValueCollector(Collector):
    """Books a tree of one column, by the name `value`."""

    prefix = "Made"
    column = "x"

    def collect_frame(self, frame: Any, run: ExpRun | None) -> None:
        self.book_tree("tree", frame.Define("value", f"double({self.column})"), ["value"])


@pytest.mark.parametrize("is_indexed", [False, True])
def test_a_friend_of_the_tree(root: Any, tmp_path: Path, is_indexed: bool) -> None:
    path = str(tmp_path / "friends.root")
    file = root.TFile.Open(path, "RECREATE")
    cells = {name: array("i", [1]) for name in ("exp", "run", "evt", "far")}
    events, extra = root.TTree("events", ""), root.TTree("extra", "")
    for tree, names in ((events, ("exp", "run", "evt")), (extra, ("run", "evt", "far"))):
        for name in names:
            tree.Branch(name, cells[name], f"{name}/I")
    rows = [(1 + number // 4, number) for number in range(8)]
    for cells["run"][0], cells["evt"][0] in rows:
        events.Fill()
    for cells["run"][0], cells["evt"][0] in reversed(rows) if is_indexed else rows:
        cells["far"][0] = 100 + cells["evt"][0]
        extra.Fill()
    if is_indexed:
        extra.BuildIndex("run", "evt")
    extra.Write()
    events.AddFriend(extra)
    events.Write()
    file.Close()
    root.gROOT.cd()
    collector = ValueCollector()
    collector.column = "far"
    run_collector(collector, [path], (), str(tmp_path / "output.root"))
    assert read_numbers(str(tmp_path / "output.root"), root) == {
        ExpRun(1, 1): [100, 101, 102, 103],
        ExpRun(1, 2): [104, 105, 106, 107],
    }


def test_an_rntuple(root: Any, tmp_path: Path) -> None:
    options = root.RDF.RSnapshotOptions()
    options.fOutputFormat = root.RDF.ESnapshotOutputFormat.kRNTuple
    frame = root.RDataFrame(6).Define("exp", "1").Define("run", "1 + int(rdfentry_) / 4").Define("x", "rdfentry_ / 4.")
    frame.Snapshot("events", str(tmp_path / "tuple.root"), ["exp", "run", "x"], options)
    run_collector(ValueCollector(), [str(tmp_path / "tuple.root")], (), str(tmp_path / "output.root"))
    assert read_numbers(str(tmp_path / "output.root"), root) == {
        ExpRun(1, 1): [0, 0.25, 0.5, 0.75],
        ExpRun(1, 2): [1, 1.25],
    }


def test_the_choice_of_the_trigger(root: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "trigger.root")
    file = root.TFile.Open(path, "RECREATE")
    events, results = root.TTree("events", ""), root.std.map["std::string", "int"]()
    cells = {name: array("i", [1]) for name in ("exp", "run", "x")}
    for name, cell in cells.items():
        events.Branch(name, cell, f"{name}/I")
    events.Branch("SoftwareTriggerResult", results)
    for number in range(12):
        cells["run"][0], cells["x"][0] = 1 + number // 6, number
        results.clear()
        results["mumu"] = 1 if number % 3 == 0 else 0
        events.Fill()
    events.Write()
    file.Close()
    root.gROOT.cd()
    collector = ValueCollector()
    collector.trigger_skim = {"triggerLines": ["mumu"]}
    run_collector(collector, [path], (), str(tmp_path / "output.root"))
    assert read_numbers(str(tmp_path / "output.root"), root) == {ExpRun(1, 1): [0, 3], ExpRun(1, 2): [6, 9]}
