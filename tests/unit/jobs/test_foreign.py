"""Jobs that somebody else submitted, with answers that the test gives: what looks add up to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import Command, CommandResult, TextFile
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import (
    CommandMissing,
    DefinitionError,
    JobFailed,
    JobLost,
    PollError,
    TransportError,
)
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.foreign import ForeignJobs

CANCELLED, DONE, FAILED = SubjobStatus.CANCELLED, SubjobStatus.DONE, SubjobStatus.FAILED
LOST, QUEUED, RUNNING = SubjobStatus.LOST, SubjobStatus.QUEUED, SubjobStatus.RUNNING


class Host:
    """A submit host: program → what it answers."""

    host = "login1"

    def __init__(self) -> None:
        self.now = 0.0
        self.answers: dict[str, CommandResult | Exception] = {}
        self.asked: list[tuple[str, ...]] = []

    def say(self, program: str, stdout: str = "", stderr: str = "", exit_code: int = 0) -> None:
        self.answers[program] = CommandResult(argv=(program,), exit_code=exit_code, stdout=stdout, stderr=stderr)

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        self.asked.append(command.argv)
        answer = self.answers[command.argv[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def write_file(self, file: TextFile) -> None:
        raise AssertionError(file)

    def make_jobs(self, system: str, **words: Any) -> ForeignJobs:
        client = BatchClient(load_system(system), self, patience=Patience(deadline=600.0), clock=lambda: self.now)
        return ForeignJobs(client, **words)


@pytest.fixture
def host() -> Host:
    return Host()


# The columns of squeue 22.05.8 as seen: JobID, ArrayJobID, ArrayTaskID, State, exit_code, BatchHost, Reason.
def queue(*lines: tuple[int, int, str, str]) -> str:
    return "".join(
        f"{number:<16}{job:<16}{index:<16}{state:<24}{0:<16}{'vm':<64}{'None':<96}\n"
        for number, job, index, state in lines
    )


def ads(*records: dict[str, Any]) -> str:
    return json.dumps([{"ClusterId": 5, "JobStatus": 2, **each} for each in records])


def statuses(jobs: ForeignJobs) -> list[SubjobStatus]:
    return [job.status for job in jobs.observe().jobs]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "no id of a job"),
        ({"ids": []}, "no id of a job"),
        ({"ids": ["7"], "name": "fit"}, "the name 'fit' and ids, too"),
        ({"ids": ["-rf"]}, "'-rf' is no id of a job of slurm"),
        ({"name": "-rf"}, "'-rf' cannot be the name"),
        ({"name": ""}, "'' cannot be the name"),
        ({"memory": {"ids": ["7"]}}, "memory of jobs of somebody else"),
        ({"memory": {"ids": ["-rf"], "seen": []}}, "'-rf' is no id"),
        (
            {
                "memory": {
                    "ids": ["7"],
                    "seen": [{"jobs": ["7"], "elements": None, "state": "gone", "native": "", "exit_code": None}],
                }
            },
            "has the state 'gone'",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_any_command(host: Host, words: dict[str, Any], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        host.make_jobs("slurm", **words)
    assert host.asked == []


def test_the_local_system_is_refused(host: Host) -> None:
    with pytest.raises(DefinitionError, match="'local' has no queue"):
        host.make_jobs("local", ids=["7"])


def test_an_element_may_be_named_by_its_own_number(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["8"])
    host.say("squeue", queue((8, 5, "2", "RUNNING")))
    assert [job.id for job in jobs.observe().jobs] == ["5_2"]
    assert jobs.ids == ("5_2",)
    host.say("squeue")
    host.say("sacct", "8|5_2|COMPLETED|0:0|vm\n9|5_3|FAILED|1:0|vm\n")
    seen = jobs.observe()
    assert ([job.status for job in seen.jobs], seen.is_over) == ([DONE], True)
    again = host.make_jobs("slurm", memory=jobs.remember())
    assert statuses(again) == [DONE]


def test_the_history_is_asked_for_what_left_the_queue_before_the_first_look(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5"])
    host.say("squeue", queue((8, 5, "2", "RUNNING")))
    host.say("sacct", "7|5_1|FAILED|1:0|vm\n8|5_2|RUNNING|0:0|vm\n")
    assert statuses(jobs) == [FAILED, RUNNING]
    host.asked.clear()
    assert statuses(jobs) == [FAILED, RUNNING]
    assert [argv[0] for argv in host.asked] == ["squeue"]
    host.say("squeue", queue((8, 5, "2", "COMPLETED")))
    # One more may have come and gone since.
    host.say("sacct", "7|5_1|FAILED|1:0|vm\n8|5_2|COMPLETED|0:0|vm\n9|5_3|COMPLETED|0:0|vm\n")
    seen = jobs.observe()
    assert ([job.status for job in seen.jobs], seen.is_over) == ([FAILED, DONE, DONE], True)
    host.asked.clear()
    assert jobs.observe().is_over
    assert host.asked == []


def test_an_array_that_first_shows_itself_as_a_plain_job_is_none(host: Host) -> None:
    """As `sacct` has been seen to do for a moment, of an array whose elements had ended at once."""
    jobs = host.make_jobs("slurm", ids=["5"])
    host.say("squeue", queue((6, 5, "0", "COMPLETED"), (5, 5, "1", "COMPLETED")))
    host.say("sacct", "5|5|FAILED|4:0|vm\n")
    assert [job.id for job in jobs.observe().jobs] == ["5_0", "5_1"]
    jobs = host.make_jobs("slurm", ids=["5"])
    host.say("squeue", queue((6, 6, "N/A", "RUNNING")))
    host.say("sacct", "5|5|PENDING|0:0|vm\n")
    with pytest.raises(JobLost):
        jobs.observe()
    host.say("squeue", queue((5, 5, "N/A", "RUNNING")))
    assert [job.id for job in jobs.observe().jobs] == ["5"]
    host.say("squeue", queue((6, 5, "0", "COMPLETED"), (5, 5, "1", "COMPLETED")))
    host.say("sacct")
    seen = jobs.observe()
    assert ([job.id for job in seen.jobs], seen.is_over) == (["5_0", "5_1"], True)


def test_a_history_that_fails_ends_nothing(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5"])
    host.say("squeue", queue((8, 5, "2", "COMPLETED")))
    host.say("sacct", "", "sacct: error: Problem talking to the database: Connection refused", 1)
    seen = jobs.observe()
    assert ([job.status for job in seen.jobs], seen.is_over) == ([DONE], False)
    assert "Problem talking to the database" in str(seen.problem)
    with pytest.raises(JobFailed, match="The jobs are not over, slurm on login1: 5: 1 done"):
        jobs.check_done(seen)
    host.say("sacct", "8|5_2|COMPLETED|0:0|vm\n")
    assert jobs.observe().is_over


def test_an_array_on_a_site_without_history_has_a_remark(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5", "6"])
    host.say("squeue", queue((8, 5, "2", "RUNNING"), (6, 6, "N/A", "RUNNING")))
    host.say("sacct", "", "Slurm accounting storage is disabled", 1)
    seen = jobs.observe()
    assert (
        seen.remark == "there is no history here: elements of 5 that left the queue before the first look do not count"
    )
    assert seen.describe() == f"2 running; {seen.remark}"
    host.say("squeue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    jobs.observe()
    host.now = load_system("slurm").grace
    seen = jobs.observe()
    assert ([job.status for job in seen.jobs], seen.is_over) == ([LOST, LOST], True)


def test_htcondor_counts_its_processes(host: Host) -> None:
    """Those that are neither in the queue nor in the history are lost, also where nobody has ever seen them."""
    jobs = host.make_jobs("htcondor", ids=["5"])
    host.say("condor_q", ads({"ProcId": 1, "TotalSubmitProcs": 3}))
    host.say("condor_history", "[\n]\n")
    assert statuses(jobs) == [QUEUED, RUNNING, QUEUED]
    assert host.asked[-1][:5] == ("condor_history", "5.0", "5.2", "-limit", "2")
    host.now = 60.0
    host.say("condor_history", ads({"ProcId": 2, "JobStatus": 4, "ExitCode": 0, "CompletionDate": 1}))
    assert statuses(jobs) == [LOST, RUNNING, DONE]
    host.say("condor_q")
    host.say("condor_history", ads({"ProcId": 1, "JobStatus": 4, "ExitBySignal": True, "ExitSignal": 9}))
    seen = jobs.observe()
    assert ([job.status for job in seen.jobs], seen.is_over, seen.remark) == ([LOST, FAILED, DONE], True, None)
    assert seen.build_failure_table().splitlines()[2].split() == ["5.1", "failed", "COMPLETED", "137", "-"]
    with pytest.raises(JobFailed, match="2 of 3 jobs failed") as caught:
        jobs.check_done(seen)
    assert not isinstance(caught.value, JobLost)


@pytest.mark.parametrize("system", ["torque", "pbs"])
def test_a_job_without_exit_status_has_failed(host: Host, system: str) -> None:
    jobs = host.make_jobs(system, ids=["5"])
    letter = {"torque": "C", "pbs": "F"}[system]
    host.say("qstat", f"Job Id: 5.h\n    job_state = {letter}\n    exec_host = n1/0\n\n")
    seen = jobs.observe()
    (job,) = seen.failed
    assert (job.state, job.reason) == (JobState.EXITED, "the system does not say with which exit code it ended")
    assert seen.is_over


def test_a_command_that_is_not_there_is_an_error_at_the_first_look_only(host: Host) -> None:
    host.answers = {"squeue": CommandMissing("There is no command 'squeue' on login1.")}
    jobs = host.make_jobs("slurm", ids=["5"])
    with pytest.raises(CommandMissing):
        jobs.observe()
    host.say("squeue", "", "sh: 1: squeue: not found", 127)
    with pytest.raises(CommandMissing, match="A command of slurm is not there on login1: sh: 1: squeue: not found"):
        jobs.observe()
    host.say("/bin/sh", "", "sh: 1: squeue: not found", 127)
    with pytest.raises(CommandMissing):
        host.make_jobs("slurm", name="fit").observe()
    host.say("squeue", queue((5, 5, "N/A", "RUNNING")))
    host.say("sacct")
    assert statuses(jobs) == [RUNNING]
    host.say("squeue", "", "sh: 1: squeue: not found", 127)
    assert "not found" in str(jobs.observe().problem)


def test_a_silent_system_is_given_up_after_its_time(host: Host) -> None:
    host.answers = {"squeue": TransportError("no answer in 60 s"), "/bin/sh": TransportError("no answer in 120 s")}
    for jobs in (host.make_jobs("slurm", ids=["5"]), host.make_jobs("slurm", name="fit")):
        seen = jobs.observe()
        assert (seen.jobs, seen.is_over) == ((), False)
        assert seen.describe().startswith(
            "nothing is known of the jobs yet (the batch system does not answer: no answer"
        )
        assert jobs.observe().problem
        host.now += 600.0
        with pytest.raises(PollError, match=r"found out for too long, slurm on login1: .*no answer in"):
            jobs.observe()


def test_an_unknown_state_is_waited_for(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5"])
    host.say("squeue", queue((5, 5, "N/A", "DREAMING")))
    host.say("sacct")
    assert statuses(jobs) == [QUEUED]


def test_many_failures_make_a_short_table(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5", *(str(number) for number in range(100, 130))])
    host.say("squeue", queue(*((1000 + number, 5, str(number), "NODE_FAIL") for number in range(30))))
    host.say("sacct", "".join(f"{number}|{number}|COMPLETED|0:0|vm\n" for number in range(100, 130)))
    seen = jobs.observe()
    assert seen.describe() == "30 done, 30 failed"
    table = seen.build_failure_table(5).splitlines()
    assert (len(table), table[-1]) == (7, "… and 25 more")
    assert "and 21 more" in jobs.describe()


def test_what_a_command_does_not_end_is_an_error_after_all_were_tried(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5_1", "6;north"])
    host.answers["scontrol"] = TransportError("no answer")
    host.say("scancel", "", "scancel: error: Kill job error on job id 6: Access/permission denied", 1)
    with pytest.raises(TransportError, match="no answer"):
        jobs.cancel()
    assert [argv[0] for argv in host.asked] == ["scontrol", "scancel", "scancel"]
    host.say("/bin/sh", "", "no", 1)
    named = host.make_jobs("slurm", name="fit")
    with pytest.raises(DefinitionError, match="found by the name 'fit' are not ended from here"):
        named.cancel()
    assert named.remember() is None


def test_a_memory_says_once_what_is_alike(host: Host) -> None:
    jobs = host.make_jobs("slurm", ids=["5", "7", "8", "9"])
    lines = [(50 + index, 5, str(index), "COMPLETED" if index != 3 else "NODE_FAIL") for index in range(6)]
    host.say("squeue", queue(*lines, *((number, number, "N/A", "RUNNING") for number in (7, 8, 9))))
    host.say("sacct")
    before = jobs.observe()
    memory = json.loads(json.dumps(jobs.remember()))
    assert [(each["jobs"], each["elements"], each["native"]) for each in memory["seen"]] == [
        (["5"], "0-2,4-5", "COMPLETED"),
        (["5"], "3", "NODE_FAIL"),
        (["7", "8", "9"], None, "RUNNING"),
    ]
    host.say("squeue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    after = host.make_jobs("slurm", memory=memory).observe()
    assert [(job.id, job.status) for job in after.jobs] == [(job.id, job.status) for job in before.jobs]
    assert [job.id for job in after.jobs if job.is_missing] == ["7", "8", "9"]


def test_wait_looks_until_all_is_over(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.say("squeue", queue((5, 5, "N/A", "RUNNING")))
    host.say("sacct")
    jobs = host.make_jobs("slurm", ids=["5"])
    with caplog.at_level("INFO"):
        assert not jobs.wait(timeout=0).is_over
        host.say("squeue", queue((5, 5, "N/A", "COMPLETED")))
        seen = jobs.wait()
    jobs.check_done(seen)
    assert "slurm on login1: 5: 1 done" in caplog.text
