"""Measure what a second worker gains: SequentialRunByRun over 200 runs of 0.2 s of CPU each.

One worker and two run by turns, once when all runs succeed, and once when every fifth does not suffice alone. The
time is that of the whole algorithm step, the starts of its processes included. Run it as

    python benchmarks/bench_workers.py [--runs 200] [--seconds 0.2]
"""

from __future__ import annotations

import argparse
import logging
import shutil
import tempfile
import time
from pathlib import Path

from strategy_lab import MemoryState, make_events, merge_events, write_module

from airflow_provider_caf import CAF, Algorithm, Calibration
from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.io.catalog import open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.prepare import Surroundings, prepare_calibration
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.strategy import StrategyResult, StrategyRun


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

    def run(self, number: int, workers: int, thin: int) -> tuple[float, StrategyResult]:
        """Return the seconds that the whole step takes, and its result."""
        algorithm = Algorithm(
            f"{self.module}:BurningAlgorithm",
            "SequentialRunByRun",
            settings={"seconds": self.seconds, "thin": thin},
            workers=workers,
        )
        calibration = Calibration("burn", f"{self.module}:RunCollector", algorithm, [self.events])
        record = CAF("bench", [calibration]).resolve().calibrations[0]
        assert isinstance(record, Calibration)
        layout = RunLayout(work_dir=self.folder, dag_id="bench", run_id=str(number)).calibration("burn")
        prepare_calibration(record, Surroundings(), layout)
        collection = layout.iteration(0).collection("default")
        shutil.copytree(self.folder / "merged", collection.merged_file.parent)
        write_json(collection.outputs_file, {"version": 1, "files": []})
        results = CalibrationResults(open_sqlite_catalog(self.folder / "catalog.sqlite"), "bench", str(number), "burn")
        results.begin_iteration(0)
        step = StrategyRun(layout, 0, "BurningAlgorithm", results, state=MemoryState(), generation=0)
        began = time.perf_counter()
        result = step.run()
        return time.perf_counter() - began, result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.2, help="of CPU for each execution")
    arguments = parser.parse_args()
    logging.getLogger("airflow_provider_caf").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), arguments.runs, arguments.seconds)
        number = 0
        for thin, what in ((0, "all runs succeed"), (5, "every fifth run does not suffice alone")):
            seconds = {}
            for workers in (1, 2):
                seconds[workers], result = bench.run(number, workers, thin)
                number += 1
                print(
                    f"{what}, {workers} worker(s): {seconds[workers]:.1f} s, {result.executions} executions, "
                    f"{result.wasted} in vain",
                    flush=True,
                )
            print(f"  2 workers are {seconds[1] / seconds[2]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
