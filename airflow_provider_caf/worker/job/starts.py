"""Find out what an earlier start of an element has done: systems start elements again, also after they had ended.

Only what starts fast is imported here.
"""

from __future__ import annotations

import hashlib
import json
import os

from airflow_provider_caf.core.file_names import (
    build_label,
    name_attempt,
    name_exit_record,
    name_job_file,
    name_subjob,
)

# ruff: noqa: PTH112, PTH116, PTH123 - pathlib is slow to import

TYPE_CHECKING = False  # importing typing costs too much
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def is_done(array: Mapping[str, Any], subjob: int) -> bool:
    """Tell whether an earlier start has ended well, with the present job file, and its outputs are there still."""
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
    """Tell whether a record proves success. What cannot be read proves nothing."""
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
