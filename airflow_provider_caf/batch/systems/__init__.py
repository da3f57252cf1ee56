"""The batch systems: one module each, found by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.suggestions import build_word_hint

if TYPE_CHECKING:
    from airflow_provider_caf.batch.systems.base import System

SYSTEMS = {"local": "airflow_provider_caf.batch.systems.local:LocalSystem"}
"""Name → class. A new system is a module and a line here."""


def load_system(name: str) -> System:
    """Give the system of a name.

    :raises DefinitionError: if there is none of that name.
    """
    if name not in SYSTEMS:
        raise DefinitionError(
            f"There is no batch system {name!r}.", hint=build_word_hint(name, SYSTEMS, "batch systems")
        )
    module, _, attribute = SYSTEMS[name].partition(":")
    system: System = getattr(import_module(module), attribute)()
    return system
