"""Jobs of a script on this machine, and what is refused before anything is submitted."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import check_engine
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.job_app import write_job_app
from airflow_provider_caf.worker.basf2.dropin.caf import backends
from airflow_provider_caf.worker.basf2.dropin.caf.backends import (
    ArgumentsGenerator,
    ArgumentsSplitter,
    BackendError,
    HTCondor,
    Job,
    JobError,
    Local,
    MaxFilesSplitter,
    Slurm,
    SubjobSplitter,
    range_arguments,
)
from airflow_provider_caf.worker.basf2.dropin.caf.submission import Submission, _build_resources
from tests.waiting import wait_until

TOP = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the local system whenever a test wants to know: that costs nothing."""
    real = Submission.look
    monkeypatch.setattr(Submission, "look", lambda submission, *, at_once=True: real(submission, at_once=True))


def make(*cmd: str, **words: Any) -> Job:
    job = Job(words.pop("name", "job"))
    job.cmd = list(cmd)
    job.working_dir = Path("work")
    for name, value in words.items():
        setattr(job, name, value)
    return job


def finish(job: Job) -> str:
    wait_until(job.ready, lambda: job.status)
    return job.status


def list_files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_file())


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_a_job_without_subjobs(folder: Path) -> None:
    (folder / "tools").mkdir()
    (folder / "tools" / "say").write_text("#!/bin/sh\necho $1 $X $here\n")
    (folder / "tools" / "say").chmod(0o755)
    job = make("tools/say", "${subjob}{subjob}", ">", "out.txt", output_patterns=["*.txt"])
    job.input_sandbox_files = ["tools"]
    job.setup_cmds = ["export X=set", "export here=$(basename $PWD)", "subjob=shell"]
    job.output_dir = folder / "results"
    assert not job.ready()
    result = Local().submit(job)
    assert (job.status, result is job.result) == ("submitted", True)
    assert finish(job) == "completed"
    # The shell reads it; our own placeholders are not for scripts.
    assert (folder / "results" / "out.txt").read_text() == "shell{subjob} set attempt_0\n"
    brought = ["__BACKEND_CMD_EXIT_STATUS__", "out.txt", "stderr", "stdout", "submit.sh"]
    assert list_files(folder / "work") == brought
    assert list_files(folder / "results") == ["out.txt"]
    assert (result.get_exit_code_from_file(), result.describe_failures()) == (0, "")
    assert Local().get_submit_script_path(job).read_text().splitlines()[1:4] == job.setup_cmds


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_arguments_of_subjobs_and_a_failure(folder: Path) -> None:
    job = make("exit", splitter=ArgumentsSplitter(arguments_generator=ArgumentsGenerator(range_arguments, stop=3)))
    backend = Local(max_processes=2)
    (result,) = backend.submit([job])
    assert isinstance(result, backends.Result)
    backend.join()
    assert [each.status for each in job.subjobs.values()] == ["completed", "failed", "failed"]
    assert (job.status, result.ready(), result.wait()) == ("failed", True, "failed")
    assert [each.result.get_exit_code_from_file() for each in job.subjobs.values()] == [0, 1, 2]
    assert "exit code 2" in result.describe_failures()
    backends.monitor_jobs(SimpleNamespace(heartbeat=60), [job])


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_what_an_earlier_attempt_has_brought_is_no_result_of_a_later_one(folder: Path) -> None:
    job = make("echo", "1", ">", "out.txt", output_patterns=["out.txt"])
    Local().submit(job)
    assert finish(job) == "completed"
    changed = make("exit", "3", output_patterns=["out.txt"])
    Local().submit(changed)
    assert list_files(folder / "work") == []
    assert finish(changed) == "failed"
    assert list_files(folder / "work") == ["__BACKEND_CMD_EXIT_STATUS__", "stderr", "stdout", "submit.sh"]
    # But what somebody has put there in the meantime stays.
    Local().submit(job)
    assert finish(job) == "completed"
    (folder / "work" / "out.txt").unlink()
    (folder / "work" / "out.txt").write_text("a result of my own")
    again = make("false", output_patterns=["out.txt"])
    Local().submit(again)
    assert finish(again) == "failed"
    assert (folder / "work" / "out.txt").read_text() == "a result of my own"


