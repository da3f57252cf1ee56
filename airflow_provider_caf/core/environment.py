"""The environment variables of a process that runs a user's code or a command of a site."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing is slow: every short subjob pays for it
if TYPE_CHECKING:
    from collections.abc import Mapping


def build_child_environment(variables: Mapping[str, str], more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a child process: all but Airflow's own, and what is given for it.

    Airflow's carry keys, passwords and connections, under any name (`AIRFLOW__*`, `AIRFLOW_CONN_*`, `AIRFLOW_VAR_*`,
    `_AIRFLOW_*`, `__AIRFLOW_*`), and no job needs them. Nor `AIRFLOW_HOME`: the configuration that lies there has the
    same keys in it. Some submit commands hand all variables on to the job.

    :param variables: those of this process.
    :param more: what the definition or this package sets; it wins, also where it has a name of Airflow's.
    """
    return {**{name: value for name, value in variables.items() if not is_of_airflow(name)}, **(more or {})}


def is_of_airflow(name: str) -> bool:
    """Return whether a variable is Airflow's own."""
    return name.lstrip("_").startswith("AIRFLOW_")
