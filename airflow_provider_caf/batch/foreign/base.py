"""Jobs that somebody else submitted, as pure functions: what is asked of a batch system, and what its words mean.

Theory
======
Nothing is known of such a job but what its system says. There is no exit record, no count of the elements, no note.

* **Which jobs.** An id names an array or a plain job with all that belongs to it, or one element (`Target`). What it
  covers, the answers tell: each one is a list of glimpses, one for each native job (`Glimpse`), and the elements of a
  target are all that any answer has ever shown. HTCondor also says how many there are, and Slurm's history names those
  that never started.
* **Folding.** The glimpses of one native job are folded by `see` and `miss` of `batch.verdicts`, as those of our own:
  what is over stays so, and what queue and history both do not show is LOST after a grace time only.
* **Success** is that the system says so: the job has ended by itself, with exit code 0 (`judge_job`; the words are in
  `ForeignSystem.good`). A job whose end nobody remembers has failed: its work may be done, but nobody knows.
* **Gone before anybody looked.** Elements leave the queue of Slurm and Torque one by one. Where there is no history,
  those that had left it before the first look are not known of, and nobody can say how many they are: that is told.
* **Not found.** A system that did not answer, or has said something else, is a `PollError`, and about its targets
  nothing is known. Only where queue and history have both answered, a target without a glimpse is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import Command, CommandResult
from airflow_provider_caf.batch.systems.refusals import show_output
from airflow_provider_caf.batch.verdicts import LIVE, Sighting, SubjobStatus
from airflow_provider_caf.core.errors import DefinitionError, PollError
from airflow_provider_caf.core.record import record

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.+:@=/ -]{0,250}[A-Za-z0-9_.+:@=/-])?", re.ASCII)
"""No option, no pattern (`*`, `?`, `[`), no list (`,`), no quote: each means something to one of the systems."""


@record
class Target:
    """What was asked for: a job with all that belongs to it, or one element.

    :param text: the id in the form in which the system's commands take it.
    :param job: the id of the array, or of the plain job.
    :param index: the number of the element, as the system counts; None: all of it.
    """

    text: str
    job: str
    index: int | None = None


@record
class Glimpse:
    """What one answer says of one native job.

    :param id: as the system writes it, such as `4242_7`.
    :param job: the id of its array; of a plain job, its own.
    :param index: its number in the array; None: it is a plain job.
    :param number: another id that it alone has (Slurm); empty: it has none.
    """

    id: str
    job: str
    index: int | None
    native: Native
    number: str = ""


@record
class Look:
    """One command about some targets. Where it fails, nothing is known about these, and only about these."""

    command: Command
    targets: tuple[Target, ...]


@record
class Told:
    """What a look brought.

    :param problems: target → why nothing is known about it.
    :param counts: job → how many elements it has, numbered from 0, where the system says so.
    :param has_history: False: the site keeps none.
    """

    glimpses: tuple[Glimpse, ...] = ()
    problems: Mapping[Target, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    has_history: bool = True


class ForeignSystem(Protocol):
    """What one batch system can tell about jobs that it was not asked to run from here."""

    @property
    def forms(self) -> str:
        """How its ids are written, for a message."""

    @property
    def memory(self) -> str:
        """How long it remembers what is over, for a hint."""

    @property
    def good(self) -> frozenset[str]:
        """The native codes that, with exit code 0, mean success."""

    @property
    def keeps_history(self) -> bool:
        """Whether it can remember what has left the queue; a site may keep no history all the same."""

    def parse_id(self, text: str) -> Target | None:
        """Read an id of this system, or None where it is something else."""

    def name_element(self, job: str, index: int | None) -> str:
        """Return the id of an element, as the system writes it; None: of a plain job."""

    def covers(self, target: Target, job: str, index: int | None, number: str) -> bool:
        """Return whether a native job belongs to what was asked for."""

    def build_find(self, name: str) -> Command:
        """Return the command that looks for the jobs that the user has of a name, in queue and history."""

    def parse_find(self, name: str, result: CommandResult) -> tuple[str, ...]:
        """Return their ids.

        :raises PollError: if queue or history did not answer. A history that is not kept is an answer.
        """

    def build_query(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return the questions to the queue: as few as argument limits allow."""

    def parse_query(self, look: Look, result: CommandResult) -> Told:
        """Read the answer of the queue.

        :raises PollError: if it says nothing about the targets.
        """

    def build_history(self, targets: Sequence[Target]) -> tuple[Look, ...]:
        """Return the questions about what has left the queue; none where nothing remembers it."""

    def parse_history(self, look: Look, result: CommandResult) -> Told:
        """Read the answer of the history. One that is not kept is an empty answer.

        :raises PollError: if it says nothing about the targets.
        """

    def build_cancel(self, targets: Sequence[Target]) -> tuple[Command, ...]:
        """Return the commands that end the jobs, by their ids."""

    def parse_cancel(self, result: CommandResult) -> None:
        """Check the answer. A job that is over or not known is no error.

        :raises PollError: if the system did not take the command.
        """


