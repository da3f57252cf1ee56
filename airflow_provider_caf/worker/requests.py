"""Read the JSON files that tell a verb what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import InputError, explain_os_error
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

_VERSION = 1


def read_request(path: str, what: str) -> Any:
    """Read a JSON file.

    :param what: what it is to the reader, such as `job file`.
    :raises InputError: if it is missing, cut off, no JSON, or of a version that is not known here.
    """
    with explain_os_error(InputError, f"The {what} {path} cannot be read", "Check the path."):
        content = Path(path).read_bytes()
    try:
        value = json.loads(content.decode("utf-8"))
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
class Job(JsonRecord):
    """What one subjob has to do, from `job.json`. Fields that others read are left alone.

    :param collector: the reference of a collector; None with a command.
    :param command: an argv list; None with a collector.
    :param pre_collector: `{"function": reference}` or `{"command": argv}`, run before.
    :param job_files: names of files that the job app has for the work folder.
    :param most_events: the collector sees so many events of each file; None: all.
    :raises InputError: if there is not one of collector and command.
    """

    noun = "job"
    is_shared = True

    collection: str = ""
    iteration: int = 0
    collector: str | None = None
    command: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    granularity: str | None = None
    input_files: tuple[str, ...] = ()
    database_chain: tuple[DatabaseEntry, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pre_collector: Mapping[str, Any] | None = None
    job_files: tuple[str, ...] = ()
    most_events: int | None = None

    def __post_init__(self) -> None:
        if (self.collector is None) == (not self.command):
            raise InputError(
                "The job has to name a collector, or a command, and not both.", hint="Have it written again."
            )
