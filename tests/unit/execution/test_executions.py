"""Executions that run ahead give exactly the result of one worker."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import AlgorithmFailed
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import (
    Commit,
    Execute,
    Execution,
    FindBoundaries,
    Outcome,
    Report,
    SequentialRunByRun,
    Strategy,
    build_strategy,
    complete,
)
from airflow_provider_caf.core.strategies.ahead import LookAhead, list_parts
from airflow_provider_caf.core.strategies.base import Plan, Question
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.core.strategies.tickets import Answered
from airflow_provider_caf.execution.executions import Executions, FinishedExecution
from airflow_provider_caf.execution.pool import Finished
from tests.unit.core.strategies.reference_cases import CASES, list_runs, make_bench

Answering = Callable[[Question], Execution | tuple[ExpRun, ...]]


class FakePool:
    """Workers whose executions end in an order of their own.

    :param answer: raises `AlgorithmFailed` for an execution that breaks.
    :param seed: decides which of those under way end next.
    """

    def __init__(self, workers: int, answer: Answering, seed: int = 0) -> None:
        self.workers = workers
        self.answer = answer
        self.random = random.Random(seed)
        self.running: dict[Hashable, Question] = {}
        self.started: list[Question] = []
        self.most = 0

    @property
    def free(self) -> int:
        return self.workers - len(self.running)

    def start(self, ticket: Hashable, question: Question) -> None:
        assert self.free, "the plan waits for a worker"
        assert ticket not in self.running
        self.running[ticket] = question
        self.started.append(question)
        self.most = max(self.most, len(self.running))

    def wait(self) -> list[Finished]:
        assert self.running, "waits for nothing"
        count = self.random.randint(1, len(self.running))
        return [self._finish(ticket) for ticket in self.random.sample(list(self.running), count)]

    def _finish(self, ticket: Hashable) -> Finished:
        question = self.running.pop(ticket)
        try:
            return Finished(ticket=ticket, answer=self.answer(question), error=None, seconds=1.0)
        except AlgorithmFailed as error:
            return Finished(ticket=ticket, answer=None, error=error, seconds=1.0)


@dataclass
class Result:
    """What a plan did, whoever executed."""

    outcome: Outcome | None = None
    asked: list[FinishedExecution] = field(default_factory=list)
    boundaries: list[FindBoundaries] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    @property
    def essence(self) -> tuple[Any, ...]:
        executions = [each.execution for each in self.asked]
        return self.outcome, executions, self.boundaries, self.commits, self.reports


class Kept(list[Answered]):
    """A checkpoint."""

    add = list.append


def run(
    strategy: Strategy,
    shadow: Strategy,
    runs: tuple[ExpRun, ...],
    pool: FakePool,
    *,
    run_ahead: bool = True,
    known: Sequence[Answered] = (),
    kept: Kept | None = None,
) -> tuple[Result, Executions]:
    result = Result()
    limit = 2 * pool.workers if run_ahead else 0
    executions = Executions(
        pool,
        known=known,
        checkpoint=Kept() if kept is None else kept,
        look_ahead=LookAhead(list_parts(shadow, runs), limit) if pool.workers > 1 else None,
        note=result.asked.extend,
    )

    def find_boundaries(action: FindBoundaries) -> tuple[ExpRun, ...]:
        result.boundaries.append(action)
        return executions.find_boundaries(action)

    result.outcome = drive_plan(
        strategy.plan(runs),
        execute=executions.execute,
        find_boundaries=find_boundaries,
        commit=result.commits.append,
        report=result.reports.append,
        write_file=lambda action: pytest.fail(str(action)),
    )
    executions.flush()
    return result, executions


def run_case(case: dict[str, Any], params: dict[str, Any], workers: int, seed: int, **words: Any) -> Result:
    bench = make_bench(case)

    def answer(question: Question) -> Execution | tuple[ExpRun, ...]:
        return bench.find_boundaries(question) if isinstance(question, FindBoundaries) else bench.execute(0, question)

    first, second = build_strategy(case["strategy"], params), build_strategy(case["strategy"], params)
    result, _ = run(first, second, list_runs(case), FakePool(workers, answer, seed), **words)
    return result


def describe(result: Result) -> dict[str, Any]:
    assert result.outcome is not None
    return {
        "executions": [
            {
                "runs": [list(run) for run in each.execution.runs],
                "iov": list(each.execution.iov),
                "result": int(each.execution.code),
            }
            for each in result.asked
        ],
        "committed": [list(each.iov or each.execution.iov) for each in result.commits],
        "results": [
            {"iov": list(each.iov or each.execution.iov), "result": int(each.execution.code)} for each in result.reports
        ],
        "final_state": result.outcome.state.value,
    }


@pytest.mark.parametrize("run_ahead", [True, False])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_every_reference_case_is_the_same_for_any_number_of_workers(workers: int, run_ahead: bool) -> None:
    for number, case in enumerate(CASES):
        for seed in range(3):
            result = run_case(case, case["params"], workers, 7 * number + seed, run_ahead=run_ahead)
            assert describe(result) == case["expected"], (number, case["strategy"])
        if case["params"].get("payload_boundaries"):
            asking = {name: value for name, value in case["params"].items() if name != "payload_boundaries"}
            assert describe(run_case(case, asking, workers, number, run_ahead=run_ahead)) == case["expected"]


class Curious(Strategy):
    """Goes where the algorithm's own output leads it, asks the same twice, and changes settings."""

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        step = 0
        for each in runs:
            done = yield Execute(runs=(each,), iov=IoV.between(each, each), settings={"step": step}, input=[step])
            step += done.output["value"] % 3 if done.output else 1
            again = yield Execute(runs=(each,), iov=IoV.between(each, each), settings={"step": step}, input=[step])
            if not again.code.is_success:
                done = yield Execute(runs=runs[:2], iov=IoV.between(runs[0], runs[-1]))
            yield Commit(execution=done)
            yield Report(execution=again)
        return complete(str(step))


