"""What `prepare` resolved once, and every later step of the calibration reads.

`definition.json` holds what concerns the whole calibration, `manifest/<collection>.json` one collection with its
subjobs. Both are read strictly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.batch.spec import Resources, parse_resources
from airflow_provider_caf.core.calibration import (
    AlgorithmRecord,
    CalibrationRecord,
    CollectionRecord,
    DatabaseEntry,
    Member,
    StepRecord,
)
from airflow_provider_caf.core.errors import CheckpointError
from airflow_provider_caf.core.json_form import (
    ObjectReader,
    build_json,
    read_list,
    read_object,
    read_optional,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.io.files import PRIVATE, read_json, write_json
from airflow_provider_caf.io.layout import CalibrationLayout, CollectionLayout

_VERSION = 1


@record
class CollectionManifest:
    """One collection, resolved.

    :param prefix: the prefix of its collector, empty for a command.
    :param granularity: `run` or `all`.
    :param subjobs: the files or arguments of every subjob.
    :param database_chain: without the payloads of a previous iteration.
    :param backend: the batch system, by our name.
    :param resources: the arguments of the batch system, merged.
    :param connection: the Airflow connection that says how the batch system is reached; None: on this machine.
    """

    calibration: str
    collection: CollectionRecord
    prefix: str
    granularity: str
    subjobs: tuple[SubjobPlan, ...]
    database_chain: tuple[DatabaseEntry, ...]
    backend: str
    resources: Resources
    connection: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The input files of all subjobs, sorted."""
        return tuple(sorted({file for subjob in self.subjobs for file in subjob.files}))

    def write(self, layout: CollectionLayout) -> None:
        """Write the manifest."""
        layout.manifest.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            layout.manifest,
            {
                "version": _VERSION,
                "calibration": self.calibration,
                "collection": self.collection.to_json(),
                "prefix": self.prefix,
                "granularity": self.granularity,
                "subjobs": [
                    {"index": each.index, "files": list(each.files), "arguments": dict(each.arguments)}
                    for each in self.subjobs
                ],
                "database_chain": build_json(self.database_chain),
                "backend": self.backend,
                "connection": self.connection,
                "resources": self.resources.to_json(),
            },
            mode=PRIVATE,
        )

    @classmethod
    def read(cls, layout: CollectionLayout) -> CollectionManifest:
        """Read what `prepare` wrote.

        :raises InputError: if it is missing or cut off.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        where = f"manifest of collection {layout.name!r}"
        reader = ObjectReader(read_json(layout.manifest, f"The {where}"), where)
        _check_version(reader, where)
        manifest = cls(
            calibration=reader.take("calibration", read_text),
            collection=reader.take("collection", read_with(CollectionRecord.from_json)),
            prefix=reader.take("prefix", read_text),
            granularity=reader.take("granularity", read_text),
            subjobs=reader.take("subjobs", read_list(_read_subjob)),
            database_chain=reader.take("database_chain", read_list(read_with(DatabaseEntry.from_json))),
            backend=reader.take("backend", read_text),
            connection=reader.take("connection", read_optional(read_text)),
            resources=reader.take("resources", _read_resources),
        )
        reader.finish()
        return manifest


@record
class CalibrationManifest:
    """One calibration, resolved.

    :param calibration: the definition with its templates filled in.
    :param granularities: collection → `run` or `all`.
    :param prefixes: collection → prefix of its collector.
    :param database_chain: what its algorithms see behind the payloads of its own passes.
    :param resources: in which environment the algorithms run.
    :param ancestors: the calibrations whose payloads it sees, nearest first.
    """

    calibration: CalibrationRecord
    granularities: Mapping[str, str]
    prefixes: Mapping[str, str]
    database_chain: tuple[DatabaseEntry, ...]
    resources: Resources
    ancestors: tuple[str, ...] = ()

    def find_algorithm(self, name: str) -> AlgorithmRecord:
        """Give one of the algorithms.

        :raises CheckpointError: if `prepare` ran with another definition.
        """
        for algorithm in self.calibration.algorithms:
            if algorithm.name == name:
                return algorithm
        raise CheckpointError(
            f"Calibration {self.calibration.name!r} was prepared without an algorithm {name!r}.",
            hint="The definition changed since. Clear the calibration from its `prepare` on.",
        )

    def write(self, layout: CalibrationLayout) -> None:
        """Write the manifest."""
        layout.folder.mkdir(parents=True, exist_ok=True)
        write_json(
            layout.definition,
            {
                "version": _VERSION,
                "calibration": self.calibration.to_json(),
                "granularities": dict(self.granularities),
                "prefixes": dict(self.prefixes),
                "database_chain": build_json(self.database_chain),
                "resources": self.resources.to_json(),
                "ancestors": list(self.ancestors),
            },
            mode=PRIVATE,
        )

    @classmethod
    def read(cls, layout: CalibrationLayout) -> CalibrationManifest:
        """Read what `prepare` wrote.

        :raises InputError: if it is missing or cut off.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        where = f"manifest of calibration {layout.name!r}"
        reader = ObjectReader(read_json(layout.definition, f"The {where}"), where)
        _check_version(reader, where)
        manifest = cls(
            calibration=reader.take("calibration", read_with(CalibrationRecord.from_json)),
            granularities=reader.take("granularities", read_object),
            prefixes=reader.take("prefixes", read_object),
            database_chain=reader.take("database_chain", read_list(read_with(DatabaseEntry.from_json))),
            resources=reader.take("resources", _read_resources),
            ancestors=reader.take("ancestors", read_list(read_text)),
        )
        reader.finish()
        return manifest


def _read_subjob(value: Any, where: str) -> SubjobPlan:
    reader = ObjectReader(value, where)
    plan = SubjobPlan(
        index=reader.take("index", read_whole_number),
        files=reader.take("files", read_list(read_text)),
        arguments=reader.take("arguments", read_object),
    )
    reader.finish()
    return plan


def _read_resources(value: Any, where: str) -> Resources:
    return parse_resources(read_object(value, where), where)


def _check_version(reader: ObjectReader, where: str) -> None:
    version = reader.take("version", read_whole_number)
    if version != _VERSION:
        raise CheckpointError(
            f"The {where} has version {version}, this release knows {_VERSION}.",
            hint="It was written by another release. Clear the calibration from its `prepare` on.",
        )


def write_step(step: StepRecord, layout: CalibrationLayout) -> None:
    """Write the manifest of a step that collects nothing."""
    layout.folder.mkdir(parents=True, exist_ok=True)
    write_json(layout.definition, {"version": _VERSION, "step": step.to_json()}, mode=PRIVATE)


def read_member(layout: CalibrationLayout) -> Member:
    """Read the definition of a calibration, or of a step that collects nothing.

    :raises InputError: if it is missing or cut off.
    :raises DefinitionError: if a field is missing, unknown or wrong.
    """
    value = read_json(layout.definition, f"The manifest of calibration {layout.name!r}")
    if isinstance(value, Mapping) and "step" in value:
        return StepRecord.from_json(value["step"])
    return CalibrationManifest.read(layout).calibration
