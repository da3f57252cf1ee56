"""The record of an array as the wrapper and the local pool read it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def write_array_record(path: Path, folder: Path, elements: list[list[int]], app: str, **resources: Any) -> Path:
    """Write the record of an array whose folders are below one folder, and return its path."""
    array = {
        "version": 1,
        "name": "caf_x",
        "folder": str(folder / "array"),
        "input_folder": str(folder / "in"),
        "output_folder": str(folder / "out"),
        "status_folder": str(folder / "out" / "status"),
        "elements": elements,
        "attempt": 0,
        "app": app,
        "python": sys.executable,
        "resources": resources,
    }
    path.write_text(json.dumps(array))
    return path
