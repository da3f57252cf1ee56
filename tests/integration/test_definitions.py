"""Definitions on a real Airflow: a broken file, a bad conf, sign-off, publication, and who comes after."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.integration.started_airflow import StartedAirflow
from tests.integration.test_restart import MAKE_EVENTS

pytestmark = pytest.mark.airflow


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", MAKE_EVENTS, str(folder), "2"], check=True)
    return folder


def test_a_broken_definition_is_an_import_error_of_its_own(started: StartedAirflow) -> None:
    started.airflow.wait_for_dag("published")
    # Airflow drops the errors of files that it has not found itself whenever it lists the DAG folder anew.
    started.read_definitions_again()
    started.wait_until(lambda: bool(find_errors(started)))
    (error,) = find_errors(started)
    assert "The strategy SimpleRunByRun has no parameter 'iov_coverage'" in error["stack_trace"]
    assert "broken.yaml:10: " in error["stack_trace"]
    assert "> 10 |         params: {iov_coverage: [1, 0, -1, -1]}" in error["stack_trace"]
    # All others are there, and none of them is taken for broken.
    dags = {each["dag_id"]: each for each in started.airflow.call_api("GET", "/dags?limit=100")["dags"]}
    assert {"published", "follower", "gain_chain", "alignment"} <= set(dags)
    assert [name for name, dag in dags.items() if dag["has_import_errors"]] == []
    assert not [name for name in dags if name.startswith("broken")]


def find_errors(started: StartedAirflow) -> list[dict[str, Any]]:
    errors = started.airflow.call_api("GET", "/importErrors")["import_errors"]
    return [each for each in errors if "broken.yaml" in each["filename"]]


@pytest.mark.parametrize(
    ("conf", "what"),
    [
        ({"expert_config": {"jbos": 1}}, "jbos"),
        ({"expert_config": {"jobs": "many"}}, "many"),
        ({"calibrations": ["cuonting"]}, "cuonting"),
        ({"max_iterations": 7}, "7"),
        ({"backend": "slurn"}, "slurn"),
    ],
)
def test_a_bad_conf_is_refused_when_a_run_is_triggered(
    started: StartedAirflow, conf: dict[str, Any], what: str
) -> None:
    started.airflow.wait_for_dag("published")
    with pytest.raises(TransportError, match=what):
        started.airflow.call_api("POST", "/dags/published/dagRuns", {"logical_date": None, "conf": conf})


def test_an_unknown_word_of_a_conf_is_refused_before_anything_is_submitted(started: StartedAirflow) -> None:
    run_id = started.trigger("published", {"input_dat": {}})
    assert started.wait("published", run_id) == "failed"
    states = started.read_states("published", run_id)
    assert states["configure"] == "failed"
    # The report says so, however a run ends.
    assert states.pop("report") == "success"
    assert set(states.values()) == {"failed", "upstream_failed"}
    assert "Did you mean 'input_data'?" in started.read_log("published", run_id, "configure")


def test_a_result_is_signed_off_published_once_and_followed(
    started: StartedAirflow, data: Path, tmp_path: Path
) -> None:
    started.airflow.wait_for_dag("follower")
    accepted = tmp_path / "accepted"
    conf = {
        "input_data": {"events": [f"{data}/*.root"]},
        "accepted": str(accepted),
        "calibrations": ["counting"],
    }
    run_id = started.trigger("published", conf)
    started.wait_until(lambda: started.read_states("published", run_id).get("sign_off") == "awaiting_input")
    assert not accepted.exists()
    task = f"/dags/published/dagRuns/{quote(run_id)}/taskInstances/sign_off/-1/hitlDetails"
    asked = started.airflow.call_api("GET", task)
    assert asked["body"].startswith("Are there enough events?")
    assert "| Count | 2 |" in asked["body"]
    answer = {"chosen_options": ["Approve"], "params_input": {"comment": "as last year"}}
    started.answer("published", run_id, "sign_off", answer)
    assert started.wait("published", run_id) == "success", started.explain("published", run_id)
    states = started.read_states("published", run_id)
    assert states["left_out.prepare"] == states["left_out.finish"] == "skipped"
    assert len(LocalDatabase(accepted).entries()) == 2
    signed = json.loads(started.find_run("published", run_id).sign_off.read_text())
    assert (signed["approved"], signed["comment"]) == (True, "as last year")
    follow(started, run_id)


def follow(started: StartedAirflow, run_id: str) -> None:
    """Look at the run of the definition that waits for this one."""
    follower = started.wait_for_run("follower")
    assert started.wait("follower", follower) == "success", started.explain("follower", follower)
    layout = started.find_run("follower", follower)
    assert len(LocalDatabase(layout.database).entries()) == 2
    seen = json.loads((layout.calibration("noted").folder / "seen.json").read_text())
    assert seen == [{"kind": "local", "path": str(layout.calibration("taken_over").database)}]
    assert str(started.find_run("published", run_id).database) in started.read_log(
        "follower", follower, "taken_over.run"
    )
