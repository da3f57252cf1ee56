"""What every batch system has to do, seen through the client."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_caf.batch.spec import Command, CommandResult, Resources, SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import PollError
from airflow_provider_caf.jobs.subjobs import build_failure_table, count_subjobs, describe_counts
from airflow_provider_caf.jobs.transport.local import LocalTransport

if TYPE_CHECKING:
    from tests.contract.batch_site import Site

DONE, FAILED, CANCELLED = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.CANCELLED
QUEUED, RUNNING = SubjobStatus.QUEUED, SubjobStatus.RUNNING
OUTPUT = "out.dat"
COPY = ["sh", "-c", "echo data > out.dat"]


def test_each_subjob_ends_as_it_ended(site: Site) -> None:
    commands = [
        COPY,
        ["sh", "-c", "echo data > out.dat; echo 'it is broken' >&2; exit 3"],
        ["sh", "-c", "kill -9 $$"],
        ["true"],
        ["sh", "-c", ": > out.dat"],
        COPY,
    ]
    job = site.make_job(commands, outputs=[OUTPUT])
    result = site.submit(job)
    assert result.submitted == (0, 1, 2, 3, 4, 5)
    assert result.attempt == 0
    observed = site.wait(job)
    assert site.statuses(observed) == [DONE, FAILED, FAILED, FAILED, FAILED, DONE]
    assert describe_counts(count_subjobs(observed.verdicts)) == "2 done, 4 failed"
    outputs = observed.verdicts[5].outputs
    assert outputs == (job.folders.attempt_folder(5, 0) / OUTPUT,)
    assert outputs[0].read_text() == "data\n"
    ends = [observed.verdicts[subjob].record for subjob in range(6)]
    assert [(end.exit_code, end.signal) for end in ends if end] == [
        (0, None),
        (3, None),
        (None, 9),
        (0, None),
        (0, None),
        (0, None),
    ]
    assert "the declared output 'out.dat' is missing in" in str(observed.verdicts[3].reason)
    assert "the declared output 'out.dat' is empty in" in str(observed.verdicts[4].reason)
    table = build_failure_table(observed.verdicts)
    assert "exit code 3" in table
    assert "SIGKILL" in table
    assert f"log: {job.folders.attempt_folder(1, 0)}/stderr.log" in table
    assert "| it is broken" in table


def test_only_what_is_missing_runs_again(site: Site) -> None:
    flag = site.folder / "mended"
    fragile = ["sh", "-c", f"test -e {flag} && echo data > out.dat"]
    job = site.make_job([COPY, fragile, COPY], outputs=[OUTPUT])
    site.submit(job)
    assert site.statuses(site.wait(job)) == [DONE, FAILED, DONE]
    flag.touch()
    again = site.submit(job)
    assert (again.submitted, again.attempt) == ((1,), 1)
    assert site.statuses(site.wait(job)) == [DONE, DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0", "00001/attempt_1", "00002/attempt_0"]
    nothing = site.submit(job)
    assert (nothing.submitted, nothing.arrays, nothing.attempt) == ((), (), 1)


def test_an_output_that_is_gone_is_made_again(site: Site) -> None:
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    site.submit(job)
    observed = site.wait(job)
    observed.verdicts[1].outputs[0].unlink()
    # The queue may show it running for a moment after its record was there.
    observed = site.wait(job)
    assert site.statuses(observed) == [DONE, FAILED]
    assert "is not there any more" in str(observed.verdicts[1].reason)
    assert site.submit(job).submitted == (1,)
    assert site.statuses(site.wait(job)) == [DONE, DONE]


def test_a_changed_job_runs_again(site: Site) -> None:
    job = site.make_job([COPY, ["sh", "-c", "echo data > out.dat;"]], outputs=[OUTPUT])
    site.submit(job)
    site.wait(job)
    site.made.remove(job)
    job = site.make_job([COPY, ["sh", "-c", "echo other > out.dat"]], outputs=[OUTPUT])
    assert site.submit(job).submitted == (1,)
    assert site.wait(job).verdicts[1].outputs[0].read_text() == "other\n"


def test_what_runs_is_left_alone(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done; echo data > out.dat"]
    job = site.make_job([wait, COPY], outputs=[OUTPUT])
    first = site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, DONE])
    again = site.submit(job)
    assert again.submitted == ()
    assert again.arrays == first.arrays
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0"]


def test_queued_running_and_over_are_told_apart(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done"]
    job = site.make_job([wait, wait], resources=Resources(max_processes=4, throttle=1))
    site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, QUEUED])
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE, DONE]


def test_cancel_one(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"while ! test -e {go}; do sleep 0.05; done"]
    job = site.make_job([wait, wait, wait], resources=Resources(max_processes=2, throttle=2))
    arrays = site.submit(job).arrays
    # Which two start first is the system's affair.
    begun = site.statuses(site.wait(job, lambda seen: site.statuses(seen).count(RUNNING) == 2)).index(RUNNING)
    site.client.cancel(arrays, [begun])
    wanted = [RUNNING] * 3
    wanted[begun] = CANCELLED
    site.wait(job, lambda seen: site.statuses(seen) == wanted)
    go.touch()
    assert site.statuses(site.wait(job)) == [DONE if each is RUNNING else each for each in wanted]


def test_cancel_one_that_waits(site: Site) -> None:
    go = site.folder / "go"
    wait = ["sh", "-c", f"touch ran; while ! test -e {go}; do sleep 0.05; done"]
    job = site.make_job([wait, wait], resources=Resources(max_processes=1, throttle=1))
    arrays = site.submit(job).arrays
    begun = site.statuses(site.wait(job, lambda seen: RUNNING in site.statuses(seen))).index(RUNNING)
    site.client.cancel(arrays, [1 - begun])
    go.touch()
    observed = site.wait(job)
    assert (observed.verdicts[begun].status, observed.verdicts[1 - begun].status) == (DONE, CANCELLED)
    assert len(list(job.folders.output_folder.glob("*/*/ran"))) == 1


def test_cancel_all(site: Site) -> None:
    job = site.make_job([["sleep", "600"]] * 5, resources=Resources(max_processes=2, throttle=2))
    arrays = site.submit(job).arrays
    site.wait(job, lambda seen: RUNNING in site.statuses(seen))
    site.client.cancel(arrays)
    assert site.statuses(site.wait(job)) == [CANCELLED] * 5
    # What is over already is no error.
    site.client.cancel(arrays)
    assert site.submit(job).submitted == (0, 1, 2, 3, 4)


def test_double_submit_gives_the_same_ids(site: Site) -> None:
    job = site.make_job([COPY, COPY], outputs=[OUTPUT])
    array = job.build_array(site.client.system, [(each,) for each in job.subjobs], attempt=0)
    with ThreadPoolExecutor(4) as threads:
        found = {each.ids for each in threads.map(lambda _: site.client.submit(array), range(4))}
    # Another client, as after a crash, and one that finds no record of the ids.
    other = site.make_client()
    found.add(other.submit(array).ids)
    (Path(array.folder) / "submitted.json").unlink()
    found.add(other.submit(array).ids)
    assert len(found) == 1
    assert site.statuses(site.wait(job)) == [DONE, DONE]
    assert site.started(job) == ["00000/attempt_0", "00001/attempt_0"]


def test_many_arrays_are_asked_for_with_one_command(site: Site) -> None:
    transport = CountingTransport()
    client = site.make_client(transport)
    arrays: list[SubmittedArray] = []
    for number in range(5):
        # They run on: what has left the queue is asked for with a second command, where the queue forgets.
        job = site.make_job([["sleep", "600"]], name=f"c{number}")
        arrays.extend(site.submit(job).arrays)
    site.wait_for(lambda: not client.poll(arrays).problems)
    transport.commands.clear()
    snapshot = client.poll([*arrays, arrays[0]])
    assert set(snapshot.states) == {array.array.name for array in arrays}
    assert len(transport.commands) == 1


def test_a_server_that_is_down_fails_nothing_before_the_deadline(site: Site) -> None:
    job = site.make_job([["sleep", "600"]])
    arrays = site.submit(job).arrays
    transport = CountingTransport()
    client = site.make_client(transport)
    site.wait_for(lambda: client.poll(arrays).read(arrays)[0].state.name == "RUNNING")
    transport.broken = True
    site.clock.jump(600)
    snapshot = client.poll(arrays)
    assert snapshot.read(arrays)[0].state.name == "RUNNING"
    assert "out of order" in str(snapshot.describe_problems(arrays))
    site.clock.jump(client.patience.deadline)
    with pytest.raises(PollError, match=r"Nothing could be found out about array .*: .*out of order"):
        client.poll(arrays).read(arrays)
    transport.broken = False
    assert client.poll(arrays).read(arrays)[0].state.name == "RUNNING"


def test_nothing_is_submitted_again_while_the_server_is_down(site: Site) -> None:
    job = site.make_job([["sleep", "600"], ["sh", "-c", "exit 1"]])
    first = site.submit(job)
    site.wait(job, lambda seen: site.statuses(seen) == [RUNNING, FAILED])
    transport = CountingTransport()
    transport.broken = True
    again = site.submit(job, site.make_client(transport))
    assert (again.submitted, again.arrays) == ((), first.arrays)


def test_setup_environment_and_placeholders_reach_the_job(site: Site) -> None:
    hostile = "a 'b' \"c\" $(touch broken) `d`; e\\"
    job = site.make_job(
        [["sh", "-c", 'printf "%s|%s|%s|%s" "$FROM_SETUP" "$GIVEN" "$CAF_SUBJOB" "$1" > out.dat', "x", "{subjob}"]],
        outputs=["*.dat"],
        resources=Resources(
            setup=("FROM_SETUP='set up'", "export FROM_SETUP", "echo noise"),
            environment={"GIVEN": hostile},
            max_processes=1,
        ),
    )
    site.submit(job)
    observed = site.wait(job)
    assert observed.verdicts[0].outputs[0].read_text() == f"set up|{hostile}|0|0"


def test_keys_of_airflow_do_not_reach_the_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    job = site.make_job([["sh", "-c", "env > out.dat"]], outputs=[OUTPUT])
    site.submit(job)
    text = site.wait(job).verdicts[0].outputs[0].read_text()
    assert "CAF_JOB=" in text
    assert "AIRFLOW" not in text


def test_a_program_that_is_not_there_is_told(site: Site) -> None:
    job = site.make_job([["no-such-program-anywhere", "x"]])
    site.submit(job)
    observed = site.wait(job)
    assert site.statuses(observed) == [FAILED]
    assert "'no-such-program-anywhere' could not be started in" in str(observed.verdicts[0].reason)
    assert observed.verdicts[0].record is not None
    assert observed.verdicts[0].record.exit_code == 127


def test_memory_grows_where_it_was_the_cause(site: Site) -> None:
    job = site.make_job(
        [["sh", "-c", "echo MemoryError >&2; exit 1"], ["sh", "-c", "exit 1"]],
        resources=Resources(memory=1000, max_processes=2),
    )
    site.submit(job)
    site.wait(job)
    again = site.resubmit(job, 0)
    memory = {each.array.subjobs: each.array.resources.memory for each in again.arrays}
    assert memory == {(0,): 1500, (1,): 1000}
    site.wait(job)


def test_tries_are_spent(site: Site) -> None:
    job = site.make_job([["sh", "-c", "exit 1"], COPY])
    first = site.submit(job)
    for attempt in (1, 2, 3):
        site.wait(job)
        again = site.resubmit(job, first.attempt)
        assert (again.submitted, again.attempt) == ((0,), attempt)
    site.wait(job)
    last = site.resubmit(job, first.attempt)
    assert (last.submitted, last.spent, last.arrays) == ((), (0,), ())
    # A user clears the task: it goes again.
    assert site.submit(job).submitted == (0,)
    site.wait(job)


class CountingTransport(LocalTransport):
    """Count commands, and refuse them when told to."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.broken = False

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        self.commands.append(command)
        if self.broken:
            return CommandResult(argv=command.argv, exit_code=1, stderr="the server is out of order")
        return super().run(command, hold=hold)
