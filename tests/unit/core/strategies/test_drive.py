from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from airflow_provider_caf.core.errors import AlgorithmFailed, DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import (
    Commit,
    Execute,
    Execution,
    FindBoundaries,
    Outcome,
    Report,
    StagedPayload,
    complete,
)
from airflow_provider_caf.core.strategies.drive import build_entries, drive_plan

RUN = ExpRun(1, 1)
IOV = IoV(1, 1, 1, 1)


def execute(number: int, action: Execute) -> Execution:
    return Execution(key=number, runs=action.runs, iov=action.iov, code=ResultCode.OK)


def drive(plan: Callable[[], Generator[Any, Any, Any]], **functions: Any) -> Outcome:
    every = {
        "execute": execute,
        "find_boundaries": lambda action: [RUN],
        "commit": lambda action: "ignored",
        "report": lambda action: "ignored",
        "write_file": lambda action: "ignored",
    }
    return drive_plan(plan(), **{**every, **functions})


def test_answers_go_to_the_right_action() -> None:
    got: list[Any] = []

    def plan() -> Generator[Any, Any, Outcome]:
        got.append((yield FindBoundaries(runs=(RUN,))))
        first = yield Execute(runs=(RUN,), iov=IOV)
        got.append((yield Commit(execution=first)))
        second = yield Execute(runs=(RUN,), iov=IOV)
        got.append((yield Report(execution=second)))
        got.append((first.key, second.key))
        return complete("done")

    assert drive(plan) == complete("done")
    assert got == [(RUN,), None, None, (0, 1)]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ("run it", "A strategy yielded 'run it', which is no action"),
        (None, "A strategy yielded None, which is no action"),
        (Execute(runs=(), iov=IOV), "execute the algorithm on no run at all"),
        (Execute(runs=(RUN,), iov=None), "with the IoV None"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused_and_the_plan_closed(action: Any, message: str) -> None:
    closed = []

    def plan() -> Generator[Any, Any, Outcome]:
        try:
            yield action
        finally:
            closed.append(True)
        return complete()

    with pytest.raises(DefinitionError, match=message) as caught:
        drive(plan)
    assert caught.value.hint
    assert closed == [True]


def test_a_plan_has_to_give_an_outcome() -> None:
    def plan() -> Generator[Any, Any, None]:
        yield Execute(runs=(RUN,), iov=IOV)

    with pytest.raises(DefinitionError, match="ended with None, which is no outcome") as caught:
        drive(plan)
    assert "complete() or fail('why')" in str(caught.value)


def test_an_error_of_the_algorithm_goes_through() -> None:
    closed = []

    def plan() -> Generator[Any, Any, Outcome]:
        try:
            yield Execute(runs=(RUN,), iov=IOV)
        finally:
            closed.append(True)
        return complete()

    def crash(number: int, action: Execute) -> Execution:
        raise AlgorithmFailed("It crashed.")

    with pytest.raises(AlgorithmFailed, match="It crashed"):
        drive(plan, execute=crash)
    assert closed == [True]


class TestEntries:
    own = StagedPayload(name="Own", revision="1", size=1, iov=IoV(5, 0, 5, 9))
    plain = StagedPayload(name="Plain", revision="2", size=1)
    execution = Execution(key=0, runs=(RUN,), iov=IOV, code=ResultCode.OK, payloads=(own, plain))

    def test_own_iov_then_that_of_the_execution(self) -> None:
        assert build_entries(Commit(execution=self.execution)) == (
            PayloadEntry(name="Own", revision="1", iov=IoV(5, 0, 5, 9)),
            PayloadEntry(name="Plain", revision="2", iov=IOV),
        )

    def test_the_commit_can_choose_iov_and_payloads(self) -> None:
        iov = IoV(1, 0, -1, -1)
        assert build_entries(Commit(execution=self.execution, iov=iov, payloads=(self.plain,))) == (
            PayloadEntry(name="Plain", revision="2", iov=iov),
        )
        assert build_entries(Commit(execution=self.execution, payloads=())) == ()
