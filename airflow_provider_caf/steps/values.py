"""Read what stands in payload files, for the catalog: in a process of the job's environment, where ROOT is."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.app_run import run_app

log = logging.getLogger(__name__)

_TIMEOUT = 600.0
_MOST = 5000
"""Of more payloads the first are read: the values are for people to look at."""


def read_values(database: LocalDatabase, entries: Sequence[PayloadEntry], resources: Resources) -> list[Any]:
    """Return the value of each payload, None where it is no small JSON.

    They are only shown: that they cannot be read is logged, and fails nothing.
    """
    known: list[Any] = []
    try:
        known = _read(database, entries[:_MOST], resources) if entries else []
    except CafError as error:
        log.warning("The values of the payloads cannot be shown: %s", error)
    return [*known, *[None] * (len(entries) - len(known))]


def _read(database: LocalDatabase, entries: Sequence[PayloadEntry], resources: Resources) -> list[Any]:
    payloads = [{"name": entry.name, "file": str(database.get_file(entry))} for entry in entries]
    with tempfile.TemporaryDirectory(prefix="caf-values-") as folder:
        app = Path(folder) / "app.pyz"
        build_job_app(app, ())
        answer = run_app(
            "values",
            {"payloads": payloads},
            app,
            resources,
            what=f"Reading {len(entries)} payloads",
            timeout=_TIMEOUT,
            hint="Does the job's Python have ROOT? Its path is `python` in backend_args.",
        ).value
    for fault in answer["faults"][:3]:
        log.warning("A value cannot be shown: %s", fault)
    values: list[Any] = answer["values"]
    return values
