"""How many subjobs go into one element."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_caf.batch.packing import (
    LONGEST,
    START_RATE,
    Part,
    RunTimes,
    decide_size,
    measure,
    pack,
    plan_parts,
)
from airflow_provider_caf.batch.resubmit import Retry
from airflow_provider_caf.batch.spec import Resources


def times(mean: float, longest: float | None = None) -> RunTimes:
    return RunTimes(mean=mean, longest=mean if longest is None else longest)


def test_run_times() -> None:
    assert measure([]) is None
    assert measure([1.0, 2.0, 6.0]) == times(3.0, 6.0)


@pytest.mark.parametrize(
    ("asked", "count", "seen", "walltime", "size"),
    [
        (None, 1000, times(0.1), None, 1),
        (1, 1000, times(0.1), None, 1),
        (50, 1000, None, None, 50),
        # The user knows better, also when they are few or long.
        (50, 10, times(9999), 60, 50),
        ("auto", 1000, None, None, 1),
        # √(1000 / (0.2 · 5)) = 31.6.
        ("auto", 1000, times(0.2), None, 31),
        # Nothing is free: the work of the wrapper itself counts.
        ("auto", 1000, times(0.0), None, 63),
        ("auto", 1000, times(1.0), None, 14),
        ("auto", 1000, times(60.0), None, 2),
        ("auto", 1000, times(300.0), None, 1),
        ("auto", 1, times(0.1), None, 1),
        ("auto", 0, times(0.1), None, 1),
        # Elements of 1342 s would be quickest, and too much to lose.
        ("auto", 900_000, times(10.0), None, 60),
        # They fit into the wall time, also if all are as long as the longest.
        ("auto", 1000, times(1.0, 10.0), 60, 4),
        ("auto", 1000, times(1.0, 100.0), 60, 1),
    ],
)
def test_size(asked: int | str | None, count: int, seen: RunTimes | None, walltime: int | None, size: int) -> None:
    assert decide_size(asked, count, seen, walltime) == size


seconds = st.floats(0, 1e6)


@given(st.integers(1, 100_000), seconds, seconds, st.none() | st.integers(1, 1_000_000))
def test_auto_keeps_its_bounds(count: int, mean: float, more: float, walltime: int | None) -> None:
    size = decide_size("auto", count, times(mean, mean + more), walltime)
    assert 1 <= size <= count
    assert size == 1 or size * mean <= LONGEST
    assert size == 1 or walltime is None or size * (mean + more) <= walltime


@settings(max_examples=300)
@given(st.integers(1, 10_000), st.floats(0.05, 1e5))
def test_auto_is_never_slower_than_no_packing_by_its_own_theory(count: int, mean: float) -> None:
    elements = len(pack(range(count), decide_size("auto", count, times(mean))))
    packed = elements / START_RATE + mean * -(-count // elements)
    assert packed <= count / START_RATE + mean + 1e-9


@given(st.lists(st.integers(), unique=True), st.integers(1, 200))
def test_each_subjob_is_packed_once_and_in_order(subjobs: list[int], size: int) -> None:
    elements = pack(subjobs, size)
    assert [subjob for element in elements for subjob in element] == subjobs
    lengths = [len(element) for element in elements]
    assert len(lengths) == -(-len(subjobs) // size)
    assert all(0 < length <= size for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1


def plan(*retries: Retry, limit: int | None = None, seen: RunTimes | None = None, **resources: object) -> list[Part]:
    return plan_parts(retries, Resources(**resources), times=seen, limit=limit)  # type: ignore[arg-type]


def test_one_array_for_those_that_ask_for_the_same() -> None:
    resources = Resources(memory=500, queue="short")
    assert plan(Retry(subjobs=(4, 7)), memory=500, queue="short") == [Part(elements=((4,), (7,)), resources=resources)]
    assert plan() == []


def test_arrays_are_cut_by_elements_and_not_by_subjobs() -> None:
    parts = plan(Retry(subjobs=tuple(range(10))), limit=2, subjobs_per_job=2)
    assert [part.elements for part in parts] == [((0, 1), (2, 3)), ((4, 5), (6, 7)), ((8, 9),)]


def test_more_memory_and_an_element_of_its_own() -> None:
    first, second = plan(
        Retry(subjobs=(0, 1, 2)), Retry(subjobs=(5, 6), memory=900, alone=True), subjobs_per_job=50, memory=600
    )
    assert (first.elements, first.resources.memory) == (((0, 1, 2),), 600)
    assert (second.elements, second.resources.memory) == (((5,), (6,)), 900)


def test_auto_is_decided_by_the_number_that_goes_together() -> None:
    (part,) = plan(Retry(subjobs=tuple(range(1000))), seen=times(0.2), subjobs_per_job="auto")
    assert len(part.elements) == 33
    (part,) = plan(Retry(subjobs=(1, 2, 3)), seen=times(0.2), subjobs_per_job="auto")
    assert len(part.elements) == 3


@pytest.mark.parametrize(
    ("throttle", "limit", "shares"),
    [(None, 2, [None] * 3), (7, None, [7]), (7, 2, [3, 2, 2]), (3, 2, [1, 1, 1]), (1, 2, [1, 1, 1])],
)
def test_the_throttle_is_divided_among_the_arrays(
    throttle: int | None, limit: int | None, shares: list[int | None]
) -> None:
    parts = plan(Retry(subjobs=tuple(range(6))), limit=limit, throttle=throttle)
    assert [part.resources.throttle for part in parts] == shares
