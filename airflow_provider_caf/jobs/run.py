"""Run a set of subjobs: submit what is missing, and nothing else, however often and from wherever it is asked.

The steps are the same for a first run, a retry of a task, a cleared task and the retry of failed subjobs:

1. read the arrays that were begun before; look up those whose submission was cut off;
2. poll, read the exit records, judge every subjob;
3. leave alone what is done or still goes on;
4. submit the rest as a new, smaller array, with more memory where memory was the cause, and not to hosts that failed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.arguments import AUTO
from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.held import build_held_policy
from airflow_provider_caf.batch.packing import Part, RunTimes
from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.batch.resubmit import build_retry_policy
from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
from airflow_provider_caf.batch.systems.base import Submission
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.errors import CafError, JobFailed, JobHeld, JobLost
from airflow_provider_caf.core.files import PRIVATE, write_json
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.core.tolerance import count_tolerated
from airflow_provider_caf.jobs.arrays import read_arrays, read_intents, read_submission, select_newest
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.held import describe_holds, treat_held
from airflow_provider_caf.jobs.memory import submit_modestly
from airflow_provider_caf.jobs.observation import Observation, Question, find_question, judge
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.rounds import Round, find_superseded, measure_records, plan_round
from airflow_provider_caf.jobs.subjob_set import SubjobSet
from airflow_provider_caf.jobs.subjobs import build_failure_table, read_job_digests

_SHOWN_ARRAYS = 5
_SHOWN_LETTERS = 4000

_log = logging.getLogger(__name__)


class SubjobRun:
    """Submit, watch and judge a set of subjobs on one batch system.

    A subjob is done when its exit record and its outputs say so; everything here starts from that. So each method can
    be called again at any time, by any process: what is done is not run again, and what runs is not submitted twice.

    :param subjob_set: what is to be run.
    :param client: where.
    """

    to_repeat = "submit and wait again"
    """What a person does after a failure, for hints."""
    tolerance = "max_failed"
    """The word that says how many subjobs may fail."""
    without_failed = "what follows goes on without them"
    """What becomes of it if some failed and may."""

    def __init__(self, subjob_set: SubjobSet, client: BatchClient) -> None:
        self.subjob_set = subjob_set
        self.client = client
        self._status = client.open_status_folder(self.folders.status_folder)
        self._digests: dict[int, str] | None = None

    @property
    def folders(self) -> JobFolders:
        """The folders of the subjobs."""
        return self.subjob_set.folders

    @property
    def patience(self) -> Patience:
        """How often to look and how long to wait."""
        return self.client.patience

    def write_job_files(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Write the job files, and end what still runs with one that has changed.

        :param jobs: the content of each, see `build_job`.
        :raises CafError: if what has changed cannot be ended.
        """
        self.folders.make()
        before = self._read_present_digests()
        for job in jobs:
            write_json(self.folders.job_file(job["subjob"]), job, durable=False, mode=PRIVATE)
        after = self._read_present_digests()
        changed = [subjob for subjob, digest in before.items() if after.get(subjob) != digest]
        if changed:
            self.client.cancel(read_arrays(self.folders.arrays_folder), changed)

    def submit_missing(
        self,
        first_attempt: int | None = None,
        *,
        max_retries: int | None = None,
        find_seconds: Callable[[], float | None] | None = None,
    ) -> Round:
        """Submit every subjob that is neither done nor under way.

        :param first_attempt: attempts before this one do not count against the retries; None: none counts.
        :param max_retries: instead of the set's own.
        :param find_seconds: returns the usual run time of these subjobs, for `subjobs_per_job="auto"` where nothing of
            it has been seen yet.
        :raises SubmitError: if the batch system does not take them.
        :raises PollError: if nothing could be found out about earlier ones for too long. Before that, those that the
            system says nothing about count as on their way: no copy of them is submitted.
        """
        subjob_set, previous = self.subjob_set, self.subjob_set.previous
        intents = read_intents(self.folders.arrays_folder)
        recovered = (self.client.recover(intent) for intent in intents)
        observation = self._observe([array for array in recovered if array is not None])
        records = self._status.scan()
        plan = plan_round(
            observation,
            records,
            subjob_set.resources,
            self.client.system,
            build_retry_policy(subjob_set.resources, subjob_set.max_retries if max_retries is None else max_retries),
            first_attempt=first_attempt,
            previous=() if previous is None else read_arrays(previous.arrays_folder),
            times=self._find_times(records, find_seconds),
        )
        attempt = self.newest_attempt + (1 if plan.parts else 0)

        def submit(part: Part, number: int) -> SubmittedArray:
            array = subjob_set.build_array(
                self.client.system, part.elements, attempt=attempt, part=number, resources=part.resources
            )
            superseded, over = find_superseded(observation, array.subjobs)
            return self.client.submit(array, superseded=superseded, over=over)

        submitted = [submit_modestly(submit, part, number) for number, part in enumerate(plan.parts)]
        live = [verdict.subjob for verdict in observation.verdicts.values() if not verdict.status.is_over]
        return Round(
            arrays=(*select_newest(observation.arrays, live), *submitted),
            attempt=attempt,
            submitted=tuple(sorted(subjob for array in submitted for subjob in array.array.subjobs)),
            spent=plan.spent,
            verdicts=observation.verdicts,
        )

    def preview(self) -> list[tuple[ArraySpec, Submission]]:
        """Return the arrays that a first submission would make, and how. Nothing is submitted.

        :raises DefinitionError: if the system cannot do what the resources ask for.
        """
        subjob_set, system = self.subjob_set, self.client.system
        policy = build_retry_policy(subjob_set.resources, subjob_set.max_retries)
        plan = plan_round(self._observe([]), (), subjob_set.resources, system, policy)
        arrays = [
            subjob_set.build_array(system, part.elements, attempt=0, part=number, resources=part.resources)
            for number, part in enumerate(plan.parts)
        ]
        return [(array, system.build_submit(array)) for array in arrays]

    def observe(self, *, check_outputs: bool = True, read_logs: bool = True) -> Observation:
        """Ask the batch system once, read the exit records, and judge every subjob.

        :param check_outputs: whether the outputs of the done ones have to be there still. A progress line can do
            without; a step that uses them, or decides what runs again, cannot.
        :param read_logs: whether to read the logs of the failed ones.
        :raises PollError: if the batch system has not answered for too long.
        """
        arrays = read_arrays(self.folders.arrays_folder)
        observation = self._observe(arrays, check_outputs=check_outputs, read_logs=read_logs)
        silent = [subjob for subjob in observation.failed if observation.verdicts[subjob].record is None]
        if self.client.mirror is None or not read_logs or not silent:
            return observation
        for array in observation.arrays:
            self.client.mirror.fetch_logs(array.array, silent)
        return self._observe(arrays, check_outputs=check_outputs)

    def find_question(self) -> Question:
        """Read what the subjobs have left, and find out after which arrays to ask; `judge` takes the answer.

        For a waiter who shares the polls with others. It reads the job files once in its life, and does not look at
        the outputs.
        """
        if self._digests is None:
            self._digests = self._read_digests()
        arrays = read_arrays(self.folders.arrays_folder)
        return find_question(arrays, self._digests, self._status, check_outputs=False)

    def judge(self, question: Question, snapshot: Snapshot | None) -> Observation:
        """Judge every subjob by a poll that was made after the question.

        :raises PollError: if the batch system has not answered for too long.
        """
        return judge(question, snapshot, self._status, read_logs=False)

    def attend(self, observation: Observation) -> str:
        """Deal with held jobs, and return the line of progress: `412 done, 3 held, 85 running`, and why they are held.

        A command that the batch system does not take is named in the line and fails nothing: the next look tries again.
        """
        try:
            treatment = treat_held(self.client, observation, build_held_policy(self.subjob_set.resources)).describe()
        except CafError as error:
            treatment = f"the held jobs could not be dealt with: {error.what}"
        parts = (observation.describe(), describe_holds(observation.verdicts), treatment)
        return "; ".join(part for part in parts if part)

    def wait(self, timeout: float | None = None) -> Observation:
        """Look until nothing will happen any more by itself, and deal with held jobs meanwhile.

        :param timeout: seconds after which it returns all the same; None: never.
        :raises PollError: if the batch system has not answered for too long.
        """
        began, last_line = time.monotonic(), ""
        while True:
            observation = self.observe()
            line = self.attend(observation)
            if line != last_line:
                last_line = line
                _log.info("%s: %s", self.subjob_set.description, line)
            waited = time.monotonic() - began
            if observation.is_over or (timeout is not None and waited >= timeout):
                return observation
            interval = decide_interval(waited, self.patience)
            time.sleep(interval if timeout is None else min(interval, timeout - waited))

    def read_attempts(self) -> tuple[ExitRecord, ...]:
        """Return the exit records of all attempts of all subjobs."""
        return self._status.scan()

    def cancel(self, subjobs: Iterable[int] | None = None) -> None:
        """End what is submitted. An element of which only a part is to be ended goes on.

        :param subjobs: only these; None: all.
        :raises CafError: the first failure; all arrays are tried.
        """
        self.client.cancel(read_arrays(self.folders.arrays_folder), None if subjobs is None else tuple(subjobs))

    @property
    def newest_attempt(self) -> int:
        """The number of the newest attempt; -1: nothing was submitted."""
        return max((intent.attempt for intent in read_intents(self.folders.arrays_folder)), default=-1)

    def list_array_ids(self) -> list[str]:
        """Return the ids of all arrays that were submitted."""
        return [native_id for array in read_arrays(self.folders.arrays_folder) for native_id in array.ids]

    def describe_submissions(self) -> list[dict[str, Any]]:
        """Return how the newest arrays were submitted, the last one first: command, files, resources as then."""
        newest = reversed(read_arrays(self.folders.arrays_folder)[-_SHOWN_ARRAYS:])
        return [_describe_submission(array, self.client.system.name) for array in newest]

    def check_done(self, observation: Observation, *, to_repeat: str | None = None) -> tuple[int, ...]:
        """Refuse to go on if more subjobs failed than the set's `max_failed` allows.

        :param to_repeat: what a person does to run them again, for the hint; None: as the class says.
        :returns: the subjobs that failed and may.
        :raises JobFailed: with a table of them; also if one is not over. It is a `JobHeld` or `JobLost` where that is
            true of all of them.
        """
        to_repeat = to_repeat or self.to_repeat
        total, failed = len(observation.verdicts), observation.failed
        if not observation.is_over:
            raise JobFailed(
                f"The subjobs of {self.subjob_set.description} are not over: {observation.describe()}.",
                hint=f"To wait for them, {to_repeat}.",
            )
        allowed = count_tolerated(self.subjob_set.max_failed, total)
        if len(failed) > allowed:
            but = f", and only {allowed} may" if allowed else ""
            raise _choose_error([observation.verdicts[subjob] for subjob in failed])(
                f"{len(failed)} of {total} subjobs of {self.subjob_set.description}, failed{but}.\n"
                + build_failure_table(observation.verdicts),
                hint=f"Mend the cause and {to_repeat}: only the failed subjobs run again.",
            )
        return failed

    def describe_failed(self, observation: Observation) -> str:
        """Return a warning about the subjobs that failed and may."""
        return (
            f"{len(observation.failed)} of {len(observation.verdicts)} subjobs of {self.subjob_set.description}, "
            f"failed. {self.tolerance} ({self.subjob_set.max_failed}) allows it: {self.without_failed}.\n"
            + build_failure_table(observation.verdicts)
        )

    def _observe(
        self, arrays: Sequence[SubmittedArray], *, check_outputs: bool = True, read_logs: bool = True
    ) -> Observation:
        question = find_question(arrays, self._read_digests(), self._status, check_outputs=check_outputs)
        snapshot = self.client.poll(question.polled) if question.polled else None
        return judge(question, snapshot, self._status, read_logs=read_logs)

    def _read_digests(self) -> dict[int, str]:
        return read_job_digests(self.folders.input_folder, self.subjob_set.subjobs)

    def _read_present_digests(self) -> dict[int, str]:
        present = [subjob for subjob in self.subjob_set.subjobs if self.folders.job_file(subjob).exists()]
        return read_job_digests(self.folders.input_folder, present)

    def _find_times(
        self, records: Iterable[ExitRecord], find_seconds: Callable[[], float | None] | None
    ) -> RunTimes | None:
        """Return run times for `subjobs_per_job="auto"`: of this run, else of the previous one, else the usual ones."""
        if self.subjob_set.resources.subjobs_per_job != AUTO:
            return None
        previous = self.subjob_set.previous
        times = measure_records(records)
        if times is None and previous is not None:
            times = measure_records(self.client.open_status_folder(previous.status_folder).scan())
        seconds = find_seconds() if times is None and find_seconds is not None else None
        return times if seconds is None else RunTimes(mean=seconds, longest=seconds)


def _choose_error(failed: Sequence[Verdict]) -> type[JobFailed]:
    if all(verdict.gave_up for verdict in failed):
        return JobHeld
    return JobLost if all(verdict.status is SubjobStatus.LOST for verdict in failed) else JobFailed


def _describe_submission(submitted: SubmittedArray, system: str) -> dict[str, Any]:
    """Return how an array was submitted, for a person; what is long is cut."""
    array = submitted.array
    description: dict[str, Any] = {
        "backend": system,
        "name": array.name,
        "ids": list(submitted.ids),
        "submitted": submitted.submitted,
        "jobs": len(array.elements),
        "subjobs": len(array.subjobs),
        "resources": array.resources.to_json(),
    }
    kept = read_submission(Path(array.folder))
    if kept is not None:
        description["command"] = list(kept.command.argv)
        if kept.command.stdin is not None:
            description["stdin"] = kept.command.stdin[:_SHOWN_LETTERS]
        description["files"] = {file.path: file.text[:_SHOWN_LETTERS] for file in kept.files}
    return description
