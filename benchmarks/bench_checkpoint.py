"""Measure what an execution and a restart cost on a real Airflow: 1000 trivial executions in one algorithm task.

The overhead of an execution is the time from the end of the one before to its own end, less what the algorithm itself
took: planning, the record in Airflow's task state store, the catalog, the log. Then one of the records is removed and
the task is cleared with the others kept: the time from the start of the task to its first new execution, against that
of the fresh run, is what a restart costs. Run it as

    python benchmarks/bench_checkpoint.py [--runs 1000]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from strategy_lab import make_events, write_module

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.io.catalog import ExecutionRow, open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout, default_catalog_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.private_airflow import PrivateAirflow

DAG = "trivial"
TASK = "trivial.iteration_0.BurningAlgorithm"

DAG_FILE = """
from airflow_provider_caf import CAF, Algorithm, Calibration, build_dag

algorithm = Algorithm("{module}:BurningAlgorithm", "SimpleRunByRun", keep_executions=True)
calibration = Calibration("trivial", "{module}:RunCollector", algorithm, ["{events}"], max_iterations=0)
dag = build_dag(CAF("trivial", [calibration]))
"""


def wait_for_end(airflow: PrivateAirflow, run_id: str) -> None:
    """Wait until the run has succeeded."""
    while (state := airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{quote(run_id)}")["state"]) != "success":
        if state == "failed":
            raise SystemExit("the run failed")
        time.sleep(0.5)


def read_task(airflow: PrivateAirflow, run_id: str) -> dict[str, Any]:
    """Return Airflow's record of the algorithm task."""
    answer: dict[str, Any] = airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{TASK}")
    return answer


def measure_first(task: dict[str, Any], row: ExecutionRow) -> float:
    """Return the seconds from the start of a task to the beginning of an execution."""
    assert row.ended is not None
    assert row.seconds is not None
    return row.ended.timestamp() - row.seconds - datetime.fromisoformat(task["start_date"]).timestamp()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        module, events = write_module(folder), folder / "events.root"
        make_events(events, arguments.runs)
        (folder / "dags").mkdir()
        (folder / "dags" / "trivial.py").write_text(DAG_FILE.format(module=module, events=events))
        settings = {"AIRFLOW__CAF__WORK_DIR": str(folder / "work")}
        with PrivateAirflow(folder / "home", folder / "dags", settings=settings) as airflow:
            airflow.wait_for_dag(DAG)
            run_id = airflow.trigger(DAG, {})
            wait_for_end(airflow, run_id)
            fresh = print_overhead(airflow, folder, run_id)
            layout = RunLayout(work_dir=folder / "work", dag_id=DAG, run_id=run_id).calibration("trivial")
            print_restart(airflow, folder, run_id, layout.iteration(0).algorithm("BurningAlgorithm"), fresh)


def read_rows(folder: Path, run_id: str) -> list[ExecutionRow]:
    """Return the executions, in the order of the plan."""
    return sorted(
        open_sqlite_catalog(default_catalog_file(folder / "work")).read(ExecutionRow, DAG, run_id),
        key=lambda row: row.key,
    )


def print_overhead(airflow: PrivateAirflow, folder: Path, run_id: str) -> float:
    """Print what an execution costs; give the seconds to the first one."""
    rows = read_rows(folder, run_id)
    ends = [row.ended.timestamp() for row in rows if row.ended is not None]
    own = [row.seconds or 0.0 for row in rows]
    overheads = sorted(1000 * (end - before - took) for before, end, took in zip(ends, ends[1:], own[1:], strict=False))
    median, high = statistics.median(overheads), overheads[len(overheads) * 9 // 10]
    print(
        f"{len(rows)} executions: overhead {median:.1f} ms at the median, {high:.1f} ms at 90 %; "
        f"the algorithm itself {1000 * statistics.median(own):.1f} ms"
    )
    first = measure_first(read_task(airflow, run_id), rows[0])
    print(f"fresh run: {first:.2f} s from the start of the task to its first execution")
    return first


def print_restart(airflow: PrivateAirflow, folder: Path, run_id: str, layout: AlgorithmLayout, fresh: float) -> None:
    """Clear the task with all executions kept but the last, and print what that costs."""
    last = read_rows(folder, run_id)[-1]
    store = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{TASK}/state-store"
    keys = [entry["key"] for entry in airflow.call_api("GET", f"{store}?limit=1000")["task_state_store"]]
    chunk = max(int(key.partition("-")[2]) for key in keys if key.startswith("executions-"))
    kept = airflow.call_api("GET", f"{store}/executions-{chunk}")["value"]
    airflow.call_api("PUT", f"{store}/executions-{chunk}", {"value": kept[:-1]})
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [TASK], "include_downstream": True,
            "only_failed": False, "reset_dag_runs": True}  # fmt: skip
    airflow.call_api("POST", f"/dags/{DAG}/clearTaskInstances", body)
    wait_for_end(airflow, run_id)
    row = next(row for row in read_rows(folder, run_id) if row.key == last.key)
    first = measure_first(read_task(airflow, run_id), row)
    print(
        f"restart with {last.key} recorded: {first:.2f} s to its first new execution, "
        f"{first - fresh:+.2f} s against the fresh run ({len(keys)} keys in the store)"
    )
    assert layout.staging_folder.exists()


if __name__ == "__main__":
    main()
