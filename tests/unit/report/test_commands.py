"""`airflow caf report` and `compare`, called as Airflow calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.cli import report
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.status.airflow_run import RunRow
from tests.caf_command import run
from tests.unit.report.conftest import AddPayloads


@pytest.fixture
def asked(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str | None]]:
    """What is asked of Airflow's database, in the place of which this stands. The newest run is `second`."""
    found: list[tuple[str, str | None]] = []

    def read_run(dag_id: str, run_id: str | None) -> RunRow:
        found.append((dag_id, run_id))
        if dag_id not in ("lab", "other"):
            raise CafError(f"There is no DAG {dag_id!r}.")
        chosen = "second" if run_id in (None, "last") else run_id
        return RunRow(dag_id=dag_id, run_id=chosen, state="success", started=None, ended=None, tasks={})

    monkeypatch.setattr(report, "read_run", read_run)
    monkeypatch.setattr(report, "find_catalog", lambda: catalog)
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(tmp_path / "work"))
    return found


@pytest.mark.parametrize(("words", "name"), [((), "second"), (("last",), "second"), (("first",), "first")])
def test_a_report_goes_into_the_folder_of_its_run(
    asked: list[Any], full: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str], name: str
) -> None:
    assert run("report", "lab", *words) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "work" / "lab" / name / "report" / "report.html"
    assert f"<title>lab {name}</title>" in path.read_text("utf-8")


def test_a_report_goes_where_one_says(
    asked: list[Any], full: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a folder" / "of mine"
    assert run("report", "lab", "first", "--output", str(folder)) == 0
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert (folder / "figures" / "iov_map.png").exists()


def test_a_dag_that_is_not_there_is_a_message(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", "nothing") == 1
    assert run("compare", "lab", "nothing") == 1
    assert capsys.readouterr().err.count("There is no DAG 'nothing'.") == 2


@pytest.mark.parametrize("as_json", [True, False])
def test_differences_are_shown_and_no_error(
    asked: list[Any], add_payloads: AddPayloads, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    add_payloads({(1, 1, 1, 5): {"value": 1.0, "error": 0.3}})
    add_payloads({(1, 1, 1, 5): {"value": 2.0, "error": 0.4}}, run_id="second")
    assert run("compare", "lab/first", "lab", *(["--json"] if as_json else [])) == 0
    assert asked == [("lab", "first"), ("lab", None)]
    text = capsys.readouterr().out
    if as_json:
        (payload,) = json.loads(text)["payloads"]
        assert payload["changed"][0]["pull"] == pytest.approx(2.0)
    else:
        for said in ("lab/first", "lab/second", "+2.00", "changed"):
            assert said in text


def test_a_constant_that_one_run_has_not_is_a_dash(
    asked: list[Any], add_payloads: AddPayloads, capsys: pytest.CaptureFixture[str]
) -> None:
    add_payloads({(1, 1, 1, 5): {"[bold]old": 1.0}})
    add_payloads({(1, 1, 1, 5): {"new": 2.0}}, run_id="second")
    assert run("compare", "lab/first", "lab/second") == 0
    lines = capsys.readouterr().out.splitlines()
    (old,) = [line for line in lines if "[bold]old" in line]
    assert old.split() == ["1,1,1,5", "[bold]old", "1", "–", "–"]


def test_a_run_id_may_have_what_airflow_puts_in(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    name = "manual__2026-01-01T00:00:00+00:00"
    assert run("compare", f"lab/{name}", f"other/{name}") == 0
    assert asked == [("lab", name), ("other", name)]
    assert "Neither run has final payloads." in capsys.readouterr().out
