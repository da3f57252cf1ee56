"""The algorithm step on a real Airflow, in the worker and as a job: kill -9 of everything, and what a clear does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.io.catalog import ExecutionRow
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.exit_records import StatusFolder
from tests.integration.started_airflow import StartedAirflow
from tests.private_airflow import COMPONENTS

pytestmark = [pytest.mark.airflow, pytest.mark.kills_airflow]

DAG = "restarting"
ALGORITHM = "SlowAlgorithm"
RUNS = 7
FREE = 3
"""So many executions end before everything is killed, see the DAG's calibrators."""

NAMES = ("child", "task", "simple", "content", "stages", "experiment")
"""They run in the worker."""

HELD = (*NAMES, "job")
MERGE = "merging.iteration_0.events.merge"

HOLD_MERGE = """
import sys, time
from pathlib import Path
if "merge" in sys.orig_argv:
    folder, until = Path(__file__).parent, time.monotonic() + 1200
    with (folder / "merges").open("a") as merges:
        merges.write("begun ")
    while not (folder / "go").exists() and time.monotonic() < until:
        time.sleep(0.1)
"""
"""What the Python of a job does first where its folder is on PYTHONPATH, as `sitecustomize.py`."""

MAKE_EVENTS = """
import sys, numpy, ROOT
for run in range(1, int(sys.argv[2]) + 1):
    branches = {"exp": numpy.full(run, 1 + run // 5, dtype=numpy.int32), "run": numpy.full(run, run, dtype=numpy.int32)}
    ROOT.RDF.FromNumpy(branches).Snapshot("events", f"{sys.argv[1]}/run_{run}.root")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("events")
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(folder), str(RUNS)], check=True)
    (folder / "sitecustomize.py").write_text(HOLD_MERGE)
    return folder


@pytest.fixture(scope="module")
def run_id(started: StartedAirflow, folder: Path) -> str:
    """Give a run in which everything was killed while the algorithms were at work."""
    run_id = started.trigger(DAG, {"folder": str(folder)})
    started.wait_until(lambda: (folder / "merges").exists())
    # It looks at its job for some seconds before it defers. Where that is over, it dies with the triggerer.
    for runner in find_runners(started, run_id, MERGE):
        os.kill(runner, signal.SIGKILL)
    for name in HELD:
        wait_for_notes(started, run_id, name, FREE + 1)
    wait_for_job(started, run_id)
    os.kill(read_notes(started, run_id, "child")[-1]["pid"], signal.SIGKILL)
    os.kill(find_parent(read_notes(started, run_id, "task")[-1]["pid"]), signal.SIGKILL)
    for name in ("child", "task"):
        wait_for_notes(started, run_id, name, len(read_notes(started, run_id, name)) + 1)
    for component in COMPONENTS:
        started.airflow.kill_component(component)
    for name in HELD:
        (find_layout(started, run_id, name).folder / "resume").touch()
    (folder / "go").touch()
    started.airflow.start()
    assert started.wait(DAG, run_id) == "success", started.explain(DAG, run_id)
    return run_id


def find_runners(started: StartedAirflow, run_id: str, task: str) -> list[int]:
    """Return the process in which a task runs now, if it does; Airflow calls it by the id of this try."""
    instance = started.airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}")
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title = (process / "cmdline").read_text(errors="replace")
        except OSError:
            continue  # it has just ended
        if title.startswith(f"airflow worker -- {instance['id']}"):
            found.append(int(process.name))
    return found


def wait_for_job(started: StartedAirflow, run_id: str) -> None:
    """Wait until the algorithm that is a job holds no slot of Airflow, and all that is finished of it is shown."""

    def is_shown() -> bool:
        rows = started.open_catalog().read(ExecutionRow, DAG, run_id, "job")
        return started.read_states(DAG, run_id)[f"job.iteration_0.{ALGORITHM}"] == "deferred" and len(rows) == FREE

    started.wait_until(is_shown)


def wait_for_notes(started: StartedAirflow, run_id: str, name: str, count: int) -> None:
    started.wait_until(lambda: len(read_notes(started, run_id, name)) >= count)


def find_layout(started: StartedAirflow, run_id: str, name: str) -> AlgorithmLayout:
    return started.find_run(DAG, run_id).calibration(name).iteration(0).algorithm(ALGORITHM)


def read_notes(started: StartedAirflow, run_id: str, name: str) -> list[dict[str, Any]]:
    notes = find_layout(started, run_id, name).folder / "executed.jsonl"
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def find_parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def read_database(layout: AlgorithmLayout) -> dict[str, bytes]:
    LocalDatabase(layout.database).verify()
    return {path.name: path.read_bytes() for path in layout.database.iterdir()}


def count_most(notes: list[dict[str, Any]]) -> int:
    """Count how often the execution that was repeated most was done."""
    keys = [json.dumps({**note, "pid": 0}) for note in notes]
    return max(keys.count(key) for key in keys)


@pytest.mark.parametrize("name", NAMES)
def test_after_kill_9_only_what_was_not_finished_is_executed(started: StartedAirflow, run_id: str, name: str) -> None:
    result = started.read_xcom(DAG, run_id, f"{name}.iteration_0.{ALGORITHM}")
    notes = read_notes(started, run_id, name)
    workers = 2 if name in ("task", "simple") else 1
    # With two workers, one execution is counted when it begins and may end after the kill.
    assert result["replayed"] >= FREE + 1 - workers
    # The machine died once, and the process or the task before: what was under way then was begun again.
    kills = 2 if name in ("child", "task") else 1
    assert len(notes) <= result["executions"] + result["wasted"] + kills * workers
    assert count_most(notes) <= 1 + kills


def test_a_job_outlives_kill_9_of_everything_and_repeats_nothing(started: StartedAirflow, run_id: str) -> None:
    result = started.read_xcom(DAG, run_id, f"job.iteration_0.{ALGORITHM}")
    notes = read_notes(started, run_id, "job")
    assert len(notes) == result["executions"] > FREE
    assert (result["replayed"], count_most(notes)) == (0, 1)
    rows = started.open_catalog().read(ExecutionRow, DAG, run_id, "job")
    assert len(rows) == result["executions"]


def test_a_merge_outlives_kill_9_of_its_task_and_is_not_done_twice(
    started: StartedAirflow, run_id: str, folder: Path
) -> None:
    assert (folder / "merges").read_text().split() == ["begun"]
    merge = started.find_run(DAG, run_id).calibration("merging").iteration(0).collection("events").merge_folder
    records = StatusFolder(TaskJobsLayout(folder=merge).jobs.status_folder).scan()
    assert [(record.attempt, record.exit_code) for record in records] == [(0, 0)]
    assert started.read_xcom(DAG, run_id, MERGE)["runs"] == RUNS


def test_the_database_after_kill_9_is_byte_for_byte_that_of_an_undisturbed_run(
    started: StartedAirflow, run_id: str
) -> None:
    killed = {name: read_database(find_layout(started, run_id, name)) for name in HELD}
    assert killed["job"] == killed["child"]
    before = {name: len(read_notes(started, run_id, name)) for name in HELD}
    started.clear(DAG, run_id, *(f"{name}.iteration_0.{ALGORITHM}" for name in HELD))
    assert started.wait(DAG, run_id) == "success"
    for name in HELD:
        result = started.read_xcom(DAG, run_id, f"{name}.iteration_0.{ALGORITHM}")
        assert result["replayed"] == 0, "a clear is a fresh run"
        assert len(read_notes(started, run_id, name)) == before[name] + result["executions"] + result["wasted"]
        assert read_database(find_layout(started, run_id, name)) == killed[name]


def test_a_user_can_keep_the_finished_executions_when_clearing(started: StartedAirflow, run_id: str) -> None:
    task = f"stages.iteration_0.{ALGORITHM}"
    store = f"/dags/{DAG}/dagRuns/{quote(run_id)}/taskInstances/{task}/state-store"
    before = len(read_notes(started, run_id, "stages"))
    database = read_database(find_layout(started, run_id, "stages"))
    started.airflow.call_api("PUT", f"{store}/keep_executions", {"value": True})
    started.clear(DAG, run_id, task)
    assert started.wait(DAG, run_id) == "success"
    result = started.read_xcom(DAG, run_id, task)
    assert result["replayed"] == result["executions"] > RUNS
    assert len(read_notes(started, run_id, "stages")) == before
    assert read_database(find_layout(started, run_id, "stages")) == database
    log = started.read_log(DAG, run_id, task)
    assert f"{result['executions']} finished executions of an earlier try are used again" in log


def test_the_task_log_has_the_last_lines_of_the_algorithm(started: StartedAirflow, run_id: str) -> None:
    log = started.read_log(DAG, run_id, f"simple.iteration_0.{ALGORITHM}")
    assert "Execution 0: OK for run 1.1" in log
    assert "payloads committed" in log


def test_a_clear_of_a_running_task_is_a_fresh_run_too(started: StartedAirflow, run_id: str) -> None:
    task = f"child.iteration_0.{ALGORITHM}"
    folder = find_layout(started, run_id, "child").folder
    (folder / "resume").unlink()
    (folder / "executed.jsonl").unlink()
    started.clear(DAG, run_id, task)
    wait_for_notes(started, run_id, "child", FREE + 1)
    started.clear(DAG, run_id, task)
    wait_for_notes(started, run_id, "child", FREE + 2)
    (folder / "resume").touch()
    assert started.wait(DAG, run_id) == "success"
    result = started.read_xcom(DAG, run_id, task)
    assert result["replayed"] == 0
    assert len(read_notes(started, run_id, "child")) == FREE + 1 + result["executions"]
