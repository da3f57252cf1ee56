"""Bad days of a batch system: it refuses, is down, answers nonsense, freezes. No job is lost, none runs twice."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import engine
from airflow_provider_caf.batch.spec import Command, CommandResult, Resources
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.errors import PollError, SubmitError, TransportError
from airflow_provider_caf.jobs.transport.local import LocalTransport
from tests.contract.marks import ON_FAKES, ON_REAL, WITH_SERVER

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, QUEUED, RUNNING = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.QUEUED, SubjobStatus.RUNNING
OUTPUT = "out.dat"
COPY = ["sh", "-c", "echo data > out.dat"]

REFUSALS = {
    "htcondor": {
        "queue": "ERROR: on Line 9 of submit file: Unable to parse requirements",
        "resources": "ERROR: on Line 9 of submit file: Invalid request_memory",
        "credentials": "ERROR: Failed to connect to local queue manager\n"
        "AUTHENTICATE:1003:Failed to authenticate with any method",
    },
    "lsf": {
        "queue": "nowhere: No such queue. Job not submitted.",
        "resources": "MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.",
        "credentials": "User permission denied. Job not submitted.",
    },
    "pbs": {
        "queue": "qsub: Unknown queue",
        "resources": "qsub: Job violates queue and/or server resource limits",
        "credentials": "qsub: Unauthorized Request",
    },
    "slurm": {
        "queue": "sbatch: error: Batch job submission failed: Invalid partition name specified",
        "resources": "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        "credentials": "sbatch: error: Batch job submission failed: Protocol authentication error",
    },
    "torque": {
        "queue": "qsub: submit error (Unknown queue MSG=cannot locate queue)",
        "resources": "qsub: submit error (Job exceeds queue resource limits MSG=cannot satisfy queue max mem)",
        "credentials": "qsub: submit error (Unauthorized Request MSG=user is not allowed to submit jobs)",
    },
}


@ON_FAKES
@pytest.mark.parametrize("what", ["queue", "resources", "credentials"])
def test_a_refusal_is_told_in_the_systems_words(site: Site, what: str) -> None:
    text = REFUSALS[site.system.name][what]
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    engine.set_faults(refuse=text)
    with pytest.raises(SubmitError, match=re.escape(text.splitlines()[-1])):
        site.submit(job)
    assert engine.jobs(gone=True) == []
    engine.set_faults()
    assert site.submit(job).submitted == (0, 1)
    assert site.statuses(site.wait(job)) == [DONE, DONE]


@ON_REAL
def test_a_bad_queue_is_refused_by_the_real_system(site: Site) -> None:
    # HTCondor has no queues.
    bad = (
        Resources(extra_lines=("requirements = ((",)) if site.system.name == "htcondor" else Resources(queue="nowhere")
    )
    job = site.make_job([COPY], resources=bad)
    with pytest.raises(SubmitError):
        site.submit(job)
    mended = site.make_job([COPY])
    assert site.submit(mended).submitted == (0,)
    assert site.statuses(site.wait(mended)) == [DONE]


@WITH_SERVER
def test_commands_that_are_not_on_the_path_are_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(site.folder))
        with pytest.raises(SubmitError, match="There is no command"):
            site.submit(job)
    arrays = site.submit(job).arrays
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(site.folder))
        snapshot = site.make_client().poll(arrays)
        # The second where a system's question is a script.
        assert re.search(r"There is no command|: not found", str(snapshot.describe_problems(arrays)))
    assert site.statuses(site.wait(job)) == [DONE]


@ON_FAKES
@pytest.mark.parametrize("fault", ["garbage", "nonsense"])
def test_an_answer_that_cannot_be_read_says_nothing(site: Site, fault: str) -> None:
    """Cut off in the middle, or in another format: no element counts as gone for it, however long that lasts."""
    job = site.make_job([["sleep", "600"]] * 3)
    first = site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING] * 3)
    engine.set_faults(**{fault: True})
    for _ in range(3):
        observed = site.look(job)
        assert site.statuses(observed) == [RUNNING] * 3
        site.clock.jump(site.system.grace)
    assert observed.problem
    again = site.submit(job, site.make_client())
    assert (again.submitted, again.arrays) == ((), first.arrays)


@ON_FAKES
def test_a_server_that_is_down_for_ten_minutes_costs_nothing(site: Site) -> None:
    go = site.folder / "go"
    job = site.make_job([["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; {COPY[2]}"]], outputs=[OUTPUT])
    other = site.make_job([COPY], outputs=[OUTPUT], name="other")
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    engine.set_faults(down=True)
    for _ in range(3):
        site.clock.jump(200)
        observed = site.look(job)
        assert site.statuses(observed) == [RUNNING]
        assert observed.problem
    with pytest.raises(PollError):
        site.client.cancel(arrays)
    with pytest.raises(SubmitError):
        site.submit(other)
    go.touch()
    # The exit record tells it, also without the server.
    assert site.statuses(site.wait(job)) == [DONE]
    engine.set_faults()
    assert site.submit(other).submitted == (0,)
    assert site.statuses(site.wait(other)) == [DONE]
    assert [array.count for array in engine.jobs(gone=True)] == [1, 1]


@ON_FAKES
def test_a_removal_that_is_not_allowed_is_told(site: Site) -> None:
    """The jobs are somebody else's: that is not what is said of jobs that are over."""
    job = site.make_job([["sleep", "600"]] * 2)
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING] * 2)
    engine.set_faults(denied=True)
    for elements in (None, [0]):
        with pytest.raises(PollError, match="could not be cancelled"):
            site.client.cancel(arrays, elements)
    engine.set_faults()
    assert site.statuses(site.look(job)) == [RUNNING] * 2


