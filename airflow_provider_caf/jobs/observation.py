"""Judge subjobs by one look at their folders and at the batch system.

A look has three steps, so that waiters can share polls: `find_question` reads the exit records and says after which
arrays to ask, `BatchClient.poll` asks, and `judge` gives every subjob its verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict, doubt_end
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.arrays import select_newest
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.notes import add_remarks, apply_notes
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.subjobs import count_subjobs, describe_counts, judge_on_disk


@record
class Observation:
    """The verdicts on all subjobs at one moment.

    :param arrays: all arrays that were submitted for them, in this and earlier rounds.
    :param verdicts: subjob → what is true of it.
    :param problem: why the batch system could not be asked; None: it could.
    """

    arrays: tuple[SubmittedArray, ...]
    verdicts: Mapping[int, Verdict]
    problem: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return all(verdict.status.is_over for verdict in self.verdicts.values())

    @property
    def is_settling(self) -> bool:
        """Whether nothing is waited for but the grace time of subjobs that have ended or are nowhere.

        Whoever leaves then and comes back with an empty memory waits for all of it again.
        """
        live = [verdict for verdict in self.verdicts.values() if not verdict.status.is_over]
        return bool(live) and self.problem is None and all(verdict.settling for verdict in live)

    @property
    def done(self) -> tuple[int, ...]:
        """The subjobs that have ended well."""
        return self._select(is_done=True)

    @property
    def failed(self) -> tuple[int, ...]:
        """The subjobs that are over and not done; those that were never submitted are among them."""
        return self._select(is_done=False)

    def _select(self, *, is_done: bool) -> tuple[int, ...]:
        return tuple(
            subjob
            for subjob, verdict in self.verdicts.items()
            if verdict.status.is_over and (verdict.status is SubjobStatus.DONE) is is_done
        )

    def describe(self) -> str:
        """Return a line of progress such as `412 done, 3 held, 85 running`."""
        counts = describe_counts(count_subjobs(self.verdicts))
        return counts if self.problem is None else f"{counts} (the batch system does not answer: {self.problem})"


@record
class Question:
    """The part of a look that comes before the poll.

    :param arrays: all arrays that were submitted.
    :param polled: the arrays to ask after: those that hold the newest attempt of a subjob that is not done.
    :param digests: subjob → digest of its present job file.
    :param verdicts: the verdicts by the exit records alone.
    :param check_outputs: whether recorded outputs have to be on disk.
    """

    arrays: tuple[SubmittedArray, ...]
    polled: tuple[SubmittedArray, ...]
    digests: Mapping[int, str]
    verdicts: Mapping[int, Verdict]
    check_outputs: bool


def find_question(
    arrays: Sequence[SubmittedArray], digests: Mapping[int, str], status: StatusFolder, *, check_outputs: bool
) -> Question:
    """Read what the subjobs have left, and find out after which arrays to ask.

    :param arrays: all arrays that were submitted.
    :param digests: subjob → digest of its present job file.
    :param status: keeps the records that were read before.
    :param check_outputs: see `judge_on_disk`.
    :raises InputError: if the status folder cannot be read.
    """
    # Files that travel come one by one: a record can be there before the outputs of which it tells.
    check_outputs = check_outputs or any(array.array.resources.transfer_files for array in arrays)
    verdicts = judge_on_disk(digests, status.scan(), check_outputs=check_outputs)
    unfinished = (subjob for subjob, verdict in verdicts.items() if verdict.status is not SubjobStatus.DONE)
    return Question(
        arrays=tuple(arrays),
        polled=select_newest(arrays, unfinished),
        digests=digests,
        verdicts=verdicts,
        check_outputs=check_outputs,
    )


def judge(question: Question, snapshot: Snapshot | None, status: StatusFolder, *, read_logs: bool) -> Observation:
    """Judge every subjob by a poll that was made after the question.

    :param snapshot: None: there was no array to ask after.
    :param status: keeps the records that were read before.
    :param read_logs: see `judge_on_disk`.
    :raises PollError: if nothing could be found out about an array for too long.
    """
    if snapshot is None:
        return Observation(arrays=question.arrays, verdicts=question.verdicts)
    # Read again: the record of a subjob that the poll saw ended is there by now.
    records = status.scan()
    states = apply_notes(snapshot.read(question.polled), question.polled)
    if status.problem is not None:
        states = {subjob: doubt_end(state) for subjob, state in states.items()}
    verdicts = judge_on_disk(
        question.digests,
        records,
        states,
        arrays=question.polled,
        check_outputs=question.check_outputs,
        read_logs=read_logs,
    )
    problems = (status.problem, snapshot.describe_problems(question.polled))
    return Observation(
        arrays=question.arrays,
        verdicts=add_remarks(verdicts, question.polled),
        problem="; ".join(problem for problem in problems if problem is not None) or None,
    )
