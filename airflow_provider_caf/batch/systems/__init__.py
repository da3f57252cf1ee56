"""The batch systems: one module each, found by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.suggestions import build_word_hint

if TYPE_CHECKING:
    from airflow_provider_caf.batch.systems.base import System

_HERE = "airflow_provider_caf.batch.systems"

SYSTEMS = {
    "htcondor": f"{_HERE}.htcondor:HTCondorSystem",
    "local": f"{_HERE}.local:LocalSystem",
    "lsf": f"{_HERE}.lsf:LSFSystem",
    "pbs": f"{_HERE}.pbs:PBSSystem",
    "slurm": f"{_HERE}.slurm:SlurmSystem",
    "torque": f"{_HERE}.torque:TorqueSystem",
}
"""Name → class. A new system is a module and a line here."""


def find_system_name(name: str) -> str:
    """Return our name of a system: the CAF writes `LSF`, `PBS`, `HTCondor` and `Local`.

    :raises DefinitionError: if there is none of that name.
    """
    known = name.lower()
    if known not in SYSTEMS:
        raise DefinitionError(
            f"There is no batch system {name!r}.", hint=build_word_hint(known, SYSTEMS, "batch systems")
        )
    return known


def load_system(name: str) -> System:
    """Return the system of a name.

    :raises DefinitionError: if there is none of that name.
    """
    module, _, attribute = SYSTEMS[find_system_name(name)].partition(":")
    system: System = getattr(import_module(module), attribute)()
    return system
