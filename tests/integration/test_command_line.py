"""`airflow caf …` beside a real Airflow: what it shows of a run, and how it steers one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.jobs.exit_records import StatusFolder
from tests.integration.started_airflow import StartedAirflow
from tests.integration.test_restart import MAKE_EVENTS

pytestmark = pytest.mark.airflow

DAG = "counting"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(folder), "2"], check=True)
    return folder


def run_caf(started: StartedAirflow, *words: str) -> str:
    return started.airflow.run_cli(["caf", *words])


def test_why_a_run_failed_is_shown_and_a_reset_runs_what_follows(started: StartedAirflow, data: Path) -> None:
    (data / "run_2.fail").touch()
    run_id = started.trigger(DAG, {"folder": str(data), "calibrations": ["first"]})
    assert started.wait(DAG, run_id) == "failed"
    status = json.loads(run_caf(started, "status", DAG, run_id, "--json"))
    first = next(each for each in status["calibrations"] if each["name"] == "first")
    assert (first["state"], first["checkpoint"]) == ("failed", "submitted")
    assert (first["subjobs_done"], first["subjobs_failed"], first["subjobs"]) == (1, 1, 2)
    others = {each["name"]: each["state"] for each in status["calibrations"] if each["name"] != "first"}
    assert others == {"second": "upstream failed", "alone": "left out"}
    assert "told to fail by run_2.fail" in run_caf(started, "logs", DAG, run_id, "first")
    for noun in ("algorithm", "collection"):
        with pytest.raises(TransportError, match=f"(?s)has no {noun} 'typo'.*Known {noun}s") as refused:
            run_caf(started, "logs", DAG, run_id, "first", f"--{noun}", "typo")
        # It is the command that is wrong, not the run.
        assert "Clear" not in str(refused.value)

    (data / "run_2.fail").unlink()
    said = run_caf(started, "reset", DAG, run_id, "first", "--to", "collect", "--yes")
    assert "first.iteration_0.events.wait (failed)" in said
    assert started.wait(DAG, run_id) == "success", started.explain(DAG, run_id)
    layout = started.find_run(DAG, run_id).calibration("first").iteration(0).collection("events")
    well = [each.subjob for each in StatusFolder(layout.jobs.status_folder).scan() if each.says_success]
    # What was done before the reset was not done again.
    assert sorted(well) == [0, 1]
    assert "completed" in run_caf(started, "status", DAG, run_id)
    with pytest.raises(TransportError, match="is over: success"):
        run_caf(started, "cancel", DAG, run_id, "--yes")


def test_a_cancelled_run_ends_with_its_jobs(started: StartedAirflow, data: Path, tmp_path: Path) -> None:
    (data / "slow").write_text("120")
    try:
        run_id = started.trigger(DAG, {"folder": str(data), "calibrations": ["first"]})
        wait = "first.iteration_0.events.wait"
        started.wait_until(lambda: started.read_states(DAG, run_id).get(wait) in ("running", "deferred"))
        said = run_caf(started, "cancel", DAG, run_id, "--yes")
        assert wait in said
        assert started.wait(DAG, run_id) == "failed"
    finally:
        (data / "slow").unlink()
    collection = started.find_run(DAG, run_id).calibration("first").iteration(0).collection("events")
    started.wait_until(lambda: len(StatusFolder(collection.jobs.status_folder).scan()) == 2)
    assert {each.says_success for each in StatusFolder(collection.jobs.status_folder).scan()} == {False}


def test_definitions_are_checked_with_an_exit_code(started: StartedAirflow, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    run_caf(started, "new", "mine", "-o", str(file))
    assert "Good definitions: 1. Mistakes: 0." in run_caf(started, "lint", str(file))
    file.write_text(file.read_text().replace("strategy: SequentialRunByRun", "strategy: SequentialRunbyRun"))
    with pytest.raises(TransportError, match="ended with 1"):
        run_caf(started, "lint", str(file))
