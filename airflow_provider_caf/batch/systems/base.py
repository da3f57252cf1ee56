"""What a batch system has to be able to do, as pure functions: command lines out, answers in.

A `System` gets arrays in, says what became of them, and ends them. It runs nothing; `jobs.client` does. An answer
that cannot be read is a `PollError` or `SubmitError`, never an empty result: "no job matches" and "the server is
ill" look alike on several systems, and only the parser knows the difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Protocol, cast

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.core.errors import SubmitError, SubmitRefused, SubmitUnknown
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

        :raises SubmitRefused: if the system says that it does not take it, see `refuse_submit`.
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

    def parse_cancel(self, array: SubmittedArray, result: CommandResult) -> None:
        """Check the answer. An element that is over already is no error.

        :raises PollError: if the system did not take the command.
        """

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the commands that let held elements go on, by recorded ids only; none where nothing can be held."""

    def parse_release(self, array: SubmittedArray, result: CommandResult) -> None:
        """Check the answer. An element that is not held any more is no error.

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


def show_output(result: CommandResult) -> str:
    """Return the last words of a command for a message."""
    return (result.stderr.strip() or result.stdout.strip())[-500:] or "it printed nothing"


_AWAY = re.compile(
    r"connect|contact|time[d-]? ?out|not respond|try (?:again )?later|end of (?:file|message)|communicat|broken pipe|"
    r"\b(?:busy|unavailable|unreachable|interrupted|shutting down|slow down)\b|route to host|host is down|reset by|"
    # Slurm: numbers below 2000 in `slurm_errno.c`, and what it says where it has none.
    r"unexpected (?:message|missing)|message (?:send|receive) failure|insane message|authentication error|zero bytes|"
    r"unspecified error|"
    # LSF: LSBE_MBATCHD to LSBE_XDR in `lsb.err.c`, with which a message has been lost.
    r"internal error|library call|system call failed|protocol error|encode/decode|child process died|"
    # HTCondor: the schedd has not said whether it has committed; where it has refused, a line says why (`submit.cpp`).
    r"Failed to commit job submission into the queue\.\s*\Z",
    re.IGNORECASE,
)
"""Words of a command that could not speak with its server to the end."""
_CRASHES = range(129, 153)
"""What a shell says of a command that a signal ended. Error numbers of PBS begin at 153."""


def refuse_submit(what: str, result: CommandResult, *, hint: str) -> SubmitError:
    """Return the error for a submit command that gave no id.

    It is a `SubmitRefused` only where the command has ended by itself, with an exit code and words, and the words do
    not say that it had no answer of its server.
    """
    output = f"{result.stdout}\n{result.stderr}"
    refused = result.exit_code > 0 and result.exit_code not in _CRASHES and output.strip() and not _AWAY.search(output)
    return (SubmitRefused if refused else SubmitError)(what, hint=hint)


ARRAY_ADVICE = "The site takes smaller arrays: set 'array_limit' to its limit, and a large collection becomes several."
JOBS_ADVICE = (
    "The site takes fewer jobs at once: 'subjobs_per_job' makes fewer jobs, each with several subjobs. Where it limits "
    "the size of one array, set 'array_limit'."
)


def choose_advice(result: CommandResult, table: Mapping[str, str], otherwise: str) -> str:
    """Return the advice for what a command has said.

    :param table: pattern → advice; the first one that is found counts.
    """
    output = f"{result.stdout}\n{result.stderr}"
    found = (advice for pattern, advice in table.items() if re.search(pattern, output, re.IGNORECASE))
    return next(found, otherwise)


def doubt_lookup(array: ArraySpec, why: str, *, advice: str, remembers: float = 0.0) -> SubmitUnknown:
    """Return the error for a lookup that found nothing in the queue, where the queue is not all there ever was.

    :param why: what the system does not remember.
    :param advice: what would tell, or would have told.
    :param remembers: seconds for which the queue shows what is over.
    """
    return SubmitUnknown(
        f"It is not known whether array {array.name} was submitted: none of that name is in the queue, and {why}.",
        hint=f"{advice} If it never ran, remove {array.array_file} and clear the task: then it is submitted.",
        remembers=remembers,
    )


def refuse_lookup(array: ArraySpec, result: CommandResult, reason: str | None = None) -> SubmitError:
    """Return the error for a lookup by name that was not answered.

    :param reason: why not; None: what the command printed.
    """
    return SubmitError(
        f"It is not known whether array {array.name} was submitted (exit code {result.exit_code}): "
        f"{reason or show_output(result)}",
        hint="Run the task again when the batch system answers; it looks first, and submits only if there is none.",
    )
