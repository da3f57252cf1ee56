"""What `prepare` resolved once, and every later step of the calibration reads.

`definition.json` holds what concerns the whole calibration, `manifest/<collection>.json` one collection with its
subjobs. Both are read strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import CheckpointError, DefinitionError
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.core.stored_record import StoredRecord
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.calibration import CalibrationBase
from airflow_provider_caf.definitions.stored import StoredCalibration, StoredCollection, read_stored_member
from airflow_provider_caf.io.layout import CalibrationLayout, CollectionLayout

_ANOTHER_RELEASE = "It was written by another release. Clear the calibration from its `prepare` on."


@record
class CollectionManifest(StoredRecord):
    """One collection, resolved.

    :param prefix: the prefix of its collector, empty for a command.
    :param granularity: `run` or `all`.
    :param subjobs: the files or arguments of every subjob.
    :param database_chain: without the payloads of a previous iteration.
    :param backend: the batch system, by our name.
    :param resources: the arguments of the batch system, merged.
    :param connection: the Airflow connection that says how the batch system is reached; None: on this machine.
    """

    version = 1
    version_error = CheckpointError
    version_hint = _ANOTHER_RELEASE

    calibration: str
    collection: StoredCollection
    prefix: str
    granularity: str
    subjobs: tuple[SubjobPlan, ...]
    database_chain: tuple[DatabaseEntry, ...]
    backend: str
    connection: str | None = None
    resources: Resources

    @property
    def files(self) -> tuple[str, ...]:
        """The input files of all subjobs, sorted."""
        return tuple(sorted({file for subjob in self.subjobs for file in subjob.files}))

    @classmethod
    def read(cls, layout: CollectionLayout) -> CollectionManifest:
        """Read what `prepare` wrote, see `read_file`."""
        manifest = cls.read_file(layout.manifest, f"manifest of collection {layout.name!r}")
        return replace(manifest, collection=manifest.collection.rename(layout.name))


@record
class Target:
    """A batch system, as the words of a definition name it.

    :param backend: by our name.
    :param connection: the Airflow connection to it, or None.
    :param connection_args: the arguments of that connection, below all others.
    """

    backend: str = "local"
    connection: str | None = None
    connection_args: Mapping[str, Any] = field(default_factory=dict)

    def merge(self, layers: Mapping[str, Mapping[str, Any]]) -> Resources:
        """Return the arguments of the connection with others over them.

        :param layers: whose they are, for messages → arguments as a user writes them, the nearest last.
        :raises DefinitionError: if one is unknown or has a value that it cannot have.
        """
        own = "the connection" if self.connection is None else f"connection {self.connection!r}"
        given = {own: self.connection_args, **layers}
        return merge_resources(*(parse_resources(arguments, where) for where, arguments in given.items()))


@record
class JobTarget(JsonRecord):
    """Where an algorithm runs as a job.

    :param backend: the batch system, by our name.
    :param connection: the Airflow connection to it; None: on this machine.
    :param resources: the arguments of the batch system, merged.
    """

    noun = "target"

    backend: str
    connection: str | None
    resources: Resources

    @classmethod
    def choose(cls, target: Target, resources: Resources, where: str) -> JobTarget:
        """Return where a job runs that reads and writes in the work folder.

        :param where: whose it is, for messages.
        :raises DefinitionError: if its files were to be carried.
        """
        if resources.transfer_files:
            raise DefinitionError(
                f"The {where} cannot run as a job with 'transfer_files': it reads and writes in the work folder.",
                hint="Leave out its backend, or set transfer_files: false in its backend_args where the machines of "
                "the batch system see the work folder.",
            )
        return cls(backend=target.backend, connection=target.connection, resources=resources)


@record
class CalibrationManifest(StoredRecord):
    """One calibration, resolved.

    :param calibration: the definition with its templates filled in.
    :param granularities: collection → `run` or `all`.
    :param prefixes: collection → prefix of its collector.
    :param database_chain: what its algorithms see behind the payloads of its own passes.
    :param resources: in which environment the algorithms run.
    :param ancestors: the calibrations whose payloads it sees, nearest first.
    :param targets: algorithm → where it runs as a job; of the others the task does the work.
    """

    version = 1
    version_error = CheckpointError
    version_hint = _ANOTHER_RELEASE

    calibration: StoredCalibration
    granularities: Mapping[str, str]
    prefixes: Mapping[str, str]
    database_chain: tuple[DatabaseEntry, ...]
    resources: Resources
    ancestors: tuple[str, ...] = ()
    targets: Mapping[str, JobTarget] = field(default_factory=dict)

    def find_algorithm(self, name: str) -> Algorithm:
        """Return one of the algorithms.

        :raises CheckpointError: if `prepare` ran with another definition.
        """
        for algorithm in self.calibration.algorithms:
            if algorithm.name == name:
                return algorithm
        raise CheckpointError(
            f"Calibration {self.calibration.name!r} was prepared without an algorithm {name!r}.",
            hint="The definition changed since. Clear the calibration from its `prepare` on.",
        )

    @classmethod
    def read(cls, layout: CalibrationLayout) -> CalibrationManifest:
        """Read what `prepare` wrote, see `read_file`."""
        return cls.read_file(layout.definition, f"manifest of calibration {layout.name!r}")


def write_step(step: CalibrationBase, layout: CalibrationLayout) -> None:
    """Write the manifest of a step that collects nothing."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    write_json(layout.definition, {"version": CalibrationManifest.version, "step": step.to_json()}, mode=PRIVATE)


def read_member(layout: CalibrationLayout) -> CalibrationBase:
    """Read the definition of a calibration, or of a step that collects nothing.

    :raises InputError: if it is missing or cut off.
    :raises DefinitionError: if a field is missing, unknown or wrong.
    """
    value = read_json(layout.definition, f"The manifest of calibration {layout.name!r}")
    if isinstance(value, Mapping) and "step" in value:
        return read_stored_member(value["step"])
    return CalibrationManifest.read(layout).calibration
