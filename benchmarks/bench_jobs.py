"""Compare 1000 trivial commands through `BatchJobOperator` on a real Airflow with `xargs -P2` of the same.

The commands run on this machine, two at a time. The wall time of the task is that which Airflow shows, from its start
to its end; job file, work folder, log files and exit record of each job are its price. Run it as

    python benchmarks/bench_jobs.py [--jobs 1000] [--times 3] [--backend slurm]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.private_airflow import PrivateAirflow

DAG = "trivial"
DAG_FILE = """
from airflow.sdk import DAG
from airflow_provider_caf.operators import BatchJobOperator

with DAG("trivial", schedule=None):
    for name, packed in (("plain", None), ("packed", "auto")):
        BatchJobOperator(
            task_id=name,
            commands=[["true"]] * {jobs},
            backend="{backend}",
            backend_args={{"max_processes": 2, "subjobs_per_job": packed}},
        )
"""


def measure_xargs(jobs: int) -> float:
    """Give the seconds of `xargs -P2` with as many commands, one for each process."""
    began = time.monotonic()
    command = [shutil.which("xargs") or "/usr/bin/xargs", "-P2", "-n1", "true"]
    subprocess.run(command, input="\n".join(map(str, range(jobs))), text=True, check=True)
    return time.monotonic() - began


def measure_tasks(airflow: PrivateAirflow) -> dict[str, float]:
    """Run the DAG, and give the seconds of each task."""
    place = f"/dags/{DAG}/dagRuns/{quote(airflow.trigger(DAG, {}))}"
    while (state := airflow.call_api("GET", place)["state"]) != "success":
        if state == "failed":
            raise SystemExit("the run failed")
        time.sleep(0.5)
    tasks = airflow.call_api("GET", f"{place}/taskInstances")["task_instances"]
    return {
        task["task_id"]: (
            datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task["start_date"])
        ).total_seconds()
        for task in tasks
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--backend", default="local")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "trivial.py").write_text(DAG_FILE.format(jobs=options.jobs, backend=options.backend))
        settings = {"AIRFLOW__CAF__WORK_DIR": str(folder / "work"), "AIRFLOW__CAF__DEFER_AFTER": "3600"}
        with PrivateAirflow(folder / "home", folder / "dags", settings=settings) as airflow:
            airflow.wait_for_dag(DAG)
            plain, tasks = [], []
            for _ in range(options.times):  # one after the other: both see the same machine
                plain.append(measure_xargs(options.jobs))
                tasks.append(measure_tasks(airflow))
    base = statistics.median(plain)
    print(f"xargs -P2: {base:.2f} s for {options.jobs} commands")
    for task in tasks[0]:
        seconds = statistics.median(measured[task] for measured in tasks)
        print(f"{task}: {seconds:.2f} s, {seconds / base:.1f} × xargs, {1000 * seconds / options.jobs:.1f} ms a job")


if __name__ == "__main__":
    main()
