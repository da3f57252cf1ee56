"""Call a function of the user as a job: the verb `function`.

The job file says under `function` which one and with what: `{"reference": …, "args": […], "kwargs": {…}}`. What it
returns goes into the file `result.json` in the folder of the job.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.file_names import RESULT_FILE
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.worker.collect.collect import write_job_files
from airflow_provider_caf.worker.requests import read_request
from airflow_provider_caf.worker.user_code import load_user_code


def main(argv: Sequence[str]) -> int:
    """Call the function of a job file in the current folder.

    :raises DefinitionError: if it cannot be loaded, or returns what JSON cannot carry.
    """
    parser = argparse.ArgumentParser(prog="function", description="Call the function of a job file.")
    parser.add_argument("job", help="path of the job file")
    path = str(Path(parser.parse_args(argv).job).absolute())
    job = read_request(path, "job file")
    os.environ["CAF_JOB"] = path
    write_job_files(job["job_files"], job["collection"])
    call = job["function"]
    reference = call["reference"]
    function = load_user_code(reference, "function")
    if not callable(function):
        raise DefinitionError(f"{reference!r} is no function.", hint="Name a function.")
    name = reference.rpartition(":")[2]
    result = normalise_json(function(*call["args"], **call["kwargs"]), f"result of function {name!r}")
    write_bytes(Path(RESULT_FILE), json.dumps(result).encode(), "result")
    return 0
