"""The base class of strategies, the actions that they yield, and what the driver sends back.

A strategy is a generator. It yields an action, the driver carries it out and sends the answer in. Because a
plan is a pure function of the answers, a restart replays the recorded answers, and a second instance may run
ahead on guesses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, ClassVar, Union

from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import (
    JsonRecord,
    read_list,
    read_number,
    read_optional,
    read_text,
    read_with,
)
from airflow_provider_caf.core.names import check_file_name
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.params import Param, parse_params
from airflow_provider_caf.core.suggestions import build_word_hint

GRANULARITIES = ("run", "all")
"""What a collector keeps apart: every run, or nothing."""


@record
class Execute:
    """Run the algorithm once on these runs. The driver sends an `Execution` back.

    :param runs: the runs whose collected data the algorithm sees, sorted.
    :param iov: the IoV that the algorithm is told and that its payloads get unless they have their own.
    :param settings: attributes set on the algorithm before the execution (JSON-able values). They stay set in
        that process, and executions may run in several ones: a plan that changes a setting gives it with
        every execution.
    :param input: a JSON value that the algorithm finds as `self.input` in this execution only. A strategy hands
        on with it what another execution gave as its output.
    """

    runs: tuple[ExpRun, ...]
    iov: IoV
    settings: Mapping[str, Any] | None = None
    input: Any = None


@record
class FindBoundaries:
    """Ask the algorithm which runs begin a new payload. The driver sends a tuple of `ExpRun` back.

    :param runs: the runs to look at, sorted.
    :param settings: attributes set on the algorithm before, as for `Execute`.
    """

    runs: tuple[ExpRun, ...]
    settings: Mapping[str, Any] | None = None


@record
class StagedPayload(JsonRecord):
    """A payload that an execution made and that is not committed yet.

    :param revision: MD5 of the file's bytes, in hex.
    :param size: in bytes.
    :param iov: its own IoV, or None for the execution's.
    :param value: its JSON value, where it has one that is small enough to be shown in lists and plots.
    """

    noun = "staged payload"

    name: str
    revision: str
    size: int
    iov: IoV | None = None
    value: Any = None


@record
class Monitored:
    """A number that an algorithm hands in for people to look at; no strategy depends on it.

    :param value: None where it was not finite.
    :param error: one standard deviation; None where there is none.
    """

    name: str
    value: float | None
    error: float | None = None

    def to_json(self) -> list[Any]:
        """Return the form that `from_json` reads."""
        return [self.name, self.value, self.error]

    @classmethod
    def from_json(cls, value: Any) -> Monitored:
        """Read what `to_json` gave.

        :raises DefinitionError: if it is not a name and two numbers.
        """
        if not isinstance(value, list) or len(value) != len(("name", "value", "error")):
            raise DefinitionError(f"A monitored number is {value!r}, not [name, value, error].")
        name, number, error = value
        read = read_optional(read_number)
        where = "monitored number"
        return cls(name=read_text(name, where), value=read(number, where), error=read(error, where))


@record
class StagedFigure(JsonRecord):
    """A picture that an algorithm hands in.

    :param file: the name of its file in the staging folder.
    :param media_type: such as `image/png`.
    """

    noun = "figure"

    name: str
    file: Annotated[str, read_with(check_file_name)]
    media_type: str


READ_MONITORED = read_list(read_with(Monitored.from_json))
READ_FIGURES = read_list(read_with(StagedFigure.from_json))


@record
class Execution(JsonRecord):
    """What one execution gave.

    :param key: the number of the execution in the plan, from 0.
    :param output: the JSON value the algorithm wrote, as it was.
    """

    noun = "execution"
    short_fields = ("monitored", "figures")

    key: int
    runs: tuple[ExpRun, ...]
    iov: IoV
    code: ResultCode
    output: Any = None
    payloads: tuple[StagedPayload, ...] = ()
    monitored: tuple[Monitored, ...] = ()
    figures: tuple[StagedFigure, ...] = ()


@record
class Commit:
    """Write the payloads of an execution to the local database. The driver sends None back.

    :param iov: the IoV to write instead of the execution's. A payload's own IoV stays.
    :param payloads: the payloads to write, where not all of the execution's.
    """

    execution: Execution
    iov: IoV | None = None
    payloads: tuple[StagedPayload, ...] | None = None


@record
class Report:
    """Hand in a result: it joins the list that decides on iterating. The driver sends None back."""

    execution: Execution
    iov: IoV | None = None


@record
class WriteFile:
    """Write an extra file into the folder `files/` of the algorithm. The driver sends None back.

    A plan must not write files itself: a restart and a plan that runs ahead would write them again.

    :param name: a file name without folders.
    :param content: a text, written as it is, or any other JSON value, written as JSON.
    """

    name: str
    content: Any


class FinalState(str, Enum):
    """How a strategy ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@record
