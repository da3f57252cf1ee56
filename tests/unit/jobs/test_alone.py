"""The room `jobs` alone, in a plain Python program: nothing is installed, and only the engine is loaded."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import check_engine
from airflow_provider_caf import jobs

pytestmark = pytest.mark.slow

TOP = Path(__file__).resolve().parents[3]
PAGE = TOP / "docs" / "reference" / "jobs.md"
PROGRAM, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
OLD_PYTHON = check_engine.find_old_python()
PYTHONS = [
    sys.executable,
    pytest.param(str(OLD_PYTHON), marks=pytest.mark.skipif(OLD_PYTHON is None, reason="there is no Python 3.9")),
]

LOADED = """
import json, sys
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("airflow_provider_caf.")}
print(json.dumps(sorted(rooms)))
"""

ONE_IS_KILLED = """
import os, signal, sys, time
from pathlib import Path
from airflow_provider_caf.jobs import (
    BatchClient, JobFolders, Resources, SubjobRun, SubjobSet, SubjobStatus, build_job, load_system, write_job_app
)

folder = Path("here").resolve()
go, pid = folder / "go", folder / "pid"
waits = 'echo $$ > "$1.new"; mv "$1.new" "$1"; while ! test -e "$2"; do sleep 0.05; done; echo data > out.txt'
commands = [["sh", "-c", "echo data > out.txt"]] * 3 + [["sh", "-c", waits, "sh", str(pid), str(go)]]


def open_run():
    subjobs = SubjobSet(
        labels=("four",),
        folders=JobFolders(input_folder=folder / "jobs", output_folder=folder / "output"),
        subjobs=tuple(range(len(commands))),
        app=write_job_app(folder / "app.pyz"),
        resources=Resources(max_processes=4),
    )
    return SubjobRun(subjobs, BatchClient(load_system("local")))


run = open_run()
run.write_job_files(build_job(number, argv, outputs=["out.txt"]) for number, argv in enumerate(commands))
first = run.submit_missing()
assert (first.submitted, first.attempt) == ((0, 1, 2, 3), 0), first
while not pid.exists() or len(run.observe().done) < 3:
    time.sleep(0.05)
os.kill(int(pid.read_text()), signal.SIGKILL)
seen = run.wait()
assert (seen.done, seen.failed) == ((0, 1, 2), (3,)), seen
verdict = seen.verdicts[3]
assert (verdict.status, verdict.record.signal) == (SubjobStatus.FAILED, signal.SIGKILL), verdict

# Another program, which knows nothing but the folder.
again = open_run()
go.touch()
second = again.submit_missing(first.attempt)
assert (second.submitted, second.attempt) == ((3,), 1), second
seen = again.wait()
assert again.check_done(seen) == ()
assert [seen.verdicts[number].attempt for number in range(4)] == [0, 0, 0, 1]
assert [path.read_text() for path in seen.verdicts[3].outputs] == ["data\\n"]
assert again.submit_missing().submitted == ()
"""


def run_plain(python: str, program: str, folder: Path) -> list[str]:
    """Run a program in a Python that sees this package and its own standard library, and nothing else."""
    text = f"import sys; sys.path.append({str(TOP)!r})\n{check_engine.BLOCK}\n{program}"
    done = subprocess.run(
        [python, "-I", "-S", "-c", text],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/bin:/usr/bin"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("python", PYTHONS)
def test_the_program_of_the_page(python: str, tmp_path: Path) -> None:
    *lines, rooms = run_plain(python, PROGRAM + LOADED, tmp_path)
    assert lines == [f"{number} done {number} squared is {number**2}" for number in range(4)]
    assert json.loads(rooms) == ["batch", "core", "jobs"]
    # Again: nothing is submitted a second time.
    run_plain(python, PROGRAM, tmp_path)
    assert [path.name for path in (tmp_path / "squares" / "output" / "arrays").iterdir()] == ["0"]


@pytest.mark.parametrize("python", PYTHONS)
def test_only_what_was_killed_runs_again(python: str, tmp_path: Path) -> None:
    run_plain(python, ONE_IS_KILLED, tmp_path)


def test_public_names_are_there_and_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    assert {name for name in jobs.__all__ if not hasattr(jobs, name)} == set()
    rows = set(re.findall(r"^\| `(\w+)", text, re.MULTILINE))
    methods = {
        name
        for owner in (jobs.SubjobRun, jobs.ForeignJobs)
        for name, _ in inspect.getmembers(owner, inspect.isfunction)
        if name[0] != "_"
    }
    assert rows == {*jobs.__all__, *methods}
    assert dir(jobs) == sorted(jobs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        jobs.nothing  # noqa: B018
