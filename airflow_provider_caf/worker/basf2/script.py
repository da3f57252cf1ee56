"""Call a calibration script of the experiment with recorded arguments, in the experiment's own environment.

A script is a module with `settings` and `get_calibrations(input_data, requested_iov=…, expert_config=…)`. It is called
when it is described, and again by each algorithm process. The arguments lie in a JSON file::

    {"version": 1, "script": "/path/to/script.py", "caf": "dropin", "script_folders": ["/path"],
     "requested_iov": [exp, run, exp, run], "expert_config": {}, "input_data": {<name>: {<file>: [exp, run, exp, run]}},
     "event_counts": {<file>: n}, "software": {<name>: <version>}}

`caf` says where the modules `caf` and `prompt` come from: `dropin`, ours, or `release`, the experiment's. With ours, a
file whose events were counted once is not opened again.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import airflow_provider_caf
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.worker.requests import read_request

DROPIN = "dropin"
RELEASE = "release"
CAFS = (DROPIN, RELEASE)
"""Where the modules `caf` and `prompt` come from."""

_T = TypeVar("_T")

_SHOWN_LINES = 6
_PACKAGE = "prompt.calibrations"


@record
class ScriptArguments(JsonRecord):
    """With what a script is called.

    :param script: the path of a file, or the name of a script of the release.
    :param caf: `dropin` or `release`.
    :param script_folders: where other scripts are, for `from prompt.calibrations.other import settings`.
    :param input_data: name → file → the IoV of its data, in order.
    :param event_counts: file → events, of files that the script has counted.
    :param software: in which the script was described, see `find_software`.
    """

    noun = "arguments of the script"
    version = 1

    script: str
    caf: str
    script_folders: tuple[str, ...]
    requested_iov: IoV
    expert_config: Mapping[str, Any]
    input_data: Mapping[str, Mapping[str, IoV]]
    event_counts: Mapping[str, int] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str) -> ScriptArguments:
        """Read the file of the arguments.

        :raises InputError: if it is missing or cut off.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        return cls.from_json(read_request(path, cls.noun))


def find_event_counts(caf: str) -> dict[str, int]:
    """Return the events that the functions of `prompt.utils` have counted; of the release's nothing is known."""
    if caf != DROPIN:
        return {}
    counts: dict[str, int] = importlib.import_module("prompt.utils").event_counts
    return counts


def set_up_caf(caf: str, script_folders: Sequence[str]) -> None:
    """Make the modules `caf` and `prompt` importable.

    :raises DefinitionError: if `caf` is neither of the two, or the release has none.
    """
    if caf == DROPIN:
        from airflow_provider_caf.worker.basf2.dropin import install

        install(script_folders)
        return
    if caf != RELEASE:
        raise DefinitionError(f"caf is {caf!r}.", hint=build_word_hint(caf, CAFS, "choices"))
    try:
        importlib.import_module("caf.framework")
    except ImportError as error:
        raise DefinitionError(
            f"The experiment's software has no usable caf: {type(error).__name__}: {error}.",
            hint="Is its setup in front, in `setup`? Or leave --caf release away.",
        ) from error
    for name in (_PACKAGE, "prompt.validations"):
        package = importlib.import_module(name)
        package.__path__ = [*script_folders, *package.__path__]


def load_script(arguments: ScriptArguments) -> ModuleType:
    """Import a script.

    :raises DefinitionError: if it is not there, cannot be imported, or has not what a script has to have.
    """
    set_up_caf(arguments.caf, arguments.script_folders)
    module = import_script(arguments.script)
    for name, what in (("settings", "a CalibrationSettings"), ("get_calibrations", "a function")):
        if not hasattr(module, name):
            raise DefinitionError(
                f"The script {arguments.script} has no {name!r}.",
                hint=f"Each script has {what} of that name at its top level.",
            )
    if not callable(module.get_calibrations):
        raise DefinitionError(f"get_calibrations of {arguments.script} is no function.", hint="Make it one.")
    return module


def import_script(script: str) -> ModuleType:
    """Import a script by its path, or by its name in the release.

    :raises DefinitionError: if it is not there, or raises.
    """
    path = Path(script)
    if not path.is_absolute():
        name = path.name[: -len(".py")] if script.endswith(".py") else script
        return guard_script(script, lambda: importlib.import_module(f"{_PACKAGE}.{name}"))
    if not path.is_file():
        raise DefinitionError(f"There is no script {script}.", hint="Check the path.")
    return guard_script(script, lambda: _import_file(path))


