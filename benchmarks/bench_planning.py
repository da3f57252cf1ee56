"""Measure how long the strategies take to plan: no algorithm runs, every answer is there at once.

    python benchmarks/bench_planning.py [runs]

The aim is under 2 s for 100 000 runs, whether all have enough data or every fifth has not. The last column
compares with building the same number of bare executions, the least that any strategy can do.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.base import Execute, Execution
from airflow_provider_caf.core.strategies.drive import drive_plan

RUNS_PER_EXPERIMENT = 5000
LIMIT_SECONDS = 2.0
REPETITIONS = 3


def build_runs(count: int) -> tuple[ExpRun, ...]:
    """Return sorted runs, numbered with gaps."""
    return tuple(
        ExpRun(number // RUNS_PER_EXPERIMENT, 3 * (number % RUNS_PER_EXPERIMENT) + 1) for number in range(count)
    )


def build_answer(poor: frozenset[ExpRun]) -> Callable[[tuple[ExpRun, ...]], ResultCode]:
    """Return the rule of an algorithm that has not enough data in the poor runs alone."""
    return lambda runs: ResultCode.NOT_ENOUGH_DATA if poor.issuperset(runs) else ResultCode.OK


def measure(work: Callable[[], int]) -> tuple[float, int]:
    """Return the best wall time of some repetitions, in seconds, and the number of executions."""
    best, count = float("inf"), 0
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        count = work()
        best = min(best, time.perf_counter() - start)
    return best, count


def plan(name: str, params: Mapping[str, object], runs: tuple[ExpRun, ...], poor: frozenset[ExpRun]) -> int:
    """Drive one plan to its end and give the number of executions."""
    answer = build_answer(poor)
    executions = 0

    def execute(number: int, action: Execute) -> Execution:
        nonlocal executions
        executions += 1
        return Execution(key=number, runs=action.runs, iov=action.iov, code=answer(action.runs))

    drive_plan(
        build_strategy(name, params).plan(runs),
        execute=execute,
        find_boundaries=lambda action: action.runs[::10],
        commit=lambda action: None,
        report=lambda action: None,
        write_file=lambda action: None,
    )
    return executions


def build_bare(runs: tuple[ExpRun, ...]) -> int:
    """Build an execution for each run and nothing else."""
    for number, run in enumerate(runs):
        Execution(key=number, runs=(run,), iov=IoV.between(run, run), code=ResultCode.OK)
    return len(runs)


def main() -> int:
    """Print the table; the exit code is 1 if the aim is missed."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    runs = build_runs(count)
    bare, _ = measure(partial(build_bare, runs))
    print(f"{count} runs in {runs[-1].exp + 1} experiments; bare executions: {bare:.3f} s\n")
    header = f"{'strategy':<22}{'params':<11}{'poor runs':<11}"
    print(f"{header}{'executions':>12}{'seconds':>10}{'µs/run':>9}{'/ bare':>8}")
    worst = 0.0
    given = {"payload_boundaries": [list(run) for run in runs[::2]]}
    rows: tuple[tuple[str, str, Mapping[str, object]], ...] = (
        ("SingleIOV", "", {}),
        ("SimpleRunByRun", "", {}),
        ("SequentialRunByRun", "", {}),
        ("SequentialRunByRun", "10 a step", {"step_size": 10}),
        ("SequentialBoundaries", "found", {}),
        ("SequentialBoundaries", "given", given),
    )
    data: tuple[tuple[str, frozenset[ExpRun]], ...] = (
        ("none", frozenset()),
        ("every 5th", frozenset(runs[::5])),
    )
    for name, how, params in rows:
        for label, poor in data:
            seconds, executions = measure(partial(plan, name, params, runs, poor))
            worst = max(worst, seconds)
            print(
                f"{name:<22}{how:<11}{label:<11}{executions:>12}{seconds:>10.3f}{1e6 * seconds / count:>9.2f}"
                f"{seconds / bare:>8.1f}"
            )
    print(f"\nslowest: {worst:.3f} s, aim: {LIMIT_SECONDS:.0f} s")
    return int(worst > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
