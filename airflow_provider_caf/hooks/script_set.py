"""Import a folder of calibration scripts: their dependencies become assets between DAGs.

Scripts name the data formats that they read. Where some read a format that is made of another one, with the constants
that the scripts of that one give, these wait for the production of it. Their data are not there yet: they are described
when they run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.names import build_slug
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.files import SCRIPT_RUN_SUFFIX, read_definition
from airflow_provider_caf.definitions.script import CafConfig, dump_definition, name_script
from airflow_provider_caf.definitions.script_run import read_script_run
from airflow_provider_caf.hooks.script import Imported, ScriptImport, import_script, read_settings
from airflow_provider_caf.io.files import write_text

FORMATS = ("raw", "cdst", "mdst", "udst")
"""In the order in which they are made of each other."""


@record
class ScriptSet:
    """A folder of scripts.

    :param scripts: the folder; files that begin with `_` or `.` are left out.
    :param asked: what counts for each of them.
    :param production: the command that makes the data format which later scripts read. None: the site says by an event
        of the production's asset that the data are there.
    :param validations: a folder of validation scripts, with the file names of the scripts.
    """

    scripts: Path
    asked: ScriptImport
    production: tuple[str, ...] = ()
    validations: Path | None = None


@record
class ImportedSet:
    """What became of the scripts.

    :param imported: those that are described.
    :param runners: files of those that are described when they run.
    :param failed: script → why it could not be.
    """

    imported: tuple[Imported, ...]
    runners: tuple[Path, ...]
    failed: Mapping[str, CafError]


def import_set(asked: ScriptSet) -> ImportedSet:
    """Import all scripts of a folder. One that cannot be is told, and the others go on.

    :raises DefinitionError: if there are no scripts.
    """
    paths = [path for path in sorted(asked.scripts.glob("*.py")) if not path.name.startswith(("_", "."))]
    if not paths:
        raise DefinitionError(f"There is no script in {asked.scripts}.", hint="Scripts are files that end in .py.")
    failed: dict[str, CafError] = {}
    settings: dict[Path, dict[str, Any]] = {}
    for path in paths:
        try:
            settings[path] = read_settings(replace(asked.asked, script=str(path)))
        except CafError as error:
            failed[path.name] = error
    for path, double in _find_doubles(settings):
        failed[path.name] = double
        del settings[path]
    lowest = min((_find_level(each) for each in settings.values()), default=0)
    imported, runners = [], []
    for path, each in settings.items():
        try:
            if _find_level(each) == lowest:
                imported.append(_import_one(asked, path, each))
            else:
                runners.append(_write_runner(asked, path, each))
        except CafError as error:
            failed[path.name] = error
    _write_productions(asked, settings.values())
    return ImportedSet(imported=tuple(imported), runners=tuple(runners), failed=failed)


def _find_doubles(settings: Mapping[Path, Mapping[str, Any]]) -> list[tuple[Path, DefinitionError]]:
    found = []
    for path, each in settings.items():
        others = [
            other.name for other, same in settings.items() if name_script(same) == name_script(each) and other != path
        ]
        if others:
            text = f"The scripts {path.name} and {others[0]} have one name in their settings: {each['name']!r}."
            found.append((path, DefinitionError(text, hint="Rename one: depends_on could mean either.")))
    return found


def _find_level(settings: Mapping[str, Any]) -> int:
    return max(FORMATS.index(each) for each in settings["input_data_formats"])


def _import_one(asked: ScriptSet, path: Path, settings: Mapping[str, Any]) -> Imported:
    return import_script(
        replace(
            asked.asked,
            script=str(path),
            config=_find_config(asked),
            input_data=_choose_data(asked, settings),
            validation=_find_validation(asked, path),
        )
    )


def _choose_data(asked: ScriptSet, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the input data that a script reads; one file has those of all scripts."""
    return {name: each for name, each in (asked.asked.input_data or {}).items() if name in settings["input_data_names"]}


def _find_config(asked: ScriptSet) -> CafConfig:
    """Give the configuration for all: which script it was written for says nothing here."""
    return replace(asked.asked.config, caf_script=None)


def _find_validation(asked: ScriptSet, path: Path) -> str | None:
    if asked.validations is None:
        return None
    validation = asked.validations / path.name
    return str(validation) if validation.exists() else None


def name_production(scripts: Path, data_format: str) -> str:
    """Give the name of the production of a data format, behind the scripts of a folder."""
    return build_slug(f"{scripts.name}_{data_format}_production")


def _list_levels(settings: Iterable[Mapping[str, Any]]) -> list[int]:
    return sorted({_find_level(each) for each in settings})


def _write_runner(asked: ScriptSet, path: Path, settings: Mapping[str, Any]) -> Path:
    """Write the file of a script that is described when it runs, behind the production of its data."""
    level = _find_level(settings)
    name = name_script(settings)
    base = asked.asked
    config = base.config
    form = {
        "name": name,
        "script": str(path),
        "caf_config": {
            "database_chain": None if config.database_chain is None else list(config.database_chain),
            "testing_payloads": list(config.testing_payloads),
            "backend_args": dict(config.backend_args or {}),
            "requested_iov": config.requested_iov.to_json(),
            "expert_config": dict(config.expert_config or {}),
        },
        "input_data": _choose_data(asked, settings),
        "caf": base.caf,
        "script_folders": list(base.script_folders),
        "backend": base.backend,
        "connection": base.connection,
        "arguments": dict(base.arguments or {}),
        "validation": _find_validation(asked, path),
        "timeout": base.timeout,
        "dag": {
            "after": [
                *(build_slug(other) for other in settings["depends_on"]),
                name_production(asked.scripts, FORMATS[level]),
            ],
            "tags": list(settings["input_data_formats"]),
        },
    }
    file = base.folder / f"{name}{SCRIPT_RUN_SUFFIX}"
    write_text(file, dump_definition({key: each for key, each in form.items() if each is not None}, _describe(path)))
    read_script_run(file)
    return file


def _write_productions(asked: ScriptSet, settings: Iterable[Mapping[str, Any]]) -> None:
    """Write the steps that make the data of one format, behind all scripts of those before."""
    everybody = list(settings)
    levels = _list_levels(everybody)
    if not asked.production:
        return
    for level in levels[1:]:
        name = name_production(asked.scripts, FORMATS[level])
        before = [name_script(each) for each in everybody if _find_level(each) < level]
        form = {
            "name": name,
            "description": f"Make the {FORMATS[level]} data that later calibrations read",
            "dag": {"after": before, "tags": ["script", FORMATS[level]]},
            "calibrations": [{"type": "external_command", "name": "production", "command": list(asked.production)}],
        }
        file = asked.asked.folder / f"{name}.yaml"
        write_text(file, dump_definition(form, f"The production between the scripts of {asked.scripts}."))
        read_definition(file)


def _describe(path: Path) -> str:
    return f"The calibration script {path}, described when it runs: its data are made before by others."
