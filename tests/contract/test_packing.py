"""Several subjobs in one element of an array: each has its own folder, record and tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.verdicts import SubjobStatus

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, LOST = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.LOST
QUEUED, RUNNING = SubjobStatus.QUEUED, SubjobStatus.RUNNING
COPY = ["sh", "-c", "echo data > out.dat"]


def test_each_has_its_own_folder_record_and_tries(site: Site) -> None:
    flag = site.folder / "mended"
    fragile = ["sh", "-c", f"test -e {flag} && echo data > out.dat"]
    commands = [COPY, fragile, COPY, fragile, COPY]
    job = site.make_job(commands, outputs=["out.dat"], resources=Resources(subjobs_per_job=3))
    (array,) = site.submit(job).arrays
    assert array.array.elements == ((0, 1, 2), (3, 4))
    observed = site.wait(job)
    assert site.statuses(observed) == [DONE, FAILED, DONE, FAILED, DONE]
    assert observed.verdicts[2].outputs == (job.folders.attempt_folder(2, 0) / "out.dat",)
    flag.touch()
    again = site.submit(job)
    assert [each.array.elements for each in again.arrays if each.array.attempt == 1] == [((1, 3),)]
    assert site.statuses(site.wait(job)) == [DONE] * 5
    tries = [f"{number:05d}/attempt_0" for number in range(5)]
    assert site.started(job) == sorted([*tries, "00001/attempt_1", "00003/attempt_1"])


def test_what_is_over_and_what_waits_is_told_while_the_element_runs(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done"]
    job = site.make_job([["false"], wait, ["true"]], resources=Resources(subjobs_per_job=3))
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [FAILED, RUNNING, QUEUED])
    assert site.resubmit(job, 0, max_retries=0).spent == (0,)
    go.touch()
    assert site.statuses(site.wait(job)) == [FAILED, DONE, DONE]


@pytest.mark.only_on("htcondor", "lsf", "pbs", "slurm", "torque")
def test_who_waits_behind_the_one_that_takes_the_job_down_has_not_had_a_try(site: Site) -> None:
    flag = site.folder / "mended"
    deadly = ["sh", "-c", f"test -e {flag} || kill -9 $PPID"]
    job = site.make_job([["true"], deadly, ["true"], ["true"]], resources=Resources(subjobs_per_job=4))
    site.submit(job)
    site.wait(job, lambda seen: seen.verdicts[1].settling or seen.verdicts[1].status.is_over)
    site.clock.jump(site.system.grace)
    # The sensor would submit at once what has not had a try.
    observed = site.wait(job, lambda seen: all(each.status.is_over for each in seen.verdicts.values()))
    assert site.statuses(observed)[0] is DONE
    assert set(site.statuses(observed)[1:]) <= {FAILED, LOST}
    assert [observed.verdicts[subjob].began for subjob in range(4)] == [True, True, False, False]
    assert "its job ended before it began" in str(observed.verdicts[3].reason)
    again = site.resubmit(job, 0, max_retries=0)
    assert (again.submitted, again.spent) == ((2, 3), (1,))
    assert site.statuses(site.wait(job, lambda seen: seen.verdicts[3].status is DONE))[2] is DONE
    flag.touch()
    assert site.submit(job).submitted == (1,)
    assert site.statuses(site.wait(job)) == [DONE] * 4
