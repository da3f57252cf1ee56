"""The collector subjobs of one pass of a collection: submit what is missing, look, submit again what failed.

A subjob is done when its exit record and its outputs say so; everything here starts from that. So each function can
be called again at any time, by any task: what is done is not run again, and what runs is not submitted twice.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.packing import RunTimes
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.resubmit import DEFAULT_MEMORY_FACTOR, RetryPolicy
from airflow_provider_caf.batch.spec import ArraySpec
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.systems.base import Submission
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import InputError, JobFailed, JobHeld, JobLost
from airflow_provider_caf.core.files import PRIVATE, write_json
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.core.tolerance import count_tolerated
from airflow_provider_caf.definitions.form import given
from airflow_provider_caf.io.inputs import is_uri
from airflow_provider_caf.io.layout import CalibrationLayout, CollectionLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.client import BatchClient, read_submission
from airflow_provider_caf.jobs.mirror import Mirror
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.subjobs import build_failure_table, count_subjobs, describe_counts, read_job_digests
from airflow_provider_caf.jobs.submission import (
    CollectionJob,
    Observation,
    Question,
    Submitted,
    find_question,
    judge,
    measure_records,
    observe,
    preview,
    read_arrays,
    submit_missing,
)
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport
from airflow_provider_caf.steps.manifest import CollectionManifest

_SHOWN_ARRAYS = 5
_SHOWN_LETTERS = 4000


class CollectionRun:
    """The subjobs of one collection in one pass.

    :param layout: the calibration's paths.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param patience: how often to look and how long to wait.
    :param transport: reaches the submit host; None: it is this machine.
    :param mirror: carries the files where the submit host does not see the work folder.
    :param manifest: where the caller has read it already.
    :raises InputError: if the calibration was not prepared.
    """

    def __init__(
        self,
        layout: CalibrationLayout,
        iteration: int,
        collection: str,
        *,
        patience: Patience | None = None,
        transport: Transport | None = None,
        mirror: Mirror | None = None,
        manifest: CollectionManifest | None = None,
    ) -> None:
        self.calibration = layout
        self.iteration = iteration
        self.layout = layout.iteration(iteration).collection(collection)
        self.manifest = manifest or CollectionManifest.read(self.layout)
        self.patience = patience or Patience()
        self.client = BatchClient(
            load_system(self.manifest.backend), transport or LocalTransport(), patience=self.patience, mirror=mirror
        )
        self._mirror = mirror
        self._status = self.client.open_status_folder(self.layout.status_folder)
        self._expected: dict[int, str] | None = None
        run = layout.run_folder
        self._job = CollectionJob(
            dag=run.parent.name,
            run=run.name,
            calibration=layout.name,
            iteration=iteration,
            collection=collection,
            layout=self.layout,
            subjobs=tuple(subjob.index for subjob in self.manifest.subjobs),
            app=layout.app,
            python=self.manifest.resources.python or _find_default_python(self.manifest.backend),
            resources=self.manifest.resources,
        )

    def write_jobs(self) -> None:
        """Write one job file for each subjob, and end what still runs with a job file that changed."""
        for folder in (self.layout.input_folder, self.layout.status_folder, self.layout.arrays_folder):
            folder.mkdir(parents=True, exist_ok=True)
        existing = [subjob for subjob in self._job.subjobs if self.layout.job_file(subjob).exists()]
        before = read_job_digests(self.layout.input_folder, existing)
        chain = self._build_chain()
        made_of = {"app": _digest_file(self.calibration.app), "constants": digest_constants(chain)}
        if self._mirror is not None:
            chain = carry_databases(self._mirror, chain)
        for subjob in self.manifest.subjobs:
            job = self._build_job(subjob, chain, {**made_of, "inputs": measure_inputs(subjob.files)})
            write_json(self.layout.job_file(subjob.index), job, durable=False, mode=PRIVATE)
        now = read_job_digests(self.layout.input_folder, existing)
        changed = [subjob for subjob in existing if now[subjob] != before[subjob]]
        if changed:
            self.client.cancel(read_arrays(self.layout.arrays_folder), changed)

    def submit_missing(
        self,
        first_attempt: int | None = None,
        *,
        max_retries: int | None = None,
        find_seconds: Callable[[], float | None] | None = None,
    ) -> Submitted:
        """Submit every subjob that is neither done nor under way.

        :param first_attempt: tries before this one do not count; None: none counts.
        :param max_retries: instead of the definition's `max_subjob_retries`.
        :param find_seconds: gives the usual run time of these subjobs, for `subjobs_per_job="auto"` where this DAG run
            has not seen it yet.
        :raises SubmitError: if the batch system does not take them.
        :raises PollError: if it is not known whether earlier ones still run.
        """

        def find_times() -> RunTimes | None:
            times = self._measure_previous_pass()
            seconds = find_seconds() if times is None and find_seconds is not None else None
            return times if seconds is None else RunTimes(mean=seconds, longest=seconds)

        return submit_missing(
            self.client,
            self._job,
            policy=self._build_policy(max_retries),
            first_attempt=first_attempt,
            previous=() if self._previous is None else read_arrays(self._previous.arrays_folder),
            find_times=find_times,
        )

    def preview(self) -> list[tuple[ArraySpec, Submission]]:
        """Give what a first submission would run and write; the job files have to be there. Nothing is submitted.

        :raises DefinitionError: if the system cannot do what the resources ask for.
        """
        return preview(self.client, self._job)

    def observe(self, *, check_outputs: bool = True, read_logs: bool = True) -> Observation:
        """Ask the batch system once, read the exit records, and judge every subjob.

        :param check_outputs: whether the outputs of the done ones have to be there still.
        :param read_logs: whether to read the logs of the failed ones.
        :raises PollError: if the batch system has not answered for too long.
        """
        look = partial(
            observe, self.client, self._job, status=self._status, check_outputs=check_outputs, read_logs=read_logs
        )
        seen = look()
        silent = [subjob for subjob in find_failed(seen) if seen.verdicts[subjob].record is None]
        if self._mirror is None or not read_logs or not silent:
            return seen
        for array in seen.arrays:
            self._mirror.fetch_logs(array.array, silent)
        return look()

    def find_question(self) -> Question:
        """Read what the subjobs have left, and find out after which arrays to ask; `judge` takes the answer.

        For a waiter who shares the polls with others. It reads the job files once in its life, and does not look at
        the outputs.
        """
        if self._expected is None:
            self._expected = read_job_digests(self.layout.input_folder, self._job.subjobs)
        return find_question(self._job, status=self._status, expected=self._expected, check_outputs=False)

    def judge(self, question: Question, snapshot: Snapshot | None) -> Observation:
        """Judge every subjob by a poll that was made after the question.

        :raises PollError: if the batch system has not answered for too long.
        """
        return judge(question, snapshot, status=self._status, check_outputs=False, read_logs=False)

    def read_attempts(self) -> tuple[ExitRecord, ...]:
        """Give the exit records of all tries of all subjobs."""
        return self._status.scan()

    def cancel(self) -> None:
        """End all that is submitted."""
        self.client.cancel(read_arrays(self.layout.arrays_folder))

    def list_array_ids(self) -> list[str]:
        """Give the ids of all arrays that were submitted."""
        return [one for array in read_arrays(self.layout.arrays_folder) for one in array.ids]

    def describe_submissions(self) -> list[dict[str, Any]]:
        """Give for each array, the newest first, how it was submitted: command, files, resources, as they were kept."""
        found = []
        for each in reversed(read_arrays(self.layout.arrays_folder)[-_SHOWN_ARRAYS:]):
            array = each.array
            kept = read_submission(Path(array.folder))
            found.append(
                {
                    "backend": self.manifest.backend,
                    "name": array.name,
                    "ids": list(each.ids),
                    "submitted": each.submitted,
                    "jobs": len(array.elements),
                    "subjobs": sum(len(element) for element in array.elements),
                    "resources": array.resources.to_json(),
                    **({} if kept is None else _show(kept)),
                }
            )
        return found

    def check_done(self, observation: Observation, *, to_clear: str = "this task") -> tuple[int, ...]:
        """Refuse to go on if more subjobs failed than the definition's `max_failed_subjobs` allows.

        :param to_clear: the task that submits them again, for the hint.
        :return: the subjobs that failed and may.
        :raises JobFailed: with a table of them; also if one is not over. It is a `JobHeld` or `JobLost` where that is
            true of all of them.
        """
        failed = find_failed(observation)
        if not is_over(observation):
            raise JobFailed(
                f"The subjobs of {self._where} are not over: {describe_observation(observation)}.",
                hint=f"Clear {to_clear}, which waits for them.",
            )
        allowed = count_tolerated(given(self.manifest.collection.max_failed_subjobs), len(observation.verdicts))
        if len(failed) > allowed:
            but = f", and only {allowed} may" if allowed else ""
            raise _choose_error([observation.verdicts[subjob] for subjob in failed])(
                f"{len(failed)} of {len(observation.verdicts)} subjobs of {self._where}, failed{but}.\n"
                + build_failure_table(observation.verdicts),
                hint=f"Mend the cause and clear {to_clear}: only the failed subjobs run again.",
            )
        return failed

    def describe_failed(self, observation: Observation) -> str:
        """Give a warning about the subjobs without which the calibration goes on."""
        return (
            f"{len(find_failed(observation))} of {len(observation.verdicts)} subjobs of {self._where}, failed. "
            f"max_failed_subjobs ({self.manifest.collection.max_failed_subjobs}) allows it: the calibration goes on "
            "without their data.\n" + build_failure_table(observation.verdicts)
        )

    @property
    def _where(self) -> str:
        return f"collection {self.layout.name!r} in calibration {self.calibration.name!r}, iteration {self.iteration}"

    def _build_policy(self, max_retries: int | None) -> RetryPolicy:
        resources = self.manifest.resources
        return RetryPolicy(
            max_retries=given(self.manifest.collection.max_subjob_retries) if max_retries is None else max_retries,
            memory_factor=resources.memory_factor or DEFAULT_MEMORY_FACTOR,
            memory_ceiling=resources.memory_ceiling,
            max_failures_per_host=resources.max_failures_per_host,
        )

    @property
    def _previous(self) -> CollectionLayout | None:
        """The paths of the same collection in the pass before."""
        if not self.iteration:
            return None
        return self.calibration.iteration(self.iteration - 1).collection(self.layout.name)

    def _measure_previous_pass(self) -> RunTimes | None:
        if self._previous is None:
            return None
        return measure_records(self.client.open_status_folder(self._previous.status_folder).scan())

    def _build_chain(self) -> tuple[DatabaseEntry, ...]:
        previous = str(self.calibration.iteration(self.iteration - 1).database) if self.iteration else None
        return build_database_chain(previous, (), self.manifest.database_chain)

    def _build_job(
        self, subjob: SubjobPlan, chain: Iterable[DatabaseEntry], made_of: dict[str, object]
    ) -> dict[str, object]:
        """Give the content of `job.json`; `worker.collect` says what each field means.

        :param made_of: what else the output depends on. No job reads it, but it changes the file's digest: when the
            collector's code, a constant or an input file has changed, what was collected before does not count.
        """
        collection = self.manifest.collection
        return {
            "version": 1,
            "calibration": self.calibration.name,
            "collection": collection.name,
            "iteration": self.iteration,
            "subjob": subjob.index,
            "command": collection.command,
            "collector": collection.reference,
            "settings": dict(collection.settings),
            "granularity": self.manifest.granularity,
            "input_files": list(subjob.files),
            "output_patterns": list(collection.output_patterns),
            "database_chain": [entry.to_job_json() for entry in chain],
            "arguments": dict(subjob.arguments),
            "pre_collector": collection.pre_job,
            "job_files": sorted(collection.job_files),
            "made_of": made_of,
        }


def _show(submission: Submission) -> dict[str, Any]:
    """Give a command with what it reads, and its files, for a person; what is long is cut."""
    read = {} if submission.command.stdin is None else {"stdin": submission.command.stdin[:_SHOWN_LETTERS]}
    files = {file.path: file.text[:_SHOWN_LETTERS] for file in submission.files}
    return {"command": list(submission.command.argv), **read, "files": files}


def _find_default_python(backend: str) -> str:
    """Give the Python of a job where nobody named one: on this machine the one that runs here."""
    return sys.executable if backend == "local" else "python3"


def carry_databases(mirror: Mirror, chain: Iterable[DatabaseEntry]) -> tuple[DatabaseEntry, ...]:
    """Bring the local databases of a chain to the submit host, and give the chain as the jobs there see it.

    :raises TransportError: if the host refuses.
    """
    carried = []
    for entry in chain:
        if entry.kind == LOCAL:
            folder = LocalDatabase(entry.value).folder
            mirror.upload_folder(folder)
            entry = replace(entry, value=mirror.find_remote(str(folder)))
        carried.append(entry)
    return tuple(carried)


def measure_inputs(files: Iterable[str]) -> list[list[int] | None]:
    """Give size in bytes and time of change in ns of each input file; None for one that only the job can open.

    :raises InputError: if a file is not there any more.
    """
    measured: list[list[int] | None] = []
    for file in files:
        if is_uri(file):
            measured.append(None)
            continue
        try:
            state = Path(file).stat()
        except OSError as error:
            raise InputError(
                f"The input file {file} is not there any more: {error.strerror}.",
                hint="Bring it back, or clear the calibration from its `prepare` on.",
            ) from error
        measured.append([state.st_size, state.st_mtime_ns])
    return measured


def digest_constants(chain: Iterable[DatabaseEntry]) -> dict[str, str]:
    """Give the digest of each local database of a chain; its text names the payloads by their MD5.

    :raises DatabaseError: if a database is not there.
    """
    digests = {}
    for entry in chain:
        if entry.kind == LOCAL:
            database = LocalDatabase(entry.value)
            database.entries()  # says clearly what is wrong with it
            digests[entry.value] = _digest_file(database.text_file)
    return digests


def _digest_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _choose_error(failed: Sequence[Verdict]) -> type[JobFailed]:
    if all(verdict.gave_up for verdict in failed):
        return JobHeld
    return JobLost if all(verdict.status is SubjobStatus.LOST for verdict in failed) else JobFailed


def is_over(observation: Observation) -> bool:
    """Tell whether nothing will happen any more by itself."""
    return all(verdict.status.is_over for verdict in observation.verdicts.values())


def find_failed(observation: Observation) -> tuple[int, ...]:
    """Give the subjobs that are over and not done."""
    return tuple(
        subjob
        for subjob, verdict in observation.verdicts.items()
        if verdict.status.is_over and verdict.status is not SubjobStatus.DONE
    )


def describe_observation(observation: Observation) -> str:
    """Give a line such as `412 done, 3 held, 85 running`."""
    counts = describe_counts(count_subjobs(observation.verdicts))
    if observation.problem is None:
        return counts
    return f"{counts} (the batch system does not answer: {observation.problem})"
