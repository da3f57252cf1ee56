"""Jobs that somebody else submitted, by the commands of the system and nothing of ours."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engine
from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.batch.systems.refusals import show_output
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import CafError, DefinitionError, JobFailed, JobLost, PollError
from airflow_provider_caf.jobs.foreign import ForeignJobs, ForeignObservation
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.contract.batch_site import Site

CANCELLED, DONE, FAILED = SubjobStatus.CANCELLED, SubjobStatus.DONE, SubjobStatus.FAILED
HELD, LOST, RUNNING = SubjobStatus.HELD, SubjobStatus.LOST, SubjobStatus.RUNNING

QUEUED = ("htcondor", "lsf", "pbs", "slurm", "torque")
pytestmark = pytest.mark.only_on(*QUEUED)

_INDEX = {
    "htcondor": "$1",
    "lsf": "$LSB_JOBINDEX",
    "pbs": "$PBS_ARRAY_INDEX",
    "slurm": "$SLURM_ARRAY_TASK_ID",
    "torque": "$PBS_ARRAYID",
}
_HOLD = {"htcondor": "hold = true", "lsf": "-H", "pbs": "-h", "slurm": "--hold", "torque": "-h"}


class Person:
    """Somebody who submits jobs by hand."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._system = site.system.name
        self.submitted: list[str] = []
        # A real queue and its history know those of earlier tests.
        self.name = f"hand{secrets.token_hex(5)}"

    def submit(self, script: str, count: int | None = None, *, held: bool = False) -> str:
        """Submit a plain job, or an array, and give its id.

        :param script: lines of a shell; `$i` is the number of the element, from 0.
        """
        folder = self._site.folder / f"hand{len(self.submitted)}"
        folder.mkdir()
        file = folder / "job.sh"
        first = 1 if self._system == "lsf" else 0
        begin = "i=0" if count is None else f"i=$(({_INDEX[self._system]} - {first}))"
        file.write_text(f"#!/bin/sh\n{begin}\n{script}\n")
        file.chmod(0o755)
        command = self._build(file, count, held)
        result = LocalTransport().run(command)
        found = re.search(r"\d+(?:\[\])?(?:\.[A-Za-z][\w.-]*)?", result.stdout)
        assert result.exit_code == 0, show_output(result)
        assert found, show_output(result)
        self.submitted.append(found[0])
        return found[0]

    def _build(self, file: Path, count: int | None, held: bool) -> Command:
        name, hold = self.name, [_HOLD[self._system]] if held else []
        last = None if count is None else count - 1
        if self._system == "htcondor":
            lines = [f"executable = {file}", "arguments = $(Process)", f"batch_name = {name}", *hold]
            (file.parent / "job.sub").write_text("\n".join([*lines, f"queue {count or 1}", ""]))
            return Command(argv=("condor_submit", "-terse", str(file.parent / "job.sub")))
        if self._system == "slurm":
            array = [] if last is None else [f"--array=0-{last}"]
            argv = ("sbatch", "--parsable", f"--job-name={name}", "--output=/dev/null", *hold, *array, str(file))
            return Command(argv=argv)
        if self._system == "lsf":
            whole = name if count is None else f"{name}[1-{count}]"
            return Command(argv=("bsub", "-J", whole, "-o", "/dev/null", *hold), stdin=file.read_text())
        array = [] if last is None else ["-J" if self._system == "pbs" else "-t", f"0-{last}"]
        return Command(argv=("qsub", "-N", name, *hold, *array, str(file)))

    def element(self, id: str, index: int) -> str:
        """Give the id of an element, by its number from 0."""
        if self._system in ("pbs", "torque"):
            return id.replace("[]", f"[{index}]")
        return {"htcondor": f"{id}.{index}", "lsf": f"{id}[{index + 1}]", "slurm": f"{id}_{index}"}[self._system]

    def cancel(self, *ids: str) -> None:
        """End jobs by hand."""
        program = {"htcondor": "condor_rm", "lsf": "bkill", "slurm": "scancel"}.get(self._system, "qdel")
        LocalTransport().run(Command(argv=(program, *ids)))


@pytest.fixture
def person(site: Site) -> Iterator[Person]:
    found = Person(site)
    yield found
    if site.is_faked:
        engine.set_faults()
    if found.submitted:
        found.cancel(*found.submitted)


def wait(
    site: Site, jobs: ForeignJobs, until: Callable[[ForeignObservation], bool] = lambda seen: seen.is_over
) -> ForeignObservation:
    seen: list[ForeignObservation] = []

    def look() -> bool:
        seen.append(jobs.observe())
        return until(seen[-1])

    site.wait_for(look)
    return seen[-1]


def statuses(seen: ForeignObservation) -> list[SubjobStatus]:
    return [job.status for job in seen.jobs]


