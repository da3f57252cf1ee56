"""Run the demonstration on a real Airflow of its own: `make demo`, or `make serve` to look around in the web UI."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.cli.output import find_console
from airflow_provider_caf.cli.progress import watch
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.catalog import Catalog, open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout, default_catalog_file
from airflow_provider_caf.status.progress import read_progress
from airflow_provider_caf.status.tasks import TaskRow

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))
from demo_report import PULL_LIMIT, Truth, build_result_table, draw_plots, read_measurements
from tests.private_airflow import PrivateAirflow

PROJECT = Path(__file__).resolve().parent.parent
DAG_ID = "demo_calibration"
CONNECTION = "demo_batch"
_END_STATES = {"success", "failed"}
_LIMIT_SECONDS = 3600.0


def main() -> int:
    """Run the demonstration and give the exit code: 0 if all tasks ended well and every pull is within 5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=PROJECT / "demo-run", help="where everything goes")
    parser.add_argument(
        "--backend", default="local", type=str.lower, choices=sorted(SYSTEMS), help="where the collector jobs run"
    )
    parser.add_argument("--serve", action="store_true", help="leave the web UI up until Ctrl-C")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # The `with` below stops Airflow; a signal must not go around it.
        signal.signal(number, lambda which, _: sys.exit(128 + which))
    folder: Path = options.folder.resolve()
    console = find_console()
    began = time.monotonic()
    data = make_data(folder, console)
    settings = {
        "AIRFLOW__CAF__WORK_DIR": str(folder / "work"),
        f"AIRFLOW_CONN_{CONNECTION.upper()}": build_connection(options.backend),
    }
    airflow = PrivateAirflow(make_fresh_home(folder), PROJECT / "dags", settings=settings)
    console.print("Starting an Airflow of its own: scheduler, triggerer, DAG processor, API server")
    with airflow:
        if options.serve:
            show_door(airflow, console)
        exit_code = run_demo(airflow, folder, data, console)
        console.print(f"{time.monotonic() - began:.0f} s in all.")
        if options.serve:
            show_door(airflow, console)
            wait_for_interrupt(console)
    return exit_code


def make_data(folder: Path, console: Console) -> Path:
    """Let the detector take its data, once."""
    data = folder / "data"
    if not (data / "truth.json").exists():
        console.print("Taking data with the demonstration's detector …")
        subprocess.run(
            [sys.executable, "-W", "ignore", str(PROJECT / "dags" / "demo_detector.py"), str(data)],
            check=True,
        )
    return data


def make_fresh_home(folder: Path) -> Path:
    """Return an empty AIRFLOW_HOME; what an interrupted demonstration left must not go on."""
    home = folder / "airflow"
    for stale in (home, folder / "work"):
        if stale.exists():
            shutil.rmtree(stale)
    default_catalog_file(folder / "work").unlink(missing_ok=True)
    return home


def build_connection(backend: str, environment: Mapping[str, str] | None = None) -> str:
    """Return an Airflow connection to a batch system. Its jobs run with this Python, where ROOT is.

    :param environment: more variables of its jobs.
    """
    extra = {"system": backend, "python": sys.executable, "environment": dict(environment or {})}
    return json.dumps({"conn_type": "caf_batch", "extra": extra})


def build_conf(data: Path) -> dict[str, object]:
    """Return the params of the run."""
    files = {name: [f"{data}/*_{name}.root"] for name in ("muons", "electrons")}
    return {"input_data": files, "connection": CONNECTION}


def run_demo(airflow: PrivateAirflow, folder: Path, data: Path, console: Console) -> int:
    """Trigger the DAG, show its progress and its result."""
    airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, build_conf(data))
    layout = RunLayout(work_dir=folder / "work", dag_id=DAG_ID, run_id=run_id)
    catalog = open_sqlite_catalog(default_catalog_file(folder / "work"))
    state, tasks = watch_run(airflow, layout, catalog, console)
    truth = Truth(data)
    measurements = read_measurements(catalog, DAG_ID, run_id, truth)
    console.print(build_result_table(measurements), soft_wrap=True)
    for path in draw_plots(measurements, truth, folder / "plots"):
        console.print(f"plot: {path}", soft_wrap=True)
    console.print(f"files of the run: {layout.folder}", soft_wrap=True)
    broken = [task for task, its_state in tasks.items() if its_state in ("failed", "upstream_failed")]
    outside = [measurement for measurement in measurements if abs(measurement.pull) > PULL_LIMIT]
    if state != "success" or broken:
        console.print(f"[bold red]The run ended as {state}; these tasks did not end well: {', '.join(broken)}")
        return 1
    if outside or not measurements:
        console.print(f"[bold red]{len(outside)} of {len(measurements)} constants are beyond {PULL_LIMIT:g} errors.")
        return 1
    console.print(f"[green]All {len(measurements)} constants are within {PULL_LIMIT:g} errors of the truth.")
    return 0


def watch_run(
    airflow: PrivateAirflow, layout: RunLayout, catalog: Catalog, console: Console
) -> tuple[str, dict[str, str | None]]:
    """Show how far the run is until it has ended. Give its state and those of its tasks."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    with watch(console) as show:
        while True:
            state = airflow.read_run_state(DAG_ID, layout.run_id)
            tasks = airflow.read_task_states(DAG_ID, layout.run_id)
            rows = {task_id: TaskRow(state=task_state) for task_id, task_state in tasks.items()}
            progress = read_progress(DAG_ID, layout.run_id, rows, catalog)
            show(progress, f"{DAG_ID} {layout.run_id}: {state}")
            if state in _END_STATES:
                return state, tasks
            if time.monotonic() > deadline:
                raise CafError(f"The run {layout.run_id} has not ended within {_LIMIT_SECONDS:.0f} s.")
            time.sleep(1.0)


def show_door(airflow: PrivateAirflow, console: Console) -> None:
    """Say where the web UI is."""
    console.print(f"Web UI: [bold]{airflow.url}[/]  user: {airflow.user}  password: {airflow.password}")


def wait_for_interrupt(console: Console) -> None:
    """Wait until somebody presses Ctrl-C."""
    console.print("Press Ctrl-C to stop it.")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("Stopping.")


if __name__ == "__main__":
    sys.exit(main())