CHANGES: dict[str, Callable[[Job], Any]] = {
    "nothing": lambda job: None,
    "an input file": lambda job: Path("a.root").write_text("other data"),
    "a file of the sandbox": lambda job: Path("tool").write_text("#!/bin/sh\necho changed\n"),
    "the command": lambda job: job.cmd.append("more"),
    "an argument": lambda job: job.args.append("more"),
    "a setup line": lambda job: job.setup_cmds.append("true"),
    "an output pattern": lambda job: job.output_patterns.append("stdo*"),
}


@pytest.mark.slow
@pytest.mark.usefixtures("look")
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_made_of_something_else_runs_again(folder: Path, change: str) -> None:
    (folder / "a.root").write_text("data")
    (folder / "tool").write_text("#!/bin/sh\nexit 0\n")
    job = make("sh", "tool", ">", "stdoux", input_files=["a.root"], input_sandbox_files=["tool"])
    job.cmd += ["&&", "echo", "x", ">", "stdoy"]
    for _ in range(2):
        Local().submit(job)
        finish(job)
        CHANGES[change](job)
    attempts = len(list(folder.glob("work/.backend/job/output/00000/attempt_*")))
    assert attempts == (1 if change == "nothing" else 2)


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_no_more_processes_run_than_this_machine_shall_have(folder: Path) -> None:
    backend = Local(max_processes=1)
    first = make("while ! test -e", str(folder / "go"), "; do sleep 0.05; done", name="first")
    backend.submit(first)
    assert not backend.can_submit()
    second = make("test", "-e", str(folder / "go"), name="second")
    waits = 0

    def pause(seconds: float) -> None:
        nonlocal waits
        waits += 1
        assert second.status == "init"
        (folder / "go").touch()
        wait_until(first.ready)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(backends, "time", SimpleNamespace(sleep=pause))
        backend.submit(second)
    assert waits == 1
    assert (first.status, finish(second)) == ("completed", "completed")


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_a_job_can_be_ended_also_by_a_later_program(folder: Path) -> None:
    command = ("sleep", "600")
    for is_later in (False, True):
        job = make(*command)
        Local().submit(job)
        wait_until(lambda job=job: job.update_status() == "running")  # type: ignore[misc]
        Local().cancel(make(*command) if is_later else job)
        assert finish(job) == "failed"
        assert job.result.get_exit_code_from_file() == 128 + 15


IN_JOB_APP = """
from caf.backends import BackendError, Job, Local
job = Job("job")
job.cmd = ["true"]
try:
    Local().submit(job)
except BackendError as error:
    print(error)
"""


@pytest.mark.slow
def test_the_part_that_travels_with_jobs_says_that_it_cannot_submit(folder: Path) -> None:
    app = write_job_app(folder / "app.pyz")
    (folder / "program.py").write_text(IN_JOB_APP)
    argv = [sys.executable, "-m", "airflow_provider_caf.worker.basf2.dropin", "program.py"]
    environment = {**os.environ, "PYTHONPATH": str(app), "PYTHONNOUSERSITE": "1"}
    ended = subprocess.run([argv[0], "-S", *argv[1:]], env=environment, capture_output=True, text=True, check=False)
    assert "Here is only the part of the package that travels with jobs" in ended.stdout, ended.stderr


