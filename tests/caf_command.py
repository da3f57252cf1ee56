"""`airflow caf …`, called as Airflow calls it."""

from __future__ import annotations

from airflow.cli.cli_parser import get_parser


def run(*words: str) -> int:
    """Run a command and give its exit code."""
    arguments = get_parser().parse_args(["caf", *words])
    try:
        arguments.func(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