def test_a_plain_job_is_judged_by_its_exit_code(site: Site, person: Person) -> None:
    good, bad = person.submit("exit 0"), person.submit("exit 3")
    jobs = ForeignJobs(site.client, ids=[good])
    seen = wait(site, jobs)
    assert (statuses(seen), seen.describe()) == ([DONE], "1 done")
    jobs.check_done(seen)
    jobs = ForeignJobs(site.client, ids=[good, bad])
    seen = wait(site, jobs)
    assert sorted(map(str, statuses(seen))) == sorted(map(str, [DONE, FAILED]))
    assert seen.describe() == "1 done, 1 failed"
    (failed,) = seen.failed
    assert failed.state is JobState.EXITED
    # What sacct says is not all there is.
    assert failed.exit_code == 3 or "exit code 3" in str(failed.reason)
    with pytest.raises(JobFailed, match=rf"1 of 2 jobs failed[\s\S]*{re.escape(failed.id)}") as caught:
        jobs.check_done(seen)
    assert not isinstance(caught.value, JobLost)


def test_an_array_is_all_its_elements_by_id_and_by_name(site: Site, person: Person) -> None:
    array = person.submit("exit $((i % 2 * 4))", 4)
    by_id = wait(site, ForeignJobs(site.client, ids=[array]))
    assert statuses(by_id) == [DONE, FAILED, DONE, FAILED]
    assert all(job.exit_code == 4 or "exit code 4" in str(job.reason) for job in by_id.failed)
    by_name = ForeignJobs(site.client, name=person.name)
    assert statuses(wait(site, by_name)) == statuses(by_id)
    assert [target.partition(".")[0] for target in by_name.ids] == [array.partition(".")[0]]
    elements = ForeignJobs(site.client, ids=[person.element(array, 2), person.element(array, 3)])
    assert statuses(wait(site, elements)) == [DONE, FAILED]
    if site.system.name in ("pbs", "torque"):
        assert statuses(wait(site, ForeignJobs(site.client, ids=[array.partition(".")[0]]))) == statuses(by_id)


def test_a_held_job_is_shown_and_what_a_person_removes_is_cancelled(site: Site, person: Person) -> None:
    held, running = person.submit("exit 0", held=True), person.submit("sleep 600")
    jobs = ForeignJobs(site.client, ids=[held, running])
    seen = wait(site, jobs, lambda seen: set(statuses(seen)) == {HELD, RUNNING})
    assert not seen.is_over
    (waiting,) = seen.held
    assert waiting.reason
    assert f"held: {waiting.id} ({waiting.reason})" in seen.describe()
    person.cancel(held, running)
    seen = wait(site, jobs)
    assert set(statuses(seen)) <= {CANCELLED, FAILED}
    assert CANCELLED in statuses(seen)
    with pytest.raises(JobFailed):
        jobs.check_done(seen)


def test_a_signal_is_no_success(site: Site, person: Person) -> None:
    seen = wait(site, ForeignJobs(site.client, ids=[person.submit("kill -9 $$")]))
    assert statuses(seen) == [FAILED]


@pytest.mark.parametrize("with_known", [True, False])
def test_what_nobody_knows_is_an_error_that_names_it(site: Site, person: Person, with_known: bool) -> None:
    array = person.submit("exit 0", 2)
    unknown = re.sub(r"^\d+", "987654", array)
    wait(site, ForeignJobs(site.client, ids=[array]))
    jobs = ForeignJobs(site.client, ids=[array, unknown] if with_known else [unknown])
    with pytest.raises(JobLost, match=rf"no job {re.escape(unknown)} that {site.system.name} on ") as caught:
        jobs.observe()
    assert "may have been forgotten" in str(caught.value.hint)
    with pytest.raises(JobLost, match="no job "):
        ForeignJobs(site.client, ids=[person.element(array, 77)]).observe()
    with pytest.raises(JobLost, match=f"no job named '{person.name}x'"):
        ForeignJobs(site.client, name=f"{person.name}x").observe()


def test_the_ids_of_a_name_are_those_of_the_first_look(site: Site, person: Person) -> None:
    first, second = person.submit("exit 0"), person.submit("exit 3")
    jobs = ForeignJobs(site.client, name=person.name)
    assert sorted(wait(site, jobs).describe().split(", ")) == ["1 done", "1 failed"]
    assert {id.partition(".")[0] for id in jobs.ids} == {id.partition(".")[0] for id in (first, second)}
    person.submit("exit 0")
    assert len(jobs.observe().jobs) == 2


