"""Find what a definition offers and nobody reads: an option without effect is a mistake, not a matter of taste."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError

_OPTION = re.compile(r"expert_config\s*(?:\.\s*(\w+)|\[\s*['\"]([^'\"]+)['\"]\s*\])?")
_PARAM = re.compile(r"params\s*(?:\.\s*(\w+)|\[\s*['\"]([^'\"]+)['\"]\s*\])?")
_METHODS = ("get", "items", "keys", "values")


def find_unused(definition: Mapping[str, Any]) -> Iterator[DefinitionError]:
    """Find expert options and params that stand in no template, and data sets that no collection reads.

    :param definition: in the form of files.
    """
    rest = {word: value for word, value in definition.items() if word not in ("expert_config", "params", "input_data")}
    # The files of a data set may be templates, too.
    templates = [text for text in _list_texts([rest, definition.get("input_data", {})]) if "{{" in text or "{%" in text]
    for word, pattern, noun in (("expert_config", _OPTION, "expert option"), ("params", _PARAM, "param")):
        used = _list_names(templates, pattern)
        for name in definition.get(word, {}):
            if used is not None and name not in used:
                reading = f"params.expert_config.{name}" if word == "expert_config" else f"params.{name}"
                yield DefinitionError(
                    f"The {noun} {name!r} has no effect: no template reads it.",
                    hint=f"Write {{{{ {reading} }}}} where it shall have one, or take it out.",
                    where=(word, name),
                )
    read = set(_list_data(rest))
    for name in definition.get("input_data", {}):
        if name not in read and not any("{{" in other for other in read):
            yield DefinitionError(
                f"The data set {name!r} has no effect: no collection reads it.",
                hint="Name it in input_data of a collection, or take it out.",
                where=("input_data", name),
            )


def _list_names(templates: list[str], pattern: re.Pattern[str]) -> set[str] | None:
    """Return the names that templates read; None where one reads all of them."""
    names = set()
    for text in templates:
        for match in pattern.finditer(text):
            name = match[1] or match[2]
            if name is None or name in _METHODS:
                return None
            names.add(name)
    return names


def _list_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _list_texts(key)
            yield from _list_texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _list_texts(item)


def _list_data(definition: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of data sets that collections read."""
    for calibration in definition.get("calibrations", ()):
        # A type of the user's own has words of its own, which may be called like ours.
        if calibration.get("type", "calibration") != "calibration":
            continue
        for reader in (calibration, *(calibration.get("collections") or {}).values()):
            names = reader.get("input_data", ())
            yield from [names] if isinstance(names, str) else names