def run_door(*words: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    argv = [python, "-m", "airflow_provider_caf.worker.basf2.dropin", *words]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_script_runs_as_if_python_ran_it(folder: Path) -> None:
    (folder / "scripts").mkdir()
    (folder / "scripts" / "beside.py").write_text("NAME = 'beside'\n")
    text = "import sys, beside, caf.backends\nprint(__name__, sys.argv, beside.NAME)\nsys.exit(3)\n"
    (folder / "scripts" / "program.py").write_text(text)
    ended = run_door("scripts/program.py", "--word")
    assert (ended.returncode, ended.stdout) == (3, "__main__ ['scripts/program.py', '--word'] beside\n")
    for words in ((), ("nothing.py",)):
        refused = run_door(*words)
        assert refused.returncode == 2
        assert "SCRIPT [ARGUMENT …]" in refused.stderr


OLD_PYTHON = check_engine.find_old_python()
PYTHONS = [
    sys.executable,
    pytest.param(str(OLD_PYTHON), marks=pytest.mark.skipif(OLD_PYTHON is None, reason="there is no Python 3.9")),
]


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_the_program_of_the_page(folder: Path, python: str) -> None:
    page = (TOP / "docs" / "how-to" / "run-a-script-without-airflow.md").read_text("utf-8")
    (program,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "job.splitter" in text]
    (folder / "program.py").write_text(program)
    for _ in range(2):
        ended = run_door("program.py", python=python)
        assert ended.stdout.split() == ["completed", "200", "total", "200", "total"], ended.stderr
    assert len(list(folder.rglob("attempt_*"))) == 2


class OwnSplitter(SubjobSplitter):
    def __init__(self, *numbers: Any) -> None:
        super().__init__()
        self.numbers = numbers

    def create_subjobs(self, job: Any) -> None:
        for number in self.numbers:
            job.create_subjob(number)


BAD = [
    ({"cmd": "basf2 steering.py"}, "cmd of Job.job. are 'basf2 steering.py': write a list"),
    ({"cmd": []}, "has no command"),
    ({"cmd": ["no_such_program", "x"]}, "no program 'no_such_program'"),
    ({"cmd": ["./tool"]}, "no program './tool'"),
    ({"cmd": ["/nowhere/tool"]}, "no program '/nowhere/tool'"),
    ({"args": "--all"}, "args of Job.job. are '--all'"),
    ({"setup_cmds": "source setup.sh"}, "setup_cmds of Job.job. are"),
    ({"input_files": "a.root"}, "input_files of Job.job. are 'a.root'"),
    ({"input_files": ["a.root"]}, "input file a.root of Job.job. is not there"),
    ({"input_sandbox_files": ["steering.py"]}, "steering.py of Job.job. is not there"),
    ({"input_sandbox_files": ["/etc/hosts", "hosts"]}, "another file of that name"),
    ({"input_sandbox_files": ["stdout.log"]}, "another file of that name"),
    ({"output_patterns": "*.root"}, "output_patterns of Job.job. are"),
    ({"output_patterns": ["../*.root"]}, "leaves its folder"),
    ({"output_patterns": ["/tmp/x.root"]}, "leaves its folder"),
    ({"output_patterns": [""]}, "leaves its folder"),
    ({"splitter": MaxFilesSplitter()}, "nothing to split: it has no input files"),
    ({"splitter": OwnSplitter(-1)}, "a subjob -1: count them from 0"),
    ({"splitter": OwnSplitter("a")}, "a subjob 'a': count them from 0"),
]


@pytest.mark.parametrize(("words", "message"), BAD)
def test_a_job_that_cannot_run_is_refused_before_anything_is_written(
    folder: Path, words: dict[str, Any], message: str
) -> None:
    for name in ("hosts", "stdout.log"):
        (folder / name).touch()
    with pytest.raises(JobError, match=message):
        Local().submit(make(**{"cmd": ["true"], **words}) if "cmd" not in words else make(**words))
    assert not (folder / "work").exists()


@pytest.mark.parametrize(
    "words",
    [
        {"cmd": ["cd", "/"]},
        {"cmd": ["if", "true;", "then", "false;", "fi"]},
        {"cmd": ["X=1", "env"]},
        {"cmd": ["./tool"], "input_sandbox_files": ["tool"]},
        {"cmd": ["tools/run"], "input_sandbox_files": ["tools"]},
        {"cmd": ["known_later"], "setup_cmds": ["known_later() { true; }"]},
        {"cmd": ["known_later"], "backend_args": {"setup": ["PATH=/elsewhere"]}},
    ],
)
def test_a_program_that_may_be_there_is_not_refused(folder: Path, words: dict[str, Any]) -> None:
    (folder / "tool").touch()
    (folder / "tools").mkdir()
    Local()._check(make(**words))


BAD_BACKENDS: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (Local, {"backend_args": {"quue": "s"}}, "unknown argument 'quue'"),
    (lambda: Local(backend_args={"memory": "x"}), {}, "memory"),
    (lambda: Local(backend_args={"memory": 1, "request_memory": 1}), {}, "give 'memory' twice"),
    (lambda: Local(backend_args={"max_processes": 3}), {}, "Local.max_processes="),
    (lambda: Local(max_processes=0), {}, "at least 1"),
    (lambda: Local(backend_args={"container": "image.sif"}), {}, "cannot run the container"),
    (Slurm, {}, "no command 'sbatch' on PATH"),
    (HTCondor, {}, "no command 'condor_submit' on PATH"),
    (backends.PBS, {}, "no command 'qsub' on PATH"),
    (backends.LSF, {}, "no command 'bsub' on PATH"),
    (backends.Batch, {}, "is no batch system"),
]


