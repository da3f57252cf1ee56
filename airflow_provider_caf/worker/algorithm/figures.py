"""Pictures that an algorithm hands in."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError, explain_os_error
from airflow_provider_caf.core.temporary import build_temporary_name

MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_BEGINNINGS = {"image/png": (b"\x89PNG",), "image/jpeg": (b"\xff\xd8",), "image/svg+xml": (b"<?xml", b"<svg", b"<!--")}


def stage_figure(figure: Any, staging: Path, what: str) -> tuple[str, str]:
    """Write a picture into a folder, and return its file name and media type.

    Equal pictures are one file, so that an execution that is repeated leaves nothing behind.

    :param figure: a canvas of ROOT, a figure of matplotlib, or a path.
    :raises DefinitionError: if it is something else.
    :raises InputError: if the file cannot be read, or is no picture of its kind.
    :raises CafError: if it cannot be written.
    """
    suffix = Path(os.fspath(figure)).suffix.lower() if isinstance(figure, (str, os.PathLike)) else ".png"
    if suffix not in MEDIA_TYPES:
        raise DefinitionError(f"The {what} is in {figure}.", hint=f"It can be one of {', '.join(MEDIA_TYPES)}.")
    content = _read(Path(os.fspath(figure)), what) if isinstance(figure, (str, os.PathLike)) else _draw(figure, what)
    media_type = MEDIA_TYPES[suffix]
    if not content.lstrip().startswith(_BEGINNINGS[media_type]):
        raise InputError(f"The {what} is no {media_type}.", hint="Write the file again, or give it its true suffix.")
    name = f"figure_{hashlib.md5(content, usedforsecurity=False).hexdigest()}{suffix}"
    temporary = staging / build_temporary_name(name)
    with explain_os_error(CafError, f"The {what} cannot be written to {staging}"):
        temporary.write_bytes(content)
        temporary.replace(staging / name)
    return name, media_type


def _read(path: Path, what: str) -> bytes:
    with explain_os_error(InputError, f"The {what} cannot be read from {path}"):
        return path.read_bytes()


def _draw(figure: Any, what: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="caf-figure-") as folder:
        path = Path(folder) / "figure.png"
        if hasattr(figure, "savefig"):
            figure.savefig(path, format="png")
        elif hasattr(figure, "SaveAs") and hasattr(figure, "cd"):
            figure.SaveAs(str(path))
        else:
            raise DefinitionError(
                f"The {what} is {type(figure).__name__!r}.",
                hint="It can be a canvas of ROOT, a figure of matplotlib, or the path of a picture.",
            )
        return _read(path, what)
