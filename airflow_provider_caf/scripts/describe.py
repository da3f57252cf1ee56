"""Describe a calibration script in the experiment's environment, within a time limit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Command, Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.errors import DefinitionError, TransportTimeout
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.tails import cut_tail
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.steps.app_run import build_app_argv

APP = "app.pyz"


def describe_script(
    request: Mapping[str, Any], folder: Path, resources: Resources, transport: Transport, timeout: float
) -> tuple[dict[str, Any], str]:
    """Describe a script.

    :param request: what `worker/basf2/describe_script.py` reads, without its `folder`.
    :param folder: for the side files; the machine behind `transport` sees it, too.
    :param resources: whose setup and Python count.
    :param timeout: in seconds.
    :return: the description, and what the script printed.
    :raises DefinitionError: if the script cannot be used, or takes too long.
    :raises TransportError: if it could not be tried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    app = folder / APP
    build_job_app(app, ())
    question, answer = folder / "request.json", folder / "answer.json"
    write_json(question, {"version": 1, **request, "folder": str(folder)}, mode=PRIVATE)
    answer.unlink(missing_ok=True)
    words = (*build_app_argv(app, resources), "script", str(question), "--output", str(answer))
    argv = build_site_argv(resources, words)
    command = Command(argv=argv, environment=resources.environment, timeout=timeout, is_tied=True)
    try:
        result = transport.run(command)
    except TransportTimeout as error:
        raise DefinitionError(
            f"The script {request['script']} was not done within {timeout:g} s and was ended.",
            hint="Does it wait for the network, or count the events of many files? Allow it more time (timeout).",
        ) from error
    printed = cut_tail(result.stdout + result.stderr)
    if result.exit_code != 0 or not answer.exists():
        end = name_signal(-result.exit_code) if result.exit_code < 0 else f"exit code {result.exit_code}"
        raise DefinitionError(f"Describing {request['script']} ended with {end}:\n{printed}")
    described: dict[str, Any] = read_json(answer, "The description of the script")
    return described, printed
