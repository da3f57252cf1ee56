"""Measure whether the errors of the demonstration's constants are honest.

For each seed the detector takes its data, and the calibrations of the demonstration's definition run over them: the
same collectors, merges, strategies, algorithms and passes, one after the other in one process and without Airflow. A
*pull* is the distance of a constant from its truth in units of its error. Honest errors give pulls of mean 0 and width
1. Run it as

    python benchmarks/bench_pulls.py [--seeds 20] [--first 1] [--processes 2]

It prints mean and standard deviation of the pulls of each kind of constant. Of n independent pulls, the mean is known
to 1/√n and the width to 1/√(2n). 20 seeds give 600 pulls in all, whose mean is known to 0.04, but only 20 of the
sensor's offset, whose mean is known to 0.22. With 1000 seeds each kind tells 0.1 from 0. The pulls of one seed are not
independent, as constants are made of one another; the column *from seeds* is the error of the mean by its spread from
seed to seed, which does not assume that they are.

The exit code is 1 if a mean is farther from 0, or a width from 1, than both 0.1 and three of these errors.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.graph import find_ancestors, order_calibrations
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.iteration import IterationAction, decide_iteration
from airflow_provider_caf.core.splitting import plan_subjobs
from airflow_provider_caf.core.strategies import Commit, Execution, FinalState, Report, build_strategy
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.files import load_definitions
from airflow_provider_caf.definitions.run_params import apply_params, merge_params
from airflow_provider_caf.definitions.templates import render
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.results import CommittedPayload, list_committed
from airflow_provider_caf.worker.algorithm.serve import AlgorithmService
from airflow_provider_caf.worker.collect.collector import make_collector, run_collector
from airflow_provider_caf.worker.collect.merge import MergeRequest, merge_collection

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dags"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from demo_detector import write_data
from demo_report import Measurement, Truth

DEFINITION = Path(__file__).resolve().parents[1] / "dags" / "definitions" / "demo_calibration.yaml"
WANTED = 0.1
SIGNIFICANT = 3.0


def main() -> int:
    """Calibrate the data of all seeds, and judge the pulls."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--processes", type=int, default=2, help="how many at the same time")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("one seed has no spread: use --seeds 2 or more")
    seeds = range(options.first, options.first + options.seeds)
    # Not forked: ROOT is loaded in these processes only.
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        found = list(pool.map(calibrate_seed, seeds))
    rows = [
        judge(name, [[each.pull for each in own if each.payload == name] for own in found])
        for name in dict.fromkeys(each.payload for each in found[0])
    ]
    rows.append(judge("all", [[each.pull for each in own] for own in found]))
    print(f"{len(seeds)} seeds, from {seeds[0]}")
    print(f"{'constant':14}{'pulls':>6}  {'mean ± 1/√n':16}{'from seeds':12}width ± 1/√(2n)")
    for row in rows:
        print(row)
    bad = [row.name for row in rows if not row.is_honest]
    print(
        f"not honest: {', '.join(bad)}"
        if bad
        else "No mean and no width is off by more than both 0.1 and three errors."
    )
    return 1 if bad else 0


@dataclass(frozen=True)
class Judged:
    """Mean and width of the pulls of one kind of constant.

    :param seed_error: the error of the mean by its spread from seed to seed.
    """

    name: str
    count: int
    mean: float
    width: float
    seed_error: float

    @property
    def is_honest(self) -> bool:
        """Return whether mean and width may be 0 and 1, within what is wanted and what can be known."""
        mean_limit = max(WANTED, SIGNIFICANT / math.sqrt(self.count))
        width_limit = max(WANTED, SIGNIFICANT / math.sqrt(2 * self.count))
        return abs(self.mean) <= mean_limit and abs(self.width - 1) <= width_limit

    def __str__(self) -> str:
        """Return a line of the table."""
        mean = f"{self.mean:+.3f} ± {1 / math.sqrt(self.count):.3f}"
        width = f"{self.width:.3f} ± {1 / math.sqrt(2 * self.count):.3f}"
        return f"{self.name:14}{self.count:6}  {mean:16}{self.seed_error:<12.3f}{width}"


def judge(name: str, pulls: Sequence[Sequence[float]]) -> Judged:
    """Return mean and width of pulls.

    :param pulls: of each seed.
    """
    flat = [pull for own in pulls for pull in own]
    means = [statistics.fmean(own) for own in pulls]
    return Judged(
        name=name,
        count=len(flat),
        mean=statistics.fmean(flat),
        width=statistics.stdev(flat),
        seed_error=statistics.stdev(means) / math.sqrt(len(means)),
    )


def calibrate_seed(seed: int) -> list[Measurement]:
    """Take data with a seed and calibrate; give the constants of the last passes with their truth."""
    with tempfile.TemporaryDirectory(prefix="caf-pulls-") as name, open_log(Path(name)):
        folder = Path(name)
        write_data(folder / "data", seed)
        return list(calibrate_all(read_demonstration(folder / "data"), folder, Truth(folder / "data")))


def read_demonstration(data: Path) -> CAF:
    """Read the definition as the task `configure` does for a run with these data."""
    (caf,) = load_definitions(DEFINITION)
    files = {kind: [str(path) for path in sorted(data.glob(f"*_{kind}.root"))] for kind in caf.input_data}
    params = merge_params(caf, {"input_data": files})
    rendered = render(caf.to_json(), {"params": params}, SandboxedEnvironment(undefined=jinja2.StrictUndefined))
    return CAF.from_json(apply_params(rendered, params), templates=False).resolve()


