"""An external command as a job: it outlives its task, and never runs twice."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_caf import CAF, ExternalCommand
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.factory import build_dag
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.operators.member import CommandOperator
from airflow_provider_caf.steps.command import find_command_jobs
from tests.unit.operators.running import build_context, run_task
from tests.waiting import is_running_with, wait_until

if TYPE_CHECKING:
    from tests.unit.conftest import Lab

_SAVE = """
import hashlib, pathlib, sys
folder = pathlib.Path(sys.argv[1])
with open("runs", "a") as file:
    file.write("once\\n")
revision = hashlib.md5(b"root").hexdigest()
(folder / f"dbstore_Made_rev_{revision}.root").write_bytes(b"root")
(folder / "database.txt").write_text(f"dbstore/Made {revision} 1,0,-1,-1\\n")
"""


@pytest.fixture(autouse=True)
def in_a_hurry(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MIN", "0.05")
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MAX", "0.2")
    vars(context["ti"]).update(task_id="step.run", try_number=1, max_tries=0)


def build(*command: str, **words: Any) -> DAG:
    return build_dag(CAF("lab", [ExternalCommand("step", command, **words)]))


def run(dag: DAG, context: Any) -> Any:
    return run_task(dag, "step.run", build_context(context, dag))


def count_runs(lab: Lab) -> int:
    return len((lab.layout("step").folder / "runs").read_text().splitlines())


def test_what_is_done_is_not_done_again_by_a_retry_but_by_a_clear(lab: Lab, context: Any) -> None:
    dag = build(sys.executable, "-c", _SAVE, "{database}")
    assert run(dag, context)["iovs"] == 1
    context["ti"].try_number = 2
    assert run(dag, context)["iovs"] == 1
    assert count_runs(lab) == 1
    context["ti"].max_tries = 1
    assert run(dag, context)["iovs"] == 1
    assert count_runs(lab) == 2


def test_a_try_that_comes_while_it_runs_waits_for_it(lab: Lab, context: Any) -> None:
    dag = build("bash", "-c", "echo once >> runs; until [ -e go ]; do sleep 0.05; done; echo > {database}/database.txt")
    operator = dag.get_task("step.run")
    assert isinstance(operator, CommandOperator)
    # As a task that is killed just after it has submitted: nothing of it is left but the job.
    here = build_context(context, dag)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CommandOperator, "wait", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            operator.execute(here)
    layout = lab.layout("step")
    wait_until((layout.folder / "runs").exists)
    (layout.folder / "go").touch()
    context["ti"].try_number = 2
    assert run(dag, context)["iovs"] == 0
    assert count_runs(lab) == 1


def test_one_that_takes_too_long_is_ended_with_all_that_it_started(lab: Lab, context: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"The command of step 'step' failed: no end within 0\.5 s"):
        run(build("bash", "-c", "sleep 600.12321 & wait", timeout=0.5), context)
    wait_until(lambda: not is_running_with("600.12321"))


def test_one_that_fails_fails_for_good(lab: Lab, context: Any) -> None:
    with pytest.raises(AirflowFailException, match=r"(?s)failed: exit code 3.*\| no disk"):
        run(build("bash", "-c", "echo no disk >&2; exit 3"), context)
    jobs = open_jobs(find_command_jobs(lab.layout("step")))
    assert [record.attempt for record in jobs.read_attempts()] == [0]


def test_it_runs_where_it_says_with_what_its_caf_says(lab: Lab, context: Any) -> None:
    words = {"backend": "inherit", "backend_args": {"environment": {"OWN": "1"}}}
    step = ExternalCommand("step", ["env"], environment={"GIVEN": "2"}, **words)
    caf = CAF("lab", [step], backend="local", backend_args={"max_processes": 1, "setup": ["export SITE=3"]})
    run(build_dag(caf), context)
    lines = lab.layout("step").command_log.read_text().splitlines()
    assert {"OWN=1", "GIVEN=2", "SITE=3"} <= set(lines)


def test_a_submit_host_that_does_not_see_the_work_folder_is_refused(
    lab: Lab, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"system": "slurm", "ssh_conn_id": "login", "remote_work_dir": "/there"}
    monkeypatch.setenv("AIRFLOW_CONN_FARM", json.dumps({"conn_type": "caf_batch", "extra": extra}))
    with pytest.raises(AirflowFailException, match="step 'step' cannot run as a job by the connection 'farm'"):
        run(build("true", connection="farm"), context)
    with pytest.raises(AirflowFailException, match="cannot run as a job with 'transfer_files'"):
        run(build("true", backend_args={"transfer_files": True}), context)
    with pytest.raises(DefinitionError, match="slurmm"):
        build("true", backend="slurmm")
