"""A small laboratory: real ROOT files, real subjobs on the local system and real algorithm processes, without Airflow.

The files are made once per test run, in a process of its own, so that this one never loads ROOT.
"""

from __future__ import annotations

import itertools
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf import CAF, Algorithm, Calibration, Collection
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import JobFailed
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.iteration import IterationDecision
from airflow_provider_caf.io.catalog import Catalog, open_sqlite_catalog
from airflow_provider_caf.io.layout import CalibrationLayout, RunLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.command import CommandRun
from airflow_provider_caf.steps.decide import decide_pass
from airflow_provider_caf.steps.finish import FinalPayloads, finish_calibration
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.merge import Merge, Merged
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.strategy import StrategyResult, StrategyRun
from airflow_provider_caf.steps.task_jobs import TaskJobs, TaskName
from tests.unit.counting_site import site
from tests.unit.lab_code import CALIBRATORS, NO_ROOT, PLAIN_CALIBRATORS
from tests.waiting import wait_until

__all__ = ["site"]

DAG_ID, RUN_ID = "lab", "manual__2026-01-01T00:00:00+00:00"

FILES: tuple[tuple[tuple[int, int, float], ...], ...] = (
    ((1, 1, 10.0), (1, 1, 12.0), (1, 2, 20.0), (1, 2, 22.0)),
    ((1, 2, 24.0), (1, 3, 30.0), (1, 3, 32.0)),
    ((2, 1, 40.0), (2, 1, 44.0)),
)
"""The events (exp, run, x) of three input files; run 1.2 is in two of them."""

RUNS = (ExpRun(1, 1), ExpRun(1, 2), ExpRun(1, 3), ExpRun(2, 1))

MAKE_FILES = """
import json, sys
from array import array
from pathlib import Path

import ROOT

from airflow_provider_caf.worker.collect.collector import make_collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection

folder, files, module = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
outputs = []
for number, rows in enumerate(files):
    file = ROOT.TFile.Open(str(folder / f"events_{number}.root"), "RECREATE")
    tree = ROOT.TTree("events", "")
    exp, run, x = array("i", [0]), array("i", [0]), array("d", [0.0])
    for name, buffer, leaf in (("exp", exp, "exp/I"), ("run", run, "run/I"), ("x", x, "x/D")):
        tree.Branch(name, buffer, leaf)
    for exp[0], run[0], x[0] in rows:
        tree.Fill()
    tree.Write()
    file.Close()
    outputs.append(str(folder / "collected" / f"{number}.root"))
    Path(outputs[-1]).parent.mkdir(exist_ok=True)
    collector = make_collector(f"{module}:HitCollector", {}, None)
    run_collector(collector, [str(folder / f"events_{number}.root")], (), outputs[-1])
(folder / "merged").mkdir()
merge_collection(MergeRequest(collection="default", inputs=tuple(outputs), output=str(folder / "merged/default.root"),
                              index=str(folder / "merged/default.index.json"), processes=1))
"""


@dataclass(frozen=True)
class LabFiles:
    """What is made once per test run.

    :param module: a module of a user with collectors, algorithms and strategies.
    :param plain_module: the same algorithms, for processes without ROOT.
    :param no_root: a folder that hides ROOT where it is on PYTHONPATH.
    :param events: the input files.
    :param collected: what `HitCollector` makes of each.
    :param merged: a folder with the merged file and its index, of a collection named `default`.
    """

    module: Path
    plain_module: Path
    no_root: Path
    events: tuple[Path, ...]
    collected: tuple[Path, ...]
    merged: Path

    def name(self, what: str) -> str:
        """Give the reference of something in the user's module."""
        return f"{self.module}:{what}"


@pytest.fixture(scope="session")
def lab_files(tmp_path_factory: pytest.TempPathFactory) -> LabFiles:
    folder = tmp_path_factory.mktemp("lab_files")
    module, plain_module, no_root = folder / "lab_calibrators.py", folder / "plain_calibrators.py", folder / "no_root"
    module.write_text(CALIBRATORS, encoding="utf-8")
    hits: dict[tuple[int, int], list[float]] = {}
    for exp, run, x in itertools.chain(*FILES):
        hits.setdefault((exp, run), []).append(x)
    plain_module.write_text(PLAIN_CALIBRATORS.format(hits=hits), encoding="utf-8")
    no_root.mkdir()
    (no_root / "ROOT.py").write_text(NO_ROOT, encoding="utf-8")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MAKE_FILES, str(folder), json.dumps(FILES), str(module)],
        check=True,
        timeout=120,
    )
    numbers = range(len(FILES))
    return LabFiles(
        module=module,
        plain_module=plain_module,
        no_root=no_root,
        events=tuple(folder / f"events_{number}.root" for number in numbers),
        collected=tuple(folder / "collected" / f"{number}.root" for number in numbers),
        merged=folder / "merged",
    )


