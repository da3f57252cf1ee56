"""Measure how long it takes from the end of the last subjob to the start of the merge, on a real Airflow.

The demonstration runs once, on this machine or on a batch system whose commands are on PATH. For every collection and
pass, the time from the last exit record to the start of the `merge` task is printed, in seconds and as a share of the
time that its subjobs took from the submission on. Run it as

    python benchmarks/bench_merge_delay.py [htcondor|slurm|…]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.jobs.exit_records import read_exit_records

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.private_airflow import PrivateAirflow

DAGS = Path(__file__).resolve().parent.parent / "dags"
DAG = "demo_calibration"


def run_demo(airflow: PrivateAirflow, data: Path) -> str:
    """Run the demonstration and give the id of its run."""
    airflow.wait_for_dag(DAG)
    run_id = airflow.trigger(DAG, {"data_folder": str(data), "connection": "bench"})
    while (state := airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{quote(run_id)}")["state"]) != "success":
        if state == "failed":
            raise SystemExit("the run failed")
        time.sleep(1.0)
    return run_id


def read_start(task: dict[str, Any]) -> float:
    """Return when a task started, in seconds since 1970."""
    return datetime.fromisoformat(task["start_date"]).timestamp()


def print_delays(airflow: PrivateAirflow, layout: RunLayout) -> None:
    """Print the delays of all collections in all passes."""
    tasks = airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{quote(layout.run_id)}/taskInstances?limit=200")
    # A skipped task has a start too.
    started = {each["task_id"]: each for each in tasks["task_instances"] if each["state"] == "success"}
    delays = []
    for name, task in sorted(started.items()):
        calibration, iteration, collection, what = [*name.split("."), "", "", ""][:4]
        if what != "merge":
            continue
        place = layout.calibration(calibration).iteration(int(iteration.rpartition("_")[2])).collection(collection)
        ended = max(each.ended.timestamp() for each in read_exit_records(place.jobs.status_folder))
        began = read_start(started[f"{calibration}.{iteration}.{collection}.submit"])
        delays.append(read_start(task) - ended)
        print(
            f"{name}: {delays[-1]:.1f} s, {delays[-1] / (ended - began):.2f} of the {ended - began:.1f} s of its jobs"
        )
    print(f"{len(delays)} merges: {statistics.median(delays):.1f} s at the median, {max(delays):.1f} s at most")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", nargs="?", default="local", choices=sorted(SYSTEMS))
    backend = parser.parse_args().backend
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, "-W", "ignore", str(DAGS / "demo_detector.py"), str(folder / "data")], check=True
        )
        connection = {"conn_type": "caf_batch", "extra": {"system": backend, "python": sys.executable}}
        settings = {"AIRFLOW__CAF__WORK_DIR": str(folder / "work"), "AIRFLOW_CONN_BENCH": json.dumps(connection)}
        with PrivateAirflow(folder / "home", DAGS, settings=settings) as airflow:
            run_id = run_demo(airflow, folder / "data")
            print_delays(airflow, RunLayout(work_dir=folder / "work", dag_id=DAG, run_id=run_id))


if __name__ == "__main__":
    main()
