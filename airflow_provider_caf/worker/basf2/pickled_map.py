"""Read and write the file maps of the experiment's `b2caf-filemap`, which are pickles: the verb `pickled-map`.

::

    {"version": 1, "read": "/path/to/map.pkl"}
    {"version": 1, "write": "/path/to/map.pkl", "files": {<path>: [exp, run, exp, run], …}}

The first answers `{"files": {<path>: [exp, run, exp, run], …}}`. Such a pickle is a dictionary from texts to
`caf.utils.IoV`, a tuple of four numbers that carries a C++ object of the same meaning.

A pickle may say what is to be called, so this is done in a process of its own, which has a limit of time and memory,
and whatever is called is one of two things that do nothing: a tuple is made, or a C++ object is left out.
"""

from __future__ import annotations

import pickle
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import InputError, explain_os_error

_MODULE, _CLASS = "caf.utils", "IoV"
_EXPAND = "_CPPInstance__expand__"
"""PyROOT names this function in the pickle of each C++ object; the module depends on its version."""

_EXPANDING_MODULES = ("libROOTPythonization", "libcppyy")
_PROTOCOL = 4
_LIMITS = {resource.RLIMIT_AS: 4 * 1024**3, resource.RLIMIT_CPU: 600}
"""Bytes and seconds. A map of a million files needs a tenth of that."""


class _PickledIoV(tuple):  # type: ignore[type-arg]  # whatever the pickle says; it is checked later
    """What stands for an IoV."""

    def __new__(cls, *numbers: Any) -> _PickledIoV:
        return super().__new__(cls, numbers)

    def __setstate__(self, state: Any) -> None:
        """Leave out what it carries."""


def _leave_out(*_: Any) -> None:
    """Stand for a C++ object."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class or function that a pickle names.

        :raises InputError: if it is none of the two that a file map has.
        """
        if (module, name) == (_MODULE, _CLASS):
            return _PickledIoV
        if name == _EXPAND and module.rpartition(".")[2].startswith(_EXPANDING_MODULES):
            return _leave_out
        raise InputError(
            f"The pickle names {module}.{name}, which no file map has.",
            hint="It was not loaded. Is it a file of b2caf-filemap?",
        )


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Read a file map, or write one."""
    for limit, most in _LIMITS.items():
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    if "write" in request:
        write_bytes(Path(request["write"]), dump_map(request["files"]), "file map")
        return {}
    return {"files": read_map(Path(request["read"]))}


def read_map(path: Path) -> dict[str, list[int]]:
    """Read a pickled file map: path → experiment and run, twice.

    :raises InputError: if it cannot be read, or holds something else.
    """
    with (
        explain_os_error(InputError, f"The file map {path} cannot be read", "Check the path."),
        path.open("rb") as file,
    ):
        try:
            found = _Unpickler(file).load()
        except InputError as error:
            raise InputError(f"{path}: {error.what}", hint=error.hint) from error
        except OSError:
            raise
        except Exception as error:  # a pickle that is cut off or made by hand may raise anything
            raise InputError(
                f"{path} is no pickle of a file map, or is cut off: {type(error).__name__}: {error}.",
                hint="Make it again, or look at what made it.",
            ) from error
    if type(found) is not dict:
        raise InputError(f"{path} holds a {type(found).__name__}: a file map is a dictionary.", hint="Check the file.")
    for name, iov in found.items():
        is_iov = isinstance(iov, tuple) and len(iov) == 4 and all(type(number) is int for number in iov)
        if type(name) is not str or not is_iov:
            raise InputError(
                f"{path} has the entry {name!r}: {iov!r}.", hint="Of a file map each is a path and an IoV of 4 numbers."
            )
    return {name: list(iov) for name, iov in found.items()}


def dump_map(files: Mapping[str, Any]) -> bytes:
    """Return a file map as a pickle that the experiment's `caf` loads.

    It says that `caf.utils.IoV` is to be called, so that an IoV gets its C++ object where it is loaded.

    :param files: path → experiment and run, twice.
    """
    module = ModuleType(_MODULE)
    kind = type(_CLASS, (), {"__module__": _MODULE})
    vars(module)[_CLASS] = kind

    class Called:
        def __init__(self, numbers: tuple[int, ...]) -> None:
            self.numbers = numbers

        def __reduce__(self) -> tuple[Any, tuple[int, ...]]:
            return kind, self.numbers

    # It looks for the class there; this process is for this alone.
    known = {name: sys.modules.get(name) for name in ("caf", _MODULE)}
    sys.modules.update({"caf": ModuleType("caf"), _MODULE: module})
    try:
        return pickle.dumps({path: Called(tuple(numbers)) for path, numbers in files.items()}, _PROTOCOL)
    finally:
        for name, value in known.items():
            if value is None:
                del sys.modules[name]
            else:
                sys.modules[name] = value
