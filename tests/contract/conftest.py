"""Choose the batch systems on which the contract is tested.

pytest tests/contract                              the local system, and the others with their fakes
pytest tests/contract --system slurm --real        one system with the commands that are on PATH
"""

from __future__ import annotations

import os
import sys
import tempfile
import zipapp
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns, rmtree

import pytest

import airflow_provider_caf
from airflow_provider_caf.batch.spec import Resources, parse_resources
from airflow_provider_caf.batch.systems import SYSTEMS, load_system
from tests.contract.batch_site import Site

FAKES = Path(__file__).resolve().parents[1] / "fakes"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the system and describe a real site."""
    parser.addoption("--system", default=None, help=f"test only this batch system: {', '.join(sorted(SYSTEMS))}")
    parser.addoption("--real", action="store_true", default=False, help="use the commands on PATH, no fakes")
    parser.addoption("--work-dir", type=Path, default=None, help="a folder that the jobs see, too")
    parser.addoption("--python", default=sys.executable, help="runs the jobs, on the machines of the site")
    parser.addoption("--plain-paths", action="store_true", default=False, help="for commands that take no odd paths")
    parser.addoption("--start-daemons", default=None, help="they are killed, too, and started again by this command")
    parser.addoption("--backend-arg", action="append", default=[], metavar="NAME=VALUE", help="argument of every job")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the contract on each system."""
    if "system_name" in metafunc.fixturenames:
        metafunc.parametrize("system_name", sorted(SYSTEMS), scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the systems that were not asked for, and those that a test is not about."""
    # The options are not there when this folder was not named on the command line: then they are read too late.
    chosen = config.getoption("--system", None)
    if chosen is not None and chosen not in SYSTEMS:
        raise pytest.UsageError(f"--system {chosen}: known are {', '.join(sorted(SYSTEMS))}")
    is_real = bool(config.getoption("--real", False))
    left_out = [item for item in items if not is_wanted(item, chosen, is_real)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def is_wanted(item: pytest.Item, chosen: str | None, is_real: bool) -> bool:
    """Tell whether a test is to run: on the chosen system, and on what its mark `only_on` says."""
    system = item.callspec.params.get("system_name") if hasattr(item, "callspec") else None
    if system is None:
        return True
    for mark in item.iter_markers("only_on"):
        if system not in mark.args or mark.kwargs.get("real", is_real) != is_real:
            return False
    return chosen in (None, system)


@pytest.fixture(scope="session")
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Build a job app with nothing in it but what travels with every job."""
    source = Path(airflow_provider_caf.__file__).parent
    shared: Path | None = request.config.getoption("--work-dir", None)
    folder = Path(tempfile.mkdtemp(prefix="app-", dir=shared)) if shared else tmp_path_factory.mktemp("app")
    package = folder / "content" / "airflow_provider_caf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_bytes((source / "__init__.py").read_bytes())
    for part in ("core", "execution", "worker"):
        copytree(source / part, package / part, ignore=ignore_patterns("__pycache__"))
    target = folder / "app.pyz"
    zipapp.create_archive(folder / "content", target, main="airflow_provider_caf.worker.__main__:main")
    yield target
    if shared:
        rmtree(folder)


@pytest.fixture
def site(
    system_name: str,
    app: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    """Give the batch system, and end what a test has left running."""
    is_real = system_name == "local" or bool(request.config.getoption("--real", False))
    shared: Path | None = request.config.getoption("--work-dir", None)
    folder = Path(tempfile.mkdtemp(prefix="contract-", dir=shared)) if shared else tmp_path
    if not is_real:
        use_fakes(system_name, tmp_path / "fake", monkeypatch)
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MIN", "0.2")
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MAX", "2")
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "3600")
    made = Site(
        load_system(system_name),
        folder,
        app,
        request.config.getoption("--python", sys.executable),
        is_real=is_real,
        has_plain_paths=bool(request.config.getoption("--plain-paths", False)),
        resources=read_backend_args(request.config.getoption("--backend-arg", [])),
    )
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(made.work))
    yield made
    left = made.end()
    assert not left, "processes were left running"
    assert not list(folder.rglob("broken"))
    assert not Path("broken").exists()
    if shared:
        rmtree(folder)


def use_fakes(system: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the fake commands before all others on PATH, with a state of their own."""
    home.mkdir()
    monkeypatch.setenv("FAKE_BATCH", str(home))
    # Two systems have commands of the same names.
    monkeypatch.setenv("FAKE_SYSTEM", system)
    monkeypatch.setenv("PATH", f"{FAKES / 'bin'}:{os.environ['PATH']}")


def read_backend_args(words: list[str]) -> Resources:
    """Read `--backend-arg NAME=VALUE`."""
    values = dict(word.partition("=")[::2] for word in words)
    typed = {name: int(value) if value.isdecimal() else value for name, value in values.items()}
    return parse_resources(typed, "--backend-arg")
