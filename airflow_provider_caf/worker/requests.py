"""Read the JSON files that tell a verb what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.json_form import (
    ObjectReader,
    read_list,
    read_object,
    read_optional,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record

_VERSION = 1


def read_request(path: str, what: str) -> Any:
    """Read a JSON file.

    :param what: what it is to the reader, such as `job file`.
    :raises InputError: if it is missing, cut off, no JSON, or of a version that is not known here.
    """
    try:
        value = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"The {what} {path} cannot be read: {error.strerror}.", hint="Check the path.") from error
    except ValueError as error:
        raise InputError(
            f"The {what} {path} is not JSON, or is cut off: {error}.", hint="Have it written again."
        ) from error
    version = value.get("version") if isinstance(value, dict) else None
    if version != _VERSION:
        raise InputError(
            f"The {what} {path} has version {version!r}, this program knows {_VERSION}.",
            hint="It was written by another release. Have it written again.",
        )
    return value


@record
class Job:
    """What one subjob has to do, from `job.json`. Fields that others read are left alone.

    :param collector: the reference of a collector; None with a command.
    :param command: an argv list; None with a collector.
    :param pre_collector: `{"function": reference}` or `{"command": argv}`, run before.
    :param job_files: names of files that the job app has for the work folder.
    """

    collection: str
    iteration: int
    collector: str | None
    command: tuple[str, ...] | None
    settings: dict[str, Any]
    granularity: str | None
    input_files: tuple[str, ...]
    database_chain: tuple[DatabaseEntry, ...]
    arguments: dict[str, Any]
    pre_collector: dict[str, Any] | None
    job_files: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Job:
        """Read a job.

        :raises DefinitionError: if a field is missing or wrong, or there is not one of collector and command.
        """
        reader = ObjectReader(value, "job")
        job = cls(
            collection=reader.take_or("collection", read_text, ""),
            iteration=reader.take_or("iteration", read_whole_number, 0),
            collector=reader.take_or("collector", read_optional(read_text), None),
            command=reader.take_or("command", read_optional(read_list(read_text)), None),
            settings=reader.take_or("settings", read_object, {}),
            granularity=reader.take_or("granularity", read_optional(read_text), None),
            input_files=reader.take_or("input_files", read_list(read_text), ()),
            database_chain=reader.take_or("database_chain", read_list(read_with(DatabaseEntry.from_json)), ()),
            arguments=reader.take_or("arguments", read_object, {}),
            pre_collector=reader.take_or("pre_collector", read_optional(read_object), None),
            job_files=reader.take_or("job_files", read_list(read_text), ()),
        )
        if (job.collector is None) == (not job.command):
            raise InputError(
                "The job has to name a collector, or a command, and not both.", hint="Have it written again."
            )
        return job
