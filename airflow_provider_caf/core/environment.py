"""Which variables a job may inherit."""

from __future__ import annotations

from collections.abc import Mapping

_SECRET_PREFIXES = ("AIRFLOW_", "_AIRFLOW_")


def drop_secrets(variables: Mapping[str, str]) -> dict[str, str]:
    """Give all variables but Airflow's own: they carry keys and passwords, and no job needs them.

    Some submit commands hand all variables on to the job.
    """
    return {name: value for name, value in variables.items() if not name.startswith(_SECRET_PREFIXES)}
