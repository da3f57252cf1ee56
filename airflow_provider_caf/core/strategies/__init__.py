"""Strategies: on which runs an algorithm is executed, and with which IoVs its payloads are committed.

Everything that a strategy of one's own needs can be imported from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.reference import load_reference
from airflow_provider_caf.core.strategies.base import (
    Commit,
    Execute,
    Execution,
    FinalState,
    FindBoundaries,
    Outcome,
    Plan,
    Report,
    StagedPayload,
    Strategy,
    WriteFile,
    complete,
    fail,
)
from airflow_provider_caf.core.strategies.built_in import (
    SequentialBoundaries,
    SequentialRunByRun,
    SimpleRunByRun,
    SingleIOV,
)
from airflow_provider_caf.core.strategies.params import Param
from airflow_provider_caf.core.suggestions import build_word_hint

__all__ = [
    "BUILT_IN",
    "Commit",
    "Execute",
    "Execution",
    "FinalState",
    "FindBoundaries",
    "Outcome",
    "Param",
    "Plan",
    "Report",
    "SequentialBoundaries",
    "SequentialRunByRun",
    "SimpleRunByRun",
    "SingleIOV",
    "StagedPayload",
    "Strategy",
    "WriteFile",
    "build_strategy",
    "complete",
    "fail",
    "find_built_in",
    "load_strategy",
]

BUILT_IN: dict[str, type[Strategy]] = {
    strategy.__name__: strategy for strategy in (SequentialBoundaries, SequentialRunByRun, SimpleRunByRun, SingleIOV)
}
"""The strategies that a definition can name without a module."""


def load_strategy(reference: str) -> type[Strategy]:
    """Return a strategy class by its built-in name, or import one of the user's own.

    Importing runs the user's module: call this where the strategy is used, not where a definition is read.

    :param reference: `SingleIOV` and the like, `package.module:Class`, or `/path/to/file.py:Class`.
    :raises DefinitionError: if there is no such strategy, or if it is not a `Strategy` subclass.
    """
    if ":" not in reference:
        return find_built_in(reference)
    found = load_reference(reference, "strategy")
    if not isinstance(found, type) or not issubclass(found, Strategy):
        raise DefinitionError(
            f"The strategy {reference!r} is not a subclass of Strategy.",
            hint="Derive it from airflow_provider_caf.core.strategies.Strategy or from a built-in one.",
        )
    return found


def find_built_in(name: str) -> type[Strategy]:
    """Return a built-in strategy class.

    :raises DefinitionError: if there is none of that name.
    """
    if name not in BUILT_IN:
        raise DefinitionError(
            f"There is no strategy {name!r}.",
            hint=build_word_hint(name, BUILT_IN, "strategies")
            + " One of your own is named as 'package.module:Class' or '/path/to/file.py:Class'.",
        )
    return BUILT_IN[name]


def build_strategy(reference: str, params: Mapping[str, Any]) -> Strategy:
    """Load a strategy and give it its parameters.

    :raises DefinitionError: if there is no such strategy, or if it does not take these parameters.
    """
    return load_strategy(reference)(params)
