"""Import a folder of calibration scripts: their dependencies become assets between DAGs.

Scripts name the data formats that they read. Where some read a format that is made of another one, with the constants
that the scripts of that one give, these wait for the production of it. Their data are not there yet: they are described
when they run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.names import build_slug
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.files import SCRIPT_RUN_SUFFIX, read_definition
from airflow_provider_caf.scripts.definition import ScriptImport, dump_definition, name_script
from airflow_provider_caf.scripts.importing import Imported, import_script, read_settings
from airflow_provider_caf.scripts.script_run import IMPORT_OPTIONS, read_script_run

FORMATS = ("raw", "cdst", "mdst", "udst")
"""In the order in which they are made of each other."""

_UNKNOWN = -1
"""The place of a format that is not among them. Of what its data are made nobody here knows: they have to be there."""


@record
class ScriptSet:
    """A folder of scripts.

    :param scripts: the folder; files that begin with `_` or `.` are left out.
    :param order: the import of each of them, without the script.
    :param production: the command that makes the data format which later scripts read. None: the site says by an event
        of the production's asset that the data are there.
    :param validations: a folder of validation scripts, with the file names of the scripts.
    """

    scripts: Path
    order: ScriptImport
    production: tuple[str, ...] = ()
    validations: Path | None = None


@record
class ImportedSet:
    """The scripts of a folder that have been imported.

    :param imported: those that are described.
    :param runners: files of those that are described when they run.
    :param failed: script → why it was refused.
    """

    imported: tuple[Imported, ...]
    runners: tuple[Path, ...]
    failed: Mapping[str, CafError]


@record
class CheckedSet:
    """The settings of the scripts of a folder.

    :param settings: script → its settings, of those that can be used.
    :param failed: the name of a script → why it cannot be used.
    :param warnings: the name of a script → what a reader should know of its settings.
    """

    settings: Mapping[Path, Mapping[str, Any]]
    failed: Mapping[str, CafError]
    warnings: Mapping[str, Sequence[str]]


def check_set(scripts: Path, order: ScriptImport) -> CheckedSet:
    """Read the settings of all scripts of a folder. Those that have one name are all refused.

    :param order: how each of them is described.
    :raises DefinitionError: if there are no scripts.
    """
    paths = [path for path in sorted(scripts.glob("*.py")) if not path.name.startswith(("_", "."))]
    if not paths:
        raise DefinitionError(f"There is no script in {scripts}.", hint="Scripts are files that end in .py.")
    failed: dict[str, CafError] = {}
    warnings: dict[str, list[str]] = {}
    settings: dict[Path, dict[str, Any]] = {}
    for path in paths:
        try:
            settings[path], warnings[path.name] = read_settings(replace(order, script=str(path)))
        except CafError as error:
            failed[path.name] = error
    for path, double in _find_doubles(settings):
        failed[path.name] = double
        del settings[path], warnings[path.name]
    known = {own["name"] for own in settings.values()}
    for path, own in settings.items():
        for name in own["depends_on"]:
            if name not in known:
                warnings[path.name].append(
                    f"It depends on {name!r}, which is the name of no usable script of the folder."
                )
    return CheckedSet(settings=settings, failed=failed, warnings=warnings)


def import_set(script_set: ScriptSet) -> ImportedSet:
    """Import all scripts of a folder. One that cannot be imported is reported, and the others go on.

    :raises DefinitionError: if there are no scripts.
    """
    checked = check_set(script_set.scripts, script_set.order)
    failed, settings = dict(checked.failed), checked.settings
    lowest = min((level for level in map(_find_level, settings.values()) if level != _UNKNOWN), default=_UNKNOWN)
    imported, runners = [], []
    for path, own in settings.items():
        order = _complete_order(script_set, path, own)
        try:
            if _find_level(own) in (_UNKNOWN, lowest):
                imported.append(import_script(order))
            else:
                runners.append(_write_runner(script_set, order, own))
        except CafError as error:
            failed[path.name] = error
    _write_productions(script_set, list(settings.values()))
    return ImportedSet(imported=tuple(imported), runners=tuple(runners), failed=failed)


def _complete_order(script_set: ScriptSet, path: Path, settings: Mapping[str, Any]) -> ScriptImport:
    """Return the import of one script, with its own part of the input data and its validation script."""
    order = script_set.order
    validation = None if script_set.validations is None else script_set.validations / path.name
    return replace(
        order,
        script=str(path),
        # Which script the configuration was written for says nothing here.
        config=replace(order.config, caf_script=None),
        input_data={
            name: entries for name, entries in (order.input_data or {}).items() if name in settings["input_data_names"]
        },
        validation=str(validation) if validation is not None and validation.exists() else None,
    )


def _find_doubles(settings: Mapping[Path, Mapping[str, Any]]) -> list[tuple[Path, DefinitionError]]:
    found = []
    for path, own in settings.items():
        others = [
            other.name for other, same in settings.items() if name_script(same) == name_script(own) and other != path
        ]
        if others:
            text = f"The scripts {path.name} and {others[0]} have one name in their settings: {own['name']!r}."
            found.append((path, DefinitionError(text, hint="Rename one: depends_on could mean either.")))
    return found


def _find_level(settings: Mapping[str, Any]) -> int:
    """Return the place of a script's latest format."""
    return max(FORMATS.index(name) if name in FORMATS else _UNKNOWN for name in settings["input_data_formats"])


def name_production(scripts: Path, data_format: str) -> str:
    """Return the name of the production of a data format, behind the scripts of a folder."""
    return build_slug(f"{scripts.name}_{data_format}_production")


def _write_runner(script_set: ScriptSet, order: ScriptImport, settings: Mapping[str, Any]) -> Path:
    """Write the file of a script that is described when it runs, behind the production of its data."""
    name = name_script(settings)
    form = {
        "name": name,
        "script": order.script,
        "caf_config": order.config.to_json(),
        "input_data": order.input_data,
        **{word: getattr(order, word) for word in IMPORT_OPTIONS},
        "dag": {
            "after": [
                *(build_slug(other) for other in settings["depends_on"]),
                name_production(script_set.scripts, FORMATS[_find_level(settings)]),
            ],
            "tags": settings["input_data_formats"],
        },
    }
    file = order.folder / f"{name}{SCRIPT_RUN_SUFFIX}"
    options = {word: value for word, value in form.items() if value is not None}
    comment = f"The calibration script {order.script}, described when it runs: its data are made before by others."
    write_text(file, dump_definition(normalise_json(options, f"options of {order.script}"), comment))
    read_script_run(file)
    return file


def _write_productions(script_set: ScriptSet, settings: Sequence[Mapping[str, Any]]) -> None:
    """Write the steps that make the data of one format, behind all scripts of those before."""
    if not script_set.production:
        return
    for level in sorted({_find_level(own) for own in settings} - {_UNKNOWN})[1:]:
        name = name_production(script_set.scripts, FORMATS[level])
        form = {
            "name": name,
            "description": f"Make the {FORMATS[level]} data that later calibrations read",
            "dag": {
                "after": [name_script(own) for own in settings if _find_level(own) < level],
                "tags": ["script", FORMATS[level]],
            },
            "calibrations": [
                {"type": "external_command", "name": "production", "command": list(script_set.production)}
            ],
        }
        file = script_set.order.folder / f"{name}.yaml"
        write_text(file, dump_definition(form, f"The production between the scripts of {script_set.scripts}."))
        read_definition(file)
