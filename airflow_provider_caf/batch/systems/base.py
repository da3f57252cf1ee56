"""What a batch system has to be able to do, as pure functions: command lines out, answers in.

A `System` gets arrays in, says what became of them, and ends them. It runs nothing; `jobs.client` does. An answer
that cannot be read is a `PollError` or `SubmitError`, never an empty result: "no job matches" and "the server is
ill" look alike on several systems, and only the parser knows the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Literal, Protocol, cast

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.core.record import record


@record
class Submission:
    """How to submit an array.

    :param command: prints something from which the ids can be read.
    :param files: are written before it runs.
    """

    command: Command
    files: tuple[TextFile, ...] = ()


@record
class Query:
    """One command about some arrays. Where it fails, nothing is known about these, and only about these."""

    command: Command
    arrays: tuple[SubmittedArray, ...]


@record
class Answer:
    """What a query brought.

    :param elements: array name → element → what the system says. An element of such an array that is not
        listed is missing from the queue. About an array that is not listed nothing is known.
    :param problems: array name → why nothing is known about it.
    """

    elements: Mapping[str, Mapping[int, Native]]
    problems: Mapping[str, str] = field(default_factory=dict)


@record
class LookedUp:
    """What a look into queue and history for a name has found.

    :param ids: of the jobs and arrays of that name.
    :param keeps_history: False: what has left the queue is not known.
    :param remembers: seconds for which the queue shows what is over.
    """

    ids: tuple[str, ...]
    keeps_history: bool = True
    remembers: float = 0.0


def build_answer(outcomes: Iterable[tuple[SubmittedArray, Mapping[int, Native] | str]]) -> Answer:
    """Return the answer about arrays.

    :param outcomes: an array, and its elements, or why nothing is known about them.
    """
    elements: dict[str, Mapping[int, Native]] = {}
    problems: dict[str, str] = {}
    for submitted, outcome in outcomes:
        if isinstance(outcome, str):
            problems[submitted.array.name] = outcome
        else:
            elements[submitted.array.name] = outcome
    return Answer(elements=elements, problems=problems)


Done = Literal["cancelled", "released"]


class System(Protocol):
    """A batch system."""

    @property
    def name(self) -> str:
        """The name of the system, as in `CAF(backend=…)`."""

    @property
    def largest_array(self) -> int | None:
        """The most elements of one array where the site says nothing (`array_limit`); None: no limit.

        Larger ones are cut by `jobs.rounds`.
        """

    @property
    def ignored(self) -> frozenset[str]:
        """The arguments that have no effect on this system. What it cannot do at all, `build_submit` refuses."""

    @property
    def longest_name(self) -> int:
        """The most characters of an array's name."""

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return the submit command and its files.

        :raises DefinitionError: if the system cannot do what the array's resources ask for.
        """

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Return the ids from the submit command's answer.

        :raises SubmitRefused: if the system says that it does not take it, see `systems.refusals`.
        :raises SubmitError: if there is no id in the answer.
        """

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that looks an array up by its name: after a crash nothing else says that it is there."""

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Return the ids of every submission that has this name: none, one, or an error of somebody.

        :raises SubmitUnknown: if there is none in the queue, and the system does not remember what has left it.
        :raises SubmitError: if the system does not say. "I do not know" must not become "there is none".
        """

    @property
    def states(self) -> Mapping[str, JobState]:
        """Native code → state."""

    @property
    def grace(self) -> float:
        """Seconds for which an element may be missing, or ended without exit record, on this system."""

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return the query for all arrays: one command, or as few as argument limits allow."""

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer to a query.

        :raises PollError: if it says nothing about the arrays.
        """

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return the query about what has left the queue; nothing where the queue remembers all."""

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer to a history query.

        :raises PollError: if it says nothing about the arrays.
        """

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the commands that end elements, by recorded ids only: a pattern of names may match jobs of others.

        :param elements: None: all.
        """

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the commands that let held elements go on, by recorded ids only; none where nothing can be held."""

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer of a command that ends elements or lets them go on.

        An element that is over already, or is not held any more, is no error.

        :param done: what was to be done with them.
        :raises PollError: if the system did not take the command.
        """


class Prober(Protocol):
    """A system whose sites differ in something that a submission has to know."""

    def build_probe(self, array: ArraySpec) -> Command | None:
        """Return the command that asks for it, or None where nothing has to be asked."""

    def parse_probe(self, array: ArraySpec, result: CommandResult) -> ArraySpec:
        """Return the array with what the site has said."""


def find_prober(system: System) -> Prober | None:
    """Return the system as one that has to be asked, if it is."""
    return cast("Prober", system) if hasattr(type(system), "build_probe") else None
