"""Commands and functions of any DAG on every batch system, through their operators."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf import sensors
from airflow_provider_caf.operators import BatchJobOperator, BatchSubmitOperator
from airflow_provider_caf.operators.function import BatchFunctionOperator
from airflow_provider_caf.sensors import BatchJobSensor
from airflow_provider_caf.steps.task_jobs import TaskJobs, read_handle
from tests.contract.batch_site import DAG, Site
from tests.unit.store import Store

SENSORS: dict[str, type[BatchJobSensor]] = {
    sensor.system: sensor
    for name in sensors.__all__
    if issubclass(sensor := getattr(sensors, name), BatchJobSensor) and sensor.system is not None
}


@pytest.fixture
def context(site: Site) -> Any:
    ti = SimpleNamespace(dag_id=DAG, run_id="any", task_id="jobs", map_index=-1, try_number=1, max_tries=0)
    return {"ti": ti, "task_state_store": Store()}


@pytest.fixture
def words(site: Site) -> dict[str, Any]:
    """Give the arguments that say where."""
    arguments = {"python": site.python, "max_processes": 4, **site.resources.to_json()}
    return {"task_id": "jobs", "backend": site.system.name, "backend_args": arguments, "max_retries": 0}


def open_jobs(site: Site, handle: dict[str, Any]) -> TaskJobs:
    jobs = TaskJobs(read_handle(handle, site.work))
    site.made.append(jobs.subjob_set)
    return jobs


def test_only_what_failed_runs_again(site: Site, context: Any, words: dict[str, Any]) -> None:
    mended = site.folder / "mended"
    script = 'echo "$1" > out.txt; [ "$1" != 1 ] || [ -e "$2" ] || { echo no licence >&2; exit 3; }'
    words |= {"commands": [["sh", "-c", script, "-", str(n), str(mended)] for n in range(3)], "outputs": ["out.txt"]}
    with pytest.raises(AirflowFailException) as caught:
        BatchJobOperator(**words).execute(context)
    assert "1 of 3 subjobs of task 'jobs'" in str(caught.value)
    assert "no licence" in str(caught.value)
    mended.touch()
    result = BatchJobOperator(**words).execute(context)
    jobs = open_jobs(site, result)
    attempts = sorted((record.subjob, record.attempt) for record in jobs.read_attempts())
    assert attempts == [(0, 0), (1, 0), (1, 1), (2, 0)]
    outputs = json.loads(Path(result["outputs_file"]).read_text())["jobs"]
    assert [Path(path).read_text() for (path,) in outputs.values()] == ["0\n", "1\n", "2\n"]


def test_a_handle_is_waited_for_by_the_sensor_of_its_system(site: Site, context: Any, words: dict[str, Any]) -> None:
    handle = BatchSubmitOperator(command=["sleep", "1"], **words).execute(context)
    open_jobs(site, handle)
    result = SENSORS[site.system.name](task_id="wait", handle=handle, timeout=site.limit).execute(context)
    assert (result["failed"], result["array_ids"]) == (0, handle["array_ids"])
    other = next(sensor for system, sensor in SENSORS.items() if system != site.system.name)
    with pytest.raises(AirflowFailException, match=f"runs on '{site.system.name}'"):
        other(task_id="wait", handle=handle).execute(context)


def test_a_function_returns_its_result(
    site: Site, context: Any, words: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (site.folder / "my_sums.py").write_text("def add(numbers, more=0):\n    return {'sum': sum(numbers) + more}\n")
    monkeypatch.syspath_prepend(str(site.folder))
    function = import_module("my_sums").add
    monkeypatch.delitem(sys.modules, "my_sums")
    operator = BatchFunctionOperator(python_callable=function, op_args=[[1, 2]], op_kwargs={"more": 4}, **words)
    assert operator.execute(context) == {"sum": 7}
