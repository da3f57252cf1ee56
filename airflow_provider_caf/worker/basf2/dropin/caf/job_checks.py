"""What is wrong with a job of a script, as far as it can be known before it is submitted; and the errors of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.file_names import STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.core.files import LOCAL_URI, is_uri
from airflow_provider_caf.worker.basf2.backend_job import INPUT_FILE, SANDBOX_FILE
from airflow_provider_caf.worker.basf2.read_script import read_uri
from airflow_provider_caf.worker.programs import run_program

_LISTS = ("cmd", "args", "input_files", "output_patterns", "setup_cmds", "input_sandbox_files")
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
_OURS = (STDOUT_FILE, STDERR_FILE, INPUT_FILE, SANDBOX_FILE)


class BackendError(Exception):
    """A backend cannot do that."""


class JobError(Exception):
    """A job is not as it should be."""


def check_job(job: Any) -> None:
    """Refuse a job that cannot run, wherever it is submitted.

    :raises JobError: with what to do.
    """
    _check_lists(job)
    if not job.cmd:
        raise JobError(f"{job} has no command: set its cmd, a list such as ['basf2', 'steering.py'].")
    for pattern in job.output_patterns:
        _check_pattern(job, pattern)
    _check_sandbox(job)
    job.check_input_data_files()
    if job.subjobs:
        check_subjobs(job)


def check_subjobs(job: Any) -> None:
    """Refuse subjobs that cannot run.

    :raises JobError: with what to do; also if there are none.
    """
    if not job.subjobs:
        raise JobError(f"{job} is to be split into subjobs, and there is nothing to split: it has no input files.")
    for number, subjob in job.subjobs.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise JobError(f"{job} has a subjob {number!r}: count them from 0.")
        _check_lists(subjob)
        subjob.check_input_data_files()


def check_program(job: Any) -> None:
    """Refuse a job for this machine whose program is not here.

    Only a plain word can be judged: anything else is for the shell, and lines before the command may change everything.

    :raises JobError: if it is not here.
    """
    word = str(job.cmd[0])
    if job.setup_cmds or _PLAIN.fullmatch(word) is None or Path(word).parts[0] in _list_names(job):
        return
    is_local_path = "/" in word and not word.startswith("/")
    # The shell that will run it knows its own words, too.
    known = run_program(["/bin/bash", "-c", 'type -t -- "$1"', "caf-type", word], captures=True)
    if is_local_path or known.returncode:
        raise JobError(
            f"{job} cannot run: there is no program {word!r}. Name one that is on PATH, give its absolute path, put it "
            f"into input_sandbox_files, or say in setup_cmds what makes it known."
        )


def find_existing_files(job: Any) -> list[str]:
    """Return the input files of a job, with absolute paths, each once and in order.

    :raises JobError: if one is not there. What a URI names only the job can know.
    """
    found: dict[str, None] = {}
    for given in job.input_files:
        path = str(given)
        if path.startswith(LOCAL_URI):
            path = read_uri(path)
        if not is_uri(path):
            path = str(Path(path).absolute())
            if not Path(path).is_file():
                raise JobError(f"The input file {given} of {job} is not there.")
        found[path] = None
    return list(found)


def _check_lists(job: Any) -> None:
    for name in _LISTS:
        value: Any = getattr(job, name)
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise JobError(f"The {name} of {job} are {value!r}: write a list, one word in each entry.")


def _check_pattern(job: Any, pattern: Any) -> None:
    if not isinstance(pattern, str) or not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
        raise JobError(
            f"The output pattern {pattern!r} of {job} leaves its folder: write one that is relative to that, such as "
            "'*.root'."
        )


def _check_sandbox(job: Any) -> None:
    names = _list_names(job)
    for path in map(Path, job.input_sandbox_files):
        if not path.exists():
            raise JobError(f"The input sandbox file {path} of {job} is not there.")
        if names.count(path.name) > 1 or path.name in _OURS:
            raise JobError(f"The input sandbox of {job} cannot have {path}: there is another file of that name.")


def _list_names(job: Any) -> list[str]:
    return [Path(path).name for path in job.input_sandbox_files]
