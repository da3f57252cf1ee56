"""The site on which the contract is tested: one batch system, real or faked.

pytest tests/contract                              the local system, and the others with their fakes
pytest tests/contract --system slurm --real        one system with the commands that are on PATH
"""

from __future__ import annotations

import json
import sys
import time
import zipapp
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import airflow_provider_caf
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.systems import SYSTEMS, load_system
from airflow_provider_caf.io.client import BatchClient
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.io.subjobs import SubjobStatus
from airflow_provider_caf.io.submission import CollectionJob, Observation, observe
from airflow_provider_caf.io.transport.local import LocalTransport

ALWAYS_REAL = ("local",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose the system."""
    parser.addoption("--system", default=None, help=f"test only this batch system: {', '.join(sorted(SYSTEMS))}")
    parser.addoption("--real", action="store_true", default=False, help="use the commands on PATH, no fakes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of the contract on each system that is asked for."""
    taken = any(mark.args[0] == "system_name" for mark in metafunc.definition.iter_markers("parametrize"))
    if "system_name" in metafunc.fixturenames and not taken:
        # Not there when this folder was not named on the command line: then the options are read too late.
        chosen = metafunc.config.getoption("--system", None)
        names = [chosen] if chosen else list(ALWAYS_REAL)
        metafunc.parametrize("system_name", names, scope="session")


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a job app with nothing in it but what travels with every job."""
    source = Path(airflow_provider_caf.__file__).parent
    folder = tmp_path_factory.mktemp("app")
    package = folder / "content" / "airflow_provider_caf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_bytes((source / "__init__.py").read_bytes())
    for part in ("core", "worker"):
        copytree(source / part, package / part, ignore=ignore_patterns("__pycache__"))
    target = folder / "app.pyz"
    zipapp.create_archive(folder / "content", target, main="airflow_provider_caf.worker.__main__:main")
    return target


class Site:
    """A batch system, a work folder on it, and the ways to put subjobs there."""

    def __init__(self, client: BatchClient, work: Path, app: Path, python: str) -> None:
        self.client = client
        self.work = work
        self.app = app
        self.python = python
        self.made: list[CollectionJob] = []

    def make_job(
        self,
        commands: Sequence[Sequence[str]],
        *,
        outputs: Sequence[str] = (),
        resources: Resources | None = None,
        name: str = "hits",
    ) -> CollectionJob:
        """Write the job files of a collection whose subjobs are commands."""
        layout = RunLayout(work_dir=self.work, dag_id="contract", run_id="one").calibration("cal")
        collection = layout.iteration(0).collection(name)
        collection.input_folder.mkdir(parents=True)
        for subjob, command in enumerate(commands):
            job = {
                "version": 1,
                "calibration": "cal",
                "collection": name,
                "iteration": 0,
                "subjob": subjob,
                "command": list(command),
                "collector": None,
                "settings": {},
                "granularity": "run",
                "input_files": [],
                "output_patterns": list(outputs),
                "database_chain": [],
                "arguments": {},
                "pre_collector": None,
            }
            collection.job_file(subjob).write_text(json.dumps(job))
        job_of_collection = CollectionJob(
            dag="contract",
            run="one",
            calibration="cal",
            iteration=0,
            collection=name,
            layout=collection,
            subjobs=tuple(range(len(commands))),
            app=self.app,
            python=self.python,
            resources=resources or Resources(max_processes=4),
        )
        self.made.append(job_of_collection)
        return job_of_collection

    def wait(self, job: CollectionJob, until: Callable[[Observation], bool] | None = None) -> Observation:
        """Observe a collection until all its subjobs are over, or something else is so."""

        def is_over(observed: Observation) -> bool:
            return all(verdict.status.is_over for verdict in observed.verdicts.values())

        deadline = time.monotonic() + 60
        while True:
            observed = observe(self.client, job)
            if (until or is_over)(observed):
                return observed
            assert time.monotonic() < deadline, observed
            time.sleep(0.05)

    def statuses(self, observed: Observation) -> list[SubjobStatus]:
        """Give the statuses in the order of the subjobs."""
        return [verdict.status for _, verdict in sorted(observed.verdicts.items())]

    def started(self, job: CollectionJob) -> list[str]:
        """Give the work folders of all tries of all subjobs."""
        folders = job.layout.output_folder.glob("[0-9]*/attempt_*")
        return sorted(f"{folder.parent.name}/{folder.name}" for folder in folders)


@pytest.fixture
def site(system_name: str, app: Path, tmp_path: Path) -> Iterator[Site]:
    """Give the batch system, and end what a test has left running."""
    if system_name not in SYSTEMS:
        pytest.fail(f"--system {system_name}: known are {', '.join(sorted(SYSTEMS))}")
    client = BatchClient(load_system(system_name), LocalTransport(), patience=Patience(shortest=0.05))
    # Everything lies below a folder whose name a shell would read in its own way.
    work = tmp_path / 'it\'s $(touch broken) "a"; `b` & <c> *'
    work.mkdir()
    made = Site(client, work, app, sys.executable)
    yield made
    for job in made.made:
        arrays = observe(client, job, read_logs=False).arrays if job.layout.arrays_folder.exists() else ()
        client.cancel(arrays)
    assert not (tmp_path / "broken").exists()
    assert not Path("broken").exists()
