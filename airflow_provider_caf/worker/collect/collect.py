"""Run one subjob: what has to run before, then the collector or the command.

The wrapper (`subjob`) starts this in the folder of the attempt, and judges by exit code and outputs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import airflow_provider_caf
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.names import check_file_name
from airflow_provider_caf.worker.collect.collector import make_collector, run_collector
from airflow_provider_caf.worker.job.subjob import EXIT_NOT_FOUND, EXIT_NOT_STARTED, fill_placeholders
from airflow_provider_caf.worker.programs import run_program
from airflow_provider_caf.worker.requests import Job, read_request
from airflow_provider_caf.worker.root import crash_plainly
from airflow_provider_caf.worker.user_code import load_user_code, read_paths

OUTPUT_FILE = "CollectorOutput.root"


def main(argv: Sequence[str]) -> int:
    """Run the subjob of a job file in the current folder and return its exit code."""
    parser = argparse.ArgumentParser(prog="collect", description="Run the subjob of a job file.")
    parser.add_argument("job", help="path of job.json")
    arguments = parser.parse_args(argv)
    path = str(Path(arguments.job).absolute())
    value = read_request(path, "job file")
    job = Job.from_json(value)
    os.environ["CAF_JOB"] = path
    write_job_files(job.job_files, job.collection)
    files: Sequence[str] | None = None
    if job.pre_collector is not None:
        code, files = run_before(job.pre_collector, value, path)
        if code:
            sys.stderr.write(f"collect: the command before the collector ended with exit code {code}\n")
            return code
    if job.command is not None:
        return run_command(job.command, value if files is None else {**value, "input_files": files}, path)
    counts = run_job(job, files)
    sys.stdout.write(f"collected {sum(counts.values())} events of {len(counts)} runs\n")
    return 0


def write_job_files(names: Sequence[str], collection: str) -> None:
    """Write the files that travel with a job into the work folder, and say in `$CAF_APP` where the job app is.

    :raises InputError: if one of them is not in the app.
    """
    loader = getattr(airflow_provider_caf, "__loader__", None)
    archive = getattr(loader, "archive", None)
    if loader is None or archive is None:
        if names:
            raise InputError("Files that travel with a job lie in the job app.", hint="Run it as app.pyz collect.")
        return
    os.environ["CAF_APP"] = archive
    for name in names:
        try:
            data = loader.get_data(f"{archive}/files/{collection}/{name}")
        except OSError as error:
            raise InputError(
                f"The job app {archive} has no file {name!r} of collection {collection!r}.",
                hint="Clear the task `prepare` of the calibration.",
            ) from error
        write_bytes(Path(check_file_name(name)), data, f"job file {name!r}")


def run_before(before: Mapping[str, Any], value: Mapping[str, Any], path: str) -> tuple[int, Any]:
    """Run what the definition wants before the collector.

    A function gets the job as a dict. It may return other input files for the collector, such as those that it has
    made of the job's own.

    :returns: the exit code, and the input files that the function gave, or None.
    :raises DefinitionError: if it is neither a function nor a command, or gave something else than files.
    """
    if set(before) == {"command"}:
        return run_command(before["command"], value, path), None
    if set(before) != {"function"}:
        raise DefinitionError(
            f"The pre_collector is {before!r}.",
            hint="Give {'function': 'module:name'} or {'command': [argv]}.",
        )
    reference = before["function"]
    function = load_user_code(reference, "pre_collector")
    if not callable(function):
        raise DefinitionError(f"The pre_collector {reference!r} is no function.", hint="Name a function.")
    given = function(dict(value))
    if given is None:
        return 0, None
    return 0, read_paths(given, f"pre_collector {reference!r}", "It gives a list of input files, or None.")


def run_command(command: Any, value: Mapping[str, Any], path: str) -> int:
    """Run an argv list, its placeholders filled, without a shell, and return its exit code.

    :raises InputError: if it cannot be started.
    """
    if not isinstance(command, (list, tuple)) or not command:
        raise DefinitionError(f"The command is {command!r}.", hint="Give an argv list of texts.")
    words = fill_placeholders([str(word) for word in command], value, path)
    sys.stdout.flush()
    try:
        # The job's own environment, with $CAF_JOB; its output goes to the logs of the attempt.
        code = run_program(words).returncode
    except FileNotFoundError:
        sys.stderr.write(f"collect: {words[0]!r} does not exist or is not on PATH\n")
        return EXIT_NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"collect: {words[0]!r} cannot be started: {error.strerror}\n")
        return EXIT_NOT_STARTED
    if code < 0:
        # Passed on as it was: the exit record shall name the signal.
        os.kill(os.getpid(), -code)
    return code


def run_job(job: Job, files: Sequence[str] | None = None) -> Mapping[Any, int]:
    """Run the collector of a job and return the collected events of each run.

    :param files: input files instead of the job's.
    :raises CafError: as `run_collector`, and if the collector or a setting is not there.
    """
    if job.collector is None:
        raise InputError("The job names no collector.", hint="Have it written again.")
    crash_plainly()
    collector = make_collector(job.collector, job.settings, job.granularity)
    collector.iteration = job.iteration
    collector.arguments = job.arguments
    collector._loop.most_events = job.most_events
    return run_collector(collector, job.input_files if files is None else files, job.database_chain, OUTPUT_FILE)
