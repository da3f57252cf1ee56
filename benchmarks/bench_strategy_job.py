"""Measure what a strategy costs as a job: 200 executions of 0.2 s, in the worker and in a job of this machine.

The two run by turns. The time is that of the whole algorithm step, from its begin to the written database: of a job
also its submission, the start of its processes, the looks after it and the second way through the plan. Run it as

    python benchmarks/bench_strategy_job.py [--runs 200] [--seconds 0.2] [--rounds 3]
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

from strategy_lab import MemoryState, make_events, merge_events, write_module

from airflow_provider_caf import CAF, Algorithm, Calibration
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.io.catalog import open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.strategy import StrategyResult, StrategyRun
from airflow_provider_caf.steps.strategy_job import conclude_strategy, lay_out_strategy
from airflow_provider_caf.steps.task_jobs import TaskJobs, TaskName

PATIENCE = Patience(shortest=1.0)
"""How often a task looks, where nobody has set anything else."""


class Bench:
    """An algorithm step with ready data.

    :param seconds: of CPU for each execution.
    """

    def __init__(self, folder: Path, runs: int, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds
        self.module = write_module(folder)
        self.events = folder / "events.root"
        make_events(self.events, runs)
        merge_events(self.events, self.module, folder / "merged/default.root", folder / "merged/default.index.json")

    def run(self, number: int, backend: str | None) -> tuple[float, StrategyResult]:
        """Return the seconds that the whole step takes, and its result."""
        algorithm = Algorithm(
            f"{self.module}:BurningAlgorithm", "SimpleRunByRun", settings={"seconds": self.seconds}, backend=backend
        )
        calibration = Calibration("burn", f"{self.module}:RunCollector", algorithm, [self.events])
        record = CAF("bench", [calibration]).resolve().calibrations[0]
        assert isinstance(record, Calibration)
        run_layout = RunLayout(work_dir=self.folder, dag_id="bench", run_id=str(number))
        layout = run_layout.calibration("burn")
        surroundings = Surroundings()
        targets = {algorithm.name: surroundings.target} if backend else {}
        prepare_calibration(record, Surroundings(algorithms=targets), layout)
        collection = layout.iteration(0).collection("default")
        shutil.copytree(self.folder / "merged", collection.merged_file.parent)
        write_json(collection.outputs_file, {"version": 1, "files": []})
        results = CalibrationResults(open_sqlite_catalog(self.folder / "catalog.sqlite"), "bench", str(number), "burn")
        results.begin_iteration(0)
        step = StrategyRun(layout, 0, "BurningAlgorithm", results, state=MemoryState(), generation=0)
        began = time.perf_counter()
        result = step.run() if backend is None else run_as_job(step, run_layout)
        return time.perf_counter() - began, result


def run_as_job(step: StrategyRun, layout: RunLayout) -> StrategyResult:
    """Do what the task does, without Airflow."""
    assert step.target is not None
    task = TaskName(dag_id=layout.dag_id, run_id=layout.run_id, task_id="burn", work_dir=layout.work_dir)
    jobs = lay_out_strategy(step, step.target, task, partial(TaskJobs, patience=PATIENCE))
    jobs.submit_missing()
    jobs.check_done(jobs.wait())
    return conclude_strategy(step)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.2, help="of CPU for each execution")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("airflow_provider_caf").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.runs, arguments.seconds)
        seconds: dict[str | None, list[float]] = {None: [], "local": []}
        for number in range(2 * arguments.rounds):
            backend = ("local", None)[number % 2]
            took, result = bench.run(number, backend)
            seconds[backend].append(took)
            where = "in the worker" if backend is None else "in a job"
            print(f"{where}: {took:.2f} s, {result.executions} executions", flush=True)
        worker, job = (statistics.median(seconds[backend]) for backend in (None, "local"))
        print(f"medians: {worker:.2f} s in the worker, {job:.2f} s in a job: {job / worker:.3f} times as long")


if __name__ == "__main__":
    main()
