"""Carry out a plan: hand each action to the one who can do it, and send the answer in.

Nothing is done here; all doing is in the functions that the caller gives. The same loop serves the task that
runs real algorithms, a restart from recorded executions, and the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.strategies.base import (
    Commit,
    Execute,
    Execution,
    FindBoundaries,
    Outcome,
    Plan,
    Report,
    WriteFile,
)


def drive_plan(
    plan: Plan,
    *,
    execute: Callable[[int, Execute], Execution],
    find_boundaries: Callable[[FindBoundaries], Iterable[ExpRun]],
    commit: Callable[[Commit], object],
    report: Callable[[Report], object],
    write_file: Callable[[WriteFile], object],
) -> Outcome:
    """Drive a plan to its end and return its outcome.

    An exception of one of the functions goes through, and the plan is closed.

    :param plan: what `Strategy.plan` returned, not yet started.
    :param execute: runs the algorithm; it gets the number of the execution, from 0, which is the execution's key.
    :raises DefinitionError: if the plan yields or returns something that is no action or outcome.
    """
    number = 0
    answer: Any = None
    try:
        while True:
            try:
                action = plan.send(answer)
            except StopIteration as end:
                return _check_outcome(end.value)
            answer = None
            if isinstance(action, Execute):
                _check_execute(action)
                answer = execute(number, action)
                number += 1
            elif isinstance(action, FindBoundaries):
                answer = tuple(find_boundaries(action))
            elif isinstance(action, Commit):
                commit(action)
            elif isinstance(action, Report):
                report(action)
            elif isinstance(action, WriteFile):
                write_file(action)
            else:
                raise DefinitionError(
                    f"A strategy yielded {action!r}, which is no action.",
                    hint="Yield Execute, FindBoundaries, Commit, Report or WriteFile.",
                )
    finally:
        plan.close()


def build_entries(commit: Commit) -> tuple[PayloadEntry, ...]:
    """Return the lines that a commit adds to the local database.

    A payload's own IoV comes first, then the commit's, then the execution's.
    """
    iov = commit.execution.iov if commit.iov is None else commit.iov
    payloads = commit.execution.payloads if commit.payloads is None else commit.payloads
    return tuple(
        PayloadEntry(
            name=payload.name,
            revision=payload.revision,
            iov=iov if payload.iov is None else payload.iov,
        )
        for payload in payloads
    )


def _check_execute(action: Execute) -> None:
    if not action.runs:
        raise DefinitionError(
            "A strategy asked to execute the algorithm on no run at all.", hint="Name at least one run."
        )
    if not isinstance(action.iov, IoV):
        raise DefinitionError(
            f"A strategy asked to execute the algorithm with the IoV {action.iov!r}.", hint="Give an IoV."
        )


def _check_outcome(value: object) -> Outcome:
    if not isinstance(value, Outcome):
        raise DefinitionError(
            f"A strategy ended with {value!r}, which is no outcome.",
            hint="Return complete() or fail('why') at the end of its plan.",
        )
    return value
