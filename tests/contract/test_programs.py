"""A plain Python program with the backends of the experiment's scripts, on each batch system."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.payloads import parse_database
from airflow_provider_caf.jobs.arrays import read_intents
from tests.script_site import PROJECT, SCRIPTS, SETUP, source_and_run, write_data, write_json

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

CLASSES = {"local": "Local", "htcondor": "HTCondor", "slurm": "Slurm", "pbs": "PBS", "torque": "Torque", "lsf": "LSF"}

BEGIN = """
import json, os, signal, sys, time
from pathlib import Path
from caf import backends
from caf.backends import Job, MaxFilesSplitter

site = json.loads(Path("site.json").read_text())
backend = getattr(backends, site["class"])(backend_args=site["backend_args"])


def make(name="hits", count=5):
    job = Job(name)
    job.working_dir = site["work"]
    job.cmd = ["cat", "here.txt", "&&", "while", "!", "test", "-e", site["go"], ";", "do", "sleep", "0.05;", "done;"]
    job.cmd += [sys.executable, "count.py", ">", "out.txt"]
    job.input_sandbox_files = ["here.txt", "count.py"]
    job.input_files = [f"{number}.root" for number in range(count)]
    job.output_patterns = ["*out.txt"]
    job.splitter = MaxFilesSplitter(max_files_per_subjob=2)
    return job


def wait(job):
    while not job.ready():
        time.sleep(0.1)
    print(job.status, [each.status for each in job.subjobs.values()], flush=True)


job = make()
"""

COUNT = """
import json
from pathlib import Path

files = json.loads(Path("__BACKEND_INPUT_FILES__.json").read_text())
print("".join(Path(file).read_text() for file in files))
"""

ALL_IS_WELL = """
Path(site["go"]).touch()
result = backend.submit(job)
assert job.status == "submitted", job.status
wait(job)
assert result.ready() and not result.describe_failures()
for each in job.subjobs.values():
    assert each.result.get_exit_code_from_file() == 0
    print((each.output_dir / "out.txt").read_text(), (each.working_dir / "stdout").read_text(), sep="", end="")
"""

IS_KILLED = """
from airflow_provider_caf.jobs import client

client.write_submitted = lambda array, ids: os.kill(os.getpid(), signal.SIGKILL)
backend.submit(job)
"""

COMES_AGAIN = """
backend.submit(job)
Path(site["go"]).touch()
wait(job)
"""

FAILS_ONCE = """
Path(site["go"]).touch()
job.cmd += ["&&", "(", "grep", "-v", "4", "out.txt", "||", "test", "-e", site["mended"], "||", "exit", "7)"]
result = backend.submit(job)
wait(job)
print(job.subjobs[2].result.get_exit_code_from_file(), (job.subjobs[2].output_dir / "out.txt").exists())
print(result.describe_failures())
Path(site["mended"]).touch()
backend.submit(job)
wait(job)
print(job.subjobs[2].result.get_exit_code_from_file(), (job.subjobs[2].output_dir / "out.txt").exists())
"""

IS_CHANGED = """
backend.submit(job)
other = make()
other.cmd = ["true"]
other.output_patterns = []
try:
    backend.submit(other)
except backends.BackendError as error:
    print(error)
backend.cancel(other)
wait(job)
backend.submit(other)
wait(other)
"""


class Program:
    """A folder with the files of a program, and what it needs to know of the site."""

    def __init__(self, site: Site, **backend_args: Any) -> None:
        self.site = site
        self.work = site.work / "jobs"
        self.go, self.mended = site.folder / "go", site.folder / "mended"
        known = {
            "class": CLASSES[site.system.name],
            # Our sites have not the queues that the reference's experts use.
            "backend_args": {"python": site.python, "queue": None, **site.resources.to_json(), **backend_args},
            **{name: str(getattr(self, name)) for name in ("work", "go", "mended")},
        }
        (site.folder / "site.json").write_text(json.dumps(known))
        (site.folder / "here.txt").write_text("from the sandbox\n")
        (site.folder / "count.py").write_text(COUNT)
        for number in range(5):
            (site.folder / f"{number}.root").write_text(f"{number}")

    def run(self, text: str, *, code: int = 0) -> list[str]:
        """Run the program, and give the lines that it prints."""
        (self.site.folder / "program.py").write_text(BEGIN + text)
        ended = subprocess.run(
            [sys.executable, "-m", "airflow_provider_caf.worker.basf2.dropin", "program.py"],
            cwd=self.site.folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == code, ended.stderr + ended.stdout
        return ended.stdout.splitlines()

    @property
    def tries(self) -> list[str]:
        """Which subjobs were tried, and how often."""
        folders = self.work.glob(".backend/hits/output/[0-9]*/attempt_*")
        return sorted(f"{folder.parent.name}/{folder.name}" for folder in folders)


@pytest.fixture
def program(site: Site) -> Program:
    """A program on each site."""
    return Program(site)


@pytest.mark.only_on("htcondor")
def test_no_shared_file_system_is_needed_where_files_travel(site: Site) -> None:
    program = Program(site, transfer_files=True)
    assert program.run(ALL_IS_WELL)[1:] == ["01", "from the sandbox", "23", "from the sandbox", "4", "from the sandbox"]
    assert program.tries == FIRST_TRIES


DONE = "completed ['completed', 'completed', 'completed']"
FIRST_TRIES = [f"{number:05d}/attempt_0" for number in range(3)]


def test_subjobs_are_one_array_and_their_outputs_come_home(program: Program) -> None:
    said = program.run(ALL_IS_WELL)
    assert said == [DONE, "01", "from the sandbox", "23", "from the sandbox", "4", "from the sandbox"]
    (array,) = read_intents(program.work / ".backend" / "hits" / "output" / "arrays")
    assert array.elements == ((0,), (1,), (2,))
    assert program.run(ALL_IS_WELL) == said
    assert program.tries == FIRST_TRIES


def test_who_is_killed_while_it_submits_finds_its_jobs(program: Program) -> None:
    program.run(IS_KILLED, code=-signal.SIGKILL)
    (array,) = read_intents(program.work / ".backend" / "hits" / "output" / "arrays")
    assert len(program.site.look_up(array)) == 1
    assert program.run(COMES_AGAIN) == [DONE]
    assert program.tries == FIRST_TRIES


def test_only_what_failed_runs_again(program: Program) -> None:
    failed, code, *table, done, last = program.run(FAILS_ONCE)
    assert (failed, code) == ("failed ['completed', 'completed', 'failed']", "7 False")
    assert "exit code 7" in "\n".join(table)
    assert (done, last) == (DONE, "0 True")
    assert program.tries == [*FIRST_TRIES, "00002/attempt_1"]


def test_another_job_does_not_take_the_place_of_one_that_runs(program: Program) -> None:
    error, *said = program.run(IS_CHANGED)
    assert "3 subjobs of Job(hits)" in error
    assert "still run, and were submitted with another command" in error
    assert said == ["failed ['failed', 'failed', 'failed']", DONE]


SCRIPT = """
import basf2, json, ROOT, sys
from pathlib import Path
from caf import backends
from caf.framework import CAF, Calibration

