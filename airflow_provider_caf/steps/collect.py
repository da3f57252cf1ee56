"""The collector subjobs of one pass of a collection: submit what is missing, look, submit again what failed.

A subjob is done when its exit record and its outputs say so; everything here starts from that. So each function can
be called again at any time, by any task: what is done is not run again, and what runs is not submitted twice.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.resubmit import RetryPolicy
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import InputError, JobFailed
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.io.client import BatchClient
from airflow_provider_caf.io.exit_records import ExitRecord, StatusFolder
from airflow_provider_caf.io.files import write_json
from airflow_provider_caf.io.inputs import is_uri
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.io.subjobs import (
    SubjobStatus,
    build_failure_table,
    count_subjobs,
    describe_counts,
    read_job_digests,
)
from airflow_provider_caf.io.submission import (
    CollectionJob,
    Observation,
    Submitted,
    observe,
    read_arrays,
    submit_missing,
)
from airflow_provider_caf.io.transport.local import LocalTransport
from airflow_provider_caf.steps.manifest import CollectionManifest


class CollectionRun:
    """The subjobs of one collection in one pass.

    :param layout: the calibration's paths.
    :param iteration: the number of the pass, from 0.
    :param collection: the collection's name.
    :param patience: how often to look and how long to wait.
    :raises InputError: if the calibration was not prepared.
    """

    def __init__(
        self, layout: CalibrationLayout, iteration: int, collection: str, patience: Patience | None = None
    ) -> None:
        self.calibration = layout
        self.iteration = iteration
        self.layout = layout.iteration(iteration).collection(collection)
        self.manifest = CollectionManifest.read(self.layout)
        self.patience = patience or Patience()
        self.client = BatchClient(load_system(self.manifest.backend), LocalTransport(), patience=self.patience)
        self._status = StatusFolder(self.layout.status_folder)
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
        for subjob in self.manifest.subjobs:
            job = self._build_job(subjob, chain, {**made_of, "inputs": measure_inputs(subjob.files)})
            write_json(self.layout.job_file(subjob.index), job, durable=False)
        now = read_job_digests(self.layout.input_folder, existing)
        changed = [subjob for subjob in existing if now[subjob] != before[subjob]]
        if changed:
            self.client.cancel(read_arrays(self.layout.arrays_folder), changed)

    def submit_missing(self, policy: RetryPolicy | None = None, first_attempt: int | None = None) -> Submitted:
        """Submit every subjob that is neither done nor under way.

        :param policy: how failed subjobs go again.
        :param first_attempt: tries before this one do not count; None: none counts.
        :raises SubmitError: if the batch system does not take them.
        :raises PollError: if it is not known whether earlier ones still run.
        """
        return submit_missing(self.client, self._job, policy=policy, first_attempt=first_attempt)

    def observe(self, *, check_outputs: bool = True, read_logs: bool = True) -> Observation:
        """Ask the batch system once, read the exit records, and judge every subjob.

        :param check_outputs: whether the outputs of the done ones have to be there still.
        :param read_logs: whether to read the logs of the failed ones.
        :raises PollError: if the batch system has not answered for too long.
        """
        return observe(self.client, self._job, status=self._status, check_outputs=check_outputs, read_logs=read_logs)

    def read_attempts(self) -> tuple[ExitRecord, ...]:
        """Give the exit records of all tries of all subjobs."""
        return self._status.scan()

    def cancel(self) -> None:
        """End all that is submitted."""
        self.client.cancel(read_arrays(self.layout.arrays_folder))

    def list_array_ids(self) -> list[str]:
        """Give the ids of all arrays that were submitted."""
        return [one for array in read_arrays(self.layout.arrays_folder) for one in array.ids]

    def check_done(self, observation: Observation, *, to_clear: str = "this task") -> None:
        """Refuse to go on with subjobs that failed.

        :param to_clear: the task that submits them again, for the hint.
        :raises JobFailed: with a table of them.
        """
        failed = find_failed(observation)
        if failed:
            raise JobFailed(
                f"{len(failed)} of {len(observation.verdicts)} subjobs of collection {self.layout.name!r} in "
                f"calibration {self.calibration.name!r}, iteration {self.iteration}, failed.\n"
                + build_failure_table(observation.verdicts),
                hint=f"Mend the cause and clear {to_clear}: only the failed subjobs run again.",
            )

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
            "command": None if collection.command is None else list(collection.command),
            "collector": collection.collector,
            "settings": dict(collection.settings),
            "granularity": self.manifest.granularity,
            "input_files": list(subjob.files),
            "output_patterns": list(collection.output_patterns),
            "database_chain": [entry.to_job_json() for entry in chain],
            "arguments": dict(subjob.arguments),
            "pre_collector": None if collection.pre_collector is None else dict(collection.pre_collector),
            "made_of": made_of,
        }


def _find_default_python(backend: str) -> str:
    """Give the Python of a job where nobody named one: on this machine the one that runs here."""
    return sys.executable if backend == "local" else "python3"


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
