"""An algorithm as a job on every batch system, through its operator: its database is that of a run in the worker."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.file_names import name_exit_record
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.catalog import open_sqlite_catalog
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.jobs.arrays import read_arrays
from airflow_provider_caf.jobs.transport.local import LocalTransport
from airflow_provider_caf.operators.strategy import StrategyOperator
from airflow_provider_caf.steps.manifest import Target
from airflow_provider_caf.steps.strategy_job import find_jobs_folder, read_live
from tests.contract.batch_site import Site
from tests.unit.conftest import DAG_ID, RUN_ID, Lab, LabFiles, State, lab_files
from tests.waiting import wait_until

__all__ = ["lab_files"]  # a fixture

# `scontrol requeue` does the same, and Slurm then waits for two minutes before it starts the job.
_START_AGAIN = {"htcondor": ("condor_hold", "condor_release")}


@pytest.fixture
def lab(site: Site, lab_files: LabFiles) -> Lab:
    run = RunLayout(work_dir=site.work, dag_id=DAG_ID, run_id=RUN_ID)
    return Lab(files=lab_files, run=run, catalog=open_sqlite_catalog(site.folder / "catalog.sqlite"), is_plain=True)


@pytest.fixture
def context(site: Site, lab: Lab) -> Iterator[Any]:
    ti = SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID, task_id="fit", map_index=-1, try_number=1, max_tries=0)
    yield {"ti": ti, "task_state_store": State()}
    jobs = find_jobs_folder(find_layout(lab))
    if jobs.manifest.exists():
        site.made.append(open_jobs(jobs).subjob_set)


def find_layout(lab: Lab) -> AlgorithmLayout:
    return lab.layout().iteration(0).algorithm("MeanAlgorithm")


def calibrate(site: Site, lab: Lab, context: Any, *, as_job: bool = True, **words: Any) -> dict[str, bytes]:
    """Run the operator and return the files of the algorithm's database."""
    algorithm = lab.algorithm(backend=site.system.name if as_job else None, **words)
    arguments = {"python": site.python, "environment": {"PYTHONPATH": str(lab.files.no_root)}}
    target = Target(backend=site.system.name, connection_args={**site.resources.to_json(), **arguments})
    lab.prepare(
        lab.calibration(algorithms=algorithm), algorithms={algorithm.name: target} if as_job else {}, target=target
    )
    lab.take_merged()
    operator = StrategyOperator(
        task_id="fit", calibration="vertex", iteration=0, algorithm="MeanAlgorithm", deferrable=False
    )
    assert operator.execute(context)["committed"] == 4
    return {path.name: path.read_bytes() for path in find_layout(lab).database.iterdir()}


@pytest.fixture
def expected(site: Site, lab: Lab) -> dict[str, bytes]:
    """Give the database of a run in the worker."""
    ti = SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID, task_id="here", map_index=-1, try_number=1, max_tries=0)
    return calibrate(site, lab, {"ti": ti, "task_state_store": State()}, as_job=False)


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    with ThreadPoolExecutor(1) as threads:
        yield threads.submit


def count_prints(layout: AlgorithmLayout) -> int:
    return sum(path.read_text().count("calibrates") for path in layout.folder.glob("*.log"))


def wait_for_executions(layout: AlgorithmLayout, number: int) -> None:
    def has_come() -> bool:
        live = read_live(layout)
        return live is not None and live.count >= number

    wait_until(has_come, lambda: f"there are never {number} executions")


def find_processes(layout: AlgorithmLayout) -> list[int]:
    """Find the processes that carry out the strategy."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"strategy" in words and os.fsencode(layout.job_request) in words:
            found.append(int(folder.name))
    return found


def test_the_database_is_that_of_a_run_in_the_worker(
    site: Site, lab: Lab, context: Any, expected: dict[str, bytes]
) -> None:
    context["ti"].max_tries = 1
    assert calibrate(site, lab, context, workers=2) == expected


def test_a_job_that_is_killed_goes_on_where_it_was(
    site: Site, lab: Lab, context: Any, expected: dict[str, bytes], in_thread: Callable[..., Future[Any]]
) -> None:
    layout = find_layout(lab)
    context["ti"].max_tries = 1

    def kill() -> None:
        for number in (1, 2):
            wait_for_executions(layout, number)
            for process in find_processes(layout):
                os.kill(process, signal.SIGKILL)

    killed = in_thread(kill)
    assert calibrate(site, lab, context, settings={"talks": True, "seconds": 0.5}, max_retries=0) == expected
    killed.result()
    assert 4 <= count_prints(layout) <= 6
    assert find_processes(layout) == []


@pytest.mark.only_on(*_START_AGAIN, real=True)
def test_a_job_that_the_system_starts_again_goes_on_where_it_was(
    site: Site, lab: Lab, context: Any, expected: dict[str, bytes], in_thread: Callable[..., Future[Any]]
) -> None:
    layout = find_layout(lab)
    context["ti"].max_tries = 1

    def start_again() -> None:
        wait_for_executions(layout, 1)
        ids = open_jobs(find_jobs_folder(layout)).list_array_ids()
        for command in _START_AGAIN[site.system.name]:
            result = LocalTransport().run(Command(argv=(command, *ids)))
            assert result.exit_code == 0, result

    started = in_thread(start_again)
    assert calibrate(site, lab, context, settings={"talks": True, "seconds": 1.0}) == expected
    started.result()
    assert 4 <= count_prints(layout) <= 5
    records = find_jobs_folder(layout).jobs.status_folder
    assert [path.name for path in records.iterdir() if re.search(r"_r\d", path.name)] or (
        records / name_exit_record(0, 0)
    ).exists()


@pytest.mark.only_on("slurm", real=True)
def test_a_job_that_needs_more_memory_gets_it_and_goes_on(
    site: Site, lab: Lab, context: Any, expected: dict[str, bytes]
) -> None:
    context["ti"].max_tries = 1
    # 60 MB more with each of the four executions, each of which takes as long as Slurm needs to see it.
    words: dict[str, Any] = {
        "cls": "GreedyAlgorithm",
        "name": "MeanAlgorithm",
        "settings": {"seconds": 3.0, "talks": True},
    }
    arguments = {"memory": 200, "memory_factor": 4.0}
    assert calibrate(site, lab, context, **words, backend_args=arguments, max_retries=1) == expected
    jobs = open_jobs(find_jobs_folder(find_layout(lab)))
    assert [array.array.resources.memory for array in read_arrays(jobs.folders.arrays_folder)] == [200, 800]
    assert 4 <= count_prints(find_layout(lab)) <= 5
