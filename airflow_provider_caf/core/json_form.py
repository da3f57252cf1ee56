"""Strict reading of JSON values: a missing, unknown or wrong field is an error that names the place.

The records of `core` travel as JSON between the tasks of a run. A field that is read loosely there would be a
setting without effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.suggestions import build_word_hint

_T = TypeVar("_T")

_MAX_DEPTH = 50


def normalise_json(value: Any, where: str) -> Any:
    """Give a copy of a value made of what JSON has: tuples become lists, mappings become dicts.

    :param where: what the value is to the reader, such as `settings of algorithm 'fit'`.
    :raises DefinitionError: if something in it has no JSON form.
    """
    return _normalise(value, where, 0)


def _normalise(value: Any, where: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise DefinitionError(f"The {where} is nested more than {_MAX_DEPTH} levels deep.", hint="Does it hold itself?")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise DefinitionError(
                f"The {where} holds {value!r}, which JSON cannot carry.", hint="Use null or a finite number."
            )
        return value
    if isinstance(value, (list, tuple)):
        return [_normalise(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise DefinitionError(
                    f"The {where} has the key {key!r}, which is no text.", hint="Keys have to be strings."
                )
        return {key: _normalise(item, f"{where}[{key!r}]", depth + 1) for key, item in value.items()}
    raise DefinitionError(
        f"The {where} holds {value!r} of type {type(value).__name__}, which JSON cannot carry.",
        hint="Use null, true, false, numbers, texts, lists and mappings with text keys.",
    )


class ObjectReader:
    """Read the fields of one JSON object, then say which ones nobody asked for.

    :param value: the object.
    :param where: what it is to the reader, such as `collection 'hits'`.
    :raises DefinitionError: if it is not an object.
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise DefinitionError(
                f"The {where} is {value!r}, not an object.", hint="Write a mapping of names to values."
            )
        self._value = value
        self._where = where
        self._asked: dict[str, None] = {}

    def take(self, name: str, read: Callable[[Any, str], _T]) -> _T:
        """Read a field that must be there.

        :param read: gets the value and what it is to the reader.
        :raises DefinitionError: if it is missing, or as `read` says.
        """
        self._asked[name] = None
        if name not in self._value:
            raise DefinitionError(f"The {self._where} has no {name!r}.", hint=f"Add {name!r}.")
        return read(self._value[name], f"{name!r} of the {self._where}")

    def take_or(self, name: str, read: Callable[[Any, str], _T], default: _T) -> _T:
        """Read a field that may be missing.

        :raises DefinitionError: as `read` says.
        """
        self._asked[name] = None
        return self.take(name, read) if name in self._value else default

    def finish(self) -> None:
        """Refuse the fields that nobody asked for.

        :raises DefinitionError: if there is one.
        """
        for name in self._value:
            if name not in self._asked:
                raise DefinitionError(
                    f"The {self._where} has an unknown field {name!r}.",
                    hint=build_word_hint(str(name), self._asked, "fields"),
                )


def read_text(value: Any, where: str) -> str:
    """Read a text.

    :raises DefinitionError: if it is something else.
    """
    if not isinstance(value, str):
        raise _wrong_type(value, where, "a text")
    return value


def read_flag(value: Any, where: str) -> bool:
    """Read true or false.

    :raises DefinitionError: if it is something else.
    """
    if not isinstance(value, bool):
        raise _wrong_type(value, where, "true or false")
    return value


def read_whole_number(value: Any, where: str) -> int:
    """Read a whole number.

    :raises DefinitionError: if it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(value, where, "a whole number")
    return value


def read_number(value: Any, where: str) -> float:
    """Read a finite number.

    :raises DefinitionError: if it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _wrong_type(value, where, "a number")
    return value


def read_object(value: Any, where: str) -> dict[str, Any]:
    """Read an object whose fields are the user's own.

    :raises DefinitionError: if it is something else, or holds what JSON cannot carry.
    """
    if not isinstance(value, Mapping):
        raise _wrong_type(value, where, "a mapping of names to values")
    normalised: dict[str, Any] = normalise_json(value, where)
    return normalised


def read_list(read: Callable[[Any, str], _T]) -> Callable[[Any, str], tuple[_T, ...]]:
    """Give the reader of a list whose items are read by `read`."""

    def read_items(value: Any, where: str) -> tuple[_T, ...]:
        if not isinstance(value, (list, tuple)):
            raise _wrong_type(value, where, "a list")
        return tuple(read(item, f"item {index} of {where}") for index, item in enumerate(value))

    return read_items


def read_optional(read: Callable[[Any, str], _T]) -> Callable[[Any, str], _T | None]:
    """Give the reader of a value that may be null."""

    def read_value(value: Any, where: str) -> _T | None:
        return None if value is None else read(value, where)

    return read_value


def read_with(parse: Callable[[Any], _T]) -> Callable[[Any, str], _T]:
    """Give the reader that adds the place to the error of a `from_json`."""

    def read_value(value: Any, where: str) -> _T:
        try:
            return parse(value)
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error

    return read_value


def build_json(values: Iterable[Any]) -> list[Any]:
    """Give the JSON form of records."""
    return [value.to_json() for value in values]


def _wrong_type(value: Any, where: str, wanted: str) -> DefinitionError:
    return DefinitionError(f"The {where} is {value!r}.", hint=f"It has to be {wanted}.")
