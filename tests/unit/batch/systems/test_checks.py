"""The command by which a connection is tested."""

from __future__ import annotations

import pytest

from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.batch.systems.checks import build_check
from airflow_provider_caf.core.errors import DefinitionError

WORDS = {
    "HTCondor": "condor_q -totals",
    "LSF": "bqueues",
    "PBS": "qstat -B",
    "slurm": "scontrol ping",
    "torque": "qstat -B",
}


@pytest.mark.parametrize(("name", "words"), WORDS.items())
def test_each_system_is_asked_something_harmless(name: str, words: str) -> None:
    assert build_check(name).argv == tuple(words.split())


def test_the_local_one_is_asked_after_nothing() -> None:
    command = build_check("local")
    assert command.argv[-2:] == ("pool", "query")
    assert command.stdin == "[]"
    assert {*map(str.lower, WORDS), "local"} == set(SYSTEMS)


def test_an_unknown_system_is_refused() -> None:
    with pytest.raises(DefinitionError, match="no batch system 'sge'"):
        build_check("sge")