@pytest.mark.parametrize(("build", "words", "message"), BAD_BACKENDS)
def test_a_backend_that_cannot_is_refused_before_anything_is_submitted(
    folder: Path,
    build: Callable[[], Any],
    words: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Where a batch system is installed it is not to be found.
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(BackendError, match=message):
        build().submit(make("true", **words))
    assert not list(folder.glob("work/.backend/job/output/arrays/*"))


def test_only_jobs_are_taken() -> None:
    job = make("true")
    for thing in (job.create_subjob(0), "true", ["true"]):
        with pytest.raises(BackendError, match="takes a Job"):
            Local().submit(thing)


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_a_job_stays_with_its_system(folder: Path) -> None:
    job = make("true")
    Local().submit(job)
    assert finish(job) == "completed"
    with pytest.raises(BackendError, match=r"was submitted to local from .*: submit it there again"):
        HTCondor().submit(make("true"))


@pytest.mark.slow
@pytest.mark.usefixtures("look")
def test_names_that_look_alike_are_two_jobs(folder: Path) -> None:
    job = make("true", name="a b")
    Local().submit(job)
    assert finish(job) == "completed"
    with pytest.raises(BackendError, match=r"belongs to a job 'a b': give Job\(a_b\) another name"):
        Local().submit(make("true", name="a_b"))


@pytest.mark.parametrize(("live", "more", "fits"), [([], 9, True), ([2], 2, True), ([2], 3, False), ([1, 2], 2, False)])
def test_a_limit_of_jobs_counts_what_is_not_over(live: list[int], more: int, fits: bool) -> None:
    backend = Slurm()
    backend.global_job_limit = 4
    backend._submissions = [SimpleNamespace(live=number) for number in live]  # type: ignore[misc]
    assert backend.can_submit(more) is fits


def test_a_limit_of_jobs_packs_subjobs(folder: Path) -> None:
    backend = Slurm()
    backend.global_job_limit = 4
    for subjobs, packed in ((4, None), (5, 2), (9, 3)):
        assert backend.adapt_resources(Resources(), subjobs).subjobs_per_job == packed
    backend.global_job_limit = 0
    with pytest.raises(BackendError, match="at least 1"):
        backend.adapt_resources(Resources(), 1)


LAYERS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {"memory": 4096}),
    ({"memory": "8 GB"}, {}, {"memory": 8192}),
    ({"request_memory": "8 GB", "cpus": 2}, {"request_memory": "1 GB"}, {"memory": 1024, "cpus": 2}),
    ({"cpus": 2}, {"memory": None, "cpus": None}, {}),
    ({"memory": None}, {}, {}),
]


@pytest.mark.parametrize(("of_backend", "of_job", "expected"), LAYERS)
def test_arguments_of_a_job_win_over_those_of_a_backend_and_they_over_the_defaults(
    of_backend: dict[str, Any], of_job: dict[str, Any], expected: dict[str, Any]
) -> None:
    backend = HTCondor(backend_args=of_backend)
    found = _build_resources(make("true", backend_args=of_job), backend, load_system("htcondor")).to_json()
    others = {"universe": "vanilla", "getenv": "false", "path_prefix": "", "extra_lines": []}
    assert found == {**others, **expected}


def test_an_argument_without_effect_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _build_resources(make("true", backend_args={"queue": "l"}), Local(), load_system("local"))
    assert caplog.messages == ["Job(job): local has no use for the backend_args queue"]
