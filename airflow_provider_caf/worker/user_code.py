"""Load the user's classes and functions in a job, and set their attributes.

Modules that travel inside the job app lie in its folder `user/`, which is first on the module search path. A
file that the definition names by its path travels as a module with the file's name.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

import airflow_provider_caf
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.reference import NoSuchModule, load_reference, parse_reference
from airflow_provider_caf.core.suggestions import check_word

FILES_ENTRY = "user/_files.json"
"""In the job app: which named files travel in it, and as which modules."""

_SHOWN_LINES = 4

_T = TypeVar("_T")


def load_user_code(reference: str, what: str) -> Any:
    """Import what a reference names, from the job app where it travels in it.

    :param what: what it is to the reader, such as `collector`.
    :raises DefinitionError: if the module, the file or the name in it is not there, or the import fails.
    """
    source, name = parse_reference(reference, what)
    module = read_travelling_files().get(source)
    try:
        return load_reference(reference if module is None else f"{module}:{name}", what)
    except DefinitionError as error:
        raise _explain(error, reference, what) from error
    except SystemExit as error:
        raise DefinitionError(
            f"The {what} {reference!r} cannot be loaded: its module ended the program ({error.code!r}).",
            hint="Put what a script does under if __name__ == '__main__'.",
        ) from error


def load_user_class(reference: str, base: type[_T], what: str) -> type[_T]:
    """Import a class of the user.

    :param base: what it has to be a subclass of.
    :raises DefinitionError: as `load_user_code`, or if it is something else.
    """
    value = load_user_code(reference, what)
    if not isinstance(value, type) or not issubclass(value, base):
        kind = "a class" if isinstance(value, type) else f"a {type(value).__name__}"
        raise DefinitionError(
            f"The {what} {reference!r} is {kind}, but not a subclass of {base.__name__}.",
            hint=f"Derive it: from airflow_provider_caf.worker import {base.__name__}.",
        )
    if value is base:
        raise DefinitionError(
            f"The {what} {reference!r} is the base class itself.",
            hint=f"Name your subclass of {base.__name__}.",
        )
    return value


def make_user_object(cls: type[_T], reference: str, what: str) -> _T:
    """Call the constructor of a user's class, without arguments.

    :raises DefinitionError: if it fails, with the last lines of its traceback.
    """
    try:
        return cls()
    except (Exception, SystemExit) as error:  # shown with its traceback: the user's code may raise anything
        raise DefinitionError(
            f"The {what} {reference!r} cannot be made: {type(error).__name__}: {error}\n{build_tail(error)}",
            hint=f"{cls.__name__}() has to work without arguments; settings are set afterwards.",
        ) from error


def refuse_arguments(cls: Any, words: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Refuse arguments for a class without a constructor: Python would take and forget them, as `__new__` has some."""
    if (words or options) and cls.__init__ is object.__init__:
        raise TypeError(f"{cls.__name__}() takes no arguments.")


def read_paths(value: Any, what: str, hint: str) -> tuple[str, ...]:
    """Read the paths that a function of the user returned.

    :param what: the function to the reader, such as `data_input 'module:function'`.
    :raises DefinitionError: if it returned something else.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(path, (str, os.PathLike)) for path in value):
        raise DefinitionError(f"The {what} gave {value!r}.", hint=hint)
    return tuple(os.fspath(path) for path in value)


def read_travelling_files() -> dict[str, str]:
    """Return the module of each named file that travels in the job app; nothing outside of an app."""
    loader = getattr(airflow_provider_caf, "__loader__", None)
    archive = getattr(loader, "archive", None)
    if loader is None or archive is None:
        return {}
    files: dict[str, str] = json.loads(loader.get_data(f"{archive}/{FILES_ENTRY}"))
    return files


def apply_settings(target: Any, settings: Mapping[str, Any], reserved: Collection[str], what: str) -> None:
    """Set attributes of a user's object.

    :param target: the object; what has no attribute of that name cannot be set.
    :param reserved: attributes that the framework sets itself.
    :param what: what it is to the reader, such as `collector 'VertexCollector'`.
    :raises DefinitionError: if a name is unknown, reserved, or a method.
    """
    known = list_settings(target, reserved)
    for name, value in settings.items():
        check_word(name, known, f"The {what} has no setting {name!r}.", "settings")
        try:
            setattr(target, name, value)
        except (AttributeError, TypeError, ValueError) as error:
            raise DefinitionError(
                f"The setting {name!r} of the {what} cannot be {value!r}: {error}.", hint="See its class."
            ) from error


def list_settings(target: Any, reserved: Collection[str]) -> list[str]:
    """Return the names of the public attributes that are data, sorted."""
    names = set(vars(target))
    for cls in type(target).__mro__:
        names.update(getattr(cls, "__annotations__", {}))
        names.update(name for name, value in vars(cls).items() if _is_setting(value))
    return sorted(name for name in names if not name.startswith("_") and name not in reserved)


def _is_setting(value: Any) -> bool:
    if isinstance(value, property):
        return value.fset is not None
    return not (inspect.isroutine(value) or isinstance(value, (classmethod, staticmethod, type)))


def build_plain_value(value: Any, where: str) -> Any:
    """Return a value made of what JSON has; numbers and arrays of numpy become plain ones.

    :param where: what the value is to the reader.
    :raises DefinitionError: if something in it has no JSON form; NaN has none.
    """
    return normalise_json(_unpack(value, 0), where)


def _unpack(value: Any, depth: int) -> Any:
    if depth > 60:  # normalise_json refuses less than this
        return value
    if hasattr(value, "tolist") and not isinstance(value, type):
        return _unpack(value.tolist(), depth + 1)
    if isinstance(value, (list, tuple)):
        return [_unpack(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {key: _unpack(item, depth + 1) for key, item in value.items()}
    return value


def build_tail(error: BaseException) -> str:
    """Return the last lines of an error's traceback, indented."""
    lines = [line for entry in traceback.format_tb(error.__traceback__) for line in entry.splitlines()]
    return "\n".join(f"    | {line}" for line in lines[-_SHOWN_LINES:])


def _explain(error: DefinitionError, reference: str, what: str) -> DefinitionError:
    cause = error.__cause__
    if isinstance(error, NoSuchModule):
        searched = ", ".join(repr(path) for path in sys.path if path)
        return DefinitionError(f"{error.what} Searched in: {searched}.", hint=error.hint)
    if cause is None or isinstance(cause, FileNotFoundError):
        return error
    hint = "Import it by hand to see where."
    missing = (cause.name or "").partition(".")[0] if isinstance(cause, ImportError) else ""
    if missing in ("airflow", "airflow_provider_caf"):
        module = PurePosixPath(reference.rpartition(":")[0]).name
        hint = f"In a job there is no Airflow: keep the {what} in a module apart from the DAG ({module})."
    return DefinitionError(f"{error.what}\n{build_tail(cause)}", hint=hint)
