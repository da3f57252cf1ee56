"""Which subjobs go again, and with how much memory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch.evidence import says_out_of_memory
from airflow_provider_caf.batch.resubmit import (
    Failure,
    HostTry,
    Retry,
    RetryPlan,
    RetryPolicy,
    decide_memory,
    find_bad_hosts,
    is_memory_cause,
    plan_retries,
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
    assert says_out_of_memory(text)


@pytest.mark.parametrize("text", ["", "segmentation fault", "in memory of", "room", "BOOM", "TERM_RUNLIMIT"])
def test_other_causes(text: str) -> None:
    assert not says_out_of_memory(text)
    assert not is_memory_cause(failure(exit_code=1, memory=100, peak_memory=100 * 1024))


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
        (None, 3000 * 1024, 4000),
        (None, 9000 * 1024, 4000),
        # The batch system ended it with all that could have measured it.
        (None, None, 1500),
    ],
)
def test_memory_grows_up_to_the_ceiling(memory: int | None, peak: int | None, grown: int | None) -> None:
    assert decide_memory(failure(out_of_memory=True, memory=memory, peak_memory=peak), POLICY) == grown


def test_memory_stays_where_it_was_not_the_cause() -> None:
    assert decide_memory(failure(exit_code=1, memory=1000), POLICY) == 1000
    assert decide_memory(failure(exit_code=1), POLICY) is None


def test_without_a_ceiling_it_grows_on() -> None:
    assert decide_memory(failure(out_of_memory=True, memory=10**6), RetryPolicy()) == 1_500_000


def test_those_with_equal_requests_go_together() -> None:
    failures = [
        failure(7, exit_code=1, memory=1000),
        failure(3, out_of_memory=True, memory=1000),
        failure(1, exit_code=2, memory=1000),
        failure(5, exit_code=1, memory=1000, tries=4),
    ]
    assert plan_retries(failures, POLICY) == RetryPlan(
        retries=(Retry(subjobs=(1, 7), memory=1000), Retry(subjobs=(3,), memory=1500, before=1000)), spent=(5,)
    )


def test_three_retries_are_four_tries() -> None:
    policy = RetryPolicy(max_retries=3)
    assert [bool(plan_retries([failure(tries=tries)], policy).spent) for tries in range(6)] == [
        False,
        False,
        False,
        False,
        True,
        True,
    ]


def test_those_that_took_neighbours_with_them_go_alone() -> None:
    failures = [failure(1, memory=9), failure(2, memory=9, broke_off=True), failure(3, memory=9)]
    assert plan_retries(failures, POLICY).retries == (
        Retry(subjobs=(1, 3), memory=9),
        Retry(subjobs=(2,), memory=9, alone=True),
    )


def tries(host: str, failed: int, good: int = 0, out_of_memory: bool = False) -> list[HostTry]:
    bad = [HostTry(host=host, subjob=number, succeeded=False, out_of_memory=out_of_memory) for number in range(failed)]
    return bad + [HostTry(host=host, subjob=100 + number, succeeded=True) for number in range(good)]


@pytest.mark.parametrize(
    ("limit", "seen", "bad"),
    [
        (None, tries("a", 9), ()),
        (3, [], ()),
        (3, tries("a", 2), ()),
        (3, [*tries("b", 3), *tries("a", 4), *tries("c", 1)], ("a", "b")),
        # A host on which one goes well is not broken.
        (3, tries("a", 9, good=1), ()),
        # Three tries of one subjob are the subjob's fault.
        (3, tries("a", 1) * 3, ()),
        # So is a lack of memory.
        (1, tries("a", 5, out_of_memory=True), ()),
        (1, tries("a", 1), ("a",)),
        # A name from a job cannot break out of a submit file.
        (1, [*tries('a"b', 5), *tries("a b", 5), *tries("", 5), *tries("-x", 5), *tries("n1.x.org", 1)], ("n1.x.org",)),
    ],
)
def test_bad_hosts(limit: int | None, seen: list[HostTry], bad: tuple[str, ...]) -> None:
    assert find_bad_hosts(seen, RetryPolicy(max_failures_per_host=limit)) == bad


@given(
    st.lists(
        st.builds(HostTry, host=st.sampled_from("abc"), subjob=st.integers(0, 5), succeeded=st.booleans()), max_size=30
    ),
    st.integers(1, 4),
)
def test_a_host_is_bad_only_by_enough_failures_and_no_success(seen: list[HostTry], limit: int) -> None:
    bad = find_bad_hosts(seen, RetryPolicy(max_failures_per_host=limit))
    for host in "abc":
        own = [each for each in seen if each.host == host]
        subjobs = {each.subjob for each in own}
        assert (host in bad) == (len(subjobs) >= limit and not any(each.succeeded for each in own))


def test_nothing_failed() -> None:
    assert plan_retries([], POLICY) == RetryPlan(retries=(), spent=())


@given(
    st.lists(
        st.builds(
            Failure,
            subjob=st.integers(0, 50),
            tries=st.integers(0, 6),
            memory=st.none() | st.integers(1, 5000),
            out_of_memory=st.booleans(),
            broke_off=st.booleans(),
        ),
        unique_by=lambda each: each.subjob,
    )
)
def test_each_failed_subjob_goes_again_once_or_is_spent(failures: list[Failure]) -> None:
    decided = plan_retries(failures, POLICY)
    again = [subjob for retry in decided.retries for subjob in retry.subjobs]
    assert sorted([*again, *decided.spent]) == sorted(each.subjob for each in failures)
    assert decided == plan_retries(failures[::-1], POLICY)
