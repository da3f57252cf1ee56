"""`import-script`, `import-scripts`: existing calibration scripts become definitions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.cli.output import EXIT_PROBLEM, command, show_json, show_text
from airflow_provider_caf.core.caf_config import CafConfig, read_object
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.scripts import importing
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.scripts.folder import ScriptSet, import_set
from airflow_provider_caf.scripts.importing import Imported
from airflow_provider_caf.site.places import find_configured_folder


@command
def import_script(arguments: Any) -> None:
    """Describe a script, and write its definition."""
    order = _read_order(arguments)
    script = _find_script(arguments.script, order.config)
    validation = _absolute(arguments.validation)
    imported = importing.import_script(replace(order, script=script, name=arguments.name, validation=validation))
    if arguments.as_json:
        show_json(_build_json(imported))
    else:
        _show(imported)


@command
def import_scripts(arguments: Any) -> None:
    """Make definitions of all scripts of a folder; exit code 1 if one of them is refused."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise DefinitionError(f"There is no folder {arguments.folder!r}.", hint="Check the path.")
    result = import_set(
        ScriptSet(
            scripts=folder.absolute(),
            order=_read_order(arguments),
            production=tuple(arguments.production or ()),
            validations=None if arguments.validations is None else Path(arguments.validations).absolute(),
        )
    )
    if arguments.as_json:
        show_json(
            {
                "imported": [_build_json(imported) for imported in result.imported],
                "runners": [str(runner) for runner in result.runners],
                "failed": {name: str(error) for name, error in result.failed.items()},
            }
        )
    else:
        for imported in result.imported:
            _show(imported)
        for runner in result.runners:
            show_text(f"{runner}: described when it runs, behind the production of its data")
        for name, error in result.failed.items():
            show_text(f"{name}: {error}\n")
        show_text(f"Imported: {len(result.imported) + len(result.runners)}. Refused: {len(result.failed)}.")
    if result.failed:
        raise SystemExit(EXIT_PROBLEM)


def _read_order(arguments: Any) -> ScriptImport:
    folder = arguments.output or find_configured_folder()
    if folder is None:
        raise DefinitionError(
            "No folder for the definition is named.", hint="Give --output FOLDER, or set [caf] definitions_folder."
        )
    return ScriptImport(
        script="",
        folder=Path(folder).absolute(),
        config=_read_config(arguments.caf_config),
        input_data=read_object(arguments.input_data, "input_data"),
        caf=arguments.caf,
        script_folders=tuple(_absolute(path) or path for path in arguments.script_folder or ()),
        backend=arguments.backend,
        connection=arguments.connection,
        arguments={word: value for word in ("setup", "python") if (value := getattr(arguments, word))},
        timeout=arguments.timeout,
        max_files_per_collector_job=arguments.max_files_per_subjob,
        max_collector_jobs=arguments.max_subjobs,
    )


def _read_config(name: str | None) -> CafConfig:
    if name is None:
        return CafConfig()
    try:
        return CafConfig.from_json(read_object(name, "caf_config"))
    except DefinitionError as error:
        raise DefinitionError(error.what, hint=error.hint, file=name) from error


def _find_script(name: str, config: CafConfig) -> str:
    """Return the absolute path of a script, or its name in the release."""
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
    words = {name: getattr(imported, name) for name in ("name", "settings", "calibrations", "warnings")}
    return {**words, "file": str(imported.file)}


def _show(imported: Imported) -> None:
    show_text(f"{imported.file}")
    show_text(f"  DAG {imported.name}: {', '.join(imported.calibrations)}")
    for warning in imported.warnings:
        show_text(f"  note: {warning}")
