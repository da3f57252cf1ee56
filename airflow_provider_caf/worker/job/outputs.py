"""Find the outputs that a subjob has left in its work folder, and whether an earlier start of it has ended well.

Batch systems start elements again, also after they had ended. Only what starts fast is imported here.
"""

from __future__ import annotations

import hashlib
import json
import os

from airflow_provider_caf.core.file_names import (
    STDERR_FILE,
    STDOUT_FILE,
    build_label,
    name_attempt,
    name_exit_record,
    name_job_file,
    name_subjob,
)

# ruff: noqa: PTH112, PTH116, PTH118, PTH123, PTH207 - pathlib is slow to import

TYPE_CHECKING = False  # importing typing is slow
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


def find_outputs(folder: str | None, patterns: Sequence[str]) -> tuple[list[dict[str, Any]], str | None]:
    """Return the outputs that are there with their sizes, and what is wrong with them.

    :param folder: the work folder.
    :param patterns: globs relative to it; each has to match a file that is not empty.
    :returns: the files, and the reason why they do not suffice, or None.
    """
    sizes: dict[str, int] = {}
    reason = None
    for pattern in patterns if folder is not None else ():
        if pattern.startswith("/") or ".." in pattern.split("/"):
            reason = reason or f"the output pattern {pattern!r} leaves the work folder"
            continue
        matched = _match_files(f"{folder}", pattern)
        sizes.update(matched)
        if not any(matched.values()):
            state = "empty" if matched else "missing"
            reason = reason or f"the declared output {pattern!r} is {state} in {folder}"
    return [{"path": path, "size": sizes[path]} for path in sorted(sizes)], reason


def _match_files(folder: str, pattern: str) -> dict[str, int]:
    if not any(letter in pattern for letter in "*?["):
        return _measure(folder, [pattern])
    import glob  # here, because most jobs name their outputs and glob is slow to import

    paths = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True)
    names = [os.path.relpath(path, folder) for path in paths]
    return _measure(folder, [name for name in names if name not in (STDOUT_FILE, STDERR_FILE)])


def _measure(folder: str, names: Sequence[str]) -> dict[str, int]:
    sizes = {}
    for name in names:
        try:
            state = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        if state.st_mode & 0o170000 == 0o100000:  # a regular file; the module stat is not worth its import
            sizes[name] = state.st_size
    return sizes


def is_done(array: Mapping[str, Any], subjob: int) -> bool:
    """Return whether an earlier start has ended well, with the present job file, and its outputs are there still."""
    restart = 0
    while True:
        label = build_label(array["attempt"], restart)
        folder = f"{array['output_folder']}/{name_subjob(subjob)}/{name_attempt(label)}"
        if not os.path.isdir(folder):
            return False
        if _says_success(f"{array['status_folder']}/{name_exit_record(subjob, label)}", folder, array, subjob):
            return True
        restart += 1


def _says_success(record_file: str, folder: str, array: Mapping[str, Any], subjob: int) -> bool:
    """Return whether a record proves success. What cannot be read proves nothing."""
    try:
        with open(record_file, "rb") as file:
            record = json.loads(file.read())
        with open(f"{array['input_folder']}/{name_job_file(subjob)}", "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        end = (record["exit_code"], record["signal"], record["reason"], record["job_digest"])
        outputs = record["outputs"]
        return end == (0, None, None, digest) and all(
            os.stat(f"{folder}/{output['path']}").st_size == output["size"] for output in outputs
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