class Impatient(Strategy):
    """Reads an output that a guess does not have."""

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        total = 0
        for each in runs:
            done = yield Execute(runs=(each,), iov=IoV.between(each, each))
            total += 0 if done.code is ResultCode.FAILURE else done.output["value"]
        return complete(str(total))


run_lists = st.lists(
    st.builds(ExpRun, st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=20, unique=True
).map(lambda runs: tuple(sorted(runs)))
makers = st.sampled_from(
    [
        Curious,
        Impatient,
        lambda: build_strategy("SingleIOV", {}),
        lambda: build_strategy("SimpleRunByRun", {}),
        lambda: build_strategy("SequentialRunByRun", {"step_size": 2}),
        lambda: build_strategy("SequentialRunByRun", {}),
        lambda: build_strategy("SequentialBoundaries", {}),
        lambda: build_strategy("SequentialBoundaries", {"payload_boundaries": []}),
    ]
)


def make_answer(salt: int) -> Answering:
    """Give an algorithm whose answer depends on the question alone: any code, any output, some crashes."""

    def answer(question: Question) -> Execution | tuple[ExpRun, ...]:
        if isinstance(question, FindBoundaries):
            return question.runs[:: 1 + salt % 4]
        chance = random.Random(f"{salt} {question.runs} {question.iov} {question.settings} {question.input}")
        if chance.random() < 0.1:
            raise AlgorithmFailed("The process was ended by SIGSEGV (signal 11).")
        code = chance.choices(list(ResultCode), weights=[10, 3, 5, 1, 1])[0]
        output = {"value": chance.randint(0, 9)}
        return Execution(key=0, runs=question.runs, iov=question.iov, code=code, output=output)

    return answer


@given(
    makers,
    run_lists,
    st.integers(0, 10**6),
    st.sampled_from([2, 3, 8]),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_random_delays_codes_and_crashes_change_nothing(
    make: Callable[[], Strategy], runs: tuple[ExpRun, ...], salt: int, workers: int, seed: int, run_ahead: bool
) -> None:
    alone, first = run(make(), make(), runs, FakePool(1, make_answer(salt)))
    together, second = run(make(), make(), runs, FakePool(workers, make_answer(salt), seed), run_ahead=run_ahead)
    assert together.essence == alone.essence
    assert [each.execution for each in second.broken] == [each.execution for each in first.broken]
    assert first.wasted == 0


@given(makers, run_lists, st.integers(0, 10**6), st.sampled_from([1, 2, 8]), st.integers(0, 60), st.integers(0, 99))
def test_a_restart_executes_only_what_was_not_finished(
    make: Callable[[], Strategy], runs: tuple[ExpRun, ...], salt: int, workers: int, done: int, seed: int
) -> None:
    kept = Kept()
    whole, _ = run(make(), make(), runs, FakePool(workers, make_answer(salt), seed), kept=kept)
    known = [Answered.from_json(each.to_json()) for each in kept[:done]]
    pool = FakePool(workers, make_answer(salt), seed + 1)
    rest, executions = run(make(), make(), runs, pool, known=known)
    assert rest.essence == whole.essence
    assert executions.replayed <= len(known)
    again = {each.ticket for each in known}
    counter: dict[Any, int] = {}
    for question in pool.started:
        ticket = Answered(question=question, answer=(), repeat=0).ticket
        counter[ticket] = counter.get(ticket, -1) + 1
    if not isinstance(make(), Curious):
        assert not again & counter.keys()


class Counting(FakePool):
    """Measures how far the workers are ahead of the plan."""

    asked = 0
    furthest = 0

    def start(self, ticket: Hashable, question: Question) -> None:
        super().start(ticket, question)
        self.furthest = max(self.furthest, len(self.started) - 1 - self.asked)


class Watched(Strategy):
    """SequentialRunByRun, which tells a pool how far it is."""

    pool: Counting

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        plan = build_strategy("SequentialRunByRun", {}).plan(runs)
        reply: Any = None
        while True:
            try:
                action = plan.send(reply)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            reply = yield action
            self.pool.asked += isinstance(action, Execute)


@pytest.mark.parametrize("workers", [2, 4, 8])
def test_never_more_than_twice_the_workers_are_ahead(workers: int) -> None:
    runs = tuple(ExpRun(1, run) for run in range(1, 200))

    def answer(question: Question) -> Execution:
        assert isinstance(question, Execute)
        return Execution(key=0, runs=question.runs, iov=question.iov, code=ResultCode.OK)

    for seed in range(10):
        pool = Counting(workers, answer, seed)
        strategy = Watched()
        strategy.pool = pool
        _, executions = run(strategy, build_strategy("SequentialRunByRun", {}), runs, pool)
        assert workers - 1 <= pool.furthest <= 2 * workers
        assert pool.most == workers
        assert executions.wasted == 0


def test_wasted_executions_are_counted() -> None:
    runs = tuple(ExpRun(1, run) for run in range(1, 21))

    def answer(question: Question) -> Execution:
        assert isinstance(question, Execute)
        code = ResultCode.OK if len(question.runs) > 1 else ResultCode.NOT_ENOUGH_DATA
        return Execution(key=0, runs=question.runs, iov=question.iov, code=code)

    pool = FakePool(4, answer)
    first, second = build_strategy("SequentialRunByRun", {}), build_strategy("SequentialRunByRun", {})
    result, executions = run(first, second, runs, pool)
    assert len(result.asked) == 20
    assert executions.wasted == len(pool.started) - len(result.asked) > 0


def test_running_ahead_can_be_turned_off() -> None:
    runs = tuple(ExpRun(1, run) for run in range(1, 21))
    for name, most in (("SequentialRunByRun", 1), ("SimpleRunByRun", 4)):
        pool = FakePool(4, make_answer(3))
        _, executions = run(build_strategy(name, {}), build_strategy(name, {}), runs, pool, run_ahead=False)
        assert pool.most == most
        assert executions.wasted == 0


def test_experiments_are_parallel_without_any_guess() -> None:
    runs = tuple(ExpRun(exp, run) for exp in (1, 2, 3) for run in range(5))
    pool = FakePool(3, make_answer(5))
    first, second = build_strategy("SequentialRunByRun", {}), build_strategy("SequentialRunByRun", {})
    _, executions = run(first, second, runs, pool, run_ahead=False)
    assert pool.most == 3
    assert executions.wasted == 0


class OwnPlan(SequentialRunByRun):
    """Inherits the parts of a plan that it does not follow."""

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        yield Execute(runs=runs, iov=IoV.between(runs[0], runs[-1]))
        return complete()


def test_a_plan_of_ones_own_does_not_inherit_the_parts_of_another() -> None:
    runs = (ExpRun(1, 1), ExpRun(2, 1))
    pool = FakePool(4, make_answer(5))
    _, executions = run(OwnPlan(), OwnPlan(), runs, pool)
    assert len(pool.started) == 1
    assert executions.wasted == 0
