"""Nothing is shared between the submit host and the machines that run the jobs: all files travel with the job."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import engine
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.run import SubjobRun

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, HELD = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.HELD
TRAVEL = Resources(transfer_files=True)
# What it prints is what it got: the folder it works in, the job file, the input files and what is in the local ones.
SHOW = 'mkdir sub; cat "$1" > sub/out.dat; pwd > where; printf "%s\\n" "$@" > files; cp "$CAF_JOB" job.json'
SHOW_ALL = ["sh", "-c", SHOW, "show", "{input_files}"]
FAR = "root://far/away.root"
OUTPUTS = ("sub/*.dat", "where", "files", "job.json")

pytestmark = pytest.mark.only_on("htcondor")


def test_files_travel_with_the_job_and_back(site: Site) -> None:
    # Two of one name, which must not become one.
    files = [site.work / folder / "in.dat" for folder in ("a", "b")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"this is {file.parent.name}\n")
    database = site.work / "db"
    payload = site.folder / "payload.root"
    payload.write_text("this is a payload")
    LocalDatabase(database).commit([("Spot", payload, IoV(0, 0, -1, -1))])
    chain = [DatabaseEntry(kind="local", value=str(database)), DatabaseEntry(kind="global_tag", value="main")]
    job = site.make_job(
        [SHOW_ALL, SHOW_ALL],
        outputs=OUTPUTS,
        resources=TRAVEL,
        files=[[*files, FAR], [files[1], FAR]],
        databases=chain,
    )
    site.submit(job)
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    for subjob, its_files in ((0, files), (1, files[1:])):
        folder = job.folders.attempt_folder(subjob, 0)
        where = (folder / "where").read_text().rstrip("\n")
        scratch = where.removesuffix(str(folder))
        assert scratch not in (where, "")
        moved = [f"{scratch}{path}" for path in its_files]
        assert (folder / "files").read_text().splitlines() == [*moved, FAR]
        assert (folder / "sub" / "out.dat").read_text() == f"this is {its_files[0].parent.name}\n"
        value = json.loads((folder / "job.json").read_text())
        assert value["input_files"] == [*moved, FAR]
        assert value["database_chain"] == [
            {"kind": "local", "path": f"{scratch}{database}"},
            {"kind": "global_tag", "name": "main"},
        ]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0"]
    # Nothing but the logs and what was there before has come to the array's folder.
    assert not list(Path(job.folders.array_folder(0)).glob("*/"))
    assert site.submit(job).submitted == ()


def test_a_job_that_fails_brings_its_logs_home(site: Site) -> None:
    job = site.make_job([["sh", "-c", "echo broken >&2; exit 3"], ["true"]], resources=TRAVEL)
    site.submit(job)
    observed = site.wait(job)
    assert site.statuses(observed) == [FAILED, DONE]
    assert observed.verdicts[0].log_tail == "broken"
    assert observed.verdicts[0].log == job.folders.attempt_folder(0, 0) / "stderr.log"


def test_a_failed_setup_tells_why(site: Site) -> None:
    resources = replace(TRAVEL, setup=("echo the site is ill", "exit 7"))
    job = site.make_job([["true"]], resources=resources)
    site.submit(job)
    site.wait_for(lambda: (job.folders.array_folder(0) / "element_0.log").exists())
    assert (job.folders.array_folder(0) / "element_0.log").read_text() == "the site is ill\n"
    site.wait(job, lambda seen: "waited for" in str(seen.verdicts[0].reason))
    site.clock.jump(site.system.grace)
    assert site.statuses(site.wait(job)) == [FAILED]


@pytest.mark.only_on("htcondor", real=True)
def test_an_input_that_is_missing_holds_the_job(site: Site) -> None:
    file = site.work / "gone.root"
    file.touch()
    job = site.make_job([["true"]], resources=TRAVEL, files=[[file]])
    # It was there when the task looked.
    file.unlink()
    SubjobRun(job, site.client).submit_missing()
    observed = site.wait(job, lambda seen: site.statuses(seen) == [HELD])
    assert "gone.root" in str(observed.verdicts[0].reason)


def test_a_record_that_comes_before_its_outputs_does_not_count_yet(site: Site) -> None:
    job = site.make_job([["sh", "-c", "echo data > out.dat"]], outputs=["out.dat"], resources=TRAVEL)
    site.submit(job)
    site.wait(job)
    output = job.folders.attempt_folder(0, 0) / "out.dat"
    output.write_text("da")
    run = SubjobRun(job, site.client)
    assert run.find_question().verdicts[0].status is not DONE
    output.write_text("data\n")
    assert run.find_question().verdicts[0].status is DONE


@pytest.mark.only_on("htcondor", real=False)
def test_a_second_start_has_a_label_of_its_own(site: Site) -> None:
    """A scratch folder is new at each start: only the system's own count tells the starts apart."""
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]
    job = site.make_job([wait], outputs=["out.dat"], resources=TRAVEL)
    site.submit(job)
    site.wait_for(lambda: engine.jobs()[0].elements[0].state == "running")
    engine.requeue(1, 0)
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]
    assert site.started(job) == ["00000/attempt_0_r1"]
    assert [path.name for path in job.folders.status_folder.iterdir()] == ["00000.0_r1.json"]
