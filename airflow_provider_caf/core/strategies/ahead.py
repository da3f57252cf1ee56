"""Look ahead in a plan: which questions will it ask that could be answered already?

The plan itself waits for its answers. A second instance of it, the *shadow*, gets the answers that are known, and
goes on with the guess "OK" where none is. What it asks is put to the algorithm early; the plan takes an answer
only when it really asks that question. A wrong guess therefore costs work and never changes a result.

Two kinds of questions come out. A *sure* one depends on no guess: each part of a plan that does not wait for the
others, such as an experiment, has one at any time. A *guessed* one lies behind a guess, and there is a bound to
how many of those are answered before the plan asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import (
    Answer,
    Execute,
    Execution,
    FindBoundaries,
    Part,
    Question,
    Strategy,
)
from airflow_provider_caf.core.strategies.tickets import Ticket, TicketCounter


@record
class Candidate:
    """A question that a plan is expected to ask.

    :param is_guess: True if it will only be asked should a guess come true.
    """

    ticket: Ticket
    question: Question
    is_guess: bool


def list_parts(strategy: Strategy, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
    """Return the beginnings of the parts of a plan.

    Where a class writes its own `plan` and inherits `split_plan`, the parts would be those of another plan: it has
    one part then.
    """
    for cls in type(strategy).__mro__:
        if "split_plan" in vars(cls):
            return strategy.split_plan(runs)
        if "plan" in vars(cls):
            break
    return Strategy.split_plan(strategy, runs)


class LookAhead:
    """Choose what to put to the algorithm before the plan asks for it.

    :param parts: the beginnings of the plan's parts, in order; they are opened one by one, as they are needed.
    :param limit: at most so many guessed questions may be under way or answered and not yet asked; 0: none.
    """

    def __init__(self, parts: Iterable[Callable[[], Part]], limit: int) -> None:
        self._unopened: Iterator[Callable[[], Part]] = iter(parts)
        self._limit = limit
        self._open: list[_Shadow] = []
        self._guessed: set[Ticket] = set()

    def choose(self, known: Mapping[Ticket, Answer], running: Set[Ticket]) -> Candidate | None:
        """Return the best question to put to the algorithm now, or None.

        The caller has to put it: it counts as under way from now on.

        :param known: all answers that there are.
        :param running: what is under way.
        """
        candidate = self._find_sure(known, running) or self._find_guess(known, running)
        if candidate is not None and candidate.is_guess:
            self._guessed.add(candidate.ticket)
        return candidate

    def note_asked(self, ticket: Ticket) -> None:
        """Note that the plan itself asked this question."""
        self._guessed.discard(ticket)

    def _find_sure(self, known: Mapping[Ticket, Answer], running: Set[Ticket]) -> Candidate | None:
        for shadow in list(self._open):
            first = next(shadow.follow(known, 0), None)
            if first is None:
                self._open.remove(shadow)
            elif first.ticket not in running:
                return first
        for begin in self._unopened:
            shadow = _Shadow(begin)
            first = next(shadow.follow(known, 0), None)
            if first is None:
                continue
            self._open.append(shadow)
            if first.ticket not in running:
                return first
        return None

    def _find_guess(self, known: Mapping[Ticket, Answer], running: Set[Ticket]) -> Candidate | None:
        if self._count_guessed(running) >= self._limit:
            return None
        for shadow in self._open:
            for candidate in shadow.follow(known, self._limit):
                if candidate.ticket not in running:
                    return candidate
        return None

    def _count_guessed(self, running: Set[Ticket]) -> int:
        """Count the guessed questions that still matter: a wrong guess must not stand in the way for ever."""
        self._guessed = {
            ticket
            for ticket in self._guessed
            if ticket in running or any(ticket in shadow.visited for shadow in self._open)
        }
        return len(self._guessed)


class _Shadow:
    """A part of a plan that goes on with guesses.

    `visited` holds all questions that it went through since it began, the one at which it stands included.
    """

    def __init__(self, begin: Callable[[], Part]) -> None:
        self._begin = begin
        self._restart()

    def follow(self, known: Mapping[Ticket, Answer], guesses: int) -> Iterator[Candidate]:
        """Return the questions without an answer, in order: the first is sure, the rest stands behind guesses.

        :param guesses: at most so many answers are guessed.
        """
        self._check_guesses(known)
        while self._pending is not None:
            ticket, question = self._pending
            answer = known.get(ticket)
            if answer is None:
                if len(self._guesses) >= guesses or isinstance(question, FindBoundaries):
                    break
                self._guesses[ticket] = question
                answer = Execution(key=0, runs=question.runs, iov=question.iov, code=ResultCode.OK)
            self._go_on(answer)
        open_questions = [*self._guesses.items(), *([] if self._pending is None else [self._pending])]
        for number, (ticket, question) in enumerate(open_questions):
            yield Candidate(ticket=ticket, question=question, is_guess=number > 0)

    def _restart(self) -> None:
        self._part = self._begin()
        self._counter = TicketCounter()
        self._guesses: dict[Ticket, Question] = {}
        self._died = False
        self._pending: tuple[Ticket, Question] | None = None
        self.visited: set[Ticket] = set()
        self._go_on(None)

    def _check_guesses(self, known: Mapping[Ticket, Answer]) -> None:
        """Strike out the guesses that came true, and begin again if one did not."""
        for ticket in [guessed for guessed in self._guesses if guessed in known]:
            answer = known[ticket]
            # A plan that died of a guess read what only a real answer has.
            if self._died or not (isinstance(answer, Execution) and answer.code.is_success):
                self._restart()
                return
            del self._guesses[ticket]

    def _go_on(self, answer: Answer | None) -> None:
        """Send an answer in, and go to the next question."""
        self._pending = None
        try:
            action = self._part.send(answer)
            while not isinstance(action, (Execute, FindBoundaries)):
                action = self._part.send(None)
            ticket = self._counter.give(action)
        except StopIteration:
            return
        except Exception:  # noqa: BLE001 - the plan itself meets the same, with real answers, and says so
            self._died = True
            return
        self._pending = (ticket, action)
        self.visited.add(ticket)
