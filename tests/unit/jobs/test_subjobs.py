"""Judging subjobs: record, files and queue together."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import FINAL, ExitRecord, JobState
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobState, SubjobStatus, Verdict
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.file_names import ENDED_BY_SYSTEM
from airflow_provider_caf.jobs.subjobs import (
    build_failure_table,
    count_subjobs,
    describe_counts,
    describe_end,
    judge_on_disk,
    read_job_digests,
)
from tests.unit.batch.arrays import make_array, submit

DONE, FAILED, CANCELLED, LOST = SubjobStatus.DONE, SubjobStatus.FAILED, SubjobStatus.CANCELLED, SubjobStatus.LOST
HELD, RUNNING, QUEUED, MISSING = SubjobStatus.HELD, SubjobStatus.RUNNING, SubjobStatus.QUEUED, SubjobStatus.MISSING

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make_record(**changes: Any) -> ExitRecord:
    values: dict[str, Any] = {
        "subjob": 0,
        "attempt": 0,
        "restart": 0,
        "folder": Path("/w/out/00000/attempt_0"),
        "job_digest": "new",
        "exit_code": 0,
        "signal": None,
        "host": "vm",
        "started": NOON,
        "ended": NOON,
        "cpu_seconds": 0.0,
        "peak_memory_kb": 0,
        "outputs": {},
        "reason": None,
    }
    return ExitRecord(**{**values, **changes})


def state(of: JobState, **changes: Any) -> SubjobState:
    return SubjobState(**{"subjob": 0, "attempt": 0, "state": of, **changes})


def judge(*records: ExitRecord, of: SubjobState | None = None, **options: Any) -> Verdict:
    return judge_on_disk({0: "new"}, records, {} if of is None else {0: of}, **options)[0]


BAD = make_record(exit_code=3)
GOOD = make_record()


@pytest.mark.parametrize(
    ("records", "seen", "status"),
    [
        ([], None, MISSING),
        ([GOOD], None, DONE),
        ([BAD], None, FAILED),
        # Success by record wins over every word of a queue.
        *[([GOOD], each, DONE) for each in JobState],
        # A failure stands once the queue agrees that it is over, or says nothing.
        ([BAD], JobState.EXITED, FAILED),
        ([BAD], JobState.LOST, FAILED),
        # The wrapper was told to end and has recorded it, and the system runs the job again.
        ([BAD], JobState.QUEUED, QUEUED),
        ([BAD], JobState.RUNNING, RUNNING),
        ([BAD], JobState.TRANSFERRING, RUNNING),
        ([BAD], JobState.HELD, HELD),
        ([BAD], JobState.CANCELLED, CANCELLED),
        ([], JobState.QUEUED, QUEUED),
        ([], JobState.UNKNOWN, QUEUED),
        ([], JobState.RUNNING, RUNNING),
        ([], JobState.TRANSFERRING, RUNNING),
        ([], JobState.HELD, HELD),
        ([], JobState.CANCELLED, CANCELLED),
        ([], JobState.LOST, LOST),
        # Over, and the record may still appear.
        ([], JobState.EXITED, RUNNING),
    ],
)
def test_the_rule(records: list[ExitRecord], seen: JobState | None, status: SubjobStatus) -> None:
    verdict = judge(*records, of=None if seen is None else state(seen))
    assert verdict.status is status


def test_over_without_a_record_is_a_failure_after_the_grace_time() -> None:
    waiting = judge(of=state(JobState.EXITED))
    assert (waiting.status, waiting.reason) == (RUNNING, "it has ended; its exit record is waited for")
    seen = state(JobState.EXITED, settled=True, native="EXIT", exit_code=137, reason="TERM_MEMLIMIT", host="n1")
    verdict = judge(of=seen)
    assert (verdict.status, verdict.host, verdict.native) == (FAILED, "n1", "EXIT")
    said = "it ended without an exit record (EXIT: exit code 137 by the batch system, TERM_MEMLIMIT)"
    assert verdict.reason == said
    assert judge(of=state(JobState.EXITED, settled=True, native="E")).reason == (
        "it ended without an exit record (E: no exit code)"
    )


def test_what_the_system_says_of_an_end_is_added_to_the_record() -> None:
    killed = make_record(exit_code=None, signal=9)
    seen = state(JobState.EXITED, native="OUT_OF_MEMORY", reason="the job had too little memory")
    verdict = judge(killed, of=seen)
    assert (verdict.status, verdict.native, verdict.reason) == (
        FAILED,
        "OUT_OF_MEMORY",
        "the job had too little memory",
    )
    told = make_record(exit_code=1, reason="the batch system sent SIGTERM to the job", ended_by=ENDED_BY_SYSTEM)
    assert judge(told, of=seen).reason == "the batch system sent SIGTERM to the job; the job had too little memory"
    # What it says of a later or still running job is no news of that one.
    assert judge(make_record(attempt=1, exit_code=1), of=seen).native is None


def test_one_that_was_given_up_while_held_has_failed() -> None:
    verdict = judge(of=state(JobState.CANCELLED, given_up="no such input"))
    assert (verdict.status, verdict.gave_up) == (FAILED, True)
    assert verdict.reason == "it was held and has been given up: no such input"


@pytest.mark.parametrize(
    ("seen", "settling"),
    [
        (state(JobState.EXITED), True),
        (state(JobState.RUNNING, missing=True), True),
        (state(JobState.RUNNING), False),
        (state(JobState.EXITED, settled=True), False),
    ],
)
def test_who_only_waits_for_the_grace_time(seen: SubjobState, settling: bool) -> None:
    assert judge(of=seen).settling is settling


TOLD = {"exit_code": 1, "reason": "the batch system sent SIGTERM to the job", "ended_by": ENDED_BY_SYSTEM}


def judge_packed(
    of: JobState, *records: ExitRecord, elements: tuple[tuple[int, ...], ...] = ((0, 1, 2, 3),), **changes: Any
) -> dict[int, Verdict]:
    array = make_submitted(elements)
    expected = dict.fromkeys(array.array.subjobs, "new")
    states = {subjob: state(of, subjob=subjob, **changes) for subjob in expected}
    return judge_on_disk(expected, records, states, arrays=[array])


def make_submitted(elements: tuple[tuple[int, ...], ...], folder: Path = Path("/w")) -> SubmittedArray:
    root = str(folder)
    return submit(make_array("caf_x", elements, root, folder=f"{root}/arrays/0"))


def list_statuses(verdicts: dict[int, Verdict]) -> list[SubjobStatus]:
    return [verdict.status for _, verdict in sorted(verdicts.items())]


@pytest.mark.parametrize(
    ("of", "records", "statuses"),
    [
        (JobState.RUNNING, [], [RUNNING, QUEUED, QUEUED, QUEUED]),
        (JobState.QUEUED, [], [QUEUED] * 4),
        # Done and failed ones are over while their element goes on with the third.
        (JobState.RUNNING, [{}, {"subjob": 1, "exit_code": 3}], [DONE, FAILED, RUNNING, QUEUED]),
        # An end from outside may be followed by a new start of the whole element.
        (JobState.RUNNING, [{}, {"subjob": 1, **TOLD}], [DONE, RUNNING, RUNNING, QUEUED]),
        (JobState.QUEUED, [{}, {"subjob": 1, **TOLD}], [DONE, QUEUED, QUEUED, QUEUED]),
        (JobState.HELD, [{}, {"subjob": 1, "exit_code": 3}], [DONE, FAILED, HELD, HELD]),
        # The last one of an element is as one that is alone.
        (JobState.RUNNING, [{"subjob": n, "exit_code": 1} for n in range(4)], [FAILED, FAILED, FAILED, RUNNING]),
        (JobState.EXITED, [{"subjob": n, "exit_code": 1} for n in range(4)], [FAILED] * 4),
        (JobState.CANCELLED, [{}, {"subjob": 1, "exit_code": 3}], [DONE, FAILED, CANCELLED, CANCELLED]),
        (JobState.LOST, [{}, {"subjob": 1, "exit_code": 3}], [DONE, FAILED, LOST, LOST]),
    ],
)
def test_several_in_one_element(of: JobState, records: list[dict[str, Any]], statuses: list[SubjobStatus]) -> None:
    assert list_statuses(judge_packed(of, *(make_record(**each) for each in records))) == statuses


def test_an_element_that_ended_before_all_had_their_turn() -> None:
    records = [make_record(), make_record(subjob=1, exit_code=1)]
    assert list_statuses(judge_packed(JobState.EXITED, *records)) == [DONE, FAILED, RUNNING, RUNNING]
    verdicts = judge_packed(
        JobState.EXITED, *records, settled=True, native="OUT_OF_MEMORY", reason="too little memory", exit_code=137
    )
    assert [verdict.began for verdict in verdicts.values()] == [True, True, True, False]
    said = "it ended without an exit record (OUT_OF_MEMORY: exit code 137 by the batch system, too little memory)"
    assert (verdicts[1].reason, verdicts[1].native) == (None, None)
    assert verdicts[2].reason == said
    assert verdicts[3].reason == f"its job ended before it began: {said}"


def test_an_element_without_any_record_spares_nobody() -> None:
    verdicts = judge_packed(JobState.EXITED, settled=True)
    assert [(verdict.status, verdict.began) for verdict in verdicts.values()] == [(FAILED, True)] * 4


def test_elements_do_not_mix() -> None:
    verdicts = judge_packed(JobState.RUNNING, make_record(), elements=((0, 1), (2, 3), (4,)))
    assert list_statuses(verdicts) == [DONE, RUNNING, RUNNING, QUEUED, RUNNING]


def test_the_log_of_one_that_left_no_record(tmp_path: Path) -> None:
    array = make_submitted(((0,), (1,)), tmp_path)

    def look() -> Verdict:
        states = {0: state(JobState.QUEUED), 1: state(JobState.EXITED, subjob=1, settled=True)}
        return judge_on_disk({0: "new", 1: "new"}, [], states, arrays=[array], read_logs=True)[1]

    assert (look().log, look().log_tail) == (None, "")
    log = Path(array.array.element_log(1))
    log.parent.mkdir(parents=True)
    log.write_text("setup.sh: No such file or directory\n")
    assert (look().log, look().log_tail) == (log, "setup.sh: No such file or directory")
    assert not look().out_of_memory
    log.write_text("slurmstepd: error: Detected 1 oom-kill event(s)\n")
    assert look().out_of_memory
    # What the subjob itself has printed says more, and its last start says most.
    for name in ("attempt_0", "attempt_0_r1"):
        own = tmp_path / "out" / "00001" / name / "stderr.log"
        own.parent.mkdir(parents=True)
        own.write_text(f"{name}\n")
        assert (look().log, look().log_tail) == (own, name)
    # But what has ended it is said by the system.
    assert look().out_of_memory
    table = build_failure_table({1: look()})
    assert f"log: {own}" in table


def test_the_reason_of_a_hold_is_shown() -> None:
    verdict = judge(of=state(JobState.HELD, reason="no such input", native="5"))
    assert (verdict.status, verdict.reason) == (HELD, "no such input")


def test_the_first_good_record_wins() -> None:
    first = make_record(restart=1)
    later = make_record(attempt=1, exit_code=1)
    verdict = judge(later, BAD, first, make_record(attempt=2))
    assert (verdict.status, verdict.record) == (DONE, first)


def test_the_newest_try_counts_among_failures() -> None:
    newest = make_record(attempt=10, exit_code=4)
    assert judge(newest, BAD, make_record(attempt=9, restart=3, exit_code=5)).record is newest


def test_a_newer_try_that_goes_on_counts_more_than_an_old_failure() -> None:
    assert judge(BAD, of=state(JobState.QUEUED, attempt=1)).status is QUEUED
    assert judge(BAD, of=state(JobState.LOST, attempt=1)).status is LOST
    assert judge(BAD, of=state(JobState.CANCELLED, attempt=1)).status is CANCELLED
    # And the word about an old try counts less than the record of a newer one.
    newer = make_record(attempt=1, exit_code=1)
    assert judge(newer, of=state(JobState.RUNNING, attempt=0)).status is FAILED


def test_records_of_an_older_job_do_not_count() -> None:
    assert judge(make_record(job_digest="old")).status is MISSING
    assert judge(make_record(job_digest="old"), make_record(attempt=1, exit_code=1)).status is FAILED


def test_records_of_subjobs_nobody_asks_for_are_passed_over() -> None:
    assert set(judge_on_disk({0: "new"}, [make_record(subjob=5), make_record(subjob=6, job_digest="x")])) == {0}


def test_a_cancelled_one_says_why() -> None:
    verdict = judge(make_record(exit_code=None, signal=15, reason="cancelled"), of=state(JobState.CANCELLED))
    assert (verdict.status, verdict.reason) == (CANCELLED, "cancelled")
    assert verdict.record is not None


def test_outputs_are_looked_for_now(tmp_path: Path) -> None:
    record = make_record(folder=tmp_path, outputs={"a.root": 4, "b.root": 2})
    (tmp_path / "a.root").write_text("data")
    (tmp_path / "b.root").write_text("ok")
    verdict = judge(record)
    assert (verdict.status, verdict.outputs) == (DONE, (tmp_path / "a.root", tmp_path / "b.root"))
    (tmp_path / "b.root").write_text("cut off")
    verdict = judge(record, of=state(JobState.EXITED))
    assert (verdict.status, verdict.outputs) == (FAILED, ())
    assert verdict.reason == f"its output {tmp_path}/b.root has 7 bytes, 2 were recorded"
    (tmp_path / "a.root").unlink()
    reason = judge(record).reason
    assert reason == f"its output {tmp_path}/a.root is not there any more: No such file or directory"
    assert judge(record, check_outputs=False).status is DONE
    # A good try of another number makes up for it.
    other = make_record(attempt=1)
    assert judge(record, other).record is other
    # While a newer try goes on, it is waited for.
    assert judge(record, of=state(JobState.RUNNING, attempt=1)).status is RUNNING


def test_logs_of_failures(tmp_path: Path) -> None:
    record = make_record(folder=tmp_path, exit_code=1)
    assert judge(record).log is None
    verdict = judge(record, read_logs=True)
    assert (verdict.log, verdict.log_tail) == (tmp_path / "stderr.log", "")
    (tmp_path / "stdout.log").write_text("only here\n")
    assert judge(record, read_logs=True).log == tmp_path / "stdout.log"
    lines = [f"line {number}" for number in range(1000)]
    (tmp_path / "stderr.log").write_bytes("\n".join(lines).encode() + b"\n\x1b[31mred\x07\xff\r\n\n")
    verdict = judge(record, read_logs=True)
    assert verdict.log == tmp_path / "stderr.log"
    tail = verdict.log_tail.splitlines()
    assert len(tail) < 20
    assert tail[-2] == "line 999"
    # Nothing in it can reach a terminal.
    assert tail[-1] == " [31mred \ufffd"
    assert judge(make_record(folder=tmp_path), read_logs=True).log is None


def test_counts() -> None:
    verdicts = {
        number: Verdict(subjob=number, status=status)
        for number, status in enumerate([RUNNING, DONE, DONE, HELD, MISSING])
    }
    counts = count_subjobs(verdicts)
    assert counts[DONE] == 2
    assert describe_counts(counts) == "2 done, 1 held, 1 running, 1 not submitted"
    assert describe_counts({DONE: 412, HELD: 3, RUNNING: 85, FAILED: 0}) == "412 done, 3 held, 85 running"
    assert describe_counts({}) == "no subjobs"


def test_only_what_can_still_change_is_not_over() -> None:
    assert {status for status in SubjobStatus if not status.is_over} == {HELD, RUNNING, QUEUED}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "-"),
        (make_record(exit_code=3), "exit code 3"),
        (make_record(exit_code=None, signal=11), "SIGSEGV"),
        (make_record(exit_code=None, signal=99), "signal 99"),
    ],
)
def test_what_ended_it(record: ExitRecord | None, said: str) -> None:
    assert describe_end(record) == said


def test_the_table_of_failures() -> None:
    verdicts = {
        0: Verdict(subjob=0, status=DONE),
        7: Verdict(subjob=7, status=RUNNING),
        12: Verdict(
            subjob=12,
            status=FAILED,
            attempt=1,
            host="node7",
            record=make_record(subjob=12, attempt=1, restart=2, exit_code=3),
            log=Path("/w/out/00012/attempt_1_r2/stderr.log"),
            log_tail="\n".join(f"line {number}" for number in range(9)),
        ),
        3: Verdict(subjob=3, status=LOST, attempt=0, reason="in no\nqueue"),
        4: Verdict(subjob=4, status=MISSING),
    }
    assert build_failure_table(verdicts) == "\n".join(
        [
            "subjob  try   status         ended by     host   reason",
            "3       0     lost           -            -      in no queue",
            "4       -     not submitted  -            -",
            "12      1_r2  failed         exit code 3  node7",
            "    log: /w/out/00012/attempt_1_r2/stderr.log",
            "    | line 4",
            "    | line 5",
            "    | line 6",
            "    | line 7",
            "    | line 8",
        ]
    )
    assert build_failure_table(verdicts, rows=1).splitlines()[-1] == "… and 2 more"


def test_digests(tmp_path: Path) -> None:
    (tmp_path / "00003.json").write_bytes(b"job")
    assert read_job_digests(tmp_path, [3]) == {3: hashlib.sha256(b"job").hexdigest()}
    with pytest.raises(InputError, match=r"job file .*/00004\.json of subjob 4 could not be read: No such file"):
        read_job_digests(tmp_path, [4])


RECORDS = st.lists(
    st.builds(
        make_record,
        attempt=st.integers(0, 3),
        restart=st.integers(0, 2),
        exit_code=st.sampled_from([0, 1, None]),
        signal=st.sampled_from([None, 9]),
        job_digest=st.sampled_from(["new", "old"]),
    ),
    max_size=4,
)
STATES = st.none() | st.builds(state, of=st.sampled_from(JobState), attempt=st.integers(0, 3), settled=st.booleans())


@given(RECORDS, STATES)
def test_laws_of_judging(records: list[ExitRecord], seen: SubjobState | None) -> None:
    verdict = judge(*records, of=seen)
    present = [record for record in records if record.job_digest == "new"]
    # Done exactly when a record of the present job says so.
    assert (verdict.status is DONE) == any(record.says_success for record in present)
    # What the system still has is never run a second time.
    newest = max((record.attempt for record in present), default=-1)
    if seen is not None and seen.state not in FINAL and seen.attempt >= newest and verdict.status is not DONE:
        assert not verdict.status.is_over
    # The order in which records are found does not matter.
    assert judge(*records[::-1], of=seen).status is verdict.status
