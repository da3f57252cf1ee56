"""What a waiter does and says at each look. The batch system is a stand-in; the files are real."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.spec import Command, Resources
from airflow_provider_caf.batch.verdicts import SubjobState, SubjobStatus, Verdict
from airflow_provider_caf.core.errors import JobFailed, JobHeld, JobLost, PollError
from airflow_provider_caf.jobs.notes import read_notes
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.poll import Snapshot

if TYPE_CHECKING:
    from airflow_provider_caf.steps.collect import CollectionRun
    from tests.unit.counting_site import Site


def open_run(site: Site, **resources: Any) -> CollectionRun:
    run = site.make_trigger("default", 1.0).open_run()
    run.manifest = replace(run.manifest, resources=Resources(**resources))
    return run


def see(run: CollectionRun, states: dict[int, SubjobState]) -> Observation:
    return run.judge(run.find_question(), Snapshot(states={"caf_default": states}, problems={}))


def hold(subjob: int, **words: Any) -> SubjobState:
    return SubjobState(subjob=subjob, attempt=0, state=JobState.HELD, native="H", reason="no disk", **words)


RUNS = SubjobState(subjob=0, attempt=0, state=JobState.RUNNING)


def test_a_held_job_is_told_and_ended_and_its_subjob_has_failed_with_the_reason(site: Site) -> None:
    site.submit("default", 3)
    run = open_run(site)
    states = {0: RUNS, 1: hold(1), 2: hold(2, hopeless=True)}
    assert run.attend(see(run, states)) == (
        "2 held, 1 running; held: subjobs 1, 2 (no disk); ended, as held jobs, subjob 2"
    )
    assert site.read_commands() == [("cancel", 1)]
    # The system may say that it is cancelled, or nothing at all any more; and whoever looks may be another process.
    again = open_run(site)
    for state in (
        SubjobState(subjob=2, attempt=0, state=JobState.CANCELLED, native="C"),
        SubjobState(subjob=2, attempt=0, state=JobState.UNKNOWN, missing=True),
    ):
        verdict = see(again, {**states, 2: state}).verdicts[2]
        assert verdict.status is SubjobStatus.FAILED
        assert verdict.reason == "it was held and has been given up: no disk"
    assert again.attend(see(again, {**states, 2: state})) == "1 failed, 1 held, 1 running; held: subjob 1 (no disk)"


def test_a_command_that_is_not_taken_is_told_and_fails_nothing(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site.submit("default", 1)
    run = open_run(site, held="fail")

    def refuse(_array: object, _result: object, _done: str) -> None:
        raise PollError("the server is down")

    monkeypatch.setattr(run.client.system, "build_cancel", lambda *_: (Command(argv=("true",)),))
    monkeypatch.setattr(run.client.system, "parse_action", refuse)
    line = run.attend(see(run, {0: hold(0, hopeless=True)}))
    assert line.endswith("; the held jobs could not be dealt with: the server is down")


def test_what_we_cancelled_is_cancelled_also_where_the_system_forgets_it(site: Site) -> None:
    site.submit("default", 2)
    run = open_run(site)
    gone = SubjobState(subjob=1, attempt=0, state=JobState.QUEUED, missing=True)
    assert see(run, {0: RUNS, 1: gone}).verdicts[1].status is SubjobStatus.QUEUED
    run.cancel()
    verdict = see(run, {0: RUNS, 1: gone}).verdicts[1]
    assert (verdict.status, verdict.reason) == (SubjobStatus.CANCELLED, "it was cancelled from here")
    assert set(read_notes(str(run.folders.array_folder(0)))) == {0, 1}


SETTLING = Verdict(subjob=0, status=SubjobStatus.QUEUED, settling=True)
DONE = Verdict(subjob=1, status=SubjobStatus.DONE)
WAITING = Verdict(subjob=2, status=SubjobStatus.QUEUED)


@pytest.mark.parametrize(
    ("verdicts", "problem", "settling"),
    [
        ([SETTLING], None, True),
        ([SETTLING, DONE], None, True),
        ([SETTLING, WAITING], None, False),
        ([WAITING], None, False),
        ([DONE], None, False),
        ([], None, False),
        # Nobody knows how long a silent server stays silent.
        ([SETTLING], "the server is down", False),
    ],
)
def test_settling(verdicts: list[Verdict], problem: str | None, settling: bool) -> None:
    observation = Observation(arrays=(), verdicts={each.subjob: each for each in verdicts}, problem=problem)
    assert observation.is_settling is settling


@pytest.mark.parametrize(
    ("missing", "state", "settled", "settling"),
    [
        (True, JobState.RUNNING, False, True),
        (False, JobState.RUNNING, False, False),
        (False, JobState.EXITED, False, True),
        (False, JobState.EXITED, True, False),
        (False, JobState.LOST, True, False),
    ],
)
def test_who_is_settling(site: Site, missing: bool, state: JobState, settled: bool, settling: bool) -> None:
    site.submit("default", 1)
    run = open_run(site)
    seen = SubjobState(subjob=0, attempt=0, state=state, missing=missing, settled=settled)
    assert see(run, {0: seen}).verdicts[0].settling is settling


HELD = Verdict(subjob=0, status=SubjobStatus.FAILED, gave_up=True)
LOST = Verdict(subjob=1, status=SubjobStatus.LOST)
FAILED = Verdict(subjob=2, status=SubjobStatus.FAILED)


@pytest.mark.parametrize(
    ("verdicts", "error"),
    [([HELD], JobHeld), ([LOST], JobLost), ([FAILED], JobFailed), ([HELD, LOST], JobFailed), ([HELD, DONE], JobHeld)],
)
def test_what_fails_for_one_reason_has_an_error_of_its_own(
    site: Site,
    verdicts: list[Verdict],
    error: type[JobFailed],
) -> None:
    site.submit("default", 3)
    observation = Observation(arrays=(), verdicts={each.subjob: each for each in verdicts})
    with pytest.raises(JobFailed) as caught:
        open_run(site).check_done(observation)
    assert type(caught.value) is error
