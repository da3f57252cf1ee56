"""In the real Airflow the demonstration's run, a failed one, an empty one, a large one and ones that wait; Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from demo import CONNECTION
from tests.browser.large_run import end_run, set_states, write_results
from tests.browser.site import CHROMIUM_FLAGS, Site, Window, log_in
from tests.integration.beside import Beside, run_demonstration
from tests.integration.started_airflow import StartedAirflow

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("CAF_PICTURES")
"""A folder for the screenshots; `make pictures` sets it to the one of the documentation."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where there is none, and say so."""
    for item in items:
        if HERE in item.path.parents and "browser" in getattr(item, "fixturenames", ()) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine (Debian package chromium)"))


_LARGE: pytest.StashKey[tuple[Path, str]] = pytest.StashKey()
"""Airflow's database, and the large run in it."""


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let the large run be over after the last test of the page: the scheduler would go on to look at all its tasks."""
    is_last = nextitem is None or HERE not in nextitem.path.parents
    if is_last and (large := item.session.stash.get(_LARGE, None)) is not None:
        end_run(large[0], "large", large[1])


@pytest.fixture(scope="session")
def site(
    started: StartedAirflow, beside: Beside, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """Give the Airflow with runs in all states."""
    site = Site(started)
    conf = {"input_data": {"events": [f"{started.demo_data}/*_muons.root"]}, "connection": CONNECTION}
    exit_code, output = beside.wait(run_demonstration)
    assert exit_code == 0, output
    for dag_id in ("failing", "empty"):
        site.runs[dag_id] = started.trigger(dag_id, conf)
    site.runs["signed"] = started.trigger("signed")
    site.runs["on_farm"] = started.trigger("on_farm", {"input_data": conf["input_data"]})
    folder = tmp_path_factory.mktemp("jobs")
    for name in ("go", "fail.1"):
        (folder / name).touch()
    site.runs["batch_jobs"] = started.trigger("batch_jobs", {"folder": str(folder)})
    for dag_id in ("failing", "batch_jobs"):
        started.wait(dag_id, site.runs[dag_id])
    started.wait_until(lambda: started.read_states("signed", site.runs["signed"]).get("sign_off") == "awaiting_input")
    # Not before: Airflow keeps the others from the database while it makes the thousands of tasks of this one.
    site.runs["large"] = started.trigger("large", conf)
    write_results(started.open_catalog(), "large", site.runs["large"])
    set_states(site.airflow.home / "airflow.db", "large", site.runs["large"])
    site.runs["demo_calibration"] = started.wait_for_run("demo_calibration")
    request.session.stash[_LARGE] = (site.airflow.home / "airflow.db", site.runs["large"])
    return site


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium, without a window."""
    expect.set_options(timeout=60_000)  # other tests may keep the machine busy
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for screenshots."""
    folder = tmp_path_factory.mktemp("pictures") if PICTURES is None else Path(PICTURES)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def sessions(browser: Browser, site: Site) -> Callable[[str], Any]:
    """Give a function that gives the browser's state of a user who has logged in."""
    known: dict[str, Any] = {}

    def find(user: str) -> Any:
        if user not in known:
            known[user] = log_in(browser, site, user)
        return known[user]

    return find


@pytest.fixture
def open_window(
    browser: Browser, site: Site, sessions: Callable[[str], Any], pictures: Path
) -> Iterator[Callable[..., Window]]:
    """Give a function that opens a window for a user; nothing may go wrong in it, and it may ask nobody outside."""
    contexts = []
    windows: list[Window] = []

    def make(
        user: str | None = "admin",
        *,
        size: tuple[int, int] = (1400, 900),
        dark: bool = False,
        faults_are_meant: bool = False,
    ) -> Window:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            storage_state=None if user is None else sessions(user),
            locale="en-GB",
            timezone_id="UTC",
        )
        contexts.append(context)
        window = Window(context, site, pictures)
        if not faults_are_meant:
            windows.append(window)
        return window

    yield make
    for context in contexts:
        context.close()
    for window in windows:
        assert window.faults == []
        assert window.outside == []
