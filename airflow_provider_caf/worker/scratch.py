"""Run an element on a machine that sees none of the project's folders.

The batch system has put what is needed below one scratch folder, each thing under its own path: `/w/app.pyz` is
`<scratch>/w/app.pyz`. What is made goes to the same places below it, and the batch system brings it home.
"""

from __future__ import annotations

import json
import os

# ruff: noqa: PTH110, PTH123 - pathlib is slow to import

TYPE_CHECKING = False  # importing typing costs as much as all of the above
if TYPE_CHECKING:
    from typing import Any


def enter_scratch(array: dict[str, Any], scratch: str) -> dict[str, Any]:
    """Return the array's record for a machine that sees none of its folders.

    :param scratch: the folder below which all that travelled lies under its own path, and what is made here too.
    """
    folders = ("folder", "input_folder", "output_folder", "status_folder", "app")
    moved = {name: scratch + array[name] for name in folders}
    return {**array, **moved, "scratch": scratch, "restarts": count_restarts()}


def count_restarts() -> int:
    """Return how often HTCondor had started this job before, by the job's own record.

    A scratch folder is new at each start: nothing in it tells. `NumShadowStarts` also counts starts that came to
    nothing, so a number may be left out, but none comes twice.
    """
    path = os.environ.get("_CONDOR_JOB_AD")
    if not path:
        return 0
    with open(path) as file:
        for line in file:
            name, _, value = line.partition("=")
            if name.strip() == "NumShadowStarts":
                return max(int(value) - 1, 0)
    return 0


def move_job(job: dict[str, Any], job_file: str, scratch: str) -> dict[str, Any]:
    """Return a job with the new paths of the files that travelled with it, and write it back for later readers.

    A path below which nothing travelled stays: it may be of a file system that every machine sees.
    """

    def find(path: str) -> str:
        return scratch + path if path.startswith("/") and os.path.exists(scratch + path) else path

    chain = [{**entry, "path": find(entry["path"])} if "path" in entry else entry for entry in job["database_chain"]]
    moved = {**job, "input_files": [find(path) for path in job["input_files"]], "database_chain": chain}
    with open(job_file, "w") as file:
        json.dump(moved, file)
    return moved
