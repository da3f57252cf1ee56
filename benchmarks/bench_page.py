"""Measure the answers of the CAF page, and the report, for a run of 80 calibrations with 10 000 subjobs and 5040 IoVs.

For each answer: its time as a ratio to a single read of the run's payloads in the same process, and its size. Next to
it the same for a run of 8 calibrations: what is made for a tenth should cost a tenth, and what is asked of one
calibration the same in both. Run it as

    python benchmarks/bench_page.py [--repeat 7]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from airflow_provider_caf.io.catalog import Catalog, PayloadRow, open_sqlite_catalog
from airflow_provider_caf.plugin import views
from airflow_provider_caf.report.build import write_report
from airflow_provider_caf.status.airflow_run import RunRow
from airflow_provider_caf.status.tasks import TaskRow
from tests.browser import large_run

STEPS = ("hits.submit", "hits.wait", "hits.merge", large_run.ALGORITHM, "decide")
NAME = "calibration_07"


def build_run(calibrations: int) -> RunRow:
    """Return a run as Airflow would know it."""
    now = datetime.now(UTC)
    tasks = {}
    for number in range(calibrations):
        names = ["prepare", *(f"iteration_0.{step}" for step in STEPS), "finish"]
        for name in names:
            tasks[f"calibration_{number:02d}.{name}"] = TaskRow(state="success", started=now, ended=now)
    return RunRow(dag_id="large", run_id="run", state="running", started=now, ended=None, tasks=tasks)


def list_answers(run: RunRow, catalog: Catalog) -> dict[str, Callable[[], Any]]:
    """Return what the page asks for."""
    return {
        "run": lambda: views.build_run(run, catalog),
        "map": lambda: views.build_map(run, catalog, None),
        "map of one": lambda: views.build_map(run, catalog, NAME),
        "calibration": lambda: views.build_calibration(run, catalog, NAME),
        "executions": lambda: views.build_executions(run, catalog, NAME, 0),
        "trend": lambda: views.build_trend(run, catalog, NAME, "Spot", "value", None),
        "failures": lambda: views.build_failures(run, catalog, None, 0),
    }


def time_call(function: Callable[[], Any], repeat: int) -> float:
    """Return the median time in seconds."""
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for calibrations in (80, 8):
            large_run.CALIBRATIONS = calibrations
            catalog = open_sqlite_catalog(Path(folder) / f"{calibrations}.sqlite")
            large_run.write_results(catalog, "large", "run")
            run = build_run(calibrations)
            unit = time_call(lambda: catalog.read(PayloadRow, "large", "run"), options.repeat)  # noqa: B023
            for name, answer in list_answers(run, catalog).items():
                size = len(json.dumps(answer()).encode())
                ratio = time_call(answer, options.repeat) / unit
                rows.setdefault(name, []).append(f"{ratio:8.2f} {size / 1000:9.1f} kB")
            began = time.perf_counter()
            path = write_report(run, catalog, Path(folder) / f"report_{calibrations}")
            ratio = (time.perf_counter() - began) / unit
            rows.setdefault("report", []).append(f"{ratio:8.0f} {path.stat().st_size / 1000:9.1f} kB")
    print(f"{'answer':14} {'80 calibrations':>22} {'8 calibrations':>22}   (time: 1 is a read of the run's payloads)")
    for name, cells in rows.items():
        print(f"{name:14} {cells[0]:>22} {cells[1]:>22}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
