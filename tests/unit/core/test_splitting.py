from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.splitting import Splitting, plan_subjobs, share_budget

file_lists = st.lists(st.text(min_size=1), min_size=1, max_size=40)
limits = st.integers(1, 50)
rules = st.one_of(
    st.just(Splitting()),
    st.builds(Splitting, max_files_per_collector_job=limits),
    st.builds(Splitting, max_collector_jobs=limits),
)


@given(file_lists, rules)
def test_every_file_in_one_subjob_in_order(files: list[str], rule: Splitting) -> None:
    plans = plan_subjobs(files, rule)
    assert [path for plan in plans for path in plan.files] == files
    assert [plan.index for plan in plans] == list(range(len(plans)))
    assert all(plan.files for plan in plans)
    assert all(plan.arguments == {} for plan in plans)


@given(file_lists, limits)
def test_at_most_n_files(files: list[str], limit: int) -> None:
    plans = plan_subjobs(files, Splitting(max_files_per_collector_job=limit))
    assert all(len(plan.files) <= limit for plan in plans)
    assert len(plans) == -(-len(files) // limit)


@given(file_lists, limits)
def test_at_most_n_subjobs_spread_evenly(files: list[str], limit: int) -> None:
    plans = plan_subjobs(files, Splitting(max_collector_jobs=limit))
    sizes = [len(plan.files) for plan in plans]
    assert len(plans) == min(limit, len(files))
    assert max(sizes) - min(sizes) <= 1


def test_the_first_subjobs_are_the_larger_ones() -> None:
    plans = plan_subjobs(list("abcdefgh"), Splitting(max_collector_jobs=3))
    assert ["".join(plan.files) for plan in plans] == ["abc", "def", "gh"]


def test_without_limits_each_file_is_a_subjob() -> None:
    assert [plan.files for plan in plan_subjobs(["a", "b"], Splitting())] == [("a",), ("b",)]


@pytest.mark.parametrize("files", [[], ["a", "b"]])
def test_by_arguments_each_gets_all_files(files: list[str]) -> None:
    arguments = ({"seed": 1}, {"seed": 2})
    plans = plan_subjobs(files, Splitting(arguments=arguments, max_subjobs=2))
    assert [plan.arguments for plan in plans] == list(arguments)
    assert all(plan.files == tuple(files) for plan in plans)


def test_no_file_at_all() -> None:
    with pytest.raises(InputError, match="There is no input file to make subjobs of") as caught:
        plan_subjobs([], Splitting())
    assert "Check the patterns" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"max_files_per_collector_job": 1, "max_collector_jobs": 1},
            "split by max_files_per_collector_job and by max_collector_jobs",
        ),
        ({"max_files_per_collector_job": 1, "arguments": ({},), "max_subjobs": 1}, "and by arguments"),
        ({"max_subjobs": 3}, "max_subjobs is given without arguments"),
        ({"arguments": ({},)}, "by arguments without an upper limit"),
        ({"arguments": (), "max_subjobs": 1}, "The list of arguments is empty"),
        ({"arguments": ({}, {}), "max_subjobs": 1}, "make 2 subjobs, but max_subjobs is 1"),
    ],
)
def test_rules_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        Splitting(**fields)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("budget", "files", "shares"),
    [
        (10, {"a": 30, "b": 70}, {"a": 3, "b": 7}),
        (10, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 1}),
        (10, {"a": 1, "b": 999}, {"a": 1, "b": 9}),
        (3, {"a": 1, "b": 1, "c": 999}, {"a": 1, "b": 1, "c": 1}),
        (7, {"a": 10, "b": 10}, {"a": 4, "b": 3}),
        (5, {"a": 0, "b": 0}, {"a": 1, "b": 1}),
        (5, {}, {}),
    ],
)
def test_a_budget_is_shared_by_files(budget: int, files: dict[str, int], shares: dict[str, int]) -> None:
    assert share_budget(budget, files) == shares


@given(st.integers(1, 200), st.lists(st.integers(0, 1000), max_size=20))
def test_shares_are_at_least_one_and_no_more_than_the_budget(budget: int, counts: list[int]) -> None:
    files = dict(enumerate(counts))
    if len(files) > budget:
        with pytest.raises(DefinitionError, match="collections share it"):
            share_budget(budget, files)
        return
    shares = share_budget(budget, files)
    assert list(shares) == list(files)
    assert all(share >= 1 for share in shares.values())
    assert sum(shares.values()) <= budget
    # No collection has more subjobs than files, so nothing of its share is lost.
    assert all(shares[key] <= max(1, count) for key, count in files.items())
