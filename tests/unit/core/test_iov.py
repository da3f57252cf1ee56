from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import (
    ALWAYS,
    ExpRun,
    IoV,
    filter_runs,
    find_iov_gaps,
    find_uncovered_runs,
)

SMALL = 4
EVERY_RUN = [ExpRun(exp, run) for exp in range(SMALL + 2) for run in range(SMALL + 2)]

runs = st.builds(ExpRun, st.integers(0, SMALL), st.integers(0, SMALL))


@st.composite
def iovs(draw: st.DrawFn) -> IoV:
    low, high = sorted((draw(runs), draw(runs)))
    kind = draw(st.sampled_from(["closed", "to the end", "for ever"]))
    if kind == "to the end":
        return IoV(*low, high.exp, -1)
    return IoV(*low, -1, -1) if kind == "for ever" else IoV.between(low, high)


def members(iov: IoV) -> set[ExpRun]:
    """The runs of an IoV, counted one by one instead of compared."""
    found = set()
    for run in EVERY_RUN:
        after_low = run.exp > iov.exp_low or (run.exp == iov.exp_low and run.run >= iov.run_low)
        before_high = (
            iov.exp_high == -1
            or run.exp < iov.exp_high
            or (run.exp == iov.exp_high and (iov.run_high == -1 or run.run <= iov.run_high))
        )
        if after_low and before_high:
            found.add(run)
    return found


class TestText:
    @given(runs)
    def test_run_round_trip(self, run: ExpRun) -> None:
        assert ExpRun.parse(str(run)) == run
        assert ExpRun.from_json(run.to_json()) == run
        assert type(run.to_json()) is list

    @given(iovs())
    def test_iov_round_trip(self, iov: IoV) -> None:
        assert IoV.parse(str(iov)) == iov
        assert IoV.from_json(iov.to_json()) == iov
        assert type(iov.to_json()) is list

    def test_form(self) -> None:
        assert str(ExpRun(7, 12)) == "7.12"
        assert str(IoV(7, 12, 8, -1)) == "7,12,8,-1"
        assert IoV.parse(" 7, 12 ,8,-1") == IoV(7, 12, 8, -1)

    @pytest.mark.parametrize(
        "text", ["", "7", "7.", "7.x", "-1.2", "7.1.2", "7.1_0", "7.٣", "7.--1", "7." + "9" * 5000]
    )
    def test_bad_run_text(self, text: str) -> None:
        with pytest.raises(DefinitionError, match=r"is not a run\.") as caught:
            ExpRun.parse(text)
        assert repr(text) in str(caught.value)
        assert "[exp, run] or 'exp.run'" in str(caught.value)

    @pytest.mark.parametrize(
        "value", [None, "12", [1], [1, 2.0], [True, 1], {1: 2}, [1, -2], [1, 2**70], [1, 2**31], ["2147483648", 1]]
    )
    def test_bad_run_value(self, value: object) -> None:
        with pytest.raises(DefinitionError, match=r"is not a run\."):
            ExpRun.from_json(value)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ([1, 2, 3], "is not an IoV"),
            ("1,2,3,4", "is not an IoV"),
            ([1, 2, 3, None], "is not an IoV"),
            ([-1, 0, 3, 4], "only the high end may be open"),
            ([0, -1, 3, 4], "only the high end may be open"),
            ([0, 0, -1, 4], "only the high end may be open"),
            ([0, 0, -2, -1], "only the high end may be open"),
            ([3, 0, 2, -1], "ends before it starts"),
            ([3, 5, 3, 4], "ends before it starts"),
        ],
    )
    def test_bad_iov(self, value: object, message: str) -> None:
        with pytest.raises(DefinitionError, match=message) as caught:
            IoV.from_json(value)
        assert repr(value) in str(caught.value)
        assert caught.value.hint

    def test_bad_text_is_shown_as_written(self) -> None:
        with pytest.raises(DefinitionError, match="'3,5,3,4'"):
            IoV.parse("3,5,3,4")