@ON_FAKES
def test_a_frozen_server_is_waited_for_no_longer_than_a_command_may_take(site: Site) -> None:
    job = site.make_job([["sleep", "600"]])
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING])
    engine.set_faults(frozen=60)
    client = site.make_client(ImpatientTransport())
    assert "gave no answer in 0.3 s" in str(client.poll(arrays).describe_problems(arrays))
    engine.set_faults()
    assert client.poll(arrays).read(arrays)[0].state.name == "RUNNING"


@ON_FAKES
def test_a_submit_command_that_crashes_after_its_work_is_no_second_job(site: Site) -> None:
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    engine.set_faults(crash_after_submit=True)
    assert site.submit(job).submitted == (0, 1)
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0"]
    assert len(engine.jobs(gone=True)) == 1


@ON_FAKES
def test_a_frozen_submit_command_that_has_done_its_work_is_no_second_job(site: Site) -> None:
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    engine.set_faults(late_submit=60)
    transport = TimeoutTransport(after_work=True)
    assert site.submit(job, site.make_client(transport)).submitted == (0, 1)
    assert transport.timed_out
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0"]
    assert len(engine.jobs(gone=True)) == 1


@ON_FAKES
def test_a_frozen_submit_command_that_has_not_done_its_work_is_no_job(site: Site) -> None:
    job = site.make_job([COPY], outputs=[OUTPUT])
    engine.set_faults(slow_submit=60)
    with pytest.raises(SubmitError, match="gave no answer"):
        site.submit(job, site.make_client(TimeoutTransport(after_work=False)))
    assert engine.jobs(gone=True) == []
    engine.set_faults()
    assert site.submit(job).submitted == (0,)
    assert site.statuses(site.wait(job)) == [DONE]


class ImpatientTransport(LocalTransport):
    """Give commands hardly any time while the server is frozen."""

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        if "frozen" in engine.faults():
            command = replace(command, timeout=0.3)
        return super().run(command, hold=hold)


class TimeoutTransport(LocalTransport):
    """Let the first command time out at a chosen moment, not at a chosen time.

    :param after_work: when its array is in the queue; else when it has begun.
    """

    def __init__(self, *, after_work: bool) -> None:
        self.after_work = after_work
        self.timed_out = False

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        if self.timed_out:
            return super().run(command, hold=hold)
        self.timed_out = True
        with tempfile.TemporaryFile() as stdin:
            stdin.write((command.stdin or "").encode())
            stdin.seek(0)
            process = subprocess.Popen(
                command.argv,
                stdin=stdin,
                env=build_child_environment(os.environ, command.environment),
                start_new_session=True,
            )
        while not self._is_time():
            assert process.poll() is None, "the submit command was not slow"
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise TransportError(f"{command.argv[0]} gave no answer in {command.timeout:g} s and was ended.")

    def _is_time(self) -> bool:
        if self.after_work:
            return bool(engine.jobs(gone=True))
        return (engine.find_home() / "commands.log").exists()
