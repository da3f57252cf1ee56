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
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.iov import ALWAYS, IoV
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.suggestions import build_word_hint, check_word
from airflow_provider_caf.worker.basf2.dropin.warn import collecting_warnings
from airflow_provider_caf.worker.basf2.read_script import check_dependencies, describe_calibration
from airflow_provider_caf.worker.basf2.script import ScriptArguments, call_script, find_event_counts, load_script

ARGUMENTS_FILE = "arguments.json"

_SETTINGS = ("name", "expert_username", "description", "expert_config")
_SETS = ("input_data_formats", "input_data_names")
_NEWER = ("produced_payloads", "subsystem")


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a script, and write what its jobs need.

    :raises DefinitionError: if the script cannot be used, with its traceback.
    :raises InputError: if there is no input for it.
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
    with collecting_warnings(warnings):
        module = load_script(arguments)
    settings = describe_settings(module.settings, arguments.script)
    answer = {"settings": settings, "calibrations": [], "warnings": warnings, "software": find_software()}
    if request.get("input_data") is None:
        return answer
    config = merge_config(settings["expert_config"], request.get("expert_config") or {}, warnings)
    data = find_input_data(settings["input_data_names"], request["input_data"], warnings)
    arguments = replace(arguments, expert_config=config, input_data=data)
    with collecting_warnings(warnings):
        calibrations = call_script(module, arguments)
    sys.stdout.flush()
    folder = Path(request["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    known = {path: iov for files in data.values() for path, iov in files.items()}
    described = [describe_calibration(calibration, folder, known, warnings) for calibration in calibrations]
    check_dependencies(described)
    arguments = replace(arguments, event_counts=find_event_counts(arguments.caf))
    text = json.dumps(arguments.to_json(), indent=1) + "\n"
    write_bytes(folder / ARGUMENTS_FILE, text.encode(), "arguments of the script")
    return {**answer, "calibrations": described}


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


def find_input_data(names: Iterable[str], given: Mapping[str, Any], warnings: list[str]) -> dict[str, dict[str, IoV]]:
    """Find the input files: name → file → IoV. Folders are searched for ROOT files; URIs are taken as they are.

    :param given: name → list of `[folder, file or URI, [exp, run]]`.
    :raises DefinitionError: if a name that the script needs is not there, or an entry is of another form.
    :raises InputError: if a folder or file is not there.
    """
    wanted = list(names)
    for name in wanted:
        what = f"The script reads the input data {name!r}, which input_data does not have."
        check_word(name, given, what, "names in it")
    others = sorted(set(given) - set(wanted))
    if others:
        warnings.append(f"The script does not read the input data {', '.join(map(repr, others))}.")
    return {name: _find_files(name, given[name]) for name in wanted}


def _find_files(name: str, entries: Any) -> dict[str, IoV]:
    if not isinstance(entries, list):
        raise DefinitionError(
            f"The input data {name!r} is no list.", hint='Write [["/folder", [exp, run]], …] for each name.'
        )
    files: dict[str, IoV] = {}
    for entry in entries:
        try:
            place, (exp, run) = entry
            iov = IoV.from_json([exp, run, exp, run])
        except (TypeError, ValueError) as error:
            raise DefinitionError(
                f"In the input data {name!r} there is {entry!r}.", hint='An entry is ["/folder or file", [exp, run]].'
            ) from error
        for path in _list_files(str(place), name):
            files[path] = iov
    return {path: files[path] for path in sorted(files)}


def _list_files(place: str, name: str) -> list[str]:
    if "://" in place:
        return [place]
    path = Path(place)
    if path.is_dir():
        return [str(file) for file in sorted(path.glob("**/*.root"))]
    if not path.exists():
        raise InputError(
            f"The input data {name!r} names {place}, which is not there.", hint="Is it mounted on this machine?"
        )
    return [str(path)]


def find_software() -> dict[str, str]:
    """Return which release of the experiment's software this is."""
    try:
        import basf2
    except ImportError:
        return {}
    names = ("version", "basf2label", "__version__")
    return {name: str(getattr(basf2, name)) for name in names if isinstance(getattr(basf2, name, None), str)}


def _plain(value: Any) -> Any:
    """Return a value with lists in the place of sets."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
