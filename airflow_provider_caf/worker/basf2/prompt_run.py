"""Run a calibration script of the experiment with its two files, without Airflow, as the experiment's prompt tool does.

::

    python3 -m airflow_provider_caf.worker.basf2.prompt_run BACKEND caf_config.json input_data.json [OPTION …]

Collectors run on the backend, algorithms here, in `calibration_results`. Then the databases of all calibrations whose
payloads are kept are copied to `caf_outputdb_results/<calibration>`. It runs in the experiment's environment, and needs
the whole package on `PYTHONPATH`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.caf_config import CafConfig, read_object
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.files import is_uri
from airflow_provider_caf.worker.basf2.describe_script import describe_settings, find_input_data, merge_config
from airflow_provider_caf.worker.basf2.dropin.caf import cli
from airflow_provider_caf.worker.basf2.dropin.caf.calibration_steps import tell
from airflow_provider_caf.worker.basf2.dropin.caf.framework import CAF
from airflow_provider_caf.worker.basf2.dropin.caf.job_checks import BackendError, JobError
from airflow_provider_caf.worker.basf2.dropin.caf.local_run import check_output
from airflow_provider_caf.worker.basf2.dropin.caf.splitters import SplitterError
from airflow_provider_caf.worker.basf2.script import DROPIN, ScriptArguments, call_script, load_script

OUTPUT_FOLDER = "caf_outputdb_results"

_HEARTBEAT = 60
"""Seconds between two looks at the jobs, as in the experiment's tool."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="prompt-run", description="Run a calibration script without Airflow.")
    for subparser in cli.add_backends_subparsers(parser):
        subparser.add_argument("caf_config", metavar="CAF_CONFIG", help="caf_config.json")
        subparser.add_argument("input_data", metavar="INPUT_DATA", help="input_data.json")
        cli.add_basf2_options(subparser)
        cli.add_monitor_options(subparser, _HEARTBEAT)
        cli.add_job_options(subparser)
        for flag, name, text in (
            ("--dry-run", "dry_run", "set everything up, and run nothing"),
            ("--overwrite-output-db", "overwrite_db", f"remove {OUTPUT_FOLDER} of an earlier run at the end"),
            ("--overwrite-working-dir", "overwrite_workdir", "remove what an earlier run has left, and begin anew"),
            ("--permissive", "permissive", "take a script by its path, and testing payloads"),
        ):
            subparser.add_argument(flag, dest=name, action="store_true", help=text)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a script, and return the exit code.

    :param argv: the words of the command line, without the program's name.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if not hasattr(arguments, "func"):
        parser.error("name a backend: Local, LSF, PBS, HTCondor, Slurm or Torque.")
    try:
        _run(arguments)
    except (CafError, BackendError, JobError, SplitterError, RuntimeError) as error:
        return _tell_end(str(error), 1)
    except KeyboardInterrupt:
        return _tell_end("interrupted. Jobs that are submitted go on; the same command goes on with them.", 130)
    return 0


def _tell_end(text: str, code: int) -> int:
    sys.stdout.flush()
    sys.stderr.write(f"prompt-run: {text}\n")
    return code


def _run(arguments: Any) -> None:
    config = CafConfig.from_json(read_object(arguments.caf_config, "caf_config"))
    data = read_object(arguments.input_data, "input_data")
    output = Path(OUTPUT_FOLDER).absolute()
    if not (arguments.dry_run or arguments.overwrite_db) and output.exists():
        raise DefinitionError(
            f"The folder {output} of an earlier run is there.", hint="Move it away, or give --overwrite-output-db."
        )
    script = _find_script(config, permissive=arguments.permissive)
    # Else ROOT reads the command line as its own.
    sys.argv[:] = [script.script]
    _set_log_level(arguments)
    caf = _set_up(arguments, config, script, data)
    if arguments.dry_run:
        return
    results = Path(caf.output_dir)
    if arguments.overwrite_workdir and results.exists():
        check_output(results)
        shutil.rmtree(results)
    caf.run()
    if output.exists():
        shutil.rmtree(output)
    output.mkdir()
    for calibration in caf.calibrations.values():
        if calibration.save_payloads:
            shutil.copytree(calibration.output_database_dir, output / calibration.name)
    tell(f"the payloads are in {output}")


