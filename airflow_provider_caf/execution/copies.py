"""Copies of what was collected, for an algorithm process that may change it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_provider_caf.core.errors import InputError


def copy_collected(
    indexes: Sequence[str], output_files: Mapping[str, Sequence[str]], folder: Path
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Copy what was collected: merged files with their indexes, which name the file beside them, or single outputs.

    :returns: the indexes of the copies, and for each collection its outputs, copies where they are not merged.
    """
    if folder.exists():
        shutil.rmtree(folder)  # of a process that was killed together with us
    copied = []
    outputs = {name: tuple(files) for name, files in output_files.items()}
    for index in map(Path, indexes):
        try:
            value = json.loads(index.read_text("utf-8"))
            target = folder / index.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if value["file"] is None:
                name = str(value["collection"])
                outputs[name] = tuple(_copy_output(Path(path), folder / name) for path in outputs.get(name, ()))
            else:
                file = Path(str(value["file"])).name
                shutil.copyfile(index.parent / file, folder / file)
            shutil.copyfile(index, target)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The collected data of {index} cannot be copied for the pre_algorithm: {error}.",
                hint="Is the disk full? Else run the merge again.",
            ) from error
        copied.append(str(target))
    return tuple(copied), outputs


def _copy_output(path: Path, folder: Path) -> str:
    """Copy an output of a subjob: `<subjob>/attempt_<k>/<name>` stays the end of its path."""
    target = folder.joinpath(*path.parts[-3:])
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return str(target)
