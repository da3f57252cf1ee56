"""Jobs that somebody else submitted: for each batch system what it can tell about them, found by its name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_caf.core.errors import DefinitionError

if TYPE_CHECKING:
    from airflow_provider_caf.batch.foreign.base import ForeignSystem

_HERE = "airflow_provider_caf.batch.foreign"

_CLASSES = {
    "htcondor": f"{_HERE}.htcondor:HTCondorJobs",
    "lsf": f"{_HERE}.lsf:LSFJobs",
    "pbs": f"{_HERE}.pbs:PBSJobs",
    "slurm": f"{_HERE}.slurm:SlurmJobs",
    "torque": f"{_HERE}.pbs:TorqueJobs",
}


def load_foreign(name: str) -> ForeignSystem:
    """Return what the system of a name tells about jobs of somebody else.

    :raises DefinitionError: if it has no queue of its own.
    """
    if name not in _CLASSES:
        raise DefinitionError(
            f"The system {name!r} has no queue in which somebody else could have submitted a job.",
            hint=f"Jobs of others can be waited for on: {', '.join(_CLASSES)}.",
        )
    module, _, attribute = _CLASSES[name].partition(":")
    system: ForeignSystem = getattr(import_module(module), attribute)()
    return system
