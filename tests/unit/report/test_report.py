"""The report of a run: one file that shows everything and runs nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.catalog import Catalog, MonitoredRow
from airflow_provider_caf.report import build
from airflow_provider_caf.report.build import format_value, write_report
from airflow_provider_caf.status.airflow_run import RunRow
from airflow_provider_caf.status.tasks import TaskRow
from tests.unit.report.conftest import AddPayloads


def make_run(**words: Any) -> RunRow:
    tasks = {"vertex.prepare": TaskRow(state="success"), "vertex.iteration_0.hits.wait": TaskRow(state="failed")}
    return RunRow(
        **{
            "dag_id": "lab",
            "run_id": "first",
            "state": "failed",
            "started": None,
            "ended": None,
            "tasks": tasks,
            **words,
        }
    )


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_a_report_has_all_its_parts(full: Catalog, tmp_path: Path) -> None:
    path = write_report(make_run(), full, tmp_path / "report")
    text = read(path)
    parts = re.findall(r'<h2 id="(\w+)">', text)
    assert parts == [
        "summary",
        "map",
        "trends",
        "convergence",
        "results",
        "figures",
        "failures",
        "resources",
        "input",
        "versions",
        "params",
        "definition",
    ]
    for said in ("failed", "1 of 2", "2000 MB", "/data/lab", "value 1.5, error 0.1", "airflow-provider-caf"):
        assert said in text
    assert "1.3" in text.split("<h3>Gaps</h3>")[1].split("</table>")[0]
    names = {each.name for each in (path.parent / "figures").iterdir()}
    assert {"iov_map.png", "iov_map.pdf", "trend_vertex_Spot_value.png", "trend_vertex_Spot_value.pdf"} <= names
    assert (path.parent / "figures" / "iov_map.pdf").read_bytes().startswith(b"%PDF")


def test_nothing_in_it_can_run_or_asks_anybody(full: Catalog, tmp_path: Path) -> None:
    text = read(write_report(make_run(run_id="first"), full, tmp_path))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert "default-src 'none'" in text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(addresses) > 5
    assert [each[:60] for each in addresses if not each.startswith(("#", "data:image/"))] == []


def test_a_run_with_nothing_says_so(catalog: Catalog, tmp_path: Path) -> None:
    path = write_report(make_run(tasks={}, state="running"), catalog, tmp_path)
    text = read(path)
    for said in ("The run has no calibrations.", "There are no final payloads.", "Nothing was collected."):
        assert said in text
    assert not (tmp_path / "figures").exists()


def test_a_second_report_replaces_the_first(full: Catalog, tmp_path: Path) -> None:
    path = write_report(make_run(), full, tmp_path)
    before = {each.name: each.read_bytes() for each in (tmp_path / "figures").iterdir()}
    (tmp_path / "figures" / "trend_of_old.png").write_bytes(b"old")
    (tmp_path / "figures" / "notes.txt").write_text("mine")
    write_report(make_run(), full, tmp_path)
    after = {each.name: each.read_bytes() for each in (tmp_path / "figures").iterdir()}
    assert after.pop("notes.txt") == b"mine"
    assert after == before
    assert path.exists()


def test_a_folder_that_cannot_be_written_is_named(full: Catalog, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(CafError, match=r"The folder .*report.* cannot be made"):
        write_report(make_run(), full, tmp_path / "report" / "deeper")


def test_what_is_too_much_is_counted(
    catalog: Catalog, add_payloads: AddPayloads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in (("MOST_TRENDS", 2), ("MOST_CONVERGENCES", 1), ("MOST_RESULTS", 3), ("MOST_BARS", 2)):
        monkeypatch.setattr(build, name, most)
    for number in range(3):
        add_payloads({(1, run, 1, run): {"a": 1.0, "b": 2.0} for run in (1, 2)}, name=f"Payload{number}")
    ids: Any = {"dag_id": "lab", "run_id": "first", "calibration": "vertex", "iteration": 0, "algorithm": "Mean"}
    catalog.write(MonitoredRow(**ids, execution=0, name=name, value=1.0) for name in ("x", "y", "z"))
    text = read(write_report(make_run(), catalog, tmp_path))
    assert "2 of 6 constants are drawn; the catalog has all." in text
    assert "1 of 3 numbers are drawn; the catalog has all." in text
    assert "3 more are in the catalog" in text
    names = sorted(each.name for each in (tmp_path / "figures").glob("*.png"))
    # One constant of each payload comes before a second one of any.
    assert names == [
        "convergence_vertex_Mean_x.png",
        "iov_map.png",
        "iov_map_2.png",
        "trend_vertex_Payload0_a.png",
        "trend_vertex_Payload1_a.png",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1.23456789, "1.23457"),
        ({"a": {"b": 1}, "c": [1.0, 2.5]}, "a.b 1, c [1, 2.5]"),
        ([], "[]"),
        ("x" * 400, "x" * 300 + " …"),
    ],
)
def test_values_are_one_line(value: Any, text: str) -> None:
    assert format_value(value) == text
