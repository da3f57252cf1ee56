"""Which subjobs go again, and with how much memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.resubmit import (
    Failure,
    Resubmission,
    Retry,
    RetryPolicy,
    decide_memory,
    decide_resubmission,
    is_memory_cause,
)


def failure(subjob: int = 0, **changes: Any) -> Failure:
    return Failure(**{"subjob": subjob, "tries": 1, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "Traceback …\nMemoryError: Unable to allocate 9 GiB",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "OSError: [Errno 12] Cannot allocate memory",
        "OUT_OF_MEMORY",
        "slurmstepd: error: Detected 1 oom-kill event(s)",
        "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
        "Job has gone over memory limit. Memory usage exceeded request_memory",
        "job exceeded its memory",
    ],
)
def test_somebody_says_that_it_was_the_memory(text: str) -> None:
    assert is_memory_cause(failure(text=text))


@pytest.mark.parametrize("text", ["", "segmentation fault", "in memory of", "room", "BOOM", "TERM_RUNLIMIT"])
def test_other_causes(text: str) -> None:
    assert not is_memory_cause(failure(text=text, exit_code=1, memory=100, peak_memory=100 * 1024))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"signal": 9, "memory": 100, "peak_memory": 95 * 1024}, True),
        ({"exit_code": 137, "memory": 100, "peak_memory": 80 * 1024}, True),
        # A time limit and an administrator kill too.
        ({"signal": 9, "memory": 100, "peak_memory": 50 * 1024}, False),
        ({"signal": 15, "memory": 100, "peak_memory": 99 * 1024}, False),
        ({"signal": 9, "memory": None, "peak_memory": 99 * 1024}, False),
        ({"signal": 9, "memory": 100, "peak_memory": None}, False),
    ],
)
def test_a_kill_counts_only_near_the_request(changes: dict[str, Any], expected: bool) -> None:
    assert is_memory_cause(failure(**changes)) is expected


POLICY = RetryPolicy(memory_factor=1.5, memory_ceiling=4000)


@pytest.mark.parametrize(
    ("memory", "peak", "grown"),
    [
        (1000, None, 1500),
        (1001, None, 1502),
        (3000, None, 4000),
        (4000, None, 4000),
        # Above the ceiling by the user's own wish: not made smaller.
        (5000, None, 5000),
        (None, 2000 * 1024, 3000),
        (None, None, None),
    ],
)
def test_memory_grows_up_to_the_ceiling(memory: int | None, peak: int | None, grown: int | None) -> None:
    assert decide_memory(failure(text="MemoryError", memory=memory, peak_memory=peak), POLICY) == grown


def test_memory_stays_where_it_was_not_the_cause() -> None:
    assert decide_memory(failure(exit_code=1, memory=1000), POLICY) == 1000
    assert decide_memory(failure(exit_code=1), POLICY) is None


def test_without_a_ceiling_it_grows_on() -> None:
    assert decide_memory(failure(text="MemoryError", memory=10**6), RetryPolicy()) == 1_500_000


def test_those_with_equal_requests_go_together() -> None:
    failures = [
        failure(7, exit_code=1, memory=1000),
        failure(3, text="MemoryError", memory=1000),
        failure(1, exit_code=2, memory=1000),
        failure(5, exit_code=1, memory=1000, tries=4),
    ]
    assert decide_resubmission(failures, POLICY) == Resubmission(
        retries=(Retry(subjobs=(1, 7), memory=1000), Retry(subjobs=(3,), memory=1500)), spent=(5,)
    )


def test_three_retries_are_four_tries() -> None:
    policy = RetryPolicy(max_retries=3)
    assert [bool(decide_resubmission([failure(tries=tries)], policy).spent) for tries in range(6)] == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]


def test_nothing_failed() -> None:
    assert decide_resubmission([], POLICY) == Resubmission(retries=(), spent=())


@given(
    st.lists(
        st.builds(
            Failure,
            subjob=st.integers(0, 50),
            tries=st.integers(0, 6),
            memory=st.none() | st.integers(1, 5000),
            text=st.sampled_from(["", "MemoryError"]),
        ),
        unique_by=lambda each: each.subjob,
    )
)
def test_each_failed_subjob_goes_again_once_or_is_spent(failures: list[Failure]) -> None:
    decided = decide_resubmission(failures, POLICY)
    again = [subjob for retry in decided.retries for subjob in retry.subjobs]
    assert sorted([*again, *decided.spent]) == sorted(each.subjob for each in failures)
    assert decided == decide_resubmission(failures[::-1], POLICY)
