"""The modules `caf` and `prompt` for calibration scripts, in the place of the experiment's own.

They have the names and the behaviour of the reference; `docs/reference/caf-compatibility.md` lists them. They need
Python alone: `basf2` and ROOT are imported where they are used.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence
from types import ModuleType

from airflow_provider_caf.core.errors import DefinitionError

PACKAGES = ("caf", "prompt")
SCRIPT_PACKAGES = ("prompt.calibrations", "prompt.validations")
"""Packages without code of their own: folders of scripts."""


class _Alias(importlib.abc.Loader):
    """Load one of our modules under another name; it stays one module.

    :param target: our name of it.
    """

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Import ours."""
        module = importlib.import_module(self._target)
        self._own = (module.__spec__, module.__name__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Return the module its own name back, which the import has changed."""
        module.__spec__, module.__name__ = self._own


class _Finder(importlib.abc.MetaPathFinder):
    """Find `caf`, `prompt` and what is in them; and the folders of scripts."""

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module that stands for a name, if it is one of ours."""
        if name in SCRIPT_PACKAGES:
            return self._find_scripts(name)
        top = name.partition(".")[0]
        if top not in PACKAGES or name.startswith(tuple(f"{package}." for package in SCRIPT_PACKAGES)):
            return None
        ours = f"{__name__}.{name}"
        if importlib.util.find_spec(ours) is None:
            return None
        return importlib.machinery.ModuleSpec(name, _Alias(ours), is_package=name in PACKAGES)

    def _find_scripts(self, name: str) -> importlib.machinery.ModuleSpec | None:
        part = name.replace(".", os.sep)
        candidates = [*self.folders, *(os.path.join(entry or ".", part) for entry in sys.path)]  # noqa: PTH118 - texts
        folders = [folder for folder in dict.fromkeys(candidates) if os.path.isdir(folder)]  # noqa: PTH112 - texts
        if not folders:
            return None
        spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = folders
        return spec


_finder = _Finder()


def install(script_folders: Iterable[str] = ()) -> None:
    """Make `caf`, `prompt` and their modules importable, before whatever else has these names.

    :param script_folders: where scripts are that others import as `prompt.calibrations.<name>`.
    :raises DefinitionError: if another `caf` or `prompt` has been imported already.
    """
    for name in PACKAGES:
        known = sys.modules.get(name)
        if known is not None and not str(known.__name__).startswith(__name__):
            raise DefinitionError(
                f"Another {name!r} is imported already: {getattr(known, '__file__', None)}.",
                hint="Use --caf release, or let nothing import it before.",
            )
    _finder.folders = [*script_folders, *(folder for folder in _finder.folders if folder not in set(script_folders))]
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    for name in SCRIPT_PACKAGES:
        # The folders may be others than before.
        sys.modules.pop(name, None)
