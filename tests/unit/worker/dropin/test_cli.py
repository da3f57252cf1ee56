"""Command lines of scripts that submit jobs."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.dropin.caf import backends, cli


def parse(*words: str, **defaults: Any) -> Any:
    parser = argparse.ArgumentParser()
    for subparser in cli.add_backends_subparsers(parser, **defaults):
        cli.add_basf2_options(subparser)
        cli.add_monitor_options(subparser)
        cli.add_job_options(subparser)
    return parser.parse_args(words)


def test_the_defaults_are_those_of_the_reference() -> None:
    args = parse("Local")
    assert vars(args) == {
        "func": cli.command_local,
        "max_processes": 4,
        "log_level": "INFO",
        "debug_level": None,
        "heartbeat": 10,
        "files_per_subjob": None,
        "max_subjobs": None,
    }
    args = parse("HTCondor")
    assert {name: value for name, value in vars(args).items() if name not in vars(parse("Local"))} == {
        "getenv": None,
        "universe": None,
        "path_prefix": None,
        "global_job_limit": 1000,
        "submission_check_heartbeat": 30,
    }


@pytest.mark.parametrize(
    ("word", "function", "kind"),
    [
        ("LSF", cli.command_lsf, backends.LSF),
        ("PBS", cli.command_pbs, backends.PBS),
        ("Slurm", cli.command_slurm, backends.Slurm),
        ("Torque", cli.command_torque, backends.Torque),
        ("HTCondor", cli.command_condor, backends.HTCondor),
    ],
)
def test_a_word_is_a_backend(word: str, function: Any, kind: type[backends.Batch]) -> None:
    args = parse(word, "--global-job-limit", "7", "--submission-check-heartbeat", "60")
    assert args.func is function
    backend = args.func(args, backend_args={"request_memory": "1 GB"})
    assert type(backend) is kind
    assert (backend.global_job_limit, backend.sleep_between_submission_checks) == (7, 60)
    assert backend.backend_args == {**kind.default_backend_args, "request_memory": "1 GB"}


def test_what_the_command_line_says_wins() -> None:
    args = parse("LSF", "--queue", "l")
    assert args.func(args, {"queue": "m"}).backend_args["queue"] == "l"
    args = parse("LSF")
    assert args.func(args, {"queue": "m"}).backend_args["queue"] == "m"
    args = parse("HTCondor", "--getenv", "true", "--path-prefix", "root://host")
    assert args.func(args).backend_args == {
        **backends.HTCondor.default_backend_args,
        "getenv": "true",
        "path_prefix": "root://host",
    }
    args = parse("Local", "--max-processes", "2")
    assert args.func(args).max_processes == 2


def test_a_tool_may_have_defaults_and_functions_of_its_own() -> None:
    args = parse("LSF", default_global_job_limit=3, default_submission_check_heartbeat=5, lsf_func=print)
    assert (args.func, args.global_job_limit, args.submission_check_heartbeat) == (print, 3, 5)
    assert parse("Local", default_max_processes=9).max_processes == 9


@pytest.mark.parametrize(
    "words",
    [("Local", "--max-subjobs", "1", "--max-files-per-subjob", "1"), ("Local", "--log-level", "LOUD"), ("DIRAC",)],
)
def test_what_does_not_fit_is_an_error(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert "error:" in capsys.readouterr().err
