"""What holds for every built-in strategy, whatever the algorithm answers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.iov import ExpRun, IoV, find_iov_gaps, find_uncovered_runs
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FinalState, Outcome, Report
from airflow_provider_caf.core.strategies.drive import drive_plan

run_lists = st.lists(
    st.builds(ExpRun, st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=25, unique=True
).map(lambda runs: tuple(sorted(runs)))
boundary_lists = st.lists(st.lists(st.integers(0, 12), min_size=2, max_size=2), max_size=10)

Kind = tuple[str, dict[str, Any]]
kinds: st.SearchStrategy[Kind] = st.one_of(
    st.tuples(st.just("SingleIOV"), st.just({})),
    st.tuples(st.just("SimpleRunByRun"), st.fixed_dictionaries({"allow_missing_runs": st.booleans()})),
    st.tuples(st.just("SequentialRunByRun"), st.fixed_dictionaries({"step_size": st.integers(1, 5)})),
    st.tuples(
        st.just("SequentialBoundaries"),
        st.fixed_dictionaries({"payload_boundaries": st.none() | boundary_lists}),
    ),
)
sequential = kinds.filter(lambda kind: kind[0].startswith("Sequential"))
# Mostly good answers, so that plans get far.
answers = st.lists(
    st.sampled_from([ResultCode.OK] * 4 + [ResultCode.NOT_ENOUGH_DATA] * 2 + list(ResultCode)), min_size=1
)


class Trace:
    """Answers in turn from a list, and keeps what was asked."""

    def __init__(self, codes: Sequence[ResultCode]) -> None:
        self.codes = codes
        self.executions: list[Execution] = []
        self.settings: list[Any] = []
        self.commits: list[Execution] = []
        self.reports: list[Execution] = []
        self.outcome: Outcome | None = None

    def execute(self, number: int, action: Execute) -> Execution:
        assert number == len(self.executions)
        code = self.codes[number % len(self.codes)]
        self.executions.append(Execution(key=number, runs=action.runs, iov=action.iov, code=code))
        self.settings.append(action.settings)
        return self.executions[-1]

    def commit(self, action: Commit) -> None:
        assert action.iov is None
        self.commits.append(action.execution)

    def report(self, action: Report) -> None:
        self.reports.append(action.execution)

    @property
    def committed(self) -> list[IoV]:
        return [execution.iov for execution in self.commits]


def run_plan(
    kind: Kind,
    runs: tuple[ExpRun, ...],
    codes: Sequence[ResultCode],
) -> Trace:
    name, params = kind
    trace = Trace(codes)
    trace.outcome = drive_plan(
        build_strategy(name, params).plan(runs),
        execute=trace.execute,
        find_boundaries=lambda action: action.runs[::3],
        commit=trace.commit,
        report=trace.report,
        write_file=lambda action: pytest.fail(str(action)),
    )
    return trace


@given(kinds, run_lists, answers)
def test_committed_iovs_are_disjoint(kind: Kind, runs: tuple[ExpRun, ...], codes: list[ResultCode]) -> None:
    iovs = sorted(run_plan(kind, runs, codes).committed)
    assert not any(one.overlaps(other) for one, other in pairwise(iovs))


@given(kinds, run_lists, answers)
def test_each_run_is_committed_once_or_the_outcome_says_why(
    kind: Kind, runs: tuple[ExpRun, ...], codes: list[ResultCode]
) -> None:
    trace = run_plan(kind, runs, codes)
    assert trace.outcome is not None
    used = [run for execution in trace.commits for run in execution.runs]
    assert len(used) == len(set(used))
    uncovered = find_uncovered_runs(runs, trace.committed)
    assert set(used) == set(runs) - set(uncovered)
    if trace.outcome.state is FinalState.COMPLETED and not kind[1].get("allow_missing_runs"):
        assert uncovered == ()
    else:
        assert bool(trace.outcome.reason) == bool(uncovered)
    if trace.outcome.state is FinalState.FAILED:
        assert uncovered


@given(kinds, run_lists, answers)
def test_only_successes_are_committed_with_the_iov_they_saw(
    kind: Kind, runs: tuple[ExpRun, ...], codes: list[ResultCode]
) -> None:
    trace = run_plan(kind, runs, codes)
    for execution in trace.commits:
        assert execution.code.is_success
        assert all(execution.iov.contains(run) for run in execution.runs)
    assert [each for each in trace.reports if each.code.is_success] == trace.commits
    assert [each.key for each in trace.reports] == sorted({each.key for each in trace.reports})


@given(kinds.filter(lambda kind: kind[0] != "SingleIOV"), run_lists, answers)
def test_no_iov_crosses_experiments(kind: Kind, runs: tuple[ExpRun, ...], codes: list[ResultCode]) -> None:
    trace = run_plan(kind, runs, codes)
    for execution in trace.executions:
        assert execution.iov.exp_low == execution.iov.exp_high
        assert {run.exp for run in execution.runs} == {execution.iov.exp_low}


@given(sequential, run_lists, answers)
def test_sequential_payloads_leave_no_gap(kind: Kind, runs: tuple[ExpRun, ...], codes: list[ResultCode]) -> None:
    trace = run_plan(kind, runs, codes)
    assert trace.outcome is not None
    assert find_iov_gaps(trace.committed) == ()
    if trace.outcome.state is FinalState.FAILED:
        return
    assert trace.committed == sorted(trace.committed)
    for _, group in groupby(trace.committed, key=lambda iov: iov.exp_low):
        of_one_experiment = list(group)
        if of_one_experiment[0].low != runs[0]:
            assert of_one_experiment[0].run_low == 0
        if of_one_experiment[-1].high != runs[-1]:
            assert of_one_experiment[-1].run_high == -1


@given(sequential, run_lists, st.sampled_from([(-1, -1), (4, -1), (3, 99)]))
def test_coverage_is_covered_when_all_goes_well(kind: Kind, runs: tuple[ExpRun, ...], high: tuple[int, int]) -> None:
    name, params = kind
    coverage = IoV(0, 0, *high)
    trace = run_plan((name, {**params, "iov_coverage": list(coverage)}), runs, [ResultCode.OK])
    assert trace.committed[0].low == coverage.low
    assert trace.committed[-1].high == coverage.high
