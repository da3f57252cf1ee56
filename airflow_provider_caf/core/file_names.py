"""The names of files and folders that more than one room writes or reads, and the words in them.

Nothing is imported here: a thousand short jobs load this module, each at its start.
"""

from __future__ import annotations

ARRAY_FILE = "array.json"
SUBMITTED_FILE = "submitted.json"
SCRIPT_FILE = "run.sh"
STDOUT_FILE = "stdout.log"
STDERR_FILE = "stderr.log"
DATABASE_FILE = "database.txt"
RESULT_FILE = "result.json"
"""What a function that ran as a job has returned."""
JOBS_COLLECTION = "jobs"
"""The jobs of a task, where those of a calibration have the name of their collection."""

ENDED_BY_SYSTEM = "batch system"
ENDED_BY_POOL = "local pool"
ENDED_BY_USER = "cancel"
ENDED_BY = (ENDED_BY_SYSTEM, ENDED_BY_POOL, ENDED_BY_USER)
"""What an exit record says in `ended_by` where the whole job was ended from outside: by a signal of the batch system,
with the local pool, or by a user who cancelled the subjob."""


def name_subjob(subjob: int) -> str:
    """Return the name of a subjob's folder."""
    return f"{subjob:05d}"


def name_job_file(subjob: int) -> str:
    """Return the name of a subjob's job file."""
    return f"{name_subjob(subjob)}.json"


def name_attempt(label: object) -> str:
    """Return the name of the work folder of a try.

    :param label: the number of the try, with `_r1` and so on where the batch system started it again.
    """
    return f"attempt_{label}"


def build_label(attempt: int, restart: int) -> str:
    """Return the label of a try."""
    return f"{attempt}_r{restart}" if restart else str(attempt)


def name_exit_record(subjob: int, label: object) -> str:
    """Return the name of an exit record in the status folder."""
    return f"{name_subjob(subjob)}.{label}.json"


def name_element_log(element: object) -> str:
    """Return the name of the log of an element in its array's folder.

    :param element: its number from 0, or a word of the shell for it.
    """
    return f"element_{element}.log"
