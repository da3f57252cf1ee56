"""Find lines for the batch system that it would refuse, where the definition itself names the system."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_caf.batch.arguments import CAF_NAMES
from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import Resources, parse_resources
from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.core.errors import DefinitionError

_WORDS = ("environment", "extra_lines", "setup", "transfer_files")


def find_refused_lines(definition: Mapping[str, Any]) -> Iterator[DefinitionError]:
    """Find extra lines and variables that the batch system, or the watching of jobs, does not take.

    What a template fills is checked when it is filled, and so is everything where only a connection names the system.

    :param definition: in the form of files, good so far.
    """
    common = _read_system(definition)
    known = [
        (system, number, calibration)
        for number, calibration in enumerate(definition.get("calibrations", ()))
        # A type of the user's own has words of its own, which may be called like ours.
        if calibration.get("type", "calibration") in ("calibration", "external_command")
        and (system := _read_system(calibration) or (None if calibration.get("connection") else common))
    ]
    for system in sorted({system for system, *_ in known}):
        yield from _check(system, definition, ())
    for system, number, calibration in known:
        yield from _check(system, calibration, ("calibrations", number))
        for key, collection in _get_mapping(calibration, "collections").items():
            yield from _check(system, collection, ("calibrations", number, "collections", key))


def _read_system(words: Mapping[str, Any]) -> str | None:
    name = str(words.get("backend") or "").lower()
    return name if name in SYSTEMS else None


def _get_mapping(words: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    """Return the value of a word, or nothing where it is not said or a template stands for it."""
    value = words.get(word)
    return value if isinstance(value, Mapping) else {}


def _check(system: str, words: Mapping[str, Any], where: tuple[str | int, ...]) -> Iterator[DefinitionError]:
    arguments = {
        name: value
        for given, value in _get_mapping(words, "backend_args").items()
        if (name := CAF_NAMES.get(given, given)) in _WORDS and "{{" not in json.dumps(value)
    }
    own = parse_resources(arguments, "this definition")
    # One line at a time: all mistakes are told at once.
    parts: list[tuple[Resources, tuple[str | int, ...]]] = [(replace(own, extra_lines=None), ("backend_args",))]
    alone = replace(own, environment=None, setup=None)
    parts += [
        (replace(alone, extra_lines=(line,)), ("backend_args", "extra_lines", number))
        for number, line in enumerate(own.extra_lines or ())
    ]
    for part, place in parts:
        try:
            read_directives(system, part, "this definition")
        except DefinitionError as error:
            yield error.within(*where, *place)
