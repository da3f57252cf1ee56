"""Keep the tests apart from the user's own Airflow, from each other, and from the speed of the machine."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from tests.integration.beside import Beside
    from tests.integration.started_airflow import StartedAirflow

# Airflow reads its environment and writes a configuration file when it is first imported; this comes before.
for _name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[_name]
_home = tempfile.mkdtemp(prefix="caf-tests-airflow-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
# Without bytecode each fake command, each job and each worker would compile again what it imports.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Fakes and jobs find this Python, and not the one that a version manager looks for at each start.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# How long one example may take says more about the neighbours on the machine than about the code.
hypothesis.settings.register_profile("house", deadline=None, print_blob=True)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def started() -> Iterator[StartedAirflow]:
    """Start the one Airflow of all tests that need one, and stop it at the end."""
    from tests.integration.one_airflow import start_airflow

    with start_airflow() as airflow:
        yield airflow


@pytest.fixture(scope="session")
def beside(started: StartedAirflow, request: pytest.FixtureRequest) -> Beside:
    """Begin in it what takes long and several tests look at."""
    from tests.integration.beside import Beside

    made = Beside(started)
    made.begin_for(request.session.items)
    return made


SLOW_FIXTURES = {"constants", "lab", "lab_files", "make_lab", "root", "server"}
"""They start processes or load ROOT."""


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Keep together on one worker what shares an Airflow or a module's set-up."""

    def _split_scope(self, nodeid: str) -> str:
        file, folder = nodeid.partition("::")[0], nodeid.split("/")[1]
        return {"browser": "airflow", "integration": "airflow", "contract": nodeid}.get(folder, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    """Give tests to workers in the order of the folders: those with an Airflow take longest and come first."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what its fixtures make slow, and give what needs an Airflow the time that one takes."""
    if not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.slow)
    if item.get_closest_marker("airflow"):
        item.add_marker(pytest.mark.timeout(1800))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let those come last that kill parts of the Airflow of others."""
    items.sort(key=lambda item: item.get_closest_marker("kills_airflow") is not None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the Airflow of one worker come before the work of the others: it has time limits."""
    if "PYTEST_XDIST_WORKER" in os.environ and not item.get_closest_marker("airflow"):
        os.nice(max(0, 5 - os.nice(0)))


def pytest_collection_finish() -> None:
    """Look no more at what all tests share."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Let each test answer for its own garbage: a file left open in it is its failure, and not a later one's.

    What is left then is not looked at again, so that a collection costs what the test has made.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say last, and so that nobody overlooks it, how many tests were left out and why."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if reasons:
        told = "; ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
        terminalreporter.write_line(f"LEFT OUT: {len(skipped)} tests: {told}", red=True, bold=True)