site = json.loads(Path("site.json").read_text())
algorithm = ROOT.Belle2.TestCalibrationAlgorithm()
algorithm.setPayloadName("Mean")
calibration = Calibration("Mean", basf2.register_module("CaTest"), algorithm, sys.argv[1] + "/mumu/*/events.root")
calibration.max_files_per_collector_job = 2
calibration.backend_args = {"queue": None}
calibration.heartbeat = 0.1
backend = getattr(backends, site["class"])(backend_args={**site["backend_args"], "setup": site["setup"]})
caf = CAF(backend=backend)
caf.heartbeat = 0.1
caf.add_calibration(calibration)
caf.run()
"""


@pytest.mark.only_on("lsf", real=False)
def test_collectors_of_a_script_run_there(program: Program) -> None:
    check_collectors(program)


@pytest.mark.only_on("htcondor", "slurm", real=True)
def test_collectors_of_a_script_run_on_a_real_system(program: Program) -> None:
    check_collectors(program)


def check_collectors(program: Program) -> None:
    """Run a calibration script with the stand-in for the experiment's software."""
    folder = program.site.folder
    write_data(folder / "data", ["mumu"])
    known = json.loads((folder / "site.json").read_text())
    (folder / "site.json").write_text(json.dumps({**known, "setup": SETUP}))
    (folder / "script.py").write_text(SCRIPT)
    command = f"PYTHONPATH='{PROJECT}':$PYTHONPATH '{sys.executable}' -m airflow_provider_caf.worker.basf2.dropin"
    ended = source_and_run(f"{command} script.py '{folder / 'data'}'", folder)
    assert ended.returncode == 0, ended.stderr
    results = folder / "calibration_results" / "Mean"
    database = results / "outputdb"
    entries = parse_database((database / "database.txt").read_text(), str(database))
    assert [(entry.name, entry.iov) for entry in entries] == [("Mean", IoV(1, 1, 1, 3))]
    collected = results / "0" / "collector_output" / "default"
    outputs = [path.relative_to(collected).as_posix() for path in collected.glob("[0-9]*/*.root")]
    assert sorted(outputs) == ["0/CollectorOutput.root", "1/CollectorOutput.root"]
    (array,) = read_intents(next(collected.glob(".backend/*/output/arrays")))
    assert array.elements == ((0,), (1,))


@pytest.mark.only_on("lsf", real=False)
def test_a_script_with_its_two_files_runs_there(program: Program) -> None:
    check_prompt_run(program)


@pytest.mark.only_on("htcondor", "slurm", real=True)
def test_a_script_with_its_two_files_runs_on_a_real_system(program: Program) -> None:
    check_prompt_run(program)


def check_prompt_run(program: Program) -> None:
    """Run a calibration script as the experiment's prompt tool does, with the stand-in for its software."""
    folder = program.site.folder
    known = json.loads((folder / "site.json").read_text())
    config = {
        "caf_script": "example_simple",
        "database_chain": [],
        "requested_iov": [1, 1, 1, 2],
        "backend_args": {**known["backend_args"], "setup": SETUP, "queue": None},
    }
    files = (
        write_json(folder / "caf_config.json", config),
        write_json(folder / "input_data.json", write_data(folder / "data", ["raw_physics"])),
    )
    path = f"PYTHONPATH='{PROJECT}:{SCRIPTS.parents[1]}':$PYTHONPATH"
    words = [known["class"], *files, "--max-files-per-subjob", "1", "--heartbeat", "1"]
    command = f"{path} '{sys.executable}' -m airflow_provider_caf.worker.basf2.prompt_run"
    ended = source_and_run(f"{command} {' '.join(map(shlex.quote, words))}", folder)
    assert ended.returncode == 0, ended.stderr
    assert f"the collectors of TestCalibration run on {known['class']}, all else here" in ended.stderr
    output = folder / "caf_outputdb_results" / "TestCalibration"
    entries = parse_database((output / "database.txt").read_text(), str(output))
    assert [(entry.name, entry.iov) for entry in entries] == [("TestCalibMean", IoV(1, 1, -1, -1))]
    collected = folder / "calibration_results" / "TestCalibration" / "0" / "collector_output" / "default"
    (array,) = read_intents(next(collected.glob(".backend/*/output/arrays")))
    assert array.elements == ((0,), (1,))
