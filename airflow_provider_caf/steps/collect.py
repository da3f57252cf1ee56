"""The collector subjobs of one pass of a collection: the content of their job files, and what depends on a calibration.

`jobs.run` submits, watches and judges them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import measure_file
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.form import given
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.mirror import Mirror
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.jobs.subjob_set import SubjobSet
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.steps.manifest import CollectionManifest


class CollectionRun(SubjobRun):
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

    to_repeat = "clear this task"
    tolerance = "max_failed_subjobs"
    without_failed = "the calibration goes on without their data"

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
        system = load_system(self.manifest.backend)
        super().__init__(self._build_subjob_set(), BatchClient(system, transport, patience=patience, mirror=mirror))

    def write_jobs(self) -> None:
        """Write one job file for each subjob, and end what still runs with a job file that changed.

        :raises InputError: if an input file is not there any more.
        :raises DatabaseError: if a database of the chain is not there.
        """
        chain = self._build_chain()
        made_of = {"app": _digest_file(self.calibration.app), "constants": digest_constants(chain)}
        if self.client.mirror is not None:
            chain = carry_databases(self.client.mirror, chain)
        self.write_job_files(
            self._build_job(subjob, chain, {**made_of, "inputs": measure_inputs(subjob.files)})
            for subjob in self.manifest.subjobs
        )

    def _build_subjob_set(self) -> SubjobSet:
        calibration, iteration, collection = self.calibration, self.iteration, self.manifest.collection
        name, run = self.layout.name, calibration.run_folder
        previous = calibration.iteration(iteration - 1).collection(name).jobs if iteration else None
        return SubjobSet(
            labels=(calibration.name, name, f"i{iteration}"),
            folders=self.layout.jobs,
            subjobs=tuple(subjob.index for subjob in self.manifest.subjobs),
            app=calibration.app,
            resources=self.manifest.resources,
            max_retries=given(collection.max_subjob_retries),
            max_failed=given(collection.max_failed_subjobs),
            title=f"collection {name!r} in calibration {calibration.name!r}, iteration {iteration}",
            identity=(run.parent.name, run.name, calibration.name, iteration, name),
            previous=previous,
        )

    def _build_chain(self) -> tuple[DatabaseEntry, ...]:
        previous = str(self.calibration.iteration(self.iteration - 1).database) if self.iteration else None
        return build_database_chain(previous, (), self.manifest.database_chain)

    def _build_job(
        self, subjob: SubjobPlan, chain: Iterable[DatabaseEntry], made_of: dict[str, object]
    ) -> dict[str, object]:
        """Return the content of `job.json`; `worker.collect` says what each field means.

        :param made_of: what else the output depends on. No job reads it, but it changes the file's digest: when the
            collector's code, a constant or an input file has changed, what was collected before does not count.
        """
        job = build_job(self.calibration.name, self.manifest.collection, subjob, chain, self.iteration)
        return {**job, "granularity": self.manifest.granularity, "made_of": made_of}


def build_job(
    calibration: str,
    collection: Collection,
    subjob: SubjobPlan,
    chain: Iterable[DatabaseEntry],
    iteration: int = 0,
) -> dict[str, object]:
    """Return what `job.json` says of a subjob by its definition, the granularity included."""
    return {
        "version": 1,
        "calibration": calibration,
        "collection": collection.name,
        "iteration": iteration,
        "subjob": subjob.index,
        "command": collection.command,
        "collector": collection.reference,
        "settings": dict(collection.settings),
        "granularity": collection.granularity,
        "input_files": list(subjob.files),
        "output_patterns": list(collection.output_patterns),
        "database_chain": [entry.to_job_json() for entry in chain],
        "arguments": dict(subjob.arguments),
        "pre_collector": collection.pre_job,
        "job_files": sorted(collection.job_files),
    }


def carry_databases(mirror: Mirror, chain: Iterable[DatabaseEntry]) -> tuple[DatabaseEntry, ...]:
    """Bring the local databases of a chain to the submit host, and return the chain as the jobs there see it.

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
    """Return size in bytes and time of change in ns of each input file; None for one that only the job can open.

    :raises InputError: if a file is not there any more.
    """
    measured: list[list[int] | None] = []
    for file in files:
        try:
            measured.append(measure_file(file))
        except OSError as error:
            raise InputError(
                f"The input file {file} is not there any more: {error.strerror}.",
                hint="Bring it back, or clear the calibration from its `prepare` on.",
            ) from error
    return measured


def digest_constants(chain: Iterable[DatabaseEntry]) -> dict[str, str]:
    """Return the digest of each local database of a chain; its text names the payloads by their MD5.

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
