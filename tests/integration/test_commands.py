"""What Airflow's own commands say of the provider and its DAGs."""

from __future__ import annotations

import pytest

from tests.integration.started_airflow import StartedAirflow

pytestmark = pytest.mark.airflow


def test_airflow_lists_the_provider_and_what_it_brings(started: StartedAirflow) -> None:
    assert "airflow-provider-caf" in started.airflow.run_cli(["providers", "get", "airflow-provider-caf"])
    assert "caf_batch" in started.airflow.run_cli(["providers", "hooks"])
    assert "airflow_provider_caf" in started.airflow.run_cli(["providers", "triggers"])
    assert started.airflow.run_cli(["config", "get-value", "caf", "work_dir"]).strip().endswith("/work")


def test_every_dag_is_read_without_an_error(started: StartedAirflow) -> None:
    started.airflow.wait_for_dag("counting")
    started.airflow.wait_for_dag("zmumu")
    listed = started.airflow.run_cli(["dags", "list"])
    assert "counting" in listed
    assert "zmumu" in listed
    errors = started.airflow.call_api("GET", "/importErrors")["import_errors"]
    assert [each["filename"] for each in errors if "broken.yaml" not in each["filename"]] == []


def test_what_tasks_and_dag_files_use_is_loaded_where_they_are_forked_from(started: StartedAirflow) -> None:
    run_id = started.trigger("ahead")
    assert started.wait("ahead", run_id) == "success", started.explain("ahead", run_id)
    assert started.read_xcom("ahead", run_id, "look") is True
    assert [tag["name"] for tag in started.airflow.call_api("GET", "/dags/ahead")["tags"]] == ["loaded"]
