"""`import-script`, `import-scripts`: existing calibration scripts become definitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.output import EXIT_PROBLEM, command, show_json, show_text
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.definitions.script import CafConfig
from airflow_provider_caf.hooks import script as hook
from airflow_provider_caf.hooks.script import Imported, ScriptImport, find_configured_folder
from airflow_provider_caf.hooks.script_set import ScriptSet, import_set


@command
def import_script(arguments: Any) -> None:
    """Describe a script, and write its definition."""
    asked = _read_asked(arguments)
    asked = replace(asked, script=_find_script(arguments.script, asked.config))
    asked = replace(asked, name=arguments.name, validation=_absolute(arguments.validation))
    imported = hook.import_script(asked)
    if arguments.as_json:
        show_json(_build_json(imported))
    else:
        _show(imported)


@command
def import_scripts(arguments: Any) -> None:
    """Make definitions of all scripts of a folder; exit code 1 if one of them cannot be."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise DefinitionError(f"There is no folder {arguments.folder!r}.", hint="Check the path.")
    asked = _read_asked(arguments)
    result = import_set(
        ScriptSet(
            scripts=folder.absolute(),
            asked=asked,
            production=tuple(arguments.production or ()),
            validations=None if arguments.validations is None else Path(arguments.validations).absolute(),
        )
    )
    if arguments.as_json:
        show_json(
            {
                "imported": [_build_json(each) for each in result.imported],
                "runners": [str(each) for each in result.runners],
                "failed": {name: str(error) for name, error in result.failed.items()},
            }
        )
    else:
        for each in result.imported:
            _show(each)
        for runner in result.runners:
            show_text(f"{runner}: described when it runs, behind the production of its data")
        for name, error in result.failed.items():
            show_text(f"{name}: {error}\n")
        show_text(f"Imported: {len(result.imported) + len(result.runners)}. Refused: {len(result.failed)}.")
    if result.failed:
        raise SystemExit(EXIT_PROBLEM)


def _read_asked(arguments: Any) -> ScriptImport:
    words: dict[str, Any] = {}
    if arguments.setup:
        words["setup"] = list(arguments.setup)
    if arguments.python:
        words["python"] = arguments.python
    folder = arguments.output or find_configured_folder()
    if folder is None:
        raise DefinitionError(
            "Nobody says where the definition goes.", hint="Give --output FOLDER, or set [caf] definitions_folder."
        )
    data = _read_json(arguments.input_data, "input data")
    if not isinstance(data, Mapping):
        raise DefinitionError(
            f"The input data {arguments.input_data} is no mapping.", hint='Write {"name": [["/folder", [exp, run]]]}.'
        )
    return ScriptImport(
        script="",
        folder=Path(folder).absolute(),
        config=_read_config(arguments.caf_config),
        input_data=data,
        caf=arguments.caf,
        script_folders=tuple(_absolute(each) or each for each in arguments.script_folder or ()),
        backend=arguments.backend,
        connection=arguments.connection,
        arguments=words,
        timeout=arguments.timeout,
    )


def _read_config(name: str | None) -> CafConfig:
    if name is None:
        return CafConfig()
    try:
        return CafConfig.from_json(_read_json(name, "CAF configuration"))
    except DefinitionError as error:
        raise DefinitionError(error.what, hint=error.hint, file=name) from error


def _read_json(name: str, what: str) -> Any:
    try:
        return json.loads(Path(name).read_text("utf-8"))
    except OSError as error:
        raise CafError(f"The {what} {name} cannot be read: {error.strerror}.", hint="Check the path.") from error
    except ValueError as error:
        raise DefinitionError(f"The {what} {name} is no JSON: {error}.", hint="Correct it there.") from error


def _find_script(name: str, config: CafConfig) -> str:
    """Give the absolute path of a script, or its name in the release."""
    if config.caf_script is not None and Path(config.caf_script).stem != Path(name).stem:
        raise DefinitionError(
            f"The caf_config is for the script {config.caf_script!r}, not for {name!r}.",
            hint="Give the script that it names, or take caf_script out of it.",
        )
    path = Path(name)
    if path.exists():
        return str(path.absolute())
    if "/" in name:
        raise DefinitionError(f"There is no script {name!r}.", hint="Check the path.")
    return name


def _absolute(name: str | None) -> str | None:
    return name if name is None or not Path(name).exists() else str(Path(name).absolute())


def _build_json(imported: Imported) -> dict[str, Any]:
    return {
        "name": imported.name,
        "file": str(imported.file),
        "settings": dict(imported.settings),
        "calibrations": list(imported.calibrations),
        "warnings": list(imported.warnings),
    }


def _show(imported: Imported) -> None:
    show_text(f"{imported.file}")
    show_text(f"  DAG {imported.name}: {', '.join(imported.calibrations)}")
    for each in imported.warnings:
        show_text(f"  note: {each}")
