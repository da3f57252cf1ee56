"""The report of a run: one file that shows everything and runs nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.catalog import Catalog, FailedSubjobRow, FigureRow, MonitoredRow
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
    for suffix in ("png", "pdf"):
        # As an earlier report left it.
        (tmp_path / "figures" / f"trend_of_old.{suffix}").write_bytes(before[f"iov_map.{suffix}"])
    write_report(make_run(), full, tmp_path)
    assert {each.name: each.read_bytes() for each in (tmp_path / "figures").iterdir()} == before
    assert path.exists()


def test_files_of_somebody_else_stay(full: Catalog, tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    figures.mkdir()
    mine = {"holiday.png": b"\x89PNG holiday", "paper.pdf": b"%PDF-1.4 paper", "notes.txt": b"notes"}
    for name, content in mine.items():
        (figures / name).write_bytes(content)
    (figures / "folder.png").mkdir()
    write_report(make_run(), full, tmp_path)
    assert {name: (figures / name).read_bytes() for name in mine} == mine
    assert (figures / "folder.png").is_dir()


def test_a_figures_folder_that_is_a_file_is_named(full: Catalog, tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(CafError, match=r"The folder .*figures cannot be made"):
        write_report(make_run(), full, tmp_path)


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


def test_letters_that_are_none_do_not_stop_it(catalog: Catalog, add_payloads: AddPayloads, tmp_path: Path) -> None:
    add_payloads({(1, 1, 1, 5): {"gain\ud800": 1.0, "text": "\ud800"}})
    ids: Any = {"dag_id": "lab", "run_id": "first", "calibration": "vertex", "iteration": 0}
    catalog.write(
        [
            FailedSubjobRow(**ids, collection="hits", subjob=0, attempt=0, reason="file \udcff\x00\x1b[31m"),
            MonitoredRow(**ids, algorithm="Mean", execution=0, name="a\nb", value=1.0),
        ]
    )
    text = read(write_report(make_run(), catalog, tmp_path))
    assert "file \\udcff\\x00\ufffd[31m" in text
    assert "gain\ufffd 1" in text


def test_what_no_axis_can_show_is_said(catalog: Catalog, add_payloads: AddPayloads, tmp_path: Path) -> None:
    add_payloads({(1, 1, 1, 5): 1e120, (1, 6, 1, 9): -1e120, (1, 10, 1, 12): 1.0})
    ids: Any = {"dag_id": "lab", "run_id": "first", "calibration": "vertex", "iteration": 0, "algorithm": "Mean"}
    catalog.write([MonitoredRow(**ids, execution=0, name="far", value=1e120)])
    text = read(write_report(make_run(), catalog, tmp_path))
    assert "vertex – Spot (2 too large to draw)" in text
    assert "0 of 1 numbers are drawn" in text
    assert (tmp_path / "figures" / "trend_vertex_Spot.pdf").exists()


def test_constants_that_only_later_payloads_have_are_drawn(
    catalog: Catalog, add_payloads: AddPayloads, tmp_path: Path
) -> None:
    add_payloads({(1, 1, 1, 5): None, (1, 6, 1, 9): {"a": 1.0}, (1, 10, 1, 12): {"a": 2.0, "b": 1.0}})
    write_report(make_run(), catalog, tmp_path)
    names = {each.name for each in (tmp_path / "figures").glob("trend*.png")}
    assert names == {"trend_vertex_Spot_a.png", "trend_vertex_Spot_b.png"}


def test_without_executed_runs_nothing_is_said_about_gaps(
    catalog: Catalog, add_payloads: AddPayloads, tmp_path: Path
) -> None:
    add_payloads({(1, 1, 1, 5): 1.0})
    part = read(write_report(make_run(), catalog, tmp_path)).split("<h3>Gaps</h3>")[1].split("<h2")[0]
    assert "knows of no executed runs" in part
    assert "None." not in part


def test_a_run_whose_tasks_are_not_known_names_its_calibrations(full: Catalog, tmp_path: Path) -> None:
    text = read(write_report(make_run(tasks={}), full, tmp_path))
    assert "nothing is said about the states of vertex." in text
    assert "has no calibrations" not in text


def add_figures(catalog: Catalog, contents: dict[tuple[str, int], bytes | None]) -> None:
    ids: Any = {"dag_id": "lab", "run_id": "first", "iteration": 0, "algorithm": "Mean", "media_type": "image/png"}
    catalog.write(
        FigureRow(**ids, calibration=calibration, execution=key, name="fit", path=f"/{key}.png", content=content)
        for (calibration, key), content in contents.items()
    )


def test_pictures_of_all_calibrations_come_before_more_of_one(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "MOST_FIGURES", 3)
    add_figures(catalog, {(name, key): b"x" for name in ("first", "second") for key in range(5)})
    text = read(write_report(make_run(), catalog, tmp_path))
    assert [text.count(f">{name} – Mean: fit") for name in ("first", "second")] == [2, 1]
    assert "3 of 10 figures are shown; the catalog has the rest." in text


def test_pictures_do_not_make_the_file_large(catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MOST_FIGURE_BYTES", 25)
    add_figures(catalog, {("vertex", key): bytes(10) for key in range(5)})
    assert "2 of 5 figures are shown" in read(write_report(make_run(), catalog, tmp_path))


def test_a_picture_too_large_for_the_catalog_is_named(catalog: Catalog, tmp_path: Path) -> None:
    add_figures(catalog, {("vertex", 0): None})
    text = read(write_report(make_run(), catalog, tmp_path))
    assert "vertex – Mean: fit, pass 1, is too large for the catalog: /0.png" in text


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
