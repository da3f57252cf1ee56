"""What the tests of local databases share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from airflow_provider_caf.core.iov import IoV

A = IoV(1, 0, 1, 9)
B = IoV(1, 10, 1, -1)
WIDE = IoV(0, 0, -1, -1)


def write_source(folder: Path, content: str) -> Path:
    path = folder / f"{hashlib.sha256(content.encode()).hexdigest()[:12]}.bin"
    path.write_text(content)
    return path


def find_md5(content: str) -> str:
    return hashlib.md5(content.encode()).hexdigest()


def find_fault(name: str, data: bytes) -> bool:
    return hashlib.md5(data).hexdigest() not in name


def list_names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