def test_jobs_are_ended_by_ids_alone(site: Site, person: Person) -> None:
    array, other = person.submit("sleep 600", 3), person.submit("sleep 600")
    jobs = ForeignJobs(site.client, ids=[array, other])
    wait(site, jobs, lambda seen: statuses(seen) == [RUNNING] * 4)
    named = ForeignJobs(site.client, name=person.name)
    named.observe()
    with pytest.raises(DefinitionError, match="found by the name"):
        named.cancel()
    ForeignJobs(site.client, ids=[person.element(array, 1)]).cancel()
    seen = wait(site, jobs, lambda seen: len(seen.failed) == 1)
    assert seen.failed[0].id.partition(".")[0] in person.element(array, 1)
    jobs.cancel()
    assert statuses(wait(site, jobs)) == [CANCELLED] * 4
    # What is over is no error.
    jobs.cancel()


def test_what_was_seen_can_be_handed_on(site: Site, person: Person) -> None:
    array = person.submit("exit $((i * 3))", 2)
    first = ForeignJobs(site.client, ids=[array])
    seen = wait(site, first)
    second = ForeignJobs(site.make_client(), memory=first.remember())
    if site.is_faked:
        # Nobody else knows it any more.
        engine.forget(int(re.match(r"\d+", array)[0]))  # type: ignore[index]
    again = wait(site, second)
    assert statuses(again) == statuses(seen) == [DONE, FAILED]
    assert [job.exit_code for job in again.jobs] == [job.exit_code for job in seen.jobs]
    assert second.ids == first.ids


@pytest.mark.only_on(*QUEUED, real=False)
@pytest.mark.parametrize("no_history", [False, True])
def test_what_was_seen_and_is_forgotten_has_failed(site: Site, person: Person, no_history: bool) -> None:
    array = person.submit("test $i = 0 || sleep 600", 2)
    jobs = ForeignJobs(site.client, ids=[array])
    wait(site, jobs, lambda seen: statuses(seen) == [DONE, RUNNING])
    handed = ForeignJobs(site.client, memory=jobs.remember())
    engine.lose_node()
    engine.forget(int(re.match(r"\d+", array)[0]))  # type: ignore[index]
    if no_history and site.system.name != "lsf":
        # The bhist of LSF fails then.
        engine.set_faults(no_history=True)
    for each in (jobs, handed):
        seen = each.observe()
        assert (statuses(seen), seen.is_settling, seen.is_over) == ([DONE, RUNNING], True, False)
    site.clock.jump(site.system.grace)
    for each in (jobs, handed):
        seen = each.observe()
        assert (statuses(seen), seen.is_over) == ([DONE, LOST], True)
        with pytest.raises(JobLost, match="it is not known how it ended"):
            each.check_done(seen)
    with pytest.raises(JobLost, match="There is no job"):
        ForeignJobs(site.client, ids=[array]).observe()


@pytest.mark.only_on(*QUEUED, real=False)
@pytest.mark.parametrize("fault", ["down", "garbage", "nonsense"])
def test_a_system_that_does_not_answer_says_nothing(site: Site, person: Person, fault: str) -> None:
    array = person.submit("sleep 600", 3)
    jobs = ForeignJobs(site.client, ids=[array])
    wait(site, jobs, lambda seen: statuses(seen) == [RUNNING] * 3)
    fresh = [ForeignJobs(site.client, ids=[array]), ForeignJobs(site.client, name=person.name)]
    engine.set_faults(**{fault: True})
    for _ in range(2):
        seen = jobs.observe()
        assert statuses(seen) == [RUNNING] * 3
        assert seen.problem
        assert "does not answer" in seen.describe()
        for each in fresh:
            seen = each.observe()
            assert (seen.jobs, seen.is_over) == ((), False)
            assert seen.problem
        site.clock.jump(site.client.patience.deadline - 60)
    site.clock.jump(60)
    for each in (jobs, *fresh):
        with pytest.raises(PollError, match="Nothing could be found out for too long"):
            each.observe()
    engine.set_faults()
    for each in (jobs, *fresh):
        assert statuses(each.observe()) == [RUNNING] * 3


@pytest.mark.only_on(*QUEUED, real=False)
def test_many_jobs_are_asked_for_at_once(site: Site, person: Person) -> None:
    ids = [person.submit("sleep 600", held=True) for _ in range(8)]
    jobs = ForeignJobs(site.client, ids=ids)
    log = engine.find_home() / "commands.log"
    jobs.observe()
    before = len(log.read_text().splitlines())
    assert statuses(jobs.observe()) == [HELD] * 8
    assert len(log.read_text().splitlines()) - before <= 2


@pytest.mark.only_on(*QUEUED, real=False)
def test_commands_that_are_not_there_are_an_error_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(site.folder))
    with pytest.raises(CafError, match=r"There is no command|is not there on"):
        ForeignJobs(site.client, ids=["4242[]" if site.system.name in ("pbs", "torque") else "4242"]).observe()
