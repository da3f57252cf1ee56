"""The part of a job app that is ours: the zip file with `core`, `execution` and `worker`, which travels with jobs.

`io.job_app` adds the user's modules and files. A job that is a command needs none of these.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_caf.core.atomic import write_bytes

PACKAGE = "airflow_provider_caf"
TRAVELLING = ("core", "execution", "worker")
"""The rooms that travel."""

_MAIN = f"""import sys

from {PACKAGE}.worker.__main__ import main

sys.exit(main())
"""

# Of all zip files: the earliest time that the format can say.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_job_app(target: Path) -> Path:
    """Write a job app for commands, without modules of a user, and return its path. It always has the same bytes.

    :param target: the file to write; its folder is made.
    :raises OSError: if it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, pack_entries(build_own_entries()))
    return target


def build_own_entries() -> dict[str, bytes]:
    """Return the entries of each job app: path in it → content."""
    root = Path(__file__).parent.parent
    paths = [root / "__init__.py", root / "py.typed"]
    paths += [path for room in TRAVELLING for path in sorted((root / room).rglob("*.py"))]
    entries = {f"{PACKAGE}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}
    return {"__main__.py": _MAIN.encode(), **entries}


def pack_entries(entries: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a zip file. They depend on names and contents only."""
    # A package without __init__.py is found in a zip file by the entry of its folder only.
    folders = {
        f"{'/'.join(parts[:n])}/" for name in entries for parts in [name.split("/")] for n in range(1, len(parts))
    }
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted({*entries, *folders}):
            info = zipfile.ZipInfo(name, date_time=_TIME)
            info.create_system = 3
            info.external_attr = (0o40755 if name.endswith("/") else 0o100644) << 16
            archive.writestr(info, entries.get(name, b""))
    return stream.getvalue()