def _import_file(path: Path) -> ModuleType:
    """Import a file under the name that other scripts know it by: two copies of its settings would differ."""
    name = f"{_PACKAGE}.{path.stem}"
    if path.stem.isidentifier() and importlib.util.find_spec(_PACKAGE) is not None:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None and os.path.samefile(found.origin, path):  # noqa: PTH121 - texts
            return importlib.import_module(name)
    name = f"caf_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise DefinitionError(f"{path} cannot be run as Python.", hint="Its name has to end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def call_script(module: ModuleType, arguments: ScriptArguments) -> list[Any]:
    """Ask a script for its calibrations, with fresh copies of the arguments.

    :raises DefinitionError: if it raises, or gives something else than calibrations.
    """
    iov_class = importlib.import_module("caf.utils").IoV
    find_event_counts(arguments.caf).update(arguments.event_counts)
    data = {
        name: {path: iov_class(*iov) for path, iov in files.items()} for name, files in arguments.input_data.items()
    }
    given = guard_script(
        arguments.script,
        lambda: module.get_calibrations(
            data,
            requested_iov=iov_class(*arguments.requested_iov),
            expert_config=copy.deepcopy(dict(arguments.expert_config)),
        ),
    )
    return check_calibrations(given, arguments.script)


def check_calibrations(given: Any, script: str) -> list[Any]:
    """Return the calibrations that a script returned, whatever holds them.

    :raises DefinitionError: if there are none, or one is something else, or two have one name.
    """
    base = importlib.import_module("caf.framework").CalibrationBase
    wrong = f"get_calibrations of {script} gave"
    hint = "It returns a list of caf.framework.Calibration."
    if isinstance(given, (str, bytes, Mapping, base)) or not hasattr(given, "__iter__"):
        raise DefinitionError(f"{wrong} a {type(given).__name__}.", hint=hint)
    calibrations = list(given)
    if not calibrations:
        raise DefinitionError(f"{wrong} no calibration.", hint="Is there enough input for it? Look at what it prints.")
    names: set[str] = set()
    for calibration in calibrations:
        if not isinstance(calibration, base):
            raise DefinitionError(f"{wrong} a list with a {type(calibration).__name__} in it.", hint=hint)
        if calibration.name in names:
            raise DefinitionError(f"{wrong} two calibrations named {calibration.name!r}.", hint="Rename one of them.")
        names.add(calibration.name)
    return calibrations


def guard_script(script: str, action: Callable[[], _T]) -> _T:
    """Let a script run, and say what it raised and where, in its own lines.

    :raises DefinitionError: with the end of the traceback.
    """
    try:
        return action()
    except DefinitionError:
        raise
    except ImportError as error:
        raise DefinitionError(
            f"The script {script} cannot be imported: {type(error).__name__}: {error}\n{_show(error)}",
            hint=_advise(error),
        ) from error
    except (Exception, SystemExit) as error:  # a script may raise anything; it is shown
        raise DefinitionError(
            f"The script {script} raised {type(error).__name__}: {error}\n{_show(error)}",
            hint="What it printed before stands above.",
        ) from error


def _advise(error: ImportError) -> str:
    text = str(error)
    if "circular import" in text or "partially initialized" in text:
        return "Scripts that import each other's settings depend on each other in a circle: take one of the two out."
    name = (error.name or "").partition(".")[0]
    if name in ("ROOT", "Belle2"):  # ROOT names a missing class by its namespace alone
        return "The library has no such class, or ROOT is not there: is the experiment's setup in front?"
    if name in ("basf2", "caf", "prompt"):
        return "Is the experiment's setup in front, in `setup`? Are the other scripts in the folder of this one?"
    return "Is it installed in the experiment's environment, and is the setup in front?"


def _show(error: BaseException) -> str:
    ours = (os.path.dirname(airflow_provider_caf.__file__), "<frozen")  # noqa: PTH120 - inside a zip file it is a text
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    lines = [line for entry in traceback.format_list(frames) for line in entry.splitlines()]
    return "\n".join(f"    | {line}" for line in lines[-_SHOWN_LINES:])
