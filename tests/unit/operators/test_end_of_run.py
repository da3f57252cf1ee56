"""The last tasks of a run: what is ready, and where it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf import CAF, ImportedPayloads, Publish, Upload, build_dag
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.unit.operators.running import build_context, run_task

if TYPE_CHECKING:
    from tests.unit.conftest import Lab


def test_a_step_and_the_end_of_a_run_say_that_payloads_are_ready(lab: Lab, context: Any, tmp_path: Path) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"root")
    source = LocalDatabase(tmp_path / "by_hand")
    source.commit([("Spot", payload, IoV(1, 0, 2, -1)), ("Other", payload, IoV(1, 0, 1, 5))])
    caf = CAF(
        "lab",
        [ImportedPayloads("earlier", source.folder, payloads=["Spot"])],
        publish=Publish(folder=str(tmp_path / "accepted")),
    )
    dag = build_dag(caf)
    context = build_context(context, dag)
    answers: dict[str, Any] = {}
    context["ti"].xcom_pull = lambda task_ids: answers[task_ids]
    for task_id in ("configure", "earlier.run", "join", "publish"):
        answers[task_id] = run_task(dag, task_id, context)
    events = {asset.name: event.extra for asset, event in context["outlet_events"].items()}
    assert events["caf.lab.earlier"]["payloads"] == {"Spot": 1}
    assert events["caf.lab.earlier"]["iov"] == [1, 0, 2, -1]
    assert events["caf.lab"]["payloads"] == {"Spot": 1}
    (accepted,) = (each for each in (tmp_path / "accepted" / "lab").iterdir() if each.is_dir())
    assert [str(entry.iov) for entry in LocalDatabase(accepted).entries()] == ["1,0,2,-1"]
    # Never twice: what was done is known.
    (accepted / "database.txt").unlink()
    run_task(dag, "publish", context)
    assert not (accepted / "database.txt").exists()


def test_an_upload_needs_its_connection_from_the_first_task_on(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = tmp_path / "payload"
    payload.write_bytes(b"root")
    source = LocalDatabase(tmp_path / "by_hand")
    source.commit([("Spot", payload, IoV(1, 0, 2, -1))])
    upload = Upload(global_tag="user_anna_spot", connection="conditions", dry_run=True)
    dag = build_dag(CAF("lab", [ImportedPayloads("earlier", source.folder)], publish=Publish(upload=upload)))
    context = build_context(context, dag)
    answers: dict[str, Any] = {}
    context["ti"].xcom_pull = lambda task_ids: answers[task_ids]
    with pytest.raises(AirflowFailException, match="There is no connection 'conditions'"):
        run_task(dag, "configure", context)
    monkeypatch.setenv("AIRFLOW_CONN_CONDITIONS", json.dumps({"conn_type": "generic", "login": "a", "password": "b"}))
    for task_id in ("configure", "earlier.run", "join", "publish"):
        answers[task_id] = run_task(dag, task_id, context)
    assert answers["publish"] == {"what": "checked for user_anna_spot, 1 lines; a dry run uploads nothing"}
