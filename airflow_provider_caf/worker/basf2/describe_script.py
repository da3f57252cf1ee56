"""Describe a calibration script in the experiment's environment: the verb `script`.

::

    {"version": 1, "script": "/path/to/script.py", "caf": "dropin", "script_folders": [],
     "requested_iov": [exp, run, exp, run], "expert_config": {},
     "input_data": {<name>: [[<folder, file or URI>, [exp, run]], …]},
     "folder": "/path/to/side/files"}

The answer has the script's settings, its calibrations in plain words, and warnings. Beside it, in `folder`, lie the
recorded arguments, and for each collection its paths, the steering file and the map of its input files.
Without `input_data` the answer has the settings alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ALWAYS, IoV
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.suggestions import build_word_hint, check_word
from airflow_provider_caf.worker.basf2.dropin.warn import collecting_warnings
from airflow_provider_caf.worker.basf2.read_script import check_dependencies, describe_calibration, read_uri
from airflow_provider_caf.worker.basf2.script import ScriptArguments, call_script, find_event_counts, load_script
from airflow_provider_caf.worker.basf2.software import find_software

ARGUMENTS_FILE = "arguments.json"

_SETTINGS = ("name", "expert_username", "description", "expert_config")
_SETS = ("input_data_formats", "input_data_names")
_NEWER = ("produced_payloads", "subsystem")


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a script, and write what its jobs need.

    :raises DefinitionError: if the script cannot be used, with its traceback.
    """
    arguments = ScriptArguments(
        script=str(request.get("script")),
        caf=str(request.get("caf")),
        script_folders=tuple(request.get("script_folders") or ()),
        requested_iov=IoV.from_json(request.get("requested_iov") or ALWAYS),
        expert_config={},
        input_data={},
    )
    warnings: list[str] = []
    with _telling(warnings), collecting_warnings(warnings):
        module = load_script(arguments)
    settings = describe_settings(module.settings, arguments.script)
    software = find_software()
    answer = {"settings": settings, "calibrations": [], "warnings": warnings, "software": software}
    if request.get("input_data") is None:
        return answer
    with _telling(warnings):
        config = merge_config(settings["expert_config"], request.get("expert_config") or {}, warnings)
        data = find_input_data(settings["input_data_names"], request["input_data"], arguments.requested_iov, warnings)
        arguments = replace(arguments, expert_config=config, input_data=data)
        with collecting_warnings(warnings):
            calibrations = call_script(module, arguments)
        sys.stdout.flush()
        folder = Path(request["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        known = {path: iov for files in data.values() for path, iov in files.items()}
        described = [describe_calibration(calibration, folder, known, warnings) for calibration in calibrations]
        check_dependencies(described)
    arguments = replace(arguments, event_counts=find_event_counts(arguments.caf), software=software)
    text = json.dumps(arguments.to_json(), indent=1) + "\n"
    write_bytes(folder / ARGUMENTS_FILE, text.encode(), "arguments of the script")
    return {**answer, "calibrations": described}


@contextmanager
def _telling(warnings: Iterable[str]) -> Iterator[None]:
    """Print warnings where something fails: they may say why."""
    try:
        yield
    except DefinitionError:
        sys.stdout.writelines(f"{warning}\n" for warning in warnings)
        raise


def describe_settings(settings: Any, script: str) -> dict[str, Any]:
    """Return the settings of a script in plain words.

    :raises DefinitionError: if they are something else.
    """
    missing = [name for name in (*_SETTINGS, *_SETS) if not hasattr(settings, name)]
    if missing:
        raise DefinitionError(
            f"The settings of {script} are a {type(settings).__name__} without {', '.join(missing)}.",
            hint="They have to be a prompt.CalibrationSettings.",
        )
    found: dict[str, Any] = {name: getattr(settings, name) for name in (*_SETTINGS, *_NEWER) if hasattr(settings, name)}
    found.update({name: sorted(getattr(settings, name)) for name in _SETS})
    found["input_data_filters"] = dict(getattr(settings, "input_data_filters", None) or {})
    found["depends_on"] = [needed.name for needed in settings.depends_on or ()]
    plain: dict[str, Any] = normalise_json(_plain(found), f"settings of {script}")
    return plain


def merge_config(default: Mapping[str, Any], given: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
    """Put a run's expert options over those of the script, name by name."""
    for name in given:
        if name not in default:
            warnings.append(
                f"The script declares no expert option {name!r}: whether it has an effect, only the script knows. "
                + build_word_hint(name, default, "options of the script")
            )
    return {**default, **given}


def find_input_data(
    names: Iterable[str], given: Mapping[str, Any], requested: IoV, warnings: list[str]
) -> dict[str, dict[str, IoV]]:
    """Find the input files as the experiment's prompt tool does: name → file → IoV, all in the order that was given.

    Folders are searched for ROOT files; URIs are taken as they are. What is not there, and what lies outside the
    requested IoV, is left out with a warning.

    :param names: what the script's settings name. It is given all names, as there.
    :param given: name → list of `[folder, file or URI, [exp, run]]`.
    :raises DefinitionError: if a name that the script needs is not there, or an entry is of another form.
    """
    wanted = list(names)
    for name in wanted:
        what = f"The script reads the input data {name!r}, which input_data does not have."
        check_word(name, given, what, "names in it")
    others = sorted(set(given) - set(wanted))
    if others:
        shown = ", ".join(map(repr, others))
        warnings.append(f"The script's settings do not name the input data {shown}, which it is given all the same.")
    return {name: _find_files(name, entries, requested, warnings) for name, entries in given.items()}


def _find_files(name: str, entries: Any, requested: IoV, warnings: list[str]) -> dict[str, IoV]:
    if not isinstance(entries, list):
        raise DefinitionError(
            f"The input data {name!r} is no list.", hint='Write [["/folder", [exp, run]], …] for each name.'
        )
    files: dict[str, IoV] = {}
    for entry in entries:
        try:
            place, (exp, run) = entry
            iov = IoV.of_basf2([exp, run, exp, run])
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"In the input data {name!r} there is {entry!r}.", hint='An entry is ["/folder or file", [exp, run]].'
            ) from error
        found = _list_files(str(place))
        if found is None:
            warnings.append(f"The input data {name!r} names {place}, which is not there. Is it mounted here?")
        for path in found or ():
            if files.get(path, iov) != iov:
                warnings.append(f"The input data {name!r} names {path} with two runs; the last one, {iov.low}, counts.")
            files[path] = iov
    outside = [path for path, iov in files.items() if not requested.contains(iov)]
    if outside:
        warnings.append(
            f"Of the {len(files)} files of the input data {name!r}, {len(outside)} lie outside the requested IoV "
            f"{requested} and are left out; the first is {outside[0]} of run {files[outside[0]].low}."
        )
    kept = {path: iov for path, iov in files.items() if requested.contains(iov)}
    if not kept:
        warnings.append(f"The input data {name!r} has no files.")
    return kept


def _list_files(place: str) -> list[str] | None:
    """Return the files of a place, sorted as texts; None: it is not there."""
    local = read_uri(place)
    if "://" in local:
        return [local]
    path = Path(local).absolute()
    if path.is_dir():
        return sorted(str(file) for file in path.glob("**/*.root"))
    return [str(path)] if path.is_file() else None


def _plain(value: Any) -> Any:
    """Return a value with lists in the place of sets."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
