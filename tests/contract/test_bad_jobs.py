"""Bad days of jobs: held, removed, requeued, lost with their node, without exit record, forgotten by the system."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import engine
from airflow_provider_caf.batch.held import HeldPolicy
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.held import treat_held
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.jobs.subjob_set import SubjobSet
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.contract.marks import ON_FAKES, ON_REAL, WITH_SERVER

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, CANCELLED, LOST = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.CANCELLED, SubjobStatus.LOST
HELD, QUEUED, RUNNING = SubjobStatus.HELD, SubjobStatus.QUEUED, SubjobStatus.RUNNING
OUTPUT = "out.dat"
COPY = ["sh", "-c", "echo data > out.dat"]
# The command's parent is the wrapper, which would write the exit record.
KILL_WRAPPER = ["sh", "-c", "kill -9 $PPID; sleep 0.1"]

HOLD_LINES = {
    "htcondor": "hold = true",
    "lsf": "#BSUB -H",
    "pbs": "#PBS -h",
    "slurm": "#SBATCH --hold",
    "torque": "#PBS -h",
}


def wait_for(go: Path) -> list[str]:
    return ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]


def hide_records(site: Site, status_folder: Path) -> Path:
    """Take the exit records away, as a network file system that shows them late."""
    hidden = site.folder / "hidden"
    status_folder.rename(hidden)
    status_folder.mkdir()
    return hidden


@ON_FAKES
def test_an_element_that_the_system_starts_again_after_its_success_ends_at_once(site: Site) -> None:
    """Alone in its element or packed, and also when the first start that went well was itself the second one."""
    flag = site.folder / "mended"
    job = site.make_job([COPY, ["sh", "-c", f"test -e {flag} && echo data > out.dat"]], outputs=[OUTPUT])
    SubjobRun(job, site.client).submit_missing()
    assert site.statuses(site.wait(job)) == [DONE, FAILED]
    (array,) = engine.jobs(gone=True)
    flag.touch()
    for times in (2, 3):
        for index in array.elements:
            engine.requeue(array.id, index)
        site.wait_for(
            lambda times=times: all(  # type: ignore[misc]
                each.state == "done" and each.starts == times
                for each in engine.jobs([array.id], gone=True)[0].elements.values()
            )
        )
        assert {each.wait_status for each in engine.jobs([array.id], gone=True)[0].elements.values()} == {0}
        assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0", "00001/attempt_0_r1"]


@pytest.mark.only_on("pbs", real=False)
def test_an_element_that_somebody_removes_while_it_waits_is_cancelled_at_once(site: Site) -> None:
    """PBS shows it as over like its array, without exit status and host (X, substate 70)."""
    go = site.folder / "go"
    job = site.make_job([wait_for(go)] * 3, outputs=[OUTPUT], resources=Resources(throttle=1))
    SubjobRun(job, site.client).submit_missing()
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, QUEUED, QUEUED])
    (array,) = engine.jobs()
    engine.cancel(array.id, [2])
    assert site.statuses(SubjobRun(job, site.client).observe()) == [RUNNING, QUEUED, CANCELLED]
    go.touch()
    # The array is over now, and the element shows its exit status.
    assert site.statuses(site.wait(job)) == [DONE, DONE, CANCELLED]


@pytest.mark.only_on("pbs", real=False)
def test_without_history_our_note_tells_a_cancelled_element(site: Site) -> None:
    engine.set_faults(no_history=True)
    go = site.folder / "go"
    job = site.make_job([wait_for(go)] * 2, outputs=[OUTPUT], resources=Resources(throttle=1))
    arrays = SubjobRun(job, site.client).submit_missing().arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, QUEUED])
    site.client.cancel(arrays, [1])
    assert site.statuses(SubjobRun(job, site.client).observe()) == [RUNNING, CANCELLED]
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, CANCELLED]


@ON_FAKES
def test_a_grown_request_that_is_refused_is_made_as_before(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    job = site.make_job(
        [["sh", "-c", "echo MemoryError >&2; exit 1"], COPY], outputs=[OUTPUT], resources=Resources(memory=1000)
    )
    engine.set_faults(largest_memory=1200)
    first = SubjobRun(job, site.client).submit_missing()
    assert site.statuses(site.wait(job)) == [FAILED, DONE]
    with caplog.at_level(logging.WARNING):
        again = SubjobRun(job, site.client).submit_missing(first_attempt=first.attempt)
    (array,) = again.arrays
    assert (again.submitted, array.array.resources.memory) == ((0,), 1000)
    told = "1500 MB of memory were refused for this try, it was submitted with 1000 MB as before"
    assert told in caplog.text
    verdict = site.wait(job).verdicts[0]
    assert verdict.status is FAILED
    assert told in str(verdict.reason)
    # A server that is away has refused nothing.
    engine.set_faults(down=True)
    with pytest.raises(CafError) as caught:
        SubjobRun(job, site.client).submit_missing(first_attempt=first.attempt)
    assert "1500" not in str(caught.value)


@pytest.mark.only_on("lsf", real=False)
@pytest.mark.parametrize(
    ("configuration", "limit", "reserved"),
    [
        ("", "26", "mem=26"),
        ("LSF_UNIT_FOR_LIMITS=GB\n", "1", "mem=1"),
        ("# LSF_UNIT_FOR_LIMITS=GB\nLSF_UNIT_FOR_LIMITS = M # of the site\n", "26", "mem=26"),
    ],
)
def test_a_system_without_units_gets_numbers_in_its_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, configuration: str, limit: str, reserved: str
) -> None:
    folder = site.folder / "conf"
    folder.mkdir()
    (folder / "lsf.conf").write_text(configuration)
    monkeypatch.setenv("LSF_ENVDIR", str(folder))
    engine.set_faults(compatible=True)
    job = site.make_job([COPY], outputs=[OUTPUT], resources=Resources(memory=26))
    (array,) = SubjobRun(job, site.client).submit_missing().arrays
    assert array.array.resources.memory_unit == ("G" if "=GB" in configuration and "#" not in configuration else "M")
    assert site.statuses(site.wait(job)) == [DONE]
    log = (engine.find_home() / "commands.log").read_text()
    assert f'"-M", "{limit}"' in log
    assert f"rusage[{reserved}]" in log


@ON_FAKES
def test_a_state_that_nobody_knows_changes_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go)], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    (array,) = engine.jobs()
    engine.set_faults(state={f"{array.id}.{array.first}": "99"})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert site.statuses(site.look(job)) == [RUNNING]
            site.clock.jump(site.system.grace)
    assert "that is not known" in caplog.text
    engine.set_faults()
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]


def test_a_clock_that_jumps_changes_nothing(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go)], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    for seconds in (-7200, 172800, -172800, 3600):
        site.clock.jump(seconds)
        assert site.statuses(site.look(job)) == [RUNNING]
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]
    assert site.started(job) == ["00000/attempt_0"]


@ON_FAKES
def test_a_held_job_waits_and_says_why(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go)] * 2, outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, RUNNING])
    (array,) = engine.jobs()
    why = "Transfer input files failure: reading from file /data/gone.root: (errno 2) No such file or directory"
    engine.hold(array.id, [array.first], why)
    observed = site.wait(job, lambda seen: HELD in site.statuses(seen))
    assert site.statuses(observed) == [HELD, RUNNING]
    assert observed.verdicts[0].reason
    assert site.submit(job, site.make_client()).submitted == ()
    engine.release(array.id)
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, DONE]


@ON_REAL
def test_a_job_that_asks_to_be_held_is_held_and_can_be_cancelled(site: Site) -> None:
    job = site.make_job([COPY], resources=Resources(extra_lines=(HOLD_LINES[site.system.name],)))
    arrays = site.submit(job).arrays
    observed = site.wait(job, lambda seen: site.statuses(seen) == [HELD])
    assert observed.verdicts[0].reason
    site.client.cancel(arrays)
    site.wait(job, lambda seen: site.statuses(seen) != [HELD])


def submit_held(site: Site, go: Path) -> SubjobSet:
    """Submit a subjob that is held: by a line of its own on a real system, from outside on a fake."""
    lines = () if site.is_faked else (HOLD_LINES[site.system.name],)
    job = site.make_job([wait_for(go)], outputs=[OUTPUT], resources=Resources(extra_lines=lines))
    site.submit(job)
    if site.is_faked:
        site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
        (array,) = engine.jobs()
        engine.hold(array.id, [array.first], "somebody wants to look at it")
    return job


@WITH_SERVER
def test_a_held_job_is_released_where_the_site_wants_that(site: Site) -> None:
    go = site.folder / "go"
    job = submit_held(site, go)
    observed = site.wait(job, lambda seen: site.statuses(seen) == [HELD])
    treated = treat_held(site.client, observed, HeldPolicy(action="release", timeout=0))
    assert (treated.released, treated.ended) == ((0,), ())
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]


@WITH_SERVER
def test_a_held_job_fails_with_its_reason_where_the_site_wants_that(site: Site) -> None:
    job = submit_held(site, site.folder / "go")
    observed = site.wait(job, lambda seen: site.statuses(seen) == [HELD])
    treated = treat_held(site.client, observed, HeldPolicy(action="fail", timeout=0))
    assert (treated.released, treated.ended) == ((), (0,))
    # Another client, as after a restart: the notes tell it.
    site.client = site.make_client()
    failed = site.wait(job)
    assert site.statuses(failed) == [FAILED]
    assert "it was held and has been given up: " in str(failed.verdicts[0].reason)


def test_what_somebody_else_removed_is_cancelled_and_runs_again(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go), COPY], outputs=[OUTPUT])
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, DONE])
    site.make_client().cancel(arrays, [0])
    assert site.statuses(site.wait(job)) == [CANCELLED, DONE]
    go.touch()
    assert site.submit(job).submitted == (0,)
    assert site.statuses(site.wait(job)) == [DONE, DONE]


@ON_FAKES
def test_what_ran_on_a_lost_node_is_run_again_by_the_system(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go)], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    site.wait_for(lambda: site.started(job) == ["00000/attempt_0"])
    engine.lose_node()
    (array,) = engine.jobs()
    assert site.statuses(site.look(job)) == [RUNNING]
    engine.requeue(array.id, array.first, reason="node failure")
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]
    assert site.started(job) == ["00000/attempt_0", "00000/attempt_0_r1"]


@ON_FAKES
def test_what_the_system_forgot_is_lost_after_the_grace_time_and_runs_again(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go), COPY], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, DONE])
    engine.lose_node()
    engine.forget(1)
    assert site.statuses(site.look(job)) == [RUNNING, DONE]
    site.clock.jump(site.system.grace / 2)
    assert site.statuses(site.look(job)) == [RUNNING, DONE]
    site.clock.jump(site.system.grace / 2)
    assert site.statuses(site.look(job)) == [LOST, DONE]
    go.touch()
    assert site.submit(job).submitted == (0,)
    assert site.statuses(site.wait(job)) == [DONE, DONE]


@ON_FAKES
def test_two_starts_of_one_try_leave_two_records_and_the_first_good_one_counts(site: Site) -> None:
    """The system believes the node lost and starts the job again, while the first one goes on."""
    go = site.folder / "go"
    job = site.make_job([wait_for(go)], outputs=[OUTPUT])
    site.submit(job)
    site.wait_for(lambda: site.started(job) == ["00000/attempt_0"])
    (array,) = engine.jobs()
    engine.requeue(array.id, array.first, kill=False)
    site.wait_for(lambda: site.started(job) == ["00000/attempt_0", "00000/attempt_0_r1"])
    go.touch()
    site.wait_for(lambda: len(list(job.folders.status_folder.glob("*.json"))) == 2)
    observed = site.wait(job)
    assert site.statuses(observed) == [DONE]
    assert observed.verdicts[0].record is not None
    assert observed.verdicts[0].record.label == "0"


@WITH_SERVER
def test_an_end_without_exit_record_is_a_failure_after_the_grace_time(site: Site) -> None:
    job = site.make_job([KILL_WRAPPER, COPY])
    site.submit(job)
    observed = site.wait(job, lambda seen: "waited for" in str(seen.verdicts[0].reason))
    assert observed.verdicts[0].status is RUNNING
    site.clock.jump(site.system.grace)
    observed = site.wait(job)
    assert site.statuses(observed) == [FAILED, DONE]
    assert "it ended without an exit record" in str(observed.verdicts[0].reason)


def test_a_half_written_record_does_not_count(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([wait_for(go)], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    job.folders.status_folder.mkdir(exist_ok=True)
    (job.folders.status_folder / "00000.0.json").write_text('{"version": 1, "subjob": 0, "attempt": 0, "exit_co')
    assert site.statuses(site.look(job)) == [RUNNING]
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]


def test_the_record_of_an_older_try_does_not_count(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([["sh", "-c", f"test $CAF_ATTEMPT = 0 && exit 1; {wait_for(go)[2]}"]], outputs=[OUTPUT])
    site.submit(job)
    assert site.statuses(site.wait(job)) == [FAILED]
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE]


@WITH_SERVER
def test_a_record_that_is_seen_late_counts(site: Site) -> None:
    job = site.make_job([COPY, ["sh", "-c", "exit 3"]])
    site.submit(job)
    assert site.statuses(site.wait(job)) == [DONE, FAILED]
    hidden = hide_records(site, job.folders.status_folder)
    if site.is_faked:
        engine.forget(1)
    client = site.make_client()
    assert not any(each.status.is_over for each in site.look(job, client).verdicts.values())
    site.clock.jump(30)
    assert not any(each.status.is_over for each in site.look(job, client).verdicts.values())
    assert site.submit(job, client).submitted == ()
    for record in hidden.iterdir():
        record.rename(job.folders.status_folder / record.name)
    # What the system knows nothing of may still run, as its record may be of an earlier start of the same try.
    site.clock.jump(site.system.grace)
    assert site.statuses(site.look(job, client)) == [DONE, FAILED]


@ON_FAKES
def test_records_decide_when_the_history_was_purged(site: Site) -> None:
    job = site.make_job([COPY, ["sh", "-c", "exit 3"]])
    site.submit(job)
    site.wait(job)
    engine.forget(1)
    client = site.make_client()
    assert site.look(job, client).verdicts[0].status is DONE
    site.clock.jump(site.system.grace)
    assert site.statuses(site.look(job, client)) == [DONE, FAILED]


@ON_FAKES
def test_what_left_the_queue_is_found_in_the_history_or_lost(site: Site) -> None:
    job = site.make_job([KILL_WRAPPER])
    site.submit(job)
    site.wait_for(lambda: engine.jobs(gone=True)[0].elements[engine.jobs(gone=True)[0].first].state == "done")
    engine.purge(1)
    client = site.make_client()
    assert not site.look(job, client).verdicts[0].status.is_over
    site.clock.jump(site.system.grace)
    # A system without history knows nothing of it any more.
    assert site.look(job, client).verdicts[0].status in (FAILED, LOST)


def test_two_systems_in_one_run_do_not_mind_each_other(site: Site) -> None:
    second = BatchClient(load_system("local"), LocalTransport())
    here = site.make_job([COPY, COPY], outputs=[OUTPUT], name="here")
    there = site.make_job([COPY, ["sh", "-c", "exit 3"]], outputs=[OUTPUT], name="there")
    # Its ids are not this system's: nothing here may cancel by them.
    site.made.remove(there)
    SubjobRun(there, second).submit_missing()
    site.submit(here)
    assert site.statuses(site.wait(here)) == [DONE, DONE]
    site.wait_for(lambda: SubjobRun(there, second).observe().is_over)
    assert site.statuses(SubjobRun(there, second).observe()) == [DONE, FAILED]


def test_names_with_shell_characters_are_harmless(site: Site) -> None:
    hostile = 'it\'s "$(touch broken)"; `touch broken` & [1-3] %s\n#'
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    # No definition can have such names: they do not come through the task.
    named = replace(job, labels=(hostile, hostile), identity=(hostile, 0))
    (array,) = SubjobRun(named, site.client).submit_missing().arrays
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert len(site.look_up(array.array)) == 1
