"""What a person sees of the runs, and does with them. The pictures of the documentation are taken here."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from airflow_provider_caf.io.catalog import ExecutionRow, FailedSubjobRow, PayloadRow
from tests.browser.large_run import CALIBRATIONS, FAILURES
from tests.browser.site import LARGEST_ANSWER, Site, Window

pytestmark = pytest.mark.airflow

OpenWindow = Callable[..., Window]
PHONE = (390, 844)
HELD_AFTER = 7
"""So many executions the algorithm of the run `on_farm` has done when it stops, see `dags/held_calibrators.py`."""


def test_the_list_of_runs_leads_to_a_run(open_window: OpenWindow, site: Site) -> None:
    window = open_window()
    page = window.open()
    expect(page.get_by_role("heading", name="Calibrations")).to_be_visible()
    for dag_id, run_id in site.runs.items():
        row = page.locator("tbody tr", has_text=dag_id).filter(has=page.get_by_role("link", name=run_id))
        expect(row).to_have_count(0 if dag_id == "empty" else 1)  # it has not begun
    window.photograph("list")
    page.get_by_role("link", name=site.runs["demo_calibration"]).click()
    expect(page.get_by_role("heading", name=site.runs["demo_calibration"])).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Calibrations")).to_be_visible()


def test_it_is_in_the_pages_of_airflow(open_window: OpenWindow, site: Site) -> None:
    window = open_window(faults_are_meant=True)  # Airflow's own pages say what they like
    page = window.page
    run = f"{site.airflow.url}/dags/demo_calibration/runs/{quote(site.runs['demo_calibration'])}"
    page.goto(run)
    page.get_by_role("link", name="CAF").or_(page.get_by_role("tab", name="CAF")).first.click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("#open-alignment")).to_be_visible()
    page.wait_for_timeout(500)
    window.photograph("in-airflow", full=False)
    # Airflow's dark mode is the page's dark mode.
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page.reload()
    expect(frame.locator("html.dark")).to_have_count(1)
    expect(frame.locator("#open-alignment")).to_be_visible()
    window.photograph("in-airflow-dark", full=False)


def test_a_run_shows_how_far_its_calibrations_are(open_window: OpenWindow) -> None:
    window = open_window()
    page = window.open("demo_calibration")
    for name, passes in (("beam_spot", "1 of at most 1"), ("alignment", "3 of at most 5"), ("gain", "1 of at most 1")):
        row = page.locator("tr", has=page.locator(f"#open-{name}"))
        expect(row).to_contain_text("completed")
        expect(row).to_contain_text(passes)
    row = page.locator("tr", has=page.locator("#open-gain"))
    expect(row.get_by_role("img", name="muons: 3 done of 3 subjobs")).to_be_visible()
    expect(row).to_contain_text("after alignment, time_offset")
    expect(page.locator("tr", has=page.locator("#open-beam_spot"))).to_contain_text("11 OK, 3 NOT_ENOUGH_DATA")
    expect(page.locator("#map-chart svg[role=img]")).to_have_attribute("aria-label", re.compile("IoV map: 4 payloads"))
    expect(page.locator("section", has_text="Failed subjobs").last).to_contain_text("None.")
    window.photograph("run")


def test_the_map_tells_of_the_payload_under_the_pointer(open_window: OpenWindow) -> None:
    page = open_window().open("demo_calibration")
    chart = page.locator("#map-chart svg[role=img]")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + 40)
    page.mouse.move(box["x"] + box["width"] / 3 + 3, box["y"] + 42)
    detail = page.locator("#map-detail")
    expect(detail).to_contain_text("Constants: value")
    expect(detail).to_contain_text("executed run")


def test_a_calibration_has_passes_numbers_trend_and_figures(open_window: OpenWindow) -> None:
    window = open_window()
    page = window.open("demo_calibration")
    page.locator("#open-alignment").click()
    panel = page.locator(".panel", has=page.locator("#detail"))
    expect(panel).to_contain_text("1 of 1 results of iteration 0 ask for another one")
    charts = page.locator("#convergence figure")
    expect(charts).to_have_count(3)
    expect(charts.first).to_contain_text("change [cm] of AlignmentAlgorithm")
    expect(page.locator("#trend svg[role=img]")).to_have_attribute("aria-label", re.compile("1 constants of this run"))
    expect(page.locator("#resources")).to_contain_text("MB / nothing")
    expect(page.locator("#input")).to_contain_text("14")
    figures = page.locator("#figures img")
    expect(figures).to_have_count(3)
    figures.first.scroll_into_view_if_needed()
    expect(figures.first).to_have_js_property("complete", True)
    assert figures.first.evaluate("picture => picture.naturalWidth") > 300
    page.locator("svg.strip path").first.hover()
    expect(panel.locator(".detail").first).to_contain_text("14 runs")
    expect(panel.locator(".detail").first).to_contain_text("offset [cm]")
    page.locator("#pass").select_option("0")
    expect(panel).to_contain_text("1 ITERATE")
    window.photograph("calibration")
    page.go_back()
    expect(page.locator("#detail")).to_have_count(0)


def shift(value: Any) -> Any:
    return {**value, "value": value["value"] + 0.002}


def test_a_constant_can_be_compared_with_another_run(open_window: OpenWindow, site: Site) -> None:
    catalog = site.started.open_catalog()
    rows = catalog.read(PayloadRow, "demo_calibration", site.runs["demo_calibration"], "beam_spot", final=True)
    shifted = [replace(row, run_id="earlier", value=shift(row.value)) for row in rows]
    catalog.write(shifted)
    window = open_window()
    page = window.open("demo_calibration", calibration="beam_spot")
    page.locator("#compared").select_option("run:earlier")
    description = f"{len(rows)} constants of this run, {len(rows)} to compare with"
    expect(page.locator("#trend svg[role=img]")).to_have_attribute("aria-label", re.compile(description))
    page.locator("#trend").scroll_into_view_if_needed()
    window.photograph("trend")


def test_a_failed_run_says_why_and_harms_nobody(open_window: OpenWindow, site: Site) -> None:
    window = open_window()
    page = window.open("failing")
    row = page.locator("tr", has=page.locator("#open-vertex"))
    expect(row).to_contain_text("failed")
    expect(row.locator(".reason")).to_contain_text("2 of 2 subjobs of collection 'hits'")
    row.get_by_text("all of it").click()
    expect(row.locator("pre")).to_contain_text("exit code 3")
    expect(page.locator("tr", has=page.locator("#open-after"))).to_contain_text("upstream failed")
    failures = page.locator(".failure")
    expect(failures.nth(1)).to_be_visible()
    failures.first.locator("summary").click()
    expect(failures.first).to_contain_text("exit code 3 on ")
    expect(failures.first.locator("pre")).to_contain_text("<script>document.title")
    assert page.title() != "owned"
    assert page.locator("b").count() == 0
    window.photograph("failed")
    with page.context.expect_page() as opened:
        failures.first.get_by_role("link", name="whole log").click()
    assert "<script>" in opened.value.inner_text("body")
    assert opened.value.title() != "owned"
    address = failures.first.get_by_role("link", name="task in Airflow").get_attribute("href")
    assert address == f"../dags/failing/runs/{quote(site.runs['failing'], safe='')}/tasks/vertex.iteration_0.hits.wait"


def test_actions_ask_first(open_window: OpenWindow, site: Site) -> None:
    window = open_window()
    page = window.open("failing")
    page.locator("#retry-vertex").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Retry the failed subjobs of vertex?")
    expect(dialog).to_contain_text("vertex.iteration_0.hits.wait")
    window.photograph("retry", full=False)
    dialog.get_by_role("button", name="Leave it as it is").click()
    expect(dialog).not_to_be_visible()
    assert site.started.wait("failing", site.runs["failing"]) == "failed"
    before = count_failures(site)
    page.locator("#retry-vertex").click()
    dialog.get_by_role("button", name="Run them again").click()
    expect(dialog).not_to_be_visible()
    site.started.wait_until(lambda: count_failures(site) >= before + 2)
    assert site.started.wait("failing", site.runs["failing"]) == "failed"
    page.locator("#open-vertex").click()
    page.locator("#reset").click()
    expect(dialog).to_contain_text("Reset vertex to the beginning")
    expect(dialog).to_contain_text("vertex.prepare")
    dialog.get_by_role("button", name="Run them again").click()
    expect(dialog).not_to_be_visible()
    expect(page.locator("#cancel")).to_be_visible()
    page.locator("#cancel").click()
    expect(dialog).to_contain_text("Cancel this run?")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(dialog).not_to_be_visible()
    expect(page.locator("#cancel")).to_have_count(0)
    assert site.started.wait("failing", site.runs["failing"]) == "failed"


def count_failures(site: Site) -> int:
    return site.started.open_catalog().count(FailedSubjobRow, "failing", site.runs["failing"])


def test_the_executions_of_an_algorithm_that_is_a_job_are_shown_as_they_come(
    open_window: OpenWindow, site: Site
) -> None:
    run_id, task = site.runs["on_farm"], "beam_spot.iteration_0.BeamSpotAlgorithm"
    site.started.wait_until(lambda: site.started.open_catalog().count(ExecutionRow, "on_farm", run_id) == HELD_AFTER)
    site.started.wait_until(lambda: site.started.read_states("on_farm", run_id)[task] == "deferred")
    for size in ((1280, 900), PHONE):
        window = open_window(size=size)
        page = window.open("on_farm", calibration="beam_spot")
        row = page.locator("tr", has=page.locator("#open-beam_spot"))
        expect(row).to_contain_text("running algorithms")
        expect(row).to_contain_text("the job of BeamSpotAlgorithm is running")
        expect(page.locator("#detail")).to_be_visible()
        strip = page.get_by_role("img", name="Executions of BeamSpotAlgorithm")
        counts = re.findall(r"(\d+) [A-Z_]+", strip.get_attribute("aria-label") or "")
        assert sum(map(int, counts)) == HELD_AFTER
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert find_barriers(page) == []
        window.photograph("algorithm-job" if size != PHONE else "algorithm-job-phone", full=size == PHONE)
    layout = site.started.find_run("on_farm", run_id).calibration("beam_spot").iteration(0)
    (layout.algorithm("BeamSpotAlgorithm").folder / "resume").touch()
    assert site.started.wait("on_farm", run_id) == "success", site.started.explain("on_farm", run_id)
    expect(row).to_contain_text("completed")
    expect(row).to_contain_text("11 OK, 3 NOT_ENOUGH_DATA")
    expect(page.locator("#resources")).to_contain_text("BeamSpotAlgorithm")


def test_a_viewer_is_offered_no_action(open_window: OpenWindow) -> None:
    page = open_window("viewer").open("signed")
    expect(page.locator(".banner")).to_contain_text("not answer")
    expect(page.get_by_role("button", name="Approve …")).to_have_count(0)
    page = open_window("viewer").open("failing", calibration="vertex")
    expect(page.locator("#detail")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("…"))).to_have_count(0)


def test_a_result_is_signed_off(open_window: OpenWindow, site: Site) -> None:
    window = open_window()
    page = window.open("signed")
    expect(page.locator(".banner")).to_contain_text("waits for a sign-off")
    window.photograph("sign-off")
    page.locator("#comment").fill("as last year")
    page.locator("#approve").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Approve this result?")
    dialog.get_by_role("button", name="Approve").click()
    expect(dialog).not_to_be_visible()
    assert site.started.wait("signed", site.runs["signed"]) == "success"
    assert '"comment": "as last year"' in site.started.find_run("signed", site.runs["signed"]).sign_off.read_text()
    expect(page.locator(".head")).to_contain_text("success")


def test_an_empty_run_says_so(open_window: OpenWindow) -> None:
    window = open_window()
    page = window.open("empty")
    expect(page.locator("tr", has=page.locator("#open-vertex"))).to_contain_text("waiting")
    expect(page.locator("body")).to_contain_text("No calibration has final payloads yet.")
    window.photograph("empty")


@pytest.mark.parametrize(
    ("user", "address", "said"),
    [
        (None, "?dag_id=signed&run_id=last", "You are not logged in."),
        ("viewer", "?dag_id=theirs&run_id=last", "You may not see this."),
        ("viewer", "?dag_id=theirs", "You may not see this."),
        ("admin", "?dag_id=signed&run_id=nothing", "has no run 'nothing'"),
    ],
)
def test_who_may_not_see_it_is_told(open_window: OpenWindow, site: Site, user: str, address: str, said: str) -> None:
    window = open_window(user, faults_are_meant=True)  # the browser itself logs the refusal
    window.page.goto(f"{site.airflow.url}/caf/{address}")
    expect(window.page.get_by_role("alert")).to_contain_text(said)
    assert "by_hand" not in window.page.content()
    assert window.outside == []


def test_durations_are_rounded_before_they_are_cut(open_window: OpenWindow) -> None:
    page = open_window().open("large")
    script = "async seconds => seconds.map((await import('/caf/static/dom.js')).formatSeconds)"
    found = page.evaluate(script, [0, 9.7, 59.4, 59.6, 179.7, 3599.7, 7262])
    assert found == ["0 s", "10 s", "59 s", "1 min 00 s", "3 min 00 s", "1 h 00 min", "2 h 01 min"]


def test_a_large_run_stays_quick(open_window: OpenWindow) -> None:
    window = open_window()
    window.open("large")  # the server is warm now
    window.answers.clear()  # they go with the page
    began = time.monotonic()
    page = window.open("large")
    seconds = time.monotonic() - began
    print(f"first paint of the large run: {seconds:.2f} s")
    expect(page.locator("tbody tr[class], tbody tr").first).to_be_visible()
    assert page.locator("[id^=open-]").count() == CALIBRATIONS
    expect(page.locator("#map-chart svg[role=img]")).to_be_visible()
    expect(page.locator(".failure")).to_have_count(20)
    expect(page.locator("body")).to_contain_text(f"{FAILURES} failed tries")
    page.locator("#older").click()
    expect(page.locator("#newer")).to_be_visible()
    page.evaluate("scrollTo(0, 0)")
    window.photograph("large", full=False)
    page.locator("#open-calibration_07").click()
    expect(page.locator("#trend svg[role=img]")).to_be_visible()
    expect(page.locator("svg.strip")).to_be_visible()
    sizes = window.measure_answers()
    assert len(sizes) > 5
    assert {url: size for url, size in sizes.items() if not 0 < size < LARGEST_ANSWER} == {}


@pytest.mark.parametrize(
    ("name", "dag_id", "size", "dark"),
    [
        ("phone", "demo_calibration", PHONE, False),
        ("phone-dark", "failing", PHONE, True),
        ("dark", "demo_calibration", (1400, 900), True),
    ],
)
def test_phones_and_dark_rooms(
    open_window: OpenWindow, name: str, dag_id: str, size: tuple[int, int], dark: bool
) -> None:
    window = open_window(size=size, dark=dark)
    calibration = {"demo_calibration": "beam_spot", "failing": "vertex"}[dag_id]
    page = window.open(dag_id, calibration=calibration)
    expect(page.locator("#detail")).to_be_visible()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.locator("html.dark").count() == int(dark)
    window.photograph(name)


def find_barriers(page: Page) -> list[tuple[str, list[str]]]:
    """Return what axe-core finds, but for advice."""
    found = Axe().run(page).response["violations"]
    serious = [violation for violation in found if violation["impact"] in ("serious", "critical")]
    return [(violation["id"], [node["html"][:200] for node in violation["nodes"][:3]]) for violation in serious]


@pytest.mark.parametrize("size", [(1280, 900), PHONE])
def test_jobs_of_a_task_are_shown_with_their_failures(open_window: OpenWindow, size: tuple[int, int]) -> None:
    window = open_window(size=size)
    page = window.open("batch_jobs")
    row = page.get_by_role("row").filter(has_text="2 done, 1 failed")
    expect(row.get_by_role("link", name="jobs")).to_be_visible()
    expect(row).to_contain_text("1 of 3 subjobs of task 'jobs' of DAG 'batch_jobs', failed")
    expect(page.locator("body")).not_to_contain_text("This run has no calibrations")
    expect(page.locator("body")).not_to_contain_text("IoV map")
    failure = page.locator(".failure")
    expect(failure).to_have_count(1)
    expect(failure).to_contain_text("jobs job 1 try 1: exit code 3")
    failure.locator("summary").click()
    expect(failure).to_contain_text("told to fail")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert find_barriers(page) == []
    window.photograph("jobs" if size != PHONE else "jobs-phone")


@pytest.mark.parametrize("answer", ["calibration", "map", "failures"])
def test_nothing_stands_in_the_way_while_answers_are_awaited(open_window: OpenWindow, answer: str) -> None:
    window = open_window()
    window.page.route(f"**/{answer}?*", lambda _: None)  # it never comes
    page = window.open("failing", calibration="vertex")
    expect(page.locator("#detail")).to_be_visible()
    assert find_barriers(page) == []
    assert page.locator("section.panel:visible").filter(has_not=page.locator("h2")).count() == 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("dag_id", ["demo_calibration", "failing", "large"])
def test_nothing_stands_in_the_way_of_anybody(open_window: OpenWindow, dag_id: str, dark: bool) -> None:
    """What axe-core finds, but for advice."""
    calibration = {"demo_calibration": "alignment", "failing": "vertex", "large": "calibration_07"}[dag_id]
    page = open_window(dark=dark).open(dag_id, calibration=calibration)
    expect(page.locator("#detail")).to_be_visible()
    page.wait_for_timeout(300)
    assert find_barriers(page) == []
