"""Ask a batch system after arrays, and keep what was seen from poll to poll."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.polling import Patience, decide_over
from airflow_provider_caf.batch.spec import CommandResult, SubmittedArray
from airflow_provider_caf.batch.systems.base import Answer, Query, System
from airflow_provider_caf.batch.verdicts import Sighting, SubjobState, build_state, miss, see
from airflow_provider_caf.core.errors import PollError, TransportError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.transport.base import Transport

_FORGET = 86400.0
"""Seconds after which an array that nobody asks for is forgotten: a triggerer lives for months."""

_log = logging.getLogger(__name__)


@record
class Snapshot:
    """What one poll has brought about all arrays that were polled.

    :param states: array name → subjob → state.
    :param problems: array name → why nothing new is known about it. Its states are those of the last good
        poll.
    :param given_up: the arrays about which nothing could be found out for too long: who waits for them gives up.
    """

    states: Mapping[str, Mapping[int, SubjobState]]
    problems: Mapping[str, str]
    given_up: frozenset[str] = frozenset()

    def read(self, arrays: Iterable[SubmittedArray]) -> dict[int, SubjobState]:
        """Return the state of each subjob of some arrays, of its newest attempt.

        :raises PollError: if one of the arrays was given up.
        """
        newest: dict[int, SubjobState] = {}
        for array in arrays:
            name = array.array.name
            if name in self.given_up:
                raise PollError(
                    f"Nothing could be found out about array {name} ({' '.join(array.ids)}): {self.problems[name]}",
                    hint="Mend the batch system and clear the task: what ended meanwhile does not run again.",
                )
            for subjob, state in self.states.get(name, {}).items():
                if subjob not in newest or newest[subjob].attempt < state.attempt:
                    newest[subjob] = state
        return newest

    def describe_problems(self, arrays: Iterable[SubmittedArray]) -> str | None:
        """Return why nothing new is known about some arrays, each reason once, or None."""
        names = (array.array.name for array in arrays)
        reasons = dict.fromkeys(self.problems[name] for name in names if name in self.problems)
        return "; ".join(reasons) or None


class StateReader:
    """Read native codes. One that nobody knows is named once in the log and ends no wait."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._unknown: set[str] = set()

    def __call__(self, code: str) -> JobState:
        """Return the state that a code means."""
        state = self._system.states.get(code)
        if state is None:
            if code not in self._unknown:
                self._unknown.add(code)
                _log.warning("%s shows a state %r that is not known; polling on", self._system.name, code)
            return JobState.UNKNOWN
        return state


class _Watch:
    """The sightings of one array's elements, from poll to poll."""

    __slots__ = ("elements", "failing_since", "last_poll")

    def __init__(self, count: int) -> None:
        self.elements = [Sighting()] * count
        self.failing_since: float | None = None
        self.last_poll = 0.0


class Poller:
    """Poll arrays. Not thread-safe; `BatchClient` takes care of that."""

    def __init__(self, system: System, transport: Transport, patience: Patience, clock: Callable[[], float]) -> None:
        self._system = system
        self._transport = transport
        self._patience = patience
        self._grace = patience.choose_grace(system.grace)
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._read_state = StateReader(system)

    def poll(self, arrays: Sequence[SubmittedArray]) -> Snapshot:
        """Ask once after all arrays."""
        # Two sensors may wait for one array, say of a task that was cleared.
        unique = tuple({array.array.name: array for array in arrays}.values())
        if not unique:
            return Snapshot(states={}, problems={})
        # One without ids is over, and nothing can be asked about it.
        gone = {array.array.name: dict[int, Native]() for array in unique if not array.ids}
        live = tuple(array for array in unique if array.ids)
        answer = self._ask(self._system.build_query(live) if live else (), self._system.parse_query)
        answer = Answer(elements={**answer.elements, **gone}, problems=answer.problems)
        left = [array for array in live if self._has_missing(array, answer)]
        history = Answer(elements={})
        if left:
            history = self._ask(self._system.build_history(left), self._system.parse_history)
        now = self._clock()
        problems: dict[str, str] = {}
        given_up = set()
        for array in unique:
            name = array.array.name
            problem = _find_problem(name, answer, history)
            if problem is not None:
                problems[name] = problem
            if self._update(array, answer, history, problem, now):
                given_up.add(name)
        self._forget(now)
        states = {array.array.name: self._build_states(array, now) for array in unique}
        return Snapshot(states=states, problems=problems, given_up=frozenset(given_up))

    def _ask(self, queries: Sequence[Query], parse: Callable[[Query, CommandResult], Answer]) -> Answer:
        elements: dict[str, Mapping[int, Native]] = {}
        problems: dict[str, str] = {}
        for query in queries:
            try:
                answer = parse(query, self._transport.run(query.command))
            except (TransportError, PollError) as error:
                problems.update((array.array.name, error.what) for array in query.arrays)
                continue
            elements.update(answer.elements)
            problems.update(answer.problems)
            for array in query.arrays:
                name = array.array.name
                if name not in elements and name not in problems:
                    problems[name] = f"the answer on {self._transport.host} says nothing about it"
        return Answer(elements=elements, problems=problems)

    def _has_missing(self, array: SubmittedArray, answer: Answer) -> bool:
        """Return whether an element that is not over yet is no longer in the queue."""
        known = answer.elements.get(array.array.name)
        if known is None:
            return False
        watch = self._watch(array)
        return any(index not in known and not sighting.is_over for index, sighting in enumerate(watch.elements))

    def _watch(self, array: SubmittedArray) -> _Watch:
        name = array.array.name
        if name not in self._watches:
            self._watches[name] = _Watch(len(array.array.elements))
        return self._watches[name]

    def _update(self, array: SubmittedArray, answer: Answer, history: Answer, problem: str | None, now: float) -> bool:
        """Take in what an answer says about an array, and tell whether to give it up."""
        name = array.array.name
        watch = self._watch(array)
        watch.last_poll = now
        if problem is None:
            watch.failing_since = None
        elif watch.failing_since is None:
            watch.failing_since = now
        queue = answer.elements.get(name, {})
        past = history.elements.get(name, {})
        for index, sighting in enumerate(watch.elements):
            native = queue.get(index) or past.get(index)
            if native is not None:
                watch.elements[index] = see(sighting, native, self._read_state(native.code), now)
            elif problem is None and not sighting.is_over:
                watch.elements[index] = miss(sighting, now, self._grace)
        return decide_over(watch.failing_since, now, self._patience.deadline)

    def _build_states(self, array: SubmittedArray, now: float) -> dict[int, SubjobState]:
        attempt = array.array.attempt
        pairs = zip(array.array.elements, self._watch(array).elements)
        return {
            subjob: build_state(subjob, attempt, sighting, now, self._grace)
            for subjobs, sighting in pairs
            for subjob in subjobs
        }

    def _forget(self, now: float) -> None:
        for name in [name for name, watch in self._watches.items() if now - watch.last_poll > _FORGET]:
            del self._watches[name]


def _find_problem(name: str, answer: Answer, history: Answer) -> str | None:
    # A history that failed leaves open what became of the missing ones: that is a failed poll too.
    return answer.problems.get(name) or history.problems.get(name)
