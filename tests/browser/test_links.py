"""What Airflow itself shows of our tasks: links, rendered templates, the report of the run."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urljoin

import pytest

from airflow_provider_caf.io.catalog import Catalog, PayloadRow
from tests.browser.site import Site

pytestmark = pytest.mark.airflow
DAG = "demo_calibration"


def ask(site: Site, task_id: str, what: str = "") -> Any:
    run_id = quote(site.runs[DAG])
    return site.airflow.call_api("GET", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task_id}{what}")


@pytest.mark.parametrize(
    ("task_id", "names"),
    [
        ("configure", {"CAF page", "Run folder"}),
        ("alignment.iteration_0.default.wait", {"CAF page", "Run folder"}),
        ("alignment.iteration_0.AlignmentAlgorithm", {"CAF page", "Run folder", "Algorithm log"}),
        ("report", {"CAF page", "Run folder"}),
    ],
)
def test_every_task_has_its_links(site: Site, task_id: str, names: set[str]) -> None:
    links = ask(site, task_id, "/links")["extra_links"]
    assert set(links) == names
    assert all(link and link.startswith("/caf/") for link in links.values())
    calibration = task_id.partition(".")[0]
    assert links["CAF page"].endswith(f"&calibration={calibration}") == ("." in task_id)


def test_the_link_to_a_log_leads_to_it(site: Site) -> None:
    link = ask(site, "alignment.iteration_2.AlignmentAlgorithm", "/links")["extra_links"]["Algorithm log"]
    assert urljoin(site.airflow.url, link).startswith(f"{site.airflow.url}/caf/api/dags/{DAG}/log?")
    path = link.removeprefix("/caf/api/")
    status, body = site.ask(path, site.read_token("admin"))
    # The algorithm prints nothing: then there is no log, and it says so.
    assert (status, b"has no log" in body) == (404, True) or status == 200


def test_rendered_templates_show_what_was_submitted(site: Site) -> None:
    fields = ask(site, "alignment.iteration_0.default.submit")["rendered_fields"]
    (array,) = fields["submitted"] if isinstance(fields["submitted"], list) else [fields["submitted"]]
    text = str(array)
    for said in ("caf_alignment_default_i0_a0_", "local", "subjobs", "command"):
        assert said in text


def test_the_last_task_has_written_the_report(site: Site) -> None:
    layout = site.started.find_run(DAG, site.runs[DAG])
    text = (layout.report_folder / "report.html").read_text("utf-8")
    assert "completed" in text
    assert "SensorOffset: value" in text
    assert (layout.report_folder / "figures" / "iov_map.pdf").stat().st_size > 1000
    failed = site.started.find_run("failing", site.runs["failing"])
    said = (failed.report_folder / "report.html").read_text("utf-8")
    assert "upstream failed" in said
    assert "exit code 3" in said
    assert "<script" not in said


def test_the_commands_write_and_compare(site: Site) -> None:
    path = site.airflow.run_cli(["caf", "report", DAG, site.runs[DAG]]).strip().splitlines()[-1]
    assert path == str(site.started.find_run(DAG, site.runs[DAG]).report_folder / "report.html")
    said = site.airflow.run_cli(["caf", "compare", f"{DAG}/{site.runs[DAG]}", DAG])
    assert "same" in said
    assert "SensorGain" in said


def test_what_was_made_by_hand_has_its_values(site: Site) -> None:
    catalog: Catalog = site.started.open_catalog()
    rows = catalog.read(PayloadRow, "signed", site.runs["signed"], "by_hand", final=True)
    assert [row.value for row in rows] == [{"value": 0.02}]


def test_metrics_reach_the_server(site: Site) -> None:
    counts = site.started.metrics.counts
    # Collections of four or three subjobs, one of them in three passes; and two subjobs that failed, once or twice.
    assert counts["caf.subjobs.submitted"] >= 4 + 3 * 4 + 4 + 6 + 2
    assert counts["caf.subjobs.done"] >= 4 + 3 * 4 + 4 + 6
    assert counts["caf.subjobs.failed"] >= 2
    assert counts["caf.executions"] >= 14 + 3 + 14 + 4
    assert counts["caf.payloads.committed"] >= 30
    assert counts["caf.passes"] >= 6
    assert counts["caf.poll.duration"] >= 6


def test_a_notifier_has_said_why(site: Site) -> None:
    first = site.started.messages.read_text().split("--\n")[0]
    run_id = site.runs["failing"]
    assert first.startswith(f"Attention! CAF failing, run {run_id}: calibration vertex, iteration 0, hits.wait failed.")
    assert "Reason: 2 of 2 subjobs of collection 'hits' in calibration 'vertex', iteration 0, failed." in first
    assert f"See /caf/?dag_id=failing&run_id={quote(run_id)}" in first