class TestAlgebra:
    @given(iovs(), runs)
    def test_contains_a_run(self, iov: IoV, run: ExpRun) -> None:
        assert iov.contains(run) == (run in members(iov))

    @given(iovs(), iovs())
    def test_contains_an_iov(self, one: IoV, other: IoV) -> None:
        if one.contains(other):
            assert members(other) <= members(one)
        if other.is_open and not one.is_open:
            assert not one.contains(other)

    @given(iovs(), iovs())
    def test_overlaps(self, one: IoV, other: IoV) -> None:
        assert one.overlaps(other) == bool(members(one) & members(other))
        assert one.overlaps(other) == other.overlaps(one)

    @given(iovs(), iovs())
    def test_intersect(self, one: IoV, other: IoV) -> None:
        shared = one.intersect(other)
        assert (set() if shared is None else members(shared)) == members(one) & members(other)
        assert shared is None or (one.contains(shared) and other.contains(shared))

    @given(iovs())
    def test_always_holds_everything(self, iov: IoV) -> None:
        assert ALWAYS.contains(iov)
        assert iov.contains(iov)
        assert iov.intersect(ALWAYS) == iov

    @given(st.lists(runs, min_size=1))
    def test_spanning(self, some: list[ExpRun]) -> None:
        iov = IoV.spanning(some)
        assert all(iov.contains(run) for run in some)
        assert (iov.low, iov.high) == (min(some), max(some))

    def test_spanning_nothing(self) -> None:
        with pytest.raises(ValueError, match="no run to span"):
            IoV.spanning([])

    def test_open_end_of_an_experiment_is_not_open_for_ever(self) -> None:
        assert not IoV(1, 0, 2, -1).is_open
        assert IoV(1, 0, -1, -1).is_open
        assert IoV(1, 0, 2, -1).contains(ExpRun(2, 10**9))
        assert not IoV(1, 0, 2, -1).contains(ExpRun(3, 0))


class TestGaps:
    @given(st.lists(iovs()))
    def test_gaps_are_the_runs_between_neighbours(self, some: list[IoV]) -> None:
        gaps = find_iov_gaps(some)
        covered = set().union(*(members(iov) for iov in some))
        for gap in gaps:
            assert not members(gap) & covered
            assert gap.exp_low == gap.exp_high
            assert any(iov.low == ExpRun(gap.exp_high, gap.run_high + 1) for iov in some)
        assert list(gaps) == sorted(gaps)

    @given(st.lists(iovs()))
    def test_all_gaps_inside_an_experiment_are_found(self, some: list[IoV]) -> None:
        gaps = find_iov_gaps(some)
        covered = set().union(*(members(iov) for iov in some))
        for exp in range(SMALL + 1):
            before = [run.run for run in covered if run.exp == exp]
            lows = [iov.low.run for iov in some if iov.exp_low == exp]
            for run in range(SMALL):
                here = ExpRun(exp, run)
                between = any(each < run for each in before) and any(low > run for low in lows)
                if between and here not in covered:
                    assert any(gap.contains(here) for gap in gaps)

    def test_example(self) -> None:
        some = [IoV(2, 1, 2, 5), IoV(1, 0, 1, 3), IoV(1, 10, 1, 12), IoV(1, 2, 1, 4)]
        assert find_iov_gaps(some) == (IoV(1, 5, 1, 9),)

    @given(st.lists(runs), st.lists(iovs()))
    def test_uncovered_runs(self, some: list[ExpRun], given_iovs: list[IoV]) -> None:
        covered = set().union(*(members(iov) for iov in given_iovs))
        assert find_uncovered_runs(some, given_iovs) == tuple(sorted(set(some) - covered))


class TestFilter:
    @given(st.lists(runs), st.none() | iovs(), st.lists(runs))
    def test_filter_runs(self, some: list[ExpRun], requested: IoV | None, ignored: list[ExpRun]) -> None:
        kept = filter_runs(some, requested=requested, ignored=ignored)
        wanted = set(some) if requested is None else set(some) & members(requested)
        assert kept == tuple(sorted(wanted - set(ignored)))
