"""Which software of the experiment this is: what the records of a run name."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from airflow_provider_caf.worker.programs import run_program

UNKNOWN = "unknown"


def find_software() -> dict[str, str]:
    """Return the names and commits of the software: what it is → its version; what there is not is left out.

    `b2setup` sets `$BELLE2_RELEASE`, the release, and `$BELLE2_LOCAL_DIR`, the folder of a user's own build. The
    module `basf2.version` has the commit that the framework was built of. `basf2.basf2label` is the name of the
    framework, the same in all releases.
    """
    folder = os.environ.get("BELLE2_LOCAL_DIR")
    found = {
        "basf2": os.environ.get("BELLE2_RELEASE"),
        "basf2 commit": _find_built_commit(),
        "BELLE2_LOCAL_DIR": folder,
        "BELLE2_LOCAL_DIR commit": _find_checked_out_commit(folder) if folder else None,
    }
    return {name: value for name, value in found.items() if value}


def _find_built_commit() -> str | None:
    try:
        module: Any = importlib.import_module("basf2.version")
        # Earlier releases have the text alone.
        return str(module.get_version() if hasattr(module, "get_version") else module.version)
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 - it is not known, and that is told; no calibration fails for it
        return f"{UNKNOWN}: {type(error).__name__}: {error}"


def _find_checked_out_commit(folder: str) -> str:
    """Return the commit of a folder, with `-dirty` behind it where files were changed since."""
    argv = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        with Path(os.devnull).open("wb") as nowhere:
            shown = run_program(argv, captures=True, stderr=nowhere)
    except OSError:
        return UNKNOWN
    return shown.stdout.decode("utf-8", "replace").strip() or UNKNOWN
