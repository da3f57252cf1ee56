"""Run a verb of a job app on this machine, in the environment of a job."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_caf.batch.spec import Command, CommandResult, Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.jobs.transport.local import LocalTransport


def build_app_argv(app: Path, resources: Resources) -> tuple[str, ...]:
    """Give what runs a job app: the job's Python, or ours where none is named."""
    return (resources.python or sys.executable, str(app))


def run_app(app: Path, resources: Resources, words: Sequence[str], timeout: float) -> CommandResult:
    """Run a verb of a job app to its end, with the site's setup in front. It ends when this process does.

    :param words: the verb and its arguments.
    :param timeout: in seconds.
    :raises TransportError: if it cannot be started or takes too long.
    """
    argv = build_site_argv(resources, (*build_app_argv(app, resources), *words))
    return LocalTransport().run(Command(argv=argv, environment=resources.environment, timeout=timeout, is_tied=True))
