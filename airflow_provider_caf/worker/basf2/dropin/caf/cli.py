"""_Command lines of scripts that submit jobs: a word for the backend, with its options.

::

    parser = argparse.ArgumentParser()
    for subparser in add_backends_subparsers(parser):
        add_job_options(subparser)
    args = parser.parse_args()
    backend = args.func(args)
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_caf.worker.basf2.dropin.caf.backends import (
    LSF,
    PBS,
    Batch,
    HTCondor,
    Local,
    Slurm,
    Torque,
)

_Command = Callable[..., Any]

_LOG_LEVELS = ("DEBUG", "INFO", "RESULT", "WARNING", "ERROR", "FATAL")
"""Those of basf2."""

_QUEUE = {"queue": "the batch queue, or partition"}
_CONDOR = {
    "getenv": "whether jobs get the environment of this program, such as false",
    "universe": "of the jobs, such as vanilla",
    "path_prefix": "what is put before the path of each local input file, such as root://host:1096",
}


def _build_batch(
    kind: Callable[..., Batch], options: Mapping[str, str], args: Any, backend_args: Mapping[str, Any] | None
) -> Batch:
    """Return a backend; what is said on the command line wins."""
    said = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    backend = kind(backend_args={**(backend_args or {}), **said})
    backend.global_job_limit = args.global_job_limit
    backend.sleep_between_submission_checks = args.submission_check_heartbeat
    return backend


def command_local(args: Any, backend_args: Mapping[str, Any] | None = None) -> Local:
    """Return the backend of this machine."""
    return Local(max_processes=args.max_processes, backend_args=backend_args)


def command_lsf(args: Any, backend_args: Mapping[str, Any] | None = None) -> Batch:
    """Return the backend of LSF."""
    return _build_batch(LSF, _QUEUE, args, backend_args)


def command_pbs(args: Any, backend_args: Mapping[str, Any] | None = None) -> Batch:
    """Return the backend of PBS."""
    return _build_batch(PBS, _QUEUE, args, backend_args)


def command_torque(args: Any, backend_args: Mapping[str, Any] | None = None) -> Batch:
    """Return the backend of Torque."""
    return _build_batch(Torque, _QUEUE, args, backend_args)


def command_condor(args: Any, backend_args: Mapping[str, Any] | None = None) -> Batch:
    """Return the backend of HTCondor."""
    return _build_batch(HTCondor, _CONDOR, args, backend_args)


def command_slurm(args: Any, backend_args: Mapping[str, Any] | None = None) -> Batch:
    """Return the backend of Slurm."""
    return _build_batch(Slurm, _QUEUE, args, backend_args)


def add_basf2_options(parser: argparse.ArgumentParser, default_log_level: str = "INFO") -> None:
    """Add `--log-level` and `--debug-level`."""
    _add(parser, "log_level", "what basf2 prints at least", default_log_level, choices=_LOG_LEVELS)
    _add(parser, "debug_level", "the level of debug messages; it makes the log level DEBUG", type=int)


def add_monitor_options(parser: argparse.ArgumentParser, default_heartbeat: int = 10) -> None:
    """Add `--heartbeat`."""
    _add(parser, "heartbeat", "seconds between two looks whether jobs have ended", default_heartbeat, type=int)


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add `--max-files-per-subjob`, in `files_per_subjob`, or `--max-subjobs`; not both can be given."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--max-files-per-subjob",
        dest="files_per_subjob",
        type=int,
        metavar="N",
        help="input files in a subjob, at most",
    )
    group.add_argument(
        "--max-subjobs", type=int, metavar="N", help="subjobs, at most; input files are spread evenly over them"
    )


def add_backends_subparsers(
    parser: argparse.ArgumentParser,
    default_max_processes: int = 4,
    default_global_job_limit: int = Batch.default_global_job_limit,
    default_submission_check_heartbeat: int = Batch.default_sleep_between_submission_checks,
    local_func: _Command = command_local,
    lsf_func: _Command = command_lsf,
    pbs_func: _Command = command_pbs,
    condor_func: _Command = command_condor,
    slurm_func: _Command = command_slurm,
    torque_func: _Command = command_torque,
) -> list[argparse.ArgumentParser]:
    """Add a word for each backend, with its options, and return their parsers.

    :param local_func: what `args.func` is then; it gets the arguments, and returns the backend.
    """
    subparsers = parser.add_subparsers(help="the backend that runs the jobs", metavar="BACKEND")
    local = subparsers.add_parser("Local", help="processes on this machine")
    local.set_defaults(func=local_func)
    _add(local, "max_processes", "processes at once, at most", default_max_processes, type=int)
    found = [local]
    for name, function, options in (
        ("LSF", lsf_func, _QUEUE),
        ("PBS", pbs_func, _QUEUE),
        ("HTCondor", condor_func, _CONDOR),
        ("Slurm", slurm_func, _QUEUE),
        ("Torque", torque_func, _QUEUE),
    ):
        batch = subparsers.add_parser(name, help=f"jobs of {name}")
        batch.set_defaults(func=function)
        for option, text in options.items():
            _add(batch, option, text)
        _add(batch, "global_job_limit", "jobs in the system at once, at most", default_global_job_limit, type=int)
        _add(
            batch,
            "submission_check_heartbeat",
            "seconds between two looks whether there is room for more jobs",
            default_submission_check_heartbeat,
            type=int,
        )
        found.append(batch)
    return found


def _add(parser: argparse.ArgumentParser, name: str, text: str, default: Any = None, **words: Any) -> None:
    help_text = text if default is None else f"{text} (default: {default})"
    parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default=default, help=help_text, **words)
