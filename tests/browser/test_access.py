"""Who sees what: every route asks Airflow, with and without a login, and for a DAG of another team."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from airflow_provider_caf.plugin.app import router
from tests.browser.site import Site

pytestmark = pytest.mark.airflow

WORDS = {
    "run": "",
    "calibration": "&name=by_hand",
    "executions": "&name=by_hand&iteration=0",
    "execution": "&name=by_hand&iteration=0&algorithm=a&key=0",
    "map": "",
    "payload": "&name=by_hand&payload=Spot&iov=7,0,7,9",
    "trend": "&name=by_hand&payload=Spot",
    "failures": "",
    "log": "&name=by_hand&iteration=0&step=a",
    "figure": "&name=by_hand&iteration=0&algorithm=a&key=0&figure=f",
}
SEEN_BY_ALL = ["run", "calibration", "executions", "map", "payload", "trend", "failures"]
"""What the run that waits for its sign-off has."""


def build_path(site: Site, dag_id: str, what: str) -> str:
    return f"dags/{dag_id}/{what}?run_id={quote(site.runs.get(dag_id, 'last'))}{WORDS[what]}"


def test_every_route_is_looked_at() -> None:
    paths = {getattr(route, "path", "") for route in router.routes}
    assert {path.rpartition("/")[2] for path in paths if path.startswith("/dags/")} == set(WORDS)
    assert {path for path in paths if not path.startswith("/dags/")} == {"/runs"}


@pytest.mark.parametrize("what", [*WORDS])
def test_nobody_sees_anything_without_a_login(site: Site, what: str) -> None:
    status, body = site.ask(build_path(site, "signed", what), None)
    assert status == 401
    assert b"by_hand" not in body


def test_the_list_of_runs_needs_a_login(site: Site) -> None:
    status, body = site.ask("runs", None)
    assert status == 401
    assert b"signed" not in body


@pytest.mark.parametrize("what", SEEN_BY_ALL)
def test_a_viewer_sees_what_is_not_of_a_team(site: Site, what: str) -> None:
    status, body = site.ask(build_path(site, "signed", what), site.read_token("viewer"))
    assert status == 200, body


@pytest.mark.parametrize("what", [*WORDS])
def test_a_dag_of_another_team_is_closed(site: Site, what: str) -> None:
    status, body = site.ask(build_path(site, "theirs", what), site.read_token("viewer"))
    assert status == 403
    assert b"by_hand" not in body


@pytest.mark.parametrize("what", [*WORDS])
def test_its_own_team_gets_further(site: Site, what: str) -> None:
    status, body = site.ask(build_path(site, "theirs", what), site.read_token("red"))
    assert status == 404
    assert "has no run yet" in json.loads(body)["detail"]


def test_a_list_holds_only_what_its_reader_may_see(site: Site) -> None:
    catalog = site.started.open_catalog()
    assert "signed" in catalog.list_dags()
    status, body = site.ask("runs", site.read_token("viewer"))
    assert status == 200
    listed = {run["dag_id"] for run in json.loads(body)["runs"]}
    assert listed >= {*site.runs} - {"empty"}
    assert listed.isdisjoint({"empty", "theirs"})
    assert site.ask("runs?dag_id=theirs", site.read_token("viewer"))[0] == 403


def test_a_viewer_may_change_nothing(site: Site) -> None:
    _, body = site.ask(build_path(site, "signed", "run"), site.read_token("viewer"))
    assert json.loads(body)["may"] == {"clear": False, "cancel": False, "answer": False}
    _, body = site.ask(build_path(site, "signed", "run"), site.read_token("admin"))
    assert json.loads(body)["may"] == {"clear": True, "cancel": True, "answer": True}


@pytest.mark.parametrize(
    ("dag_id", "run_id", "said"),
    [("signed", "no such run", "has no run 'no such run'"), ("nothing", "last", "There is no DAG 'nothing'")],
)
def test_what_is_not_there_is_named(site: Site, dag_id: str, run_id: str, said: str) -> None:
    status, body = site.ask(f"dags/{dag_id}/run?run_id={quote(run_id)}", site.read_token("admin"))
    assert status == 404
    assert said in json.loads(body)["detail"]


def test_a_log_and_a_figure_can_run_nothing(site: Site) -> None:
    import urllib.request

    path = f"dags/failing/log?run_id={quote(site.runs['failing'])}&name=vertex&iteration=0&step=hits&subjob=0"
    headers = {"Authorization": f"Bearer {site.read_token('admin')}"}
    request = urllib.request.Request(f"{site.airflow.url}/caf/api/{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert b"<script>" in answer.read()
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]