@contextlib.contextmanager
def open_log(folder: Path) -> Iterator[None]:
    """Send what ROOT and the calibrations print to a file; what is raised comes out as it is."""
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with (folder / "log").open("w") as log:
        sys.stdout.flush()
        for descriptor in kept:
            os.dup2(log.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            for descriptor, copy in kept.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def calibrate_all(caf: CAF, folder: Path, truth: Truth) -> Iterator[Measurement]:
    """Run all calibrations in order; give the constants of each last pass."""
    depends = caf.map_dependencies()
    members = {each.name: each for each in caf.calibrations}
    databases: dict[str, Path] = {}
    for name in order_calibrations(depends):
        member = members[name]
        assert isinstance(member, Calibration), "the demonstration has only calibrations with collectors"
        chain = [databases[each] for each in find_ancestors(depends, name)]
        for iteration in range(member.repetitions + 1):
            place = folder / name / str(iteration)
            one = Pass(member, iteration, place, [*([databases[name]] if name in databases else []), *chain])
            codes = one.run()
            databases[name] = place / "outputdb"
            if decide_iteration(codes, iteration, member.repetitions).action is IterationAction.FINISH:
                break
        for payload, runs in one.payloads:
            yield Measurement(
                calibration=name,
                payload=payload.entry.name,
                iov=payload.entry.iov,
                runs=runs,
                value=payload.value["value"],
                error=payload.value["error"],
                truth=truth.find(payload.entry.name, runs),
            )


class Pass:
    """One pass of a calibration.

    :param databases: where constants are looked up, first hit first.
    """

    def __init__(self, member: Calibration, iteration: int, place: Path, databases: Sequence[Path]) -> None:
        self._member = member
        self._iteration = iteration
        self._place = place
        self._chain = [DatabaseEntry(kind=LOCAL, value=str(each)) for each in databases]
        self.payloads: list[tuple[CommittedPayload, tuple[ExpRun, ...]]] = []

    def run(self) -> list[Any]:
        """Collect, merge, calibrate and commit; give the result codes."""
        indexes = [self._collect(each) for each in self._member.collections.values()]
        codes: list[Any] = []
        for algorithm in self._member.algorithms:
            service = AlgorithmService()
            opened = ask(
                service,
                do="open",
                algorithm=algorithm.algorithm,
                settings=dict(algorithm.settings),
                indexes=indexes,
                database_chain=[each.to_json() for each in self._chain],
                iteration=self._iteration,
                prefix=algorithm.prefix,
                output_folder=str(self._place),
            )
            strategy = build_strategy(algorithm.strategy, algorithm.params)
            codes += self._drive(service, strategy.plan(tuple(map(ExpRun.from_json, opened["runs"]))))
            ask(service, do="close")
        return codes

    def _collect(self, collection: Collection) -> str:
        """Run the collector of each subjob, merge, and give the index."""
        outputs = []
        assert collection.reference is not None, "the demonstration has only collectors of its own"
        folder = self._place / collection.name
        folder.mkdir(parents=True)
        for number, subjob in enumerate(plan_subjobs(collection.input_files, collection.splitting)):
            collector = make_collector(collection.reference, collection.settings, collection.granularity)
            collector.iteration = self._iteration
            outputs.append(str(folder / f"{number}.root"))
            run_collector(collector, subjob.files, self._chain, outputs[-1])
        index = str(folder / "index.json")
        merge_collection(
            MergeRequest(
                collection=collection.name,
                inputs=tuple(outputs),
                output=str(folder / "merged.root"),
                index=index,
                processes=1,
            )
        )
        return index

    def _drive(self, service: AlgorithmService, plan: Any) -> list[Any]:
        commits: list[Commit] = []
        reports: list[Report] = []
        executions: dict[int, Execution] = {}
        staging = self._place / "staging"
        staging.mkdir()

        def execute(key: int, action: Any) -> Execution:
            request = {"key": key, "runs": [list(run) for run in action.runs], "iov": list(action.iov)}
            done = ask(service, do="execute", **request, settings=action.settings, staging=str(staging))
            executions[key] = build_execution(key, action, done)
            return executions[key]

        def find_boundaries(action: Any) -> list[ExpRun]:
            answer = ask(service, do="boundaries", runs=[list(run) for run in action.runs], settings=action.settings)
            return [ExpRun.from_json(run) for run in answer["boundaries"]]

        outcome = drive_plan(
            plan,
            execute=execute,
            find_boundaries=find_boundaries,
            commit=commits.append,
            report=reports.append,
            write_file=lambda _: None,
        )
        assert outcome.state is FinalState.COMPLETED, outcome.reason
        committed = list_committed(commits)
        LocalDatabase(self._place / "outputdb").commit(
            [(each.entry.name, staging / each.entry.file_name, each.entry.iov) for each in committed]
        )
        self.payloads += [(each, executions[each.execution].runs) for each in committed]
        return [each.execution.code for each in reports]


def build_execution(key: int, action: Any, done: Mapping[str, Any]) -> Execution:
    """Return what a strategy sees of an execution."""
    payloads = [{name: value for name, value in each.items() if name != "file"} for each in done["payloads"]]
    return Execution.from_json(
        {
            "key": key,
            "runs": [list(run) for run in action.runs],
            "iov": list(action.iov),
            "code": done["code"],
            "output": done["output"],
            "payloads": payloads,
        }
    )


def ask(service: AlgorithmService, **request: Any) -> dict[str, Any]:
    """Ask the algorithm for something, as the task of an algorithm does.

    :raises RuntimeError: if the answer is an error.
    """
    answer = service.answer(request)
    if not answer["ok"]:
        raise RuntimeError(answer["error"]["traceback"])
    return answer


if __name__ == "__main__":
    sys.exit(main())
