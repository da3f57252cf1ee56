"""Small event files, collector outputs and merged files, made with the real ROOT once per test run."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.collect.collector import Collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection
from airflow_provider_caf.worker.root import load_root

Row = tuple[int, int, float]

CALIBRATORS = """
from airflow_provider_caf.worker import Algorithm, Collector, ResultCode


class HitCollector(Collector):
    prefix = "Hits"
    scale = 1.0
    limit: int

    def prepare(self):
        import ROOT

        self.register("x", ROOT.TH1D("x", "", 100, 0, 100))

    def collect(self, event):
        self.get("x").Fill(self.scale * event.x)


class AllCollector(HitCollector):
    granularity = "all"


class MeanAlgorithm(Algorithm):
    prefix = "Hits"
    least = 1

    def calibrate(self):
        x = self.get("x")
        self.output["entries"] = x.GetEntries()
        if x.GetEntries() < self.least:
            return ResultCode.NOT_ENOUGH_DATA
        self.save_payload({"mean": x.GetMean()}, "Mean")
        return ResultCode.OK

    def is_boundary_required(self, run):
        return self.get("x").GetMean() > 20


class BrokenAlgorithm(Algorithm):
    mode = "raise"

    def calibrate(self):
        if self.mode == "raise":
            print("about to raise")
            raise ValueError("the fit did not converge")
        if self.mode == "throw":
            import ROOT

            return ROOT.std.vector("int")().at(3)
        if self.mode == "exit":
            raise SystemExit(3)
        return {"none": None, "true": True, "ten": 10, "text": "OK"}[self.mode]


def choose_files(job):
    return [file for file in job["input_files"] if "skip" not in file]


no_function = 5
"""


@pytest.fixture(scope="session")
def root() -> Any:
    return load_root()


@pytest.fixture(scope="session")
def calibrators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module of a user."""
    path = tmp_path_factory.mktemp("user") / "calibrators.py"
    path.write_text(CALIBRATORS)
    return path


MakeEvents = Callable[..., str]


@pytest.fixture(scope="session")
def make_events(root: Any) -> MakeEvents:
    """Give a function that writes rows of (exp, run, x) into a file."""

    def write(path: Path, rows: Iterable[Row], tree: str = "events") -> str:
        file = root.TFile.Open(str(path), "RECREATE")
        events = root.TTree(tree, "")
        exp, run, x, count = array("i", [0]), array("i", [0]), array("d", [0.0]), array("i", [0])
        values = root.std.vector("float")()
        word = array("f", [0.0, 0.0, 0.0])
        flag = array("b", [0])
        for name, buffer, leaf in (
            ("exp", exp, "exp/I"),
            ("run", run, "run/I"),
            ("x", x, "x/D"),
            ("count", count, "count/I"),
            ("word", word, "word[3]/F"),
            ("flag", flag, "flag/O"),
        ):
            events.Branch(name, buffer, leaf)
        events.Branch("values", values)
        for number, row in enumerate(rows):
            exp[0], run[0], x[0] = row
            count[0] = number
            flag[0] = number % 2
            word[1] = number
            values.clear()
            for each in range(number % 3):
                values.push_back(each)
            events.Fill()
        events.Write()
        file.Close()
        root.gROOT.cd()
        return str(path)

    return write


class HitCollector(Collector):
    """A histogram and a tree of x."""

    prefix = "Hits"

    def prepare(self) -> None:
        root = load_root()
        self.register("x", root.TH1D("x", "", 100, 0, 100))
        tree = root.TTree("hits", "")
        self.x = array("d", [0.0])
        tree.Branch("x", self.x, "x/D")
        self.register("hits", tree)

    def collect(self, event: Any) -> None:
        self.get("x").Fill(event.x)
        self.x[0] = event.x
        self.get("hits").Fill()


class OtherCollector(Collector):
    """A profile, under another prefix."""

    prefix = "Other"

    def prepare(self) -> None:
        self.register("profile", load_root().TProfile("profile", "", 10, 0, 100))

    def collect(self, event: Any) -> None:
        self.get("profile").Fill(event.x, 1.0)


ROWS: tuple[list[Row], ...] = (
    [(1, 1, 10.0), (1, 1, 11.0), (1, 2, 20.0)],
    [(1, 2, 21.0), (1, 2, 22.0), (1, 3, 30.0)],
    [(2, 1, 40.0), (1, 3, 31.0), (2, 1, 41.0)],
)
"""The events of three input files; run 1.2 is split over files, 2.1 is interleaved with 1.3."""


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory, make_events: MakeEvents) -> list[str]:
    """The outputs of three subjobs."""
    folder = tmp_path_factory.mktemp("outputs")
    paths = []
    for number, rows in enumerate(ROWS):
        source = make_events(folder / f"events_{number}.root", rows)
        paths.append(str(folder / f"output_{number}.root"))
        run_collector(HitCollector(), [source], (), paths[-1])
    return paths


MergeOutputs = Callable[..., str]


@pytest.fixture(scope="session")
def merge_outputs() -> MergeOutputs:
    """Give a function that merges collector outputs and gives the index."""

    def merge(folder: Path, inputs: list[str], name: str = "default", **fields: Any) -> str:
        folder.mkdir(exist_ok=True)
        request = MergeRequest(
            collection=name,
            inputs=tuple(inputs),
            output=str(folder / f"{name}.root"),
            index=str(folder / f"{name}.index.json"),
            **{"processes": 1, **fields},
        )
        merge_collection(request)
        return request.index

    return merge


@pytest.fixture(scope="session")
def hit_collector() -> type[Collector]:
    return HitCollector


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, outputs: list[str], merge_outputs: MergeOutputs) -> str:
    """The index of the merged outputs."""
    return merge_outputs(tmp_path_factory.mktemp("merged"), outputs)


@pytest.fixture(scope="session")
def other_index(tmp_path_factory: pytest.TempPathFactory, make_events: MakeEvents, merge_outputs: MergeOutputs) -> str:
    """The index of another collection, with another prefix and one run."""
    folder = tmp_path_factory.mktemp("other")
    source = make_events(folder / "events.root", [(1, 1, 50.0)])
    run_collector(OtherCollector(), [source], (), str(folder / "output.root"))
    return merge_outputs(folder, [str(folder / "output.root")], "other")


@pytest.fixture
def write_json(tmp_path: Path) -> Callable[[str, Any], str]:
    """Give a function that writes a JSON file and gives its path."""

    def write(name: str, value: Any) -> str:
        path = tmp_path / name
        path.write_text(json.dumps(value))
        return str(path)

    return write
