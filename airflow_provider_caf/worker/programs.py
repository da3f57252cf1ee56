"""Start the programs that a collector job or a calibration script runs: the one place of `worker` that does.

What the wrapper of a subjob starts, `worker.job.subjob` starts itself: it measures what that used, and a thousand
short jobs would pay for the import of `subprocess`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from airflow_provider_caf.core.environment import build_child_environment
from airflow_provider_caf.core.errors import InputError, explain_os_error


def run_program(
    argv: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    captures: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end. It reads nothing, and gets our variables without those of Airflow.

    :param folder: in which it runs; None: ours.
    :param variables: set beside ours, and over them.
    :param stdout: a file; None: ours.
    :param stderr: a file; None: ours.
    :param captures: whether its standard output goes into the result instead.
    :raises OSError: if it cannot be started.
    """
    return subprocess.run(
        argv,
        cwd=folder,
        env=build_child_environment(os.environ, variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if captures else stdout,
        stderr=stderr,
        check=False,
    )


@contextmanager
def enter_folder(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Work in a folder, and go back to the one before, wherever the code inside has gone."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def become_program(argv: Sequence[str], folder: Path) -> NoReturn:
    """Let a program take the place of this process.

    :param folder: in which it runs.
    :raises InputError: if it cannot be started.
    """
    with explain_os_error(InputError, f"The command cannot be started: {argv[0]!r}", "Check the program's name."):
        os.chdir(folder)
        os.execvpe(argv[0], list(argv), build_child_environment(os.environ))  # noqa: S606 - an argv list, no shell
    raise AssertionError("exec does not return")
