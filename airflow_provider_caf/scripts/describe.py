"""Describe a calibration script in the experiment's environment, within a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError, TransportTimeout
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.steps.app_run import AppFiles, run_app

APP = "app.pyz"


def describe_script(
    request: Mapping[str, Any], folder: Path, resources: Resources, transport: Transport, timeout: float
) -> tuple[dict[str, Any], str]:
    """Describe a script.

    :param request: what `worker/basf2/describe_script.py` reads, without its `folder`.
    :param folder: for the side files; the machine behind `transport` sees it, too.
    :param resources: whose setup and Python count.
    :param timeout: in seconds.
    :returns: the description, and what the script printed.
    :raises DefinitionError: if the script cannot be used, or takes too long.
    :raises TransportError: if it could not be tried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    app = folder / APP
    build_job_app(app, ())
    try:
        answer = run_app(
            "script",
            {**request, "folder": str(folder)},
            app,
            resources,
            what=f"Describing {request['script']}",
            timeout=timeout,
            error=DefinitionError,
            files=AppFiles(request=folder / "request.json", answer=folder / "answer.json"),
            transport=transport,
        )
    except TransportTimeout as error:
        raise DefinitionError(
            f"The script {request['script']} was not done within {timeout:g} s and was ended.",
            hint="Does it wait for the network, or count the events of many files? Allow it more time (timeout).",
        ) from error
    return answer.value, answer.printed
