"""Read and write the pickled file maps of the experiment's `b2caf-filemap`, in a process that can do nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.job_app import write_job_app
from airflow_provider_caf.io.filemap import MappedFile
from airflow_provider_caf.io.metadata_cache import measure
from airflow_provider_caf.steps.app_run import run_app

HOW = "b2caf-filemap"
"""How the files of such a map were looked into."""

_TIMEOUT = 1800.0


def read_pickled_map(path: Path) -> dict[str, MappedFile]:
    """Read a file map of `b2caf-filemap`; how many events are in a file it does not say.

    :raises InputError: if it cannot be read, or holds something else than paths and IoVs.
    :raises DefinitionError: if an IoV cannot be.
    """
    answer = _ask({"read": str(path.absolute())}, f"Reading {path}")
    found = {}
    for file, numbers in answer["files"].items():
        size, mtime_ns = measure(file) or (None, None)
        found[file] = MappedFile(iov=IoV.of_basf2(numbers), size=size, mtime_ns=mtime_ns)
    return found


def write_pickled_map(path: Path, files: Mapping[str, MappedFile]) -> None:
    """Write a file map that the experiment's `caf` can load.

    :raises InputError: if it cannot be written.
    """
    iovs = {file: mapped.iov.to_json() for file, mapped in files.items()}
    _ask({"write": str(path.absolute()), "files": iovs}, f"Writing {path}")


def _ask(request: Mapping[str, Any], what: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="caf-pickled-map-") as folder:
        app = write_job_app(Path(folder) / "app.pyz")
        answer = run_app("pickled-map", request, app, Resources(), what=what, timeout=_TIMEOUT, error=InputError)
    value: dict[str, Any] = answer.value
    return value
