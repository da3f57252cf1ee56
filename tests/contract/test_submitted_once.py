"""Never twice: whoever is killed, and when, there is exactly one job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.jobs.arrays import read_arrays, read_submitted
from airflow_provider_caf.jobs.subjob_set import SubjobSet

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, QUEUED, RUNNING = SubjobStatus.DONE, SubjobStatus.QUEUED, SubjobStatus.RUNNING
OUTPUT = "out.dat"
COPY = ["sh", "-c", "echo data > out.dat"]

KILLS = {"local": 50}
OTHER_KILLS = 10
"""Fifty on this machine, ten on each of the five others, so fifty there in all: each takes a second or two."""
BEFORE, AFTER = 0.3, 0.4
"""Seconds that the slow submit command sleeps before and after it does its work."""

SUBMIT = textwrap.dedent(
    """
    import json, os, signal, sys
    from dataclasses import replace
    from pathlib import Path
    from airflow_provider_caf.batch.spec import ArraySpec
    from airflow_provider_caf.batch.systems import load_system
    from airflow_provider_caf.jobs.client import BatchClient
    from airflow_provider_caf.jobs.transport.local import LocalTransport

    system, file, before, after = sys.argv[1:]

    class Transport(LocalTransport):
        def run(self, command, *, hold=None):
            shim = 'before=$1 after=$2; shift 2; sleep "$before"; "$@"; code=$?; sleep "$after"; exit "$code"'
            slow = replace(command, argv=("sh", "-c", shim, "slow", before, after, *command.argv))
            result = super().run(slow, hold=hold)
            os.kill(os.getpid(), signal.SIGKILL)
            return result

    BatchClient(load_system(system), Transport()).submit(ArraySpec.from_json(json.loads(Path(file).read_text())))
    """
)
"""Submits by a slow command. Where nobody kills it before, it kills itself when the ids are there and not recorded."""


def test_a_kill_between_submit_and_record_gives_one_job(site: Site) -> None:
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    assert start_submit(site, array, before=0, after=0).wait(site.limit) == -signal.SIGKILL
    assert read_submitted(Path(array.folder)) is None
    result = site.submit(job)
    assert read_submitted(Path(array.folder)) is not None
    site.wait(job)
    assert result.submitted == ()
    assert len(read_arrays(job.folders.arrays_folder)) == 1
    assert_ran_once(site, job, array)


def test_kills_within_a_slow_submit_give_one_job_each(site: Site) -> None:
    """Kill the worker at moments all over the time in which its submit command runs."""
    kills = KILLS.get(site.system.name, OTHER_KILLS)
    jobs = [site.make_job([COPY], outputs=[OUTPUT], name=f"c{number}") for number in range(kills)]
    arrays = [job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0) for job in jobs]
    moments = [(BEFORE + AFTER) * number / kills for number in range(kills)]

    def kill_and_submit_again(array: ArraySpec, moment: float) -> None:
        process = start_submit(site, array, before=BEFORE, after=AFTER)
        site.wait_for(Path(array.array_file).exists)
        time.sleep(moment)
        process.kill()
        process.wait()
        assert read_submitted(Path(array.folder)) is None
        again = site.client.submit(array)
        assert again == read_submitted(Path(array.folder))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(kill_and_submit_again, arrays, moments))
    for job, array in zip(jobs, arrays, strict=True):
        assert site.statuses(site.wait(job)) == [DONE]
        assert_ran_once(site, job, array)


def test_a_kill_before_the_submit_command_is_no_loss(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    Path(array.folder).mkdir(parents=True)
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    result = site.submit(job)
    assert (result.submitted, result.attempt) == ((0,), 1)
    assert site.statuses(site.wait(job)) == [DONE]


def test_jobs_survive_the_death_of_their_submitter(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]
    job = site.make_job([wait, COPY], outputs=[OUTPUT], resources=Resources(max_processes=1, throttle=1))
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    # In a session of its own, which is killed whole: process, process group, session.
    process = start_submit(site, array, before=0, after=0)
    process.wait()
    for pid in find_session(process.pid):
        os.kill(pid, signal.SIGKILL)
    site.client.submit(array)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, QUEUED])
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, DONE]


def start_submit(site: Site, array: ArraySpec, *, before: float, after: float) -> subprocess.Popen[bytes]:
    file = site.folder / f"{array.name}.json"
    file.write_text(json.dumps(array.to_json()))
    return subprocess.Popen(
        [sys.executable, "-c", SUBMIT, site.system.name, str(file), str(before), str(after)],
        start_new_session=True,
    )


def assert_ran_once(site: Site, job: SubjobSet, array: ArraySpec) -> None:
    assert len(site.look_up(array)) == 1
    assert site.started(job) == [f"{subjob:05d}/attempt_0" for subjob in job.subjobs]


def find_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                found.append(int(entry.name))
    return found