def _find_script(config: CafConfig, *, permissive: bool) -> ScriptArguments:
    """Return the arguments of the script that a configuration names, still without its input.

    :raises DefinitionError: if it names none, or one that is not to be taken.
    """
    named = config.caf_script
    if named is None:
        raise DefinitionError("The caf_config names no script.", hint='Add "caf_script": "<name or path>" to it.')
    has_path = Path(named).name != named
    if has_path and not permissive:
        raise DefinitionError(
            f"The caf_config names the script by a path: {named}.",
            hint="Give --permissive, or its name: then it is taken from prompt/calibrations of the release.",
        )
    path = Path(named).absolute()
    return ScriptArguments(
        script=str(path) if has_path else path.stem,
        caf=DROPIN,
        script_folders=(str(path.parent),) if has_path else (),
        requested_iov=config.requested_iov,
        expert_config={},
        input_data={},
    )


def _set_log_level(arguments: Any) -> None:
    import basf2

    is_debug = arguments.debug_level is not None
    basf2.set_log_level(getattr(basf2.LogLevel, "DEBUG" if is_debug else arguments.log_level))
    if is_debug:
        basf2.set_debug_level(arguments.debug_level)


def _set_up(arguments: Any, config: CafConfig, script: ScriptArguments, data: Mapping[str, Any]) -> CAF:
    """Ask the script for its calibrations, and put over them what the files and the command line say."""
    module = load_script(script)
    settings = describe_settings(module.settings, script.script)
    warnings: list[str] = []
    expert_config = merge_config(settings["expert_config"], config.expert_config, warnings)
    files = find_input_data(settings["input_data_names"], data, config.requested_iov, warnings)
    prefix = getattr(arguments, "path_prefix", None) or ""
    files = {
        name: {path if is_uri(path) else prefix + path: iov for path, iov in of_name.items()}
        for name, of_name in files.items()
    }
    if config.testing_payloads and not arguments.permissive:
        warnings.append("The testing_payloads of the caf_config count with --permissive only, and are left out.")
    for warning in warnings:
        tell(warning)
    calibrations = call_script(module, replace(script, expert_config=expert_config, input_data=files))
    caf = CAF(backend=arguments.func(arguments, backend_args=dict(config.backend_args)))
    for calibration in calibrations:
        _set_databases(calibration, config, arguments.permissive)
        for collection in calibration.collections.values():
            if arguments.files_per_subjob:
                collection.max_files_per_collector_job = arguments.files_per_subjob
            elif arguments.max_subjobs:
                collection.max_collector_jobs = arguments.max_subjobs
        calibration.heartbeat = arguments.heartbeat
        try:
            caf.add_calibration(calibration)
        except ValueError as error:
            raise DefinitionError(str(error), hint="Is there input for it? Look at what the script prints.") from error
        counts = ", ".join(
            f"{name} ({len(collection.input_files)} files)"
            for name, collection in calibration.collections.items()
            if collection.is_valid()
        )
        tell(f"{calibration.name}: {counts}; {', '.join(algorithm.name for algorithm in calibration.algorithms)}")
    return caf


def _set_databases(calibration: Any, config: CafConfig, permissive: bool) -> None:
    """Put the tags of a configuration in the place of the script's, and testing payloads in front of the algorithms'.

    The last one counts first. Of the collections only the default one gets testing payloads, as in the experiment's
    tool.
    """
    if config.database_chain is not None:
        for owner in (calibration, *calibration.collections.values()):
            owner.reset_database(apply_to_default_collection=False)
            for tag in config.database_chain:
                owner.use_central_database(tag, apply_to_default_collection=False)
    for path in config.testing_payloads if permissive else ():
        calibration.use_local_database(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
