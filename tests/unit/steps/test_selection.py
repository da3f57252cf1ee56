"""Which input files are used: limits, order, seed, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.definitions.collection import Selection
from airflow_provider_caf.steps.selection import choose_files

FILES = tuple(f"/data/{letter}.root" for letter in "abcdef")
RUNS = {file: IoV(1, number // 2, 1, number // 2) for number, file in enumerate(FILES)}
EVENTS = {file: 100 * (number + 1) for number, file in enumerate(FILES)}


def choose(**limits: Any) -> str:
    """Give the letters of the chosen files."""
    chosen, left_out = choose_files(FILES, RUNS, EVENTS, Selection(**limits))
    assert set(chosen) | set(left_out) == set(FILES)
    assert not set(chosen) & set(left_out)
    return "".join(file[6] for file in chosen)


@pytest.mark.parametrize(
    ("limits", "letters"),
    [
        ({"max_files_per_run": 1}, "ace"),
        ({"max_files_per_run": 2}, "abcdef"),
        # The file that reaches the limit is taken.
        ({"max_events_per_run": 100}, "ace"),
        ({"max_events_per_run": 101}, "abce"),
        ({"max_events": 300}, "ab"),
        ({"max_events": 301}, "abc"),
        ({"min_events_per_file": 400}, "def"),
        ({"min_events_per_file": 200, "max_files_per_run": 1}, "bce"),
    ],
)
def test_limits(limits: dict[str, Any], letters: str) -> None:
    assert choose(**limits) == letters


def test_why_a_file_was_left_out_is_said() -> None:
    _, left_out = choose_files(FILES, RUNS, EVENTS, Selection(max_files_per_run=1, min_events_per_file=200))
    assert left_out["/data/a.root"] == "min_events_per_file: it has 100 events"
    assert left_out["/data/d.root"] == "max_files_per_run: run 1.1 has 1 files"
    _, left_out = choose_files(FILES, RUNS, EVENTS, Selection(max_events_per_run=100))
    assert left_out["/data/b.root"] == "max_events_per_run: run 1.0 has 100 events"
    _, left_out = choose_files(FILES, RUNS, EVENTS, Selection(max_events=1))
    assert left_out["/data/b.root"] == "max_events: 100 events are reached"


def test_the_seed_alone_decides() -> None:
    assert choose(max_events=500, random_seed=1) == choose(max_events=500, random_seed=1)
    assert len({choose(max_events=500, random_seed=seed) for seed in range(20)}) > 5


@given(
    seed=st.none() | st.integers(0, 1000),
    files=st.integers(1, 3),
    runs=st.lists(st.integers(0, 4), min_size=1, max_size=30),
)
def test_no_run_has_more_files_than_the_limit_and_none_has_fewer_than_it_could(
    seed: int | None, files: int, runs: list[int]
) -> None:
    iovs = {f"/{number}": IoV(1, run, 1, run) for number, run in enumerate(runs)}
    chosen, _ = choose_files(list(iovs), iovs, {}, Selection(max_files_per_run=files, random_seed=seed))
    counts = [sum(iovs[file].run_low == run for file in chosen) for run in set(runs)]
    assert counts == [min(files, runs.count(run)) for run in set(runs)]


def test_a_choice_of_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="leaves none of the 6 files") as caught:
        choose(min_events_per_file=10_000)
    assert "min_events_per_file: it has 100 events" in str(caught.value.hint)


def test_a_limit_of_a_run_needs_files_of_one_run() -> None:
    runs = {**RUNS, "/data/b.root": IoV(1, 0, 1, 3)}
    with pytest.raises(InputError, match=r"1 of 6 files hold several runs, such as '/data/b\.root'"):
        choose_files(FILES, runs, EVENTS, Selection(max_files_per_run=1))


@pytest.mark.parametrize(
    "limits", [{}, {"random_seed": 1}, {"max_events": 0}, {"max_events": 1.5}, {"max_events": 1, "random_seed": -1}]
)
def test_a_rule_that_cannot_be_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        Selection(**limits)


def test_json_and_what_has_to_be_known() -> None:
    rule = Selection(max_files_per_run=2, min_events_per_file=3, random_seed=0)
    assert Selection.from_json(rule.to_json()) == rule
    assert (rule.needs_runs, rule.needs_events) == (True, True)
    assert (Selection(max_events=1).needs_runs, Selection(max_files_per_run=1).needs_events) == (False, False)
    with pytest.raises(DefinitionError, match="unknown word 'max_event'"):
        Selection.from_json({"max_events": 1, "max_event": 1})
