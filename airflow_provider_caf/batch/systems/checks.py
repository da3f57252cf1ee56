"""The harmless command by which a connection is tested: it asks the server of a batch system, and changes nothing."""

from __future__ import annotations

from airflow_provider_caf.batch.spec import Command
from airflow_provider_caf.batch.systems import find_system_name, load_system

_CHECKS = {
    "htcondor": ("condor_q", "-totals"),
    "lsf": ("bqueues",),
    "pbs": ("qstat", "-B"),
    "slurm": ("scontrol", "ping"),
    "torque": ("qstat", "-B"),
}


def build_check(name: str) -> Command:
    """Return the command that tells whether a batch system answers.

    :raises DefinitionError: if there is none of that name.
    """
    name = find_system_name(name)
    if name in _CHECKS:
        return Command(argv=_CHECKS[name], timeout=30.0)
    # The local system asks after no arrays.
    return load_system(name).build_query(())[0].command