class Outcome:
    """The end of a plan.

    :param reason: why it failed, or what a reader should know of a success.
    """

    state: FinalState
    reason: str = ""


Question = Union[Execute, FindBoundaries]
"""What only the algorithm can answer."""

Action = Union[Question, Commit, Report, WriteFile]
Answer = Union[Execution, tuple[ExpRun, ...]]
"""What a question is answered with; the other actions get None."""

Plan = Generator[Action, Any, Outcome]
Part = Generator[Action, Any, object]
"""A plan for some of the runs; only what it asks for counts."""


class Strategy:
    """Decide on which runs an algorithm is executed, and with which IoVs its payloads are committed.

    A subclass writes `plan`, a generator, and declares the parameters that it adds in `known_params`;
    those of its bases are inherited. `plan` must be a pure function of the runs and of the answers sent
    into it: no clock, no random number, no file. Then a restart can send the recorded answers in again.

    :param params: the parameters' values in JSON form.
    :raises DefinitionError: if one is unknown or has the wrong type; all mistakes are named.
    """

    known_params: ClassVar[Mapping[str, Param]] = {}
    """The parameters that this class adds or changes."""

    allowed_granularities: ClassVar[tuple[str, ...]] = GRANULARITIES
    """The granularities of collected data that it can work with."""

    def __init__(self, params: Mapping[str, Any] | None = None) -> None:
        values, errors = self.parse_params(params or {})
        if errors:
            raise join_definition_errors(errors, f"the parameters of the strategy {type(self).__name__}")
        self.params: Mapping[str, Any] = values
        """All parameters that the strategy knows, with defaults filled in."""

    @classmethod
    def list_params(cls) -> dict[str, Param]:
        """Return all parameters, also those of the bases, sorted by name."""
        known: dict[str, Param] = {}
        for base in reversed(cls.__mro__):
            known.update(vars(base).get("known_params", {}))
        return dict(sorted(known.items()))

    @classmethod
    def parse_params(cls, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[DefinitionError]]:
        """Read the values of the parameters and find every mistake in them."""
        known = cls.list_params()
        return parse_params(cls.__name__, known, params, lambda name: build_word_hint(name, known, "parameters"))

    def plan(self, runs: tuple[ExpRun, ...]) -> Plan:
        """Say what to do, one action after the other, and how it ended.

        :param runs: the collected runs, sorted, already without ignored and not requested ones.
        """
        raise NotImplementedError(f"{type(self).__name__} has no plan")

    def split_plan(self, runs: tuple[ExpRun, ...]) -> Iterable[Callable[[], Part]]:
        """Return the beginnings of the parts of the plan that do not wait for one another's answers, in order.

        Several workers take on parts at the same time. Together the parts ask for what `plan` asks for. A class
        that writes its own `plan` has one part, unless it writes this too.
        """
        return (functools.partial(self.plan, runs),)


def fail(reason: str) -> Outcome:
    """Return the outcome of a strategy that failed."""
    return Outcome(state=FinalState.FAILED, reason=reason)


def complete(reason: str = "") -> Outcome:
    """Return the outcome of a strategy that did what it should."""
    return Outcome(state=FinalState.COMPLETED, reason=reason)
