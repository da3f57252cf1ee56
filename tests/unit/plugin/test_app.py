"""The application without a server: its headers, and what an error becomes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError, DatabaseError
from airflow_provider_caf.plugin import CafPlugin
from airflow_provider_caf.plugin.app import STATIC, _answer_error, build_app
from airflow_provider_caf.site.page import build_log_address, build_run_address


def answer(error: CafError) -> Any:
    response = asyncio.run(_answer_error(None, error))  # type: ignore[arg-type]
    return response.status_code, json.loads(bytes(response.body))


def test_an_error_says_what_and_what_to_do() -> None:
    error = CafError("There is no run.", hint="Look.")
    assert answer(error) == (404, {"detail": error.what, "hint": error.hint})


def test_a_viewer_learns_nothing_of_the_database(caplog: pytest.LogCaptureFixture) -> None:
    status, shown = answer(
        DatabaseError("postgresql://caf@db.example.org could not be read", hint="Ask db.example.org.")
    )
    assert status == 503
    assert "example" not in json.dumps(shown)
    assert "db.example.org could not be read" in caplog.text


def test_the_api_has_no_pages_of_its_own() -> None:
    app = build_app()
    assert (app.docs_url, app.redoc_url, app.openapi_url) == (None, None, None)
    assert (STATIC / "index.html").is_file()


def test_the_plugin_has_a_page_in_each_place() -> None:
    views = {view["destination"]: view for view in CafPlugin.external_views}
    assert set(views) == {"nav", "dag", "dag_run"}
    assert views["dag_run"]["href"] == "/caf/?dag_id={DAG_ID}&run_id={RUN_ID}"
    assert CafPlugin.fastapi_apps[0]["url_prefix"] == "/caf"


def test_addresses_are_behind_the_path_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host/airflow/")
    assert build_run_address("a/b", "r&1", "c d", part="folder") == (
        "/airflow/caf/?dag_id=a%2Fb&run_id=r%261&calibration=c+d#folder"
    )
    assert build_log_address("a/b", "r", "c", 0, "Mean").startswith("/airflow/caf/api/dags/a%2Fb/log?run_id=r&")