class State(dict[str, Any]):
    """Stands for Airflow's task state store: it keeps JSON texts."""

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self[key]) if key in self else default

    def set(self, key: str, value: Any) -> None:
        self[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Lab:
    """Run the steps of calibrations as the operators do, one after the other.

    :param is_plain: its algorithm processes have no ROOT, which takes most of their time. For tests of what the steps
        do with what such a process answers.
    """

    files: LabFiles
    run: RunLayout
    catalog: Catalog
    is_plain: bool = False
    records: dict[str, Calibration] = field(default_factory=dict)
    states: dict[tuple[str, int, str], State] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=itertools.count)

    def layout(self, name: str = "vertex") -> CalibrationLayout:
        return self.run.calibration(name)

    def results(self, name: str = "vertex") -> CalibrationResults:
        return CalibrationResults(self.catalog, DAG_ID, RUN_ID, name)

    def calibration(self, name: str = "vertex", algorithms: Any = None, **words: Any) -> Calibration:
        """Give a calibration with the real collector; further words go to `Calibration`."""
        if "collections" not in words:
            words = {"collector": self.files.name("HitCollector"), "input_files": self.files.events, **words}
        return Calibration(name, algorithms=algorithms or self.algorithm(), **words)

    def algorithm(self, cls: str = "MeanAlgorithm", strategy: str = "SimpleRunByRun", **words: Any) -> Algorithm:
        if strategy.endswith("Strategy"):
            strategy = self.files.name(strategy)
        module = self.files.plain_module if self.is_plain else self.files.module
        return Algorithm(f"{module}:{cls}", strategy, words.pop("params", None), **words)

    def copies(
        self, words: Sequence[str] | None = None, files: Sequence[Path] | None = None, **more: Any
    ) -> Collection:
        """Give a collection whose subjobs copy what the real collector has made: quick, and no ROOT."""
        folder = self.files.collected[0].parent
        command = words or ["cp", f"{folder}/{{subjob}}.root", "CollectorOutput.root"]
        return Collection(command, self.files.events if files is None else files, **more)

    def prepare(self, calibration: Calibration, **surroundings: Any) -> dict[str, dict[str, int]]:
        """Do what the prepare task does, and give how many files and subjobs each collection has."""
        others = [Calibration(name, ["true"], self.files.name("A"), "/x") for name in calibration.dependencies]
        record = CAF("lab", [*others, calibration], max_iterations=5).resolve().calibrations[-1]
        assert isinstance(record, Calibration)
        self.records[record.name] = record
        arguments: dict[str, Any] = {"max_processes": 2}
        if self.is_plain:
            arguments["environment"] = {"PYTHONPATH": str(self.files.no_root)}
        chain = Surroundings(**{"target": Target(connection_args=arguments), **surroundings})
        manifests = prepare_calibration(record, chain, self.layout(record.name))
        results = self.results(record.name)
        results.begin_iteration(0)
        results.add_selections(record, manifests)
        return {each.collection.name: {"files": len(each.files), "subjobs": len(each.subjobs)} for each in manifests}

    def open(self, collection: str = "default", iteration: int = 0, name: str = "vertex") -> CollectionRun:
        return CollectionRun(self.layout(name), iteration, collection, patience=Patience(shortest=0.05, grace=1.0))

    def submit(self, collection: str = "default", iteration: int = 0, name: str = "vertex") -> tuple[int, ...]:
        """Do what the submit task does and give what was submitted."""
        run = self.open(collection, iteration, name)
        run.write_jobs()
        return run.submit_missing().submitted

    def wait(self, run: CollectionRun) -> None:
        wait_until(lambda: run.observe(check_outputs=False, read_logs=False).is_over, lambda: "the subjobs do not end")

    def collect(self, collection: str = "default", iteration: int = 0, name: str = "vertex") -> tuple[int, ...]:
        """Submit, wait, and give what was submitted. All must be done at the end."""
        submitted = self.submit(collection, iteration, name)
        run = self.open(collection, iteration, name)
        self.wait(run)
        run.check_done(run.observe())
        return submitted

    def merge(self, collection: str = "default", iteration: int = 0, name: str = "vertex") -> Merged:
        merge = Merge(self.layout(name), iteration, collection, self.results(name), generation=next(self.generations))
        run = self.open(collection, iteration, name)
        planned = merge.plan(run)
        if not run.manifest.collection.merge:
            return planned
        task = TaskName(dag_id=DAG_ID, run_id=RUN_ID, task_id=f"{name}.merge", work_dir=self.run.work_dir)
        jobs = merge.lay_out(run, task, partial(TaskJobs, patience=Patience(shortest=0.05, grace=1.0)))
        jobs.submit_missing()
        observation = jobs.wait()
        try:
            jobs.check_done(observation)
        except JobFailed as error:
            raise merge.explain(error, jobs) from error
        return replace(merge.conclude(jobs), warning=planned.warning)

    def take_merged(self, iteration: int = 0, name: str = "vertex") -> None:
        """Put the ready merged file where the merge task of the collection `default` puts it."""
        collection = self.layout(name).iteration(iteration).collection("default")
        shutil.copytree(self.files.merged, collection.merged_file.parent, dirs_exist_ok=True)
        collection.outputs_file.write_text(
            json.dumps({"version": 1, "files": [str(each) for each in self.files.collected]})
        )

    def run_command(self, step: CommandRun) -> LocalDatabase:
        """Do what the task of an external command does."""
        name = TaskName(dag_id=DAG_ID, run_id=RUN_ID, task_id="step.run", work_dir=self.run.work_dir)
        open_jobs = partial(TaskJobs, patience=Patience(shortest=0.05, grace=1.0))
        jobs = step.lay_out(Target(), Resources(), next(self.generations), name, open_jobs)
        jobs.submit_missing()
        try:
            jobs.check_done(jobs.wait())
        except JobFailed as error:
            raise step.explain(error, jobs) from error
        return step.conclude(jobs)

    def strategy(
        self, algorithm: str = "MeanAlgorithm", iteration: int = 0, name: str = "vertex", generation: int = 0
    ) -> StrategyRun:
        """Give an algorithm task; `generation` is raised by a clear."""
        state = self.states.setdefault((name, iteration, algorithm), State())
        results = self.results(name)
        return StrategyRun(self.layout(name), iteration, algorithm, results, state=state, generation=generation)

    def calibrate(
        self, algorithm: str = "MeanAlgorithm", iteration: int = 0, name: str = "vertex", generation: int = 0
    ) -> StrategyResult:
        return self.strategy(algorithm, iteration, name, generation).run()

    def decide(self, iteration: int = 0, name: str = "vertex") -> IterationDecision:
        decision = decide_pass(self.layout(name), iteration)
        self.results(name).end_iteration(iteration, decision)
        return decision

    def finish(self, name: str = "vertex") -> FinalPayloads:
        final = finish_calibration(self.layout(name))
        self.results(name).finish(final.passes - 1)
        return final

    def run_pass(self, iteration: int = 0, name: str = "vertex") -> IterationDecision:
        """Run all steps of one pass."""
        for collection in self.records[name].collections:
            self.collect(collection, iteration, name)
            self.merge(collection, iteration, name)
        for algorithm in self.records[name].algorithms:
            self.calibrate(algorithm.name, iteration, name)
        return self.decide(iteration, name)


MakeLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def make_lab(lab_files: LabFiles) -> MakeLab:
    """Give a function that opens a laboratory in a folder."""

    def make(folder: Path, *, is_plain: bool = False) -> Lab:
        run = RunLayout(work_dir=folder / "caf", dag_id=DAG_ID, run_id=RUN_ID)
        catalog = open_sqlite_catalog(folder / "catalog.sqlite")
        return Lab(files=lab_files, run=run, catalog=catalog, is_plain=is_plain)

    return make


@pytest.fixture
def lab(tmp_path: Path, make_lab: MakeLab, request: pytest.FixtureRequest) -> Lab:
    marks = [mark.args for mark in request.node.iter_markers("without_root")]
    return make_lab(tmp_path, is_plain=bool(marks) and (False,) not in marks)


def read_iovs(lines: Sequence[Any]) -> Mapping[str, list[IoV]]:
    """Give the IoVs of each payload in a list of entries."""
    found: dict[str, list[IoV]] = {}
    for line in lines:
        found.setdefault(line.name, []).append(line.iov)
    return found


@pytest.fixture
def small_disk() -> Callable[[int], Any]:
    """Give a context in which no file of this process grows beyond a size, as on a full disk."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
