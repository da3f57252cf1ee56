"""Answer the questions of a plan: from an earlier try, from what ran ahead, or by putting them to the algorithm.

There is one table of answers. A checkpoint fills it at the start, finished executions as they come, and the plan takes
from it what it asks for, whatever the order in which the answers came.

Why the plan never waits for a worker that does something of less use: when it asks, one worker is free. It asks
one question at a time; while it waits for an answer the free workers are given others; and the worker that gave that
answer gets nothing new before the plan has asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Protocol

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.ahead import LookAhead
from airflow_provider_caf.core.strategies.base import Answer, Execute, Execution, FindBoundaries, Question
from airflow_provider_caf.core.strategies.tickets import Answered, Ticket, TicketCounter
from airflow_provider_caf.execution.pool import Finished

log = logging.getLogger(__name__)


class Pool(Protocol):
    """Who puts questions to the algorithm."""

    @property
    def free(self) -> int:
        """How many questions can be put now."""

    def start(self, ticket: Ticket, question: Question, /) -> None:
        """Put a question."""

    def wait(self) -> Sequence[Finished]:
        """Wait until at least one is answered."""


class Record(Protocol):
    """Who keeps the answers for a later try."""

    def add(self, answered: Answered) -> None:
        """Keep an answer."""


@record
class FinishedExecution(JsonRecord):
    """An execution that the plan asked for.

    :param seconds: how long the algorithm took.
    :param ended: when, as ISO text with time zone.
    """

    noun = "finished execution"

    execution: Execution
    seconds: float
    ended: str


@record
class Broken:
    """An execution that gave no answer: the algorithm crashed, hung, raised or answered nonsense."""

    execution: Execution
    error: CafError


class Executions:
    """Answer the questions of one plan.

    An execution that breaks counts as answered with FAILURE, so that a strategy goes on where it can; it is not kept
    for a later try.

    :param known: answers of an earlier try.
    :param checkpoint: keeps each answer before the plan sees it.
    :param look_ahead: what to do early, where there are several workers.
    :param note: gets the executions that the plan asked for, several at a time.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        known: Sequence[Answered],
        checkpoint: Record,
        look_ahead: LookAhead | None,
        note: Callable[[Sequence[FinishedExecution]], None],
    ) -> None:
        self._pool = pool
        self._checkpoint = checkpoint
        self._look_ahead = look_ahead
        self._note = note
        self._counter = TicketCounter()
        self._answered = {answered.ticket: answered for answered in known}
        self._known: dict[Ticket, Answer] = {ticket: answered.answer for ticket, answered in self._answered.items()}
        self._earlier = frozenset(self._answered)
        self._errors: dict[Ticket, CafError] = {}
        self._running: dict[Ticket, Question] = {}
        self._unnoted: list[FinishedExecution] = []
        self._used: set[Ticket] = set()
        self.replayed = 0
        """How many answers of an earlier try the plan took."""

        self.broken: list[Broken] = []
        """The executions that the plan asked for and that broke."""

    @property
    def errors(self) -> Mapping[Ticket, CafError]:
        """What gave no answer in this try, also where it ran ahead."""
        return self._errors

    @property
    def wasted(self) -> int:
        """How many executions of this try the plan never asked for, as far as they are finished or under way."""
        made = (self._known.keys() | self._errors.keys() | self._running.keys()) - self._earlier
        return len(made - self._used)

    def execute(self, number: int, action: Execute) -> Execution:
        """Return what an execution gave, under its number in the plan."""
        ticket = self._ask(action)
        answer = self._known[ticket]
        assert isinstance(answer, Execution)
        execution = replace(answer, key=number)
        if ticket in self._errors:
            self.broken.append(Broken(execution=execution, error=self._errors[ticket]))
            log.error("Execution %d of %s broke: %s", number, describe_runs(execution.runs), self._errors[ticket])
            self._unnoted.append(FinishedExecution(execution=execution, seconds=0.0, ended=_now()))
            return execution
        kept = self._answered[ticket]
        self._unnoted.append(FinishedExecution(execution=execution, seconds=kept.seconds, ended=kept.ended))
        return execution

    def find_boundaries(self, action: FindBoundaries) -> tuple[ExpRun, ...]:
        """Return the boundaries that the algorithm found.

        :raises CafError: if it could not be asked.
        """
        ticket = self._ask(action)
        if ticket in self._errors:
            raise self._errors[ticket]
        answer = self._known[ticket]
        assert not isinstance(answer, Execution)
        return answer

    def flush(self) -> None:
        """Note the executions that were not noted yet."""
        if self._unnoted:
            self._note(tuple(self._unnoted))
            self._unnoted.clear()

    def _ask(self, question: Question) -> Ticket:
        ticket = self._counter.give(question)
        self._used.add(ticket)
        if self._look_ahead is not None:
            self._look_ahead.note_asked(ticket)
        if ticket in self._known:
            self.replayed += ticket in self._earlier
            return ticket
        if ticket not in self._running:
            self._start(ticket, question)
        while not self._is_over(ticket):
            self._run_ahead()
            self.flush()  # now that all workers have something to do
            for finished in self._pool.wait():
                self._take(finished)
        return ticket

    def _is_over(self, ticket: Ticket) -> bool:
        return ticket in self._known or ticket in self._errors

    def _run_ahead(self) -> None:
        while self._look_ahead is not None and self._pool.free:
            candidate = self._look_ahead.choose(self._known, self._running.keys() | self._errors.keys())
            if candidate is None:
                return
            self._start(candidate.ticket, candidate.question)

    def _start(self, ticket: Ticket, question: Question) -> None:
        self._pool.start(ticket, question)
        self._running[ticket] = question

    def _take(self, finished: Finished) -> None:
        ticket = finished.ticket
        assert isinstance(ticket, Ticket)
        question = self._running.pop(ticket)
        if finished.answer is None:
            assert finished.error is not None
            self._errors[ticket] = finished.error
            if isinstance(question, Execute):
                self._known[ticket] = Execution(key=0, runs=question.runs, iov=question.iov, code=ResultCode.FAILURE)
            return
        answered = Answered(
            question=question,
            answer=finished.answer,
            repeat=ticket.repeat,
            seconds=round(finished.seconds, 3),
            ended=_now(),
        )
        self._checkpoint.add(answered)
        self._answered[ticket] = answered
        self._known[ticket] = finished.answer


def describe_runs(runs: Sequence[ExpRun]) -> str:
    """Describe runs, as in `run 1.3` or `12 runs from 1.3 to 1.20`."""
    return f"run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs from {runs[0]} to {runs[-1]}"


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
