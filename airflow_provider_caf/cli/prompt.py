"""`prompt-run`, `prompt-check`: calibration scripts without a definition and without a running Airflow."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.cli.output import EXIT_PROBLEM, command, fail, show_json, show_text
from airflow_provider_caf.cli.worker_program import build_worker_argv
from airflow_provider_caf.core.errors import CafError, DefinitionError, explain_os_error
from airflow_provider_caf.core.processes import TiedProcess
from airflow_provider_caf.scripts.definition import ScriptImport
from airflow_provider_caf.scripts.folder import CheckedSet, check_set


@command
def prompt_run(arguments: Any) -> None:
    """Run a script with its two files in the experiment's environment, as the experiment's prompt tool does."""
    resources = Resources(setup=tuple(arguments.setup or ()), python=arguments.python)
    argv = build_worker_argv(resources, "basf2.prompt_run", arguments.words)
    with open(1, "wb", closefd=False) as stdout, open(2, "wb", closefd=False) as stderr:
        program = resources.python or sys.executable
        with explain_os_error(CafError, f"{program} cannot be started", "Check --python."):
            process = TiedProcess(argv, stdout=stdout, stderr=stderr)
        with process:
            exit_code = process.wait()
    if exit_code < 0:
        fail(f"It was ended by signal {-exit_code}.")
    if exit_code:
        raise SystemExit(exit_code)


@command
def prompt_check(arguments: Any) -> None:
    """Check the settings of all scripts of a folder; exit code 1 if something is wrong."""
    folder = Path(arguments.folder)
    if not folder.is_dir():
        raise DefinitionError(f"There is no folder {arguments.folder!r}.", hint="Check the path.")
    with tempfile.TemporaryDirectory(prefix="caf-prompt-check-") as scratch:
        order = ScriptImport(
            script="",
            folder=Path(scratch),
            caf=arguments.caf,
            script_folders=tuple(str(Path(path).absolute()) for path in arguments.script_folder or ()),
            arguments={word: value for word in ("setup", "python") if (value := getattr(arguments, word))},
            timeout=arguments.timeout,
        )
        checked = check_set(folder.absolute(), order)
    if arguments.as_json:
        show_json(_build_json(checked))
    else:
        _show(checked)
    if checked.failed:
        raise SystemExit(EXIT_PROBLEM)


def _build_json(checked: CheckedSet) -> dict[str, Any]:
    return {
        "scripts": {path.name: dict(settings) for path, settings in checked.settings.items()},
        "failed": {name: str(error) for name, error in checked.failed.items()},
        "warnings": {name: list(texts) for name, texts in checked.warnings.items()},
    }


def _show(checked: CheckedSet) -> None:
    for path, settings in checked.settings.items():
        after = f", after {', '.join(settings['depends_on'])}" if settings["depends_on"] else ""
        show_text(f"{path.name}: {settings['name']!r} on {', '.join(settings['input_data_formats'])}{after}")
        for warning in checked.warnings.get(path.name, ()):
            show_text(f"  note: {warning}")
    for name, error in checked.failed.items():
        show_text(f"{name}: {error}\n")
    show_text(f"Good scripts: {len(checked.settings)}. Refused: {len(checked.failed)}.")
