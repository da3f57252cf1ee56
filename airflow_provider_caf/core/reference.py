"""Load a class or function of the user: `package.module:Name` or `/path/to/file.py:Name`.

Loading runs the user's module, so it is done where the object is used, never where a definition is read.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.suggestions import build_word_hint

_FORM = "Write it as 'package.module:Name' or '/path/to/file.py:Name'."


class NoSuchModule(DefinitionError):
    """The module that a reference names is not there."""


def parse_reference(reference: str, what: str) -> tuple[str, str]:
    """Split a reference into its module or file and the name in it.

    :param what: what it is to the reader, such as `strategy`.
    :raises DefinitionError: if it has not the form of a reference.
    """
    source, colon, name = reference.rpartition(":")
    words = name.split(".")
    is_file = source.startswith("/")
    if not is_file:
        words += source.split(".")
    # A relative path would look like the module `py` in the package `x`.
    if is_file != source.endswith(".py"):
        words = []
    if not colon or not words or not all(word.isidentifier() for word in words):
        raise DefinitionError(f"The {what} {reference!r} names no class or function.", hint=_FORM)
    return source, name


def load_reference(reference: str, what: str) -> Any:
    """Import what a reference names.

    An error that the user's module raises while it is imported is shown with its type and text.

    :param what: what it is to the reader, such as `strategy`.
    :raises DefinitionError: if the module, the file or the name in it is not there, or the import fails.
    """
    source, name = parse_reference(reference, what)
    module = _load_file(source, what) if source.startswith("/") else _load_module(source, what)
    value: Any = module
    for word in name.split("."):
        if not hasattr(value, word):
            known = [member for member in vars(value) if not member.startswith("_")]
            raise DefinitionError(
                f"The {what} {reference!r} is not there: {source} has no {name!r}.",
                hint=build_word_hint(name, known, "names there"),
            )
        value = getattr(value, word)
    return value


def _load_module(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(missing + "."):
            raise NoSuchModule(
                f"The {what} cannot be loaded: there is no module {missing!r}.",
                hint="Check the spelling, install the package, or put its folder on PYTHONPATH.",
            ) from error
        raise _import_failed(name, what, error) from error
    except Exception as error:  # the user's module may raise anything; it is shown, with its traceback
        raise _import_failed(name, what, error) from error


def _load_file(path: str, what: str) -> ModuleType:
    # Two files of one name must not take each other's place among the modules.
    name = f"caf_user_{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    # There is always a loader for the ending .py, without which the reference was refused.
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    previous = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        if previous is None:
            del sys.modules[name]
        else:
            sys.modules[name] = previous
        if isinstance(error, FileNotFoundError) and error.filename == path:
            raise DefinitionError(
                f"The {what} cannot be loaded: there is no file {path}.", hint="Check the path."
            ) from error
        if isinstance(error, Exception):
            raise _import_failed(path, what, error) from error
        raise
    return module


def _import_failed(source: str, what: str, error: Exception) -> DefinitionError:
    return DefinitionError(
        f"The {what} cannot be loaded: importing {source} failed with {type(error).__name__}: {error}",
        hint="Import it by hand to see where.",
    )