def covers_number(target: Target, job: str, index: int | None, number: str) -> bool:
    """Return whether a native job belongs to what was asked for, where ids are plain words."""
    if target.index is None:
        return target.job in (job, number)
    return (target.job, target.index) == (job, index)


def make_target(system: ForeignSystem, job: str, index: int | None) -> Target:
    """Return the target that is one native job, or with None all that belongs to an id."""
    return Target(text=system.name_element(job, index), job=job, index=index)


def list_texts(targets: Iterable[Target]) -> list[str]:
    """Return the ids for a command."""
    return [target.text for target in targets]


def cut_targets(targets: Sequence[Target], most: int) -> list[tuple[Target, ...]]:
    """Cut targets into parts for one command each."""
    return [tuple(targets[start : start + most]) for start in range(0, len(targets), most)]


def check_name(name: str) -> str:
    """Return the name by which jobs are looked for.

    :raises DefinitionError: if a command could take it for something else than a name.
    """
    if _NAME.fullmatch(name) is None:
        raise DefinitionError(
            f"{name!r} cannot be the name of jobs to wait for.",
            hint="A name begins with a letter, a digit or '_' and goes on with these, blanks or '. + : @ = / -'; it is "
            "no pattern. Jobs of another name can be waited for by their ids.",
        )
    return name


def read_targets(system: ForeignSystem, ids: Iterable[str], name: str) -> tuple[Target, ...]:
    """Read ids, each one once.

    :param name: of the system, for the message.
    :raises DefinitionError: if one of them is no id of this system, or there is none.
    """
    if isinstance(ids, str):
        # A text is a sequence of letters, each of which may be an id.
        raise DefinitionError(f"The ids are the text {ids!r}.", hint=f"Give a list of ids: [{ids!r}].")
    texts = tuple(ids)
    targets = {text: system.parse_id(text) if isinstance(text, str) else None for text in dict.fromkeys(texts)}
    wrong = [text for text, target in targets.items() if target is None]
    if wrong:
        shown = ", ".join(map(repr, wrong[:10])) + (f" and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        raise DefinitionError(
            f"{shown} {'is no id' if len(wrong) == 1 else 'are no ids'} of a job of {name}.",
            hint=f"Ids are written like {system.forms}.",
        )
    if not targets:
        raise DefinitionError("There is no id of a job to wait for.", hint="Name at least one id, or a name.")
    return tuple(dict.fromkeys(target for target in targets.values() if target is not None))


def judge_job(sighting: Sighting, good: frozenset[str]) -> tuple[SubjobStatus, str | None]:
    """Return what is true of a native job, and why it is held, waits or has failed.

    :param good: see `ForeignSystem.good`.
    """
    state, native = sighting.track.state, sighting.native
    if state in LIVE:
        return LIVE[state], native.reason
    if state is JobState.CANCELLED:
        return SubjobStatus.CANCELLED, native.reason
    if state is JobState.LOST:
        return SubjobStatus.LOST, "neither queue nor history shows it any more: it is not known how it ended"
    if native.code not in good:
        return SubjobStatus.FAILED, native.reason
    if native.exit_code is None:
        unknown = "the system does not say with which exit code it ended"
        return SubjobStatus.FAILED, unknown if native.reason is None else f"{unknown}: {native.reason}"
    return (SubjobStatus.DONE if native.exit_code == 0 else SubjobStatus.FAILED), native.reason


def refuse_find(name: str, result: CommandResult, said: str | None = None) -> PollError:
    """Return the error for a search by name that was not answered.

    :param said: what was said instead; None: what the command printed.
    """
    return PollError(
        f"It is not known whether there are jobs named {name!r} (exit code {result.exit_code}): "
        f"{said or show_output(result)}",
        hint="The question is asked again.",
    )
