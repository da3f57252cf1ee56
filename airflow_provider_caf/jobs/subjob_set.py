"""Subjobs that belong together: one command each, the same resources, one folder for all that they leave."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.naming import build_array_name
from airflow_provider_caf.batch.resubmit import DEFAULT_MAX_RETRIES
from airflow_provider_caf.batch.spec import ArraySpec, Resources
from airflow_provider_caf.batch.systems.base import System
from airflow_provider_caf.core.chain import LOCAL
from airflow_provider_caf.core.files import is_uri, read_json
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.tolerance import Tolerance


@record
class SubjobSet:
    """Subjobs that are submitted, judged and retried together.

    :param labels: words for the names of their arrays, as people read them in the queue.
    :param folders: where their files are; absolute, and seen by the machines that run them.
    :param subjobs: their numbers, from 0; each has a job file.
    :param app: the job app, see `core.job_app.write_job_app`.
    :param resources: what each of them asks for.
    :param max_retries: attempts of one subjob after its first.
    :param max_failed: how many of them may fail: a count, or a share of all.
    :param title: what they are, for messages, such as `collection 'hits'`; if empty, the labels.
    :param identity: what tells their arrays from others with equal labels and folder.
    :param previous: the folders of an earlier run of the same subjobs, from whose memory and run times this one learns.
    """

    labels: tuple[str, ...]
    folders: JobFolders
    subjobs: tuple[int, ...]
    app: Path
    resources: Resources = Resources()
    max_retries: int = DEFAULT_MAX_RETRIES
    max_failed: Tolerance = 0
    title: str = ""
    identity: tuple[str | int, ...] = ()
    previous: JobFolders | None = None

    @property
    def description(self) -> str:
        """What they are, for messages."""
        return self.title or " ".join(self.labels)

    def build_array(
        self,
        system: System,
        elements: Sequence[Sequence[int]],
        *,
        attempt: int,
        part: int = 0,
        resources: Resources | None = None,
    ) -> ArraySpec:
        """Return the array that runs some of the subjobs.

        :param elements: the subjobs of each element.
        :param part: the number of the piece, where one attempt is cut into several arrays.
        :param resources: what the array asks for, where that differs.
        """
        resources = resources or self.resources
        folder = str(self.folders.array_folder(attempt, part))
        name = build_array_name(
            labels=self.labels,
            identity=self.identity,
            attempt=attempt,
            part=part,
            folder=folder,
            length=system.longest_name,
        )
        return ArraySpec(
            name=name,
            folder=folder,
            input_folder=str(self.folders.input_folder),
            output_folder=str(self.folders.output_folder),
            status_folder=str(self.folders.status_folder),
            elements=tuple(map(tuple, elements)),
            attempt=attempt,
            app=str(self.app),
            python=resources.python or _find_default_python(system),
            resources=resources,
            inputs=tuple(map(self._list_inputs, elements)) if resources.transfer_files else (),
        )

    def _list_inputs(self, element: Iterable[int]) -> tuple[str, ...]:
        """List what has to travel with an element: its job files, and the local files and databases they name."""
        paths = (path for subjob in element for path in _list_paths(self.folders.job_file(subjob)))
        return tuple(dict.fromkeys(paths))


def build_job(
    subjob: int,
    command: Sequence[str],
    *,
    input_files: Iterable[str] = (),
    outputs: Iterable[str] = (),
    arguments: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of the job file of a command, for `SubjobRun.write_job_files`.

    :param command: argv. `{input_files}` alone in a word becomes one word for each file; `{job}`, `{subjob}` and the
        names of the arguments are filled in. No shell sees it.
    :param input_files: paths or URIs.
    :param outputs: globs relative to the work folder; each has to match a file that is not empty, or it has failed.
    :param arguments: name → value, for the placeholders.
    """
    return {
        "version": 1,
        "subjob": subjob,
        "command": list(command),
        "input_files": list(input_files),
        "output_patterns": list(outputs),
        "database_chain": [],
        "arguments": dict(arguments or {}),
    }


def _find_default_python(system: System) -> str:
    """Return the Python of a job where nobody named one: on this machine the one that runs here."""
    return sys.executable if system.name == "local" else "python3"


def _list_paths(job_file: Path) -> Iterator[str]:
    job = read_json(job_file, "A job file")
    yield str(job_file)
    yield from (path for path in job["input_files"] if not is_uri(path))
    yield from (entry["path"] for entry in job["database_chain"] if entry["kind"] == LOCAL)
