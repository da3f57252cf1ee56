"""What each task and each parse of a DAG file would import, imported once where Airflow forks them from.

Tasks of the LocalExecutor are forks of the scheduler, and parses of DAG files are forks of the DAG processor. What
these have loaded costs a fork nothing. Only modules of this package and what they import are loaded: no user's module,
nothing that holds a file, a connection or a thread.
"""

from __future__ import annotations

import sys

_PARENTS = ("airflow.cli.commands.dag_processor_command", "airflow.cli.commands.scheduler_command")
"""Airflow's command line loads the one of the command that it runs, and no other."""


def import_ahead() -> None:
    """Import what tasks and DAG files use, if this is the process of a scheduler or a DAG processor."""
    if not any(name in sys.modules for name in _PARENTS):
        return
    import airflow_provider_caf.factory.folder
    import airflow_provider_caf.factory.script  # noqa: F401
