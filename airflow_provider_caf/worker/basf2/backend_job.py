"""Inside a job that a script has submitted by `caf.backends`: make its folder ready before its command runs."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

INPUT_FILE = "__BACKEND_INPUT_FILES__.json"
"""The list of the input files, for `caf.backends.get_input_data`, ours or the release's."""
SANDBOX_FILE = "__BACKEND_SANDBOX__.tar"
"""The input sandbox, as it travels in the job app."""
EXIT_CODE_FILE = "__BACKEND_CMD_EXIT_STATUS__"
ATTEMPTS_FOLDER = ".backend"
"""In the working_dir of a job: all that is kept of its submission."""
PREPARE = f"{__name__}:prepare"


def prepare(job: Mapping[str, Any]) -> None:
    """Put the input sandbox, the list of input files and the script into the current folder.

    :param job: the content of the job file. Its arguments have the `script`, and the name that it gets (`script_file`).
    """
    sandbox = Path(SANDBOX_FILE)
    if sandbox.exists():
        with tarfile.open(sandbox) as archive:
            # Older patch releases know no filters.
            options: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(**options)  # noqa: S202 - it came with our own job app
        sandbox.unlink()
    Path(INPUT_FILE).write_text(json.dumps(job["input_files"]), encoding="utf-8")
    Path(job["arguments"]["script_file"]).write_text(job["arguments"]["script"], encoding="utf-8")


def pack_sandbox(paths: Iterable[Path]) -> bytes:
    """Return an archive of files and folders, each under its own name. The same content gives the same bytes.

    :raises OSError: if one cannot be read.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for path in paths:
            archive.add(path, path.name, filter=_forget_owner_and_time)
    return stream.getvalue()


def _forget_owner_and_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry
