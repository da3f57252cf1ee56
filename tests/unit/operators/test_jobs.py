"""Commands of any DAG as jobs, over real jobs of the local system. Only Airflow's context is a stand-in."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.hooks.batch import open_jobs
from airflow_provider_caf.io.catalog import SubjobsRow, open_sqlite_catalog
from airflow_provider_caf.io.layout import TaskJobsLayout, default_catalog_file
from airflow_provider_caf.operators import BatchJobOperator, BatchSubmitOperator
from airflow_provider_caf.operators.jobs import JobsOperator
from airflow_provider_caf.sensors import batch
from airflow_provider_caf.sensors.batch import BatchJobSensor
from airflow_provider_caf.steps.task_jobs import TaskJobs, leave_target
from airflow_provider_caf.triggers.batch import JobTrigger, TaskJobsTrigger
from tests.unit.store import Store

ECHO = ["sh", "-c", 'echo "$1" > out.txt', "-", "{number}"]
OTHERS = {
    "HTCondorJobSensor": "htcondor",
    "LSFJobSensor": "lsf",
    "PBSJobSensor": "pbs",
    "SlurmJobSensor": "slurm",
    "TorqueJobSensor": "torque",
}


@pytest.fixture
def work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    monkeypatch.setenv("AIRFLOW__CAF__WORK_DIR", str(folder))
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MIN", "0.05")
    monkeypatch.setenv("AIRFLOW__CAF__POLL_INTERVAL_MAX", "0.1")
    return folder


@pytest.fixture
def context(work_dir: Path) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="any", run_id="manual__1", task_id="jobs", map_index=-1, try_number=1, max_tries=2, rescheduled=None
    )
    ti.get_first_reschedule_date = lambda _: ti.rescheduled
    return {"ti": ti, "task_state_store": Store()}


def run(context: Any, **words: Any) -> dict[str, Any]:
    result = BatchJobOperator(task_id="jobs", **words).execute(context)
    assert isinstance(result, dict)
    return result


def submit(context: Any, **words: Any) -> dict[str, Any]:
    return BatchSubmitOperator(task_id="jobs", **words).execute(context)


def wait(context: Any, handle: Any, cls: type[BatchJobSensor] = BatchJobSensor, **words: Any) -> Any:
    return cls(task_id="wait", handle=handle, **words).execute(context)


def read_outputs(result: dict[str, Any]) -> list[str]:
    jobs = json.loads(Path(result["outputs_file"]).read_text())["jobs"]
    return [Path(path).read_text().strip() for _, paths in sorted(jobs.items()) for path in paths]


def read_attempts(result: dict[str, Any]) -> list[tuple[int, int]]:
    jobs = TaskJobs(TaskJobsLayout(folder=Path(result["folder"])))
    return sorted((record.subjob, record.attempt) for record in jobs.read_attempts())


def list_arguments(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


def test_one_command_is_one_job(context: dict[str, Any], work_dir: Path) -> None:
    result = run(context, command=["true"])
    assert result == {
        "folder": str(work_dir / "any" / "manual__1" / "task.jobs" / "jobs"),
        "backend": "local",
        "jobs": 1,
        "array_ids": result["array_ids"],
        "failed": 0,
        "outputs_file": f"{result['folder']}/outputs.json",
    }
    assert len(result["array_ids"]) == 1


def test_each_mapping_of_arguments_is_a_job(context: dict[str, Any]) -> None:
    result = run(context, command=ECHO, arguments=list_arguments(3), outputs=["out.txt"])
    assert read_outputs(result) == ["0", "1", "2"]


def test_each_of_the_commands_is_a_job(context: dict[str, Any]) -> None:
    commands = [["sh", "-c", f"echo {word} > out.txt"] for word in ("red", "green")]
    assert read_outputs(run(context, commands=commands, outputs=["*.txt"])) == ["red", "green"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, ["0", "1", "2", "3", "4"]),
        ({"max_files_per_job": 2}, ["0 1", "2 3", "4"]),
        ({"max_jobs": 2}, ["0 1 2", "3 4"]),
        ({"max_jobs": "2"}, ["0 1 2", "3 4"]),
        ({"arguments": [{}, {}]}, ["0 1 2 3 4"] * 2),
    ],
)
def test_files_are_spread(context: dict[str, Any], tmp_path: Path, words: dict[str, Any], expected: list[str]) -> None:
    for number in range(5):
        (tmp_path / f"{number}.in").write_text(f"{number}\n")
    command = ["sh", "-c", 'cat "$@" | xargs > out.txt', "-", "{input_files}"]
    result = run(context, command=command, input_files=[f"{tmp_path}/*.in"], outputs=["out.txt"], **words)
    assert read_outputs(result) == expected


def test_files_and_variables_travel(context: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("fine")
    result = run(
        context,
        command=["sh", "-c", 'echo "$(cat conf.txt) $COLOUR" > out.txt'],
        job_files={"conf.txt": str(tmp_path / "settings")},
        environment={"COLOUR": "red"},
        outputs=["out.txt"],
    )
    assert read_outputs(result) == ["fine red"]


def test_a_second_try_runs_what_failed_and_only_that(context: dict[str, Any], tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    script = '[ "$1" = 0 ] || [ -e "$2" ] || { echo no licence >&2; exit 3; }'
    command = ["sh", "-c", script, "-", "{subjob}", str(mended)]
    words: dict[str, Any] = {"command": command, "arguments": list_arguments(2), "max_retries": 0}
    with pytest.raises(AirflowFailException) as caught:
        run(context, **words)
    text = str(caught.value)
    assert "1 of 2 subjobs of task 'jobs' of DAG 'any', failed." in text
    assert "exit code 3" in text
    assert "no licence" in text
    assert "clear this task" in text
    assert "exit code 3" in context["task_state_store"].get("reason")
    mended.touch()
    assert read_attempts(run(context, **words)) == [(0, 0), (1, 0), (1, 1)]


def test_retries_are_counted(context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException):
        run(context, command=["false"], max_retries=2)
    folder = Path(submit(context, command=["false"], max_retries=2)["folder"])
    assert len(TaskJobs(TaskJobsLayout(folder=folder)).read_attempts()) >= 3


def test_some_may_fail(context: dict[str, Any]) -> None:
    command = ["sh", "-c", '[ "$1" != 1 ]', "-", "{subjob}"]
    result = run(context, command=command, arguments=list_arguments(4), max_retries=0, max_failed="25%")
    assert result["failed"] == 1
    jobs = json.loads(Path(result["outputs_file"]).read_text())["jobs"]
    assert sorted(jobs) == ["0", "2", "3"]


def test_a_missing_output_is_a_failure(context: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="result"):
        run(context, command=["true"], outputs=["result-*.txt"], max_retries=0)


def test_what_has_changed_runs_again_and_what_is_too_many_goes(context: dict[str, Any]) -> None:
    first = run(context, command=ECHO, arguments=list_arguments(3), outputs=["out.txt"])
    other = [{"number": 0}, {"number": 7}]
    second = run(context, command=ECHO, arguments=other, outputs=["out.txt"])
    assert read_outputs(second) == ["0", "7"]
    assert read_attempts(second) == [(0, 0), (1, 0), (1, 1), (2, 0)]
    assert first["folder"] == second["folder"]
    assert not Path(second["folder"], "input", "00002.json").exists()


def test_a_file_that_travels_and_has_changed_makes_it_run_again(context: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "settings"
    results = []
    for text in ("one", "one", "two"):
        file.write_text(text)
        result = run(context, command=["cp", "in", "out"], job_files={"in": str(file)}, outputs=["out"])
        results.append((read_outputs(result), len(read_attempts(result))))
    assert results == [(["one"], 1), (["one"], 1), (["two"], 2)]


def test_mapped_tasks_have_folders_of_their_own(context: dict[str, Any]) -> None:
    folders = set()
    for number in range(2):
        context["ti"].map_index = number
        folders.add(run(context, command=["true"])["folder"])
    assert sorted(Path(folder).name for folder in folders) == ["0", "1"]


def test_a_handle_is_waited_for(context: dict[str, Any]) -> None:
    handle = submit(context, command=ECHO, arguments=list_arguments(2), outputs=["out.txt"])
    assert {"folder", "backend", "jobs", "array_ids"} == set(handle)
    json.dumps(handle)
    result = wait(context, handle)
    assert read_outputs(result) == ["0", "1"]
    assert wait(context, handle["folder"])["jobs"] == 2
    assert wait(context, handle, deferrable=False, poke_interval=0.05)["failed"] == 0


def test_a_sensor_may_have_the_target_of_all_tasks_and_no_other(context: dict[str, Any]) -> None:
    handle = submit(context, command=["true"])
    assert wait(context, handle, backend="local", conn_id="")["jobs"] == 1
    for word, value in (("backend", "slurm"), ("conn_id", "farm")):
        words: dict[str, Any] = {word: value}
        with pytest.raises(AirflowFailException, match=f"has the {word} '{value}', but the jobs of its handle have"):
            wait(context, handle, **words)


def test_the_example_can_be_read() -> None:
    example = runpy.run_path(str(Path(__file__).parents[3] / "dags" / "caf_batch_jobs.py"))
    (dag,) = (value for value in example.values() if isinstance(value, DAG) and value.dag_id == "caf_batch_jobs")
    assert set(dag.task_ids) == {"draw", "check", "wait", "estimate"}


def test_a_sensor_submits_again_what_failed(context: dict[str, Any], tmp_path: Path) -> None:
    command = ["sh", "-c", 'mkdir "$1" 2>/dev/null && exit 3; exit 0', "-", str(tmp_path / "first")]
    handle = submit(context, command=command)
    assert read_attempts(wait(context, handle)) == [(0, 0), (0, 1)]


@pytest.mark.parametrize("name", OTHERS)
def test_a_sensor_of_another_system_refuses(context: dict[str, Any], name: str) -> None:
    handle = submit(context, command=["true"])
    with pytest.raises(AirflowFailException) as caught:
        wait(context, handle, getattr(batch, name))
    assert f"{name} waits for {OTHERS[name]} jobs, but task 'jobs' of DAG 'any' runs on 'local'." in str(caught.value)
    assert "Use BatchJobSensor" in str(caught.value)


def test_the_sensor_of_the_local_system_waits_for_it(context: dict[str, Any]) -> None:
    assert wait(context, submit(context, command=["true"]), batch.LocalJobSensor)["jobs"] == 1


@pytest.mark.parametrize(
    ("handle", "said"),
    [
        ({"folder": "/elsewhere/any/run"}, "belong to another work folder"),
        ({"folder": "{}/../other"}, "belong to another work folder"),
        ({"folder": "{}/any/run/task.jobs/x"}, "No jobs were submitted from"),
        ({"jobs": 1}, "is no handle of jobs"),
        ("jobs", "is no handle of jobs"),
    ],
)
def test_what_is_no_handle_is_refused(context: dict[str, Any], work_dir: Path, handle: Any, said: str) -> None:
    if isinstance(handle, dict) and "folder" in handle:
        handle = {"folder": handle["folder"].format(work_dir)}
    with pytest.raises(AirflowFailException, match=said):
        wait(context, handle)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "There is no command"),
        ({"command": "ls -l"}, "The command is 'ls -l'"),
        ({"command": []}, "The command is"),
        ({"command": ["ls", 3]}, "The command is"),
        ({"command": ["ls"], "commands": [["ls"]]}, "both 'command' and 'commands'"),
        ({"commands": []}, "The list of commands is empty"),
        ({"commands": ["ls"]}, "The command is 'ls'"),
        ({"commands": [["ls"]], "max_jobs": 2}, "'max_jobs' stands beside 'commands'"),
        ({"command": ["ls"], "max_jobs": 2}, "There are no input_files for 'max_jobs'"),
        ({"command": ["ls"], "arguments": []}, "The list of arguments is empty"),
        ({"command": ["cat", "{input_files}"]}, "There is no input file"),
        ({"command": ["ls"], "input_files": ["/a"], "max_jobs": 2, "max_files_per_job": 2}, "Give only one of them"),
        ({"command": ["ls"], "input_files": ["a.root"]}, "is not absolute"),
        ({"command": ["ls"], "outputs": ["../x"]}, "leaves the subjob's folder"),
        ({"command": ["ls"], "outputs": ["/x"]}, "leaves the subjob's folder"),
        ({"command": ["ls"], "job_files": {"../x": "/x"}}, "cannot be the name of a file"),
        ({"command": ["ls"], "job_files": {"x": "x"}}, "is not absolute"),
        ({"command": ["ls"], "backend": "slurn"}, "slurm"),
        ({"command": ["ls"], "backend_args": {"memroy": "1 GB"}}, "memory"),
        ({"command": ["ls"], "backend_args": {"environment": {}}, "environment": {"A": "b"}}, "Keep one of them"),
        ({"command": ["ls"], "max_failed": 1.0}, "Give a count"),
        ({"command": ["ls"], "max_retries": -1}, "at least 0"),
        ({"command": ["ls"], "max_jobs": 0, "input_files": ["/a"]}, "at least 1"),
    ],
)
def test_what_is_wrong_in_a_dag_file_is_said_when_it_is_read(words: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        BatchJobOperator(task_id="jobs", **words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"command": ["no-such-program"]}, "'no-such-program' is not on PATH"),
        ({"command": ["/no/such/program"]}, "There is no program /no/such/program"),
        ({"command": ["cat", "{input_files}"], "input_files": ["/no/such/*.root"]}, "could not be found"),
        ({"command": ["ls"], "job_files": {"x": "/no/such/file"}}, "cannot be read"),
        ({"command": ["ls"], "work_dir": "relative"}, "is not an absolute path"),
    ],
)
def test_what_is_wrong_here_is_said_before_anything_is_submitted(
    context: dict[str, Any], work_dir: Path, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        run(context, **words)
    assert list(work_dir.rglob("arrays/*")) == []


def test_a_template_is_left_until_it_is_filled_in(context: dict[str, Any]) -> None:
    words: dict[str, Any] = {"input_files": "{{ params.files }}", "max_jobs": "{{ params.jobs }}"}
    operator = BatchJobOperator(task_id="jobs", command="{{ params.command }}", **words)
    operator.command = "rm -rf x"  # as the conf of the run may have it
    with pytest.raises(AirflowFailException, match="The command is 'rm -rf x'"):
        operator.execute(context)  # type: ignore[arg-type]


def test_the_other_system_of_an_earlier_try_is_left(context: dict[str, Any], tmp_path: Path) -> None:
    handle = submit(context, command=["sleep", "600"])
    folder = Path(handle["folder"])
    manifest = json.loads((folder / "jobs.json").read_text())
    # As if a connection had led to this machine.
    (folder / "jobs.json").write_text(json.dumps({**manifest, "backend": "local", "count": 1}))
    leave_target(TaskJobsLayout(folder=folder), ("slurm", None), open_jobs)
    aside = folder.with_name("jobs.before.1")
    assert aside.is_dir()
    assert not folder.exists()
    jobs = TaskJobs(TaskJobsLayout(folder=aside))
    jobs.wait()
    assert run(context, command=["true"])["failed"] == 0


def test_a_kill_ends_the_jobs_or_leaves_them(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    for cancels in (False, True):
        operator = BatchJobOperator(task_id="jobs", command=["sleep", "600"], cancel_on_kill=cancels)
        with pytest.raises(TaskDeferred) as caught:
            operator.execute(context)  # type: ignore[arg-type]
        trigger = caught.value.trigger
        assert isinstance(trigger, TaskJobsTrigger)
        assert trigger.cancel_on_kill is cancels
        operator.on_kill()
        jobs = trigger.open_run()
        if cancels:
            jobs.wait()
        else:
            assert not jobs.observe().is_over


def test_a_trigger_is_made_again_from_its_words(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CAF__DEFER_AFTER", "0")
    with pytest.raises(TaskDeferred) as caught:
        run(context, command=["sleep", "1"])
    trigger = caught.value.trigger
    path, words = trigger.serialize()
    assert path.endswith(".TaskJobsTrigger")
    again = TaskJobsTrigger(**json.loads(json.dumps(words)))
    assert again.serialize() == (path, words)
    assert set(words) > {"folder", "deadline", "first_attempt", "since", "cancel_on_kill"}
    assert issubclass(TaskJobsTrigger, JobTrigger)
    operator = BatchJobOperator(task_id="jobs", command=["sleep", "1"])
    event = {"first_attempt": words["first_attempt"], "deadline": words["deadline"]}
    monkeypatch.delenv("AIRFLOW__CAF__DEFER_AFTER")
    assert operator.execute_complete(context, event)["failed"] == 0  # type: ignore[arg-type]


def test_time_that_is_up_ends_the_jobs(context: dict[str, Any]) -> None:
    operator = BatchJobOperator(task_id="jobs", command=["sleep", "600"], timeout=0.3)
    with pytest.raises(AirflowSensorTimeout, match="were not done within"):
        operator.execute(context)  # type: ignore[arg-type]
    jobs = operator._run
    assert jobs is not None
    jobs.wait()


def test_what_was_submitted_is_shown_and_counted(context: dict[str, Any], work_dir: Path) -> None:
    operator = BatchJobOperator(task_id="jobs", command=["true"])
    operator.execute(context)  # type: ignore[arg-type]
    assert operator.submitted is not None
    assert operator.submitted[0]["backend"] == "local"
    assert operator.submitted[0]["subjobs"] == 1
    assert "1 done" in context["task_state_store"].get("progress")
    catalog = open_sqlite_catalog(default_catalog_file(work_dir))
    (row,) = catalog.read(SubjobsRow, "any", "manual__1")
    assert (row.calibration, row.collection, row.done, row.total) == ("jobs", "jobs", 1, 1)


def test_a_system_that_is_not_there_is_named(context: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CafError, match="qsub") as caught:
        submit(context, command=["true"], backend="pbs")
    assert "PATH" in str(caught.value)


def test_every_word_is_a_template_field() -> None:
    operator = JobsOperator(task_id="jobs", command=["true"])
    for field in operator.template_fields:
        assert hasattr(operator, field)
