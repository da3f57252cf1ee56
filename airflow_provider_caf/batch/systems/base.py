"""What a batch system has to be able to do, as pure functions: command lines out, answers in.

Two protocols: a `Submitter` gets an array into the system, a `Watcher` says what became of it. `System` is
both. None of them runs anything; `io.client` does. An answer that cannot be read is a `PollError` or
`SubmitError`, never an empty result: "no job matches" and "the server is ill" look alike on several
systems, and only the parser knows the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol

from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.states import JobState
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
class Native:
    """What the system says about one element, in its own words.

    :param code: its state code, a key of `Watcher.states`.
    :param reason: why it is held, failed or waits, where the system says so.
    :param exit_code: as the system reports it; it may be wrong and only explains.
    :param host: where it runs or ran.
    """

    code: str
    reason: str | None = None
    exit_code: int | None = None
    host: str | None = None


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


class Submitter(Protocol):
    """Get arrays in."""

    @property
    def name(self) -> str:
        """The name of the system, as in `CAF(backend=…)`."""

    @property
    def largest_array(self) -> int | None:
        """The most elements of one array; None: no limit. Larger ones are cut by `io.submission`."""

    @property
    def longest_name(self) -> int:
        """The most characters of an array's name."""

    def build_submit(self, array: ArraySpec) -> Submission:
        """Give the submit command and its files.

        :raises DefinitionError: if the system cannot do what the array's resources ask for.
        """

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Give the ids from the submit command's answer.

        :raises SubmitError: if it was refused, or if there is no id in it.
        """

    def build_lookup(self, array: ArraySpec) -> Command:
        """Give the command that looks an array up by its name (law 6)."""

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Give the ids of every submission that has this name: none, one, or an error of somebody.

        :raises SubmitError: if the system does not say. "I do not know" must not become "there is none".
        """


class Watcher(Protocol):
    """Say what became of arrays, and end them."""

    @property
    def states(self) -> Mapping[str, JobState]:
        """Native code → state."""

    @property
    def grace(self) -> float:
        """Seconds for which an element may be missing, or ended without exit record, on this system."""

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Give the query for all arrays: one command, or as few as argument limits allow (law 5)."""

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer to a query.

        :raises PollError: if it says nothing about the arrays.
        """

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Give the query about what has left the queue; nothing where the queue remembers all."""

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer to a history query.

        :raises PollError: if it says nothing about the arrays.
        """

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Give the commands that end elements, by recorded ids only (law 10).

        :param elements: None: all.
        """

    def parse_cancel(self, array: SubmittedArray, result: CommandResult) -> None:
        """Check the answer. An element that is over already is no error.

        :raises PollError: if the system did not take the command.
        """


class System(Submitter, Watcher, Protocol):
    """A batch system."""
