"""The public names of a package, loaded when they are first used: to import the package costs nothing."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TOP = __name__.partition(".")[0]


def load_lazily(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions `__getattr__` and `__dir__` of a package.

    :param package: its `__name__`; its `__all__` is what `dir` shows.
    :param homes: public name → the module that has it, without the name of the whole package.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{_TOP}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def show() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return load, show
