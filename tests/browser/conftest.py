"""A real Airflow with the demonstration's run, a failed one, an empty one, a large one and one that waits; Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.layout import default_catalog_file
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.worker.constants import build_payload
from tests.browser.large_run import set_states, write_results
from tests.browser.site import CHROMIUM_FLAGS, MetricsServer, Site, Window, log_in
from tests.integration.started_airflow import StartedAirflow
from tests.private_airflow import PrivateAirflow

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("CAF_PICTURES")
"""A folder for the screenshots; `make pictures` sets it to the one of the documentation."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where there is none, and say so."""
    for item in items:
        if HERE in item.path.parents and "browser" in getattr(item, "fixturenames", ()) and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no Chromium on this machine (Debian package chromium)"))


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Start Airflow once, with runs in all states."""
    # The pictures show paths in it.
    folder = Path(tempfile.mkdtemp(prefix="caf-"))
    shutil.copytree(PROJECT / "dags", folder / "dags")
    shutil.copytree(HERE / "dags", folder / "dags", dirs_exist_ok=True)
    data = folder / "data"
    command = [sys.executable, "-W", "ignore", str(PROJECT / "dags" / "demo_detector.py"), str(data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics = MetricsServer()
    settings = {
        "AIRFLOW__CAF__WORK_DIR": str(folder / "work"),
        "AIRFLOW__CORE__MULTI_TEAM": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer,red:viewer:red",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
            [describe_bundle("ours", folder / "dags"), describe_bundle("theirs", HERE / "red_dags", "red")]
        ),
        # The Python of the jobs is the first one on the PATH, that of this environment.
        "AIRFLOW_CONN_DEMO_BATCH": json.dumps({"conn_type": "caf_batch", "extra": {"system": "local"}}),
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_PORT": str(metrics.port),
        "CAF_TEST_MESSAGES": str(folder / "messages.txt"),
        "CAF_TEST_BY_HAND": str(make_database(folder / "by_hand")),
    }
    airflow = PrivateAirflow(
        folder / "home", folder / "dags", settings=settings, parallelism=6, first_commands=[["teams", "create", "red"]]
    )
    with airflow:
        site = Site(StartedAirflow(airflow, folder / "work"), metrics, folder / "messages.txt")
        trigger_all(site, data)
        yield site
    metrics.close()
    shutil.rmtree(folder)


def describe_bundle(name: str, folder: Path, team: str | None = None) -> dict[str, Any]:
    """Give what Airflow is told of a folder of DAGs."""
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundle = {"name": name, "classpath": classpath, "kwargs": {"path": str(folder), "refresh_interval": 5}}
    return bundle if team is None else {**bundle, "team_name": team}


def make_database(folder: Path) -> Path:
    """Make a local database by hand, and give its folder."""
    file = folder.with_suffix(".payload")
    file.write_bytes(build_payload({"value": 0.02}, "Spot"))
    LocalDatabase(folder).commit([("Spot", file, IoV(7, 0, 7, 9))])
    return folder


def trigger_all(site: Site, data: Path) -> None:
    """Trigger the DAGs, fill the large run, and wait until the others are where they shall be."""
    started = site.started
    events = {"events": [f"{data}/*_muons.root"]}
    files = {name: [f"{data}/*_{name}.root"] for name in ("muons", "electrons")}
    conf = {"input_data": events, "connection": "demo_batch"}
    site.runs["demo_calibration"] = started.trigger("demo_calibration", {**conf, "input_data": files})
    for dag_id in ("failing", "empty", "large"):
        site.runs[dag_id] = started.trigger(dag_id, conf)
    site.runs["signed"] = started.trigger("signed")
    write_results(started.open_catalog(), "large", site.runs["large"])
    set_states(site.airflow.home / "airflow.db", "large", site.runs["large"])
    started.wait("failing", site.runs["failing"])
    started.wait_until(
        lambda: started.read_states("signed", site.runs["signed"]).get("sign_off") == "awaiting_input", 200
    )
    assert started.wait("demo_calibration", site.runs["demo_calibration"]) == "success"
    assert default_catalog_file(started.work_dir).is_file()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium, without a window."""
    expect.set_options(timeout=30_000)  # other tests may keep the machine busy
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
