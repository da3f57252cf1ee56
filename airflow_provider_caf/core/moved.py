"""Where modules of earlier versions are now: definitions on disk, and code of users, name them.

An old name gives a module that takes everything from the new one. Nothing in this package uses an old name.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_PACKAGE = __name__.partition(".")[0]

_MOVED = (
    ("batch", "jobs", "remote"),
    ("io", "core", "files processes tails"),
    ("io", "jobs", "transport"),
    ("worker", "worker.algorithm", "figures serve values"),
    ("worker", "worker.basf2", "describe_script dropin read_script script script_algorithm steering validate_script"),
    ("worker", "worker.collect", "collected collector columns contents describe_histogram describe_object event_loop"),
    ("worker", "worker.collect", "events frames merge metadata run_objects signature trigger_skim"),
    ("worker", "core", "lock"),
    ("worker", "worker.job", "forks outputs pool pool_files pool_loop processes subjob"),
)
"""Old room, new room, and what went from one to the other, with all that is below it."""

_NEW_NAMES = {
    f"{_PACKAGE}.{old}.{name}": f"{_PACKAGE}.{new}.{name}" for old, new, names in _MOVED for name in names.split()
}
_NEW_NAMES[f"{_PACKAGE}.definitions.script"] = f"{_PACKAGE}.core.caf_config"
_NEW_NAMES[f"{_PACKAGE}.io.jobs"] = f"{_PACKAGE}.jobs"
_NEW_NAMES[f"{_PACKAGE}.worker.starts"] = f"{_PACKAGE}.worker.job.outputs"
for _name in ("sequential", "sequential_boundaries", "sequential_run_by_run", "simple_run_by_run", "single_iov"):
    _NEW_NAMES[f"{_PACKAGE}.core.strategies.{_name}"] = f"{_PACKAGE}.core.strategies.built_in"


class _MovedFinder:
    """A finder and loader without their base classes: `importlib.abc` would make the start of each job dearer."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find the module of an old name; the submodules of a package that has moved are asked for here, too."""
        if self._find_new_name(fullname) is None:
            return None
        # A package without a folder: what is below it has an old name as well.
        return ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]  # it is none of their subclasses

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let the module take everything from the new one."""
        new = import_module(str(self._find_new_name(module.__name__)))
        module.__doc__ = new.__doc__
        module.__dict__["__getattr__"] = lambda name: getattr(new, name)

    @staticmethod
    def _find_new_name(name: str) -> str | None:
        old = name if name.startswith(_PACKAGE) else ""
        while old and old not in _NEW_NAMES:
            old = old.rpartition(".")[0]
        return _NEW_NAMES[old] + name[len(old) :] if old else None


def find_moved_modules() -> None:
    """Let the names of earlier versions be imported."""
    # First, as an empty folder of an earlier version would be found as a package.
    sys.meta_path.insert(0, _MovedFinder())
