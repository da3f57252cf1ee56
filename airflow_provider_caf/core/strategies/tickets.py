"""Distinguish the questions of a plan, so that an answer can be kept and found again.

A question is known by what it asks: verb, runs, IoV, settings and input, and by how often the plan asked the
same before. Its place in the plan does not count: a plan may take another way after a restart, and what it asks
on the new way may have been answered all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import JsonRecord, build_json, normalise_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import (
    Answer,
    Execute,
    Execution,
    FindBoundaries,
    Monitored,
    Question,
    StagedFigure,
    StagedPayload,
)


@record
class Ticket(JsonRecord):
    """What tells a question from all others of its plan.

    :param iov: None where boundaries are asked for.
    :param settings: as JSON text with sorted keys, empty where there are none.
    :param input: as JSON text with sorted keys, empty where there is none.
    :param repeat: how often the same was asked before.
    """

    noun = "ticket"

    runs: tuple[ExpRun, ...]
    iov: IoV | None
    settings: str
    input: str
    repeat: int = 0


class TicketCounter:
    """Return the tickets of the questions of one plan, in the order in which it asks them."""

    def __init__(self) -> None:
        self._counts: dict[Ticket, int] = {}

    def give(self, question: Question) -> Ticket:
        """Return the ticket of the next question.

        :raises DefinitionError: if settings or input have no JSON form.
        """
        first = build_ticket(question)
        repeat = self._counts.get(first, 0)
        self._counts[first] = repeat + 1
        return first if repeat == 0 else build_ticket(question, repeat)


def build_ticket(question: Question, repeat: int = 0) -> Ticket:
    """Return the ticket of a question.

    :raises DefinitionError: if settings or input have no JSON form.
    """
    settings = _build_text(question.settings, "settings of an execution")
    if isinstance(question, FindBoundaries):
        return Ticket(runs=question.runs, iov=None, settings=settings, input="", repeat=repeat)
    given = _build_text(question.input, "input of an execution")
    return Ticket(runs=question.runs, iov=question.iov, settings=settings, input=given, repeat=repeat)


@record
class _Kept(JsonRecord):
    """An `Answered` as it stands in a checkpoint: with boundaries, or with what an execution gave."""

    noun = "finished execution"

    runs: tuple[ExpRun, ...]
    seconds: float
    ended: str
    settings: Mapping[str, Any] | None = None
    repeat: int = 0
    boundaries: tuple[ExpRun, ...] | None = None
    iov: IoV | None = None
    input: Any = None
    code: ResultCode | None = None
    output: Any = None
    payloads: tuple[StagedPayload, ...] = ()
    monitored: tuple[Monitored, ...] = ()
    figures: tuple[StagedFigure, ...] = ()


@record
class Answered:
    """A question with its answer: what a checkpoint keeps.

    The key of an execution is not kept: its place in the plan may be another one the next time.

    :param repeat: how often the plan asked the same before.
    :param seconds: how long the algorithm took.
    :param ended: when, as ISO text with time zone.
    """

    question: Question
    answer: Answer
    repeat: int = 0
    seconds: float = 0.0
    ended: str = ""

    @property
    def ticket(self) -> Ticket:
        """The ticket of the question."""
        return build_ticket(self.question, self.repeat)

    def to_json(self) -> dict[str, Any]:
        """Return the form that `from_json` reads; what is not set is left out, since there are thousands of them."""
        value: dict[str, Any] = {"runs": build_json(self.question.runs), "seconds": self.seconds, "ended": self.ended}
        if self.question.settings is not None:
            value["settings"] = normalise_json(self.question.settings, "settings of an execution")
        if self.repeat:
            value["repeat"] = self.repeat
        if not isinstance(self.answer, Execution) or isinstance(self.question, FindBoundaries):
            assert not isinstance(self.answer, Execution)
            return {**value, "boundaries": build_json(self.answer)}
        value["iov"] = self.question.iov.to_json()
        if self.question.input is not None:
            value["input"] = normalise_json(self.question.input, "input of an execution")
        return {**value, **self.answer.build_fields(besides=("key", "runs", "iov"))}

    @classmethod
    def from_json(cls, value: Any) -> Answered:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        kept = _Kept.from_json(value)
        question: Question
        answer: Answer
        if kept.boundaries is not None:
            question = FindBoundaries(runs=kept.runs, settings=kept.settings)
            answer = kept.boundaries
        else:
            if kept.iov is None or kept.code is None:
                raise DefinitionError(
                    f"The {kept.noun} has neither boundaries nor an IoV with a result code.",
                    hint="It has to have one of the two.",
                )
            question = Execute(runs=kept.runs, iov=kept.iov, settings=kept.settings, input=kept.input)
            names = ("runs", "iov", "code", "output", "payloads", "monitored", "figures")
            answer = Execution(key=0, **{name: getattr(kept, name) for name in names})
        return cls(question=question, answer=answer, repeat=kept.repeat, seconds=kept.seconds, ended=kept.ended)


def _build_text(value: Any, where: str) -> str:
    return "" if value is None else json.dumps(normalise_json(value, where), sort_keys=True)
