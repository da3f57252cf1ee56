"""Sites whose batch system forgets what is over: what it does not know is never read as "there was none"."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import engine
from airflow_provider_caf.batch.spec import ArraySpec
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import SubmitError, SubmitRefused, SubmitUnknown
from airflow_provider_caf.jobs.arrays import read_arrays, read_submitted
from airflow_provider_caf.jobs.run import SubjobRun
from tests.contract.test_bad_days import REFUSALS
from tests.contract.test_submitted_once import start_submit

if TYPE_CHECKING:
    from airflow_provider_caf.jobs.subjob_set import SubjobSet
    from tests.contract.batch_site import Site

DONE, LOST, QUEUED, RUNNING = SubjobStatus.DONE, SubjobStatus.LOST, SubjobStatus.QUEUED, SubjobStatus.RUNNING
OUTPUT = "out.dat"
COPY = ["sh", "-c", "echo data > out.dat"]
FORGETFUL = ("htcondor", "pbs", "slurm", "torque")
pytestmark = pytest.mark.only_on(*FORGETFUL, real=False)


@pytest.fixture(autouse=True)
def _forget(site: Site) -> None:
    engine.set_faults(no_history=True)


def crash(site: Site, job: SubjobSet) -> ArraySpec:
    """Submit, and die before the ids are recorded."""
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    start_submit(site, array, before=0, after=0).wait(site.limit)
    assert read_submitted(Path(array.folder)) is None
    return array


def intend(site: Site, job: SubjobSet, *, age: float) -> ArraySpec:
    """Leave the intent of somebody who died some time ago; nothing is in the queue."""
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    Path(array.folder).mkdir(parents=True)
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    moment = time.time() - age
    os.utime(array.array_file, (moment, moment))
    return array


def test_an_array_in_the_queue_is_found_after_a_crash(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]
    job = site.make_job([wait, wait], outputs=[OUTPUT])
    crash(site, job)
    again = SubjobRun(job, site.make_client()).submit_missing()
    assert (again.submitted, len(again.arrays)) == ((), 1)
    assert again.arrays[0].ids
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert [each.count for each in engine.jobs(gone=True)] == [2]


@pytest.mark.parametrize("good", [True, False])
def test_an_array_that_is_over_and_gone_is_told_by_what_it_has_left(site: Site, good: bool) -> None:
    """With all records there, or one only: the other subjob is lost, and runs again as a new try."""
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    array = crash(site, job)
    records = job.folders.status_folder
    site.wait_for(lambda: len([*records.glob("0*.json")]) == 2)
    (number,) = (each.id for each in engine.jobs(gone=True))
    site.wait_for(lambda: all(each.state == "done" for each in engine.jobs([number], gone=True)[0].elements.values()))
    engine.forget(number)
    if not good:
        (records / "00001.0.json").unlink()
    client = site.make_client()
    again = SubjobRun(job, client).submit_missing()
    assert again.submitted == ()
    assert [each.ids for each in read_arrays(job.folders.arrays_folder)] == [()]
    assert read_submitted(Path(array.folder)) is not None
    # Nothing is left that could be ended, and that is no error.
    client.cancel(read_arrays(job.folders.arrays_folder))
    if good:
        assert site.statuses(SubjobRun(job, client).observe()) == [DONE, DONE]
    else:
        (Path(array.folder) / "notes.json").unlink(missing_ok=True)
        SubjobRun(job, client).observe()
        site.clock.jump(site.system.grace)
        assert site.statuses(SubjobRun(job, client).observe()) == [DONE, LOST]
        assert SubjobRun(job, client).submit_missing().submitted == (1,)
        assert site.statuses(site.wait(job)) == [DONE, DONE]


def test_nobody_submits_where_nothing_can_be_known(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    array = intend(site, job, age=7200)
    for _ in range(2):
        with pytest.raises(SubmitUnknown, match=r"It is not known whether array .* was submitted") as caught:
            SubjobRun(job, site.client).submit_missing()
        assert f"remove {array.array_file} and clear the task" in str(caught.value.hint)
    assert engine.jobs(gone=True) == []
    # An administrator has looked, and says that it never ran.
    Path(array.array_file).unlink()
    assert SubjobRun(job, site.client).submit_missing().submitted == (0,)
    assert site.statuses(site.wait(job)) == [DONE]


def test_a_queue_that_shows_what_is_over_for_a_while_knows_of_a_fresh_intent(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    intend(site, job, age=0)
    if site.system.name == "pbs":
        with pytest.raises(SubmitUnknown):
            SubjobRun(job, site.client).submit_missing()
    else:
        assert SubjobRun(job, site.client).submit_missing().submitted == (0,)
        assert site.statuses(site.wait(job)) == [DONE]


def test_a_refused_submission_is_none(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    text = REFUSALS[site.system.name]["resources"]
    engine.set_faults(no_history=True, refuse=text)
    with pytest.raises(SubmitRefused, match=re.escape(text.splitlines()[-1])):
        SubjobRun(job, site.client).submit_missing()
    engine.set_faults(no_history=True)
    assert SubjobRun(job, site.client).submit_missing().submitted == (0,)
    assert site.statuses(site.wait(job)) == [DONE]
    assert [each.count for each in engine.jobs(gone=True)] == [1]


def test_a_server_that_is_down_does_not_refuse(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    engine.set_faults(no_history=True, down=True)
    with pytest.raises(SubmitError) as caught:
        SubjobRun(job, site.client).submit_missing()
    assert not isinstance(caught.value, SubmitRefused)


def test_polls_go_on_past_every_deadline(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]
    job = site.make_job([wait, COPY, ["sleep", "600"]], outputs=[OUTPUT])
    arrays = SubjobRun(job, site.client).submit_missing().arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, DONE, RUNNING])
    for _ in range(3):
        site.clock.jump(site.client.patience.deadline)
        observed = SubjobRun(job, site.client).observe()
        assert (site.statuses(observed), observed.problem) == ([RUNNING, DONE, RUNNING], None)
    go.touch()
    site.wait(job, lambda seen: site.statuses(seen) == [DONE, DONE, RUNNING])
    # What has gone without a record is lost, after its grace time and not before.
    engine.lose_node()
    engine.forget(int(re.sub(r"\D.*", "", arrays[0].ids[0])))
    SubjobRun(job, site.client).observe()
    site.clock.jump(site.system.grace)
    assert site.statuses(SubjobRun(job, site.client).observe()) == [DONE, DONE, LOST]
