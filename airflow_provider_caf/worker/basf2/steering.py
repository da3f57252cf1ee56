"""The steering of a collector job in an experiment's software: its executable runs a file that calls `main`.

::

    input module → histograms → reconstruction path → collector

Paths lie beside the steering file as texts that Python's literals can say. So they travel through any file system and
batch system, and reading one runs no code.
"""

from __future__ import annotations

import ast
import importlib
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.worker.requests import Job, read_request

COLLECTOR_PATH = "collector.path"
RECONSTRUCTION_PATH = "reconstruction.path"
STEERING_FILE = "steering.py"
"""The files of a collector job, by their names in its work folder."""

STEERING_TEXT = '''"""Collect: the experiment's executable runs this file; what it shall do stands in $CAF_JOB."""

import os
import sys

sys.path.insert(0, os.environ["CAF_APP"])

from airflow_provider_caf.worker.basf2.steering import main

main()
'''
"""The text of the steering file."""

_OUTPUT_FILE = "CollectorOutput.root"
_INPUTS = ("RootInput", "SeqRootInput")
_SEQUENCES = "entrySequences"


def main() -> None:
    """Collect what `$CAF_JOB` says, in the current folder."""
    path = os.environ.get("CAF_JOB")
    if not path:
        raise InputError("There is no $CAF_JOB.", hint="This file is run by a subjob: app.pyz collect job.json.")
    run_steering(Job.from_json(read_request(path, "job file")))


def run_steering(job: Job) -> None:
    """Build the whole path of a job, and process it.

    :param job: its input files, its database chain; the paths lie in the current folder.
    :raises InputError: if there is no input, or a path cannot be read.
    """
    import basf2

    if not job.input_files:
        raise InputError("The job has no input files.", hint="Clear the task `prepare` of the calibration.")
    set_conditions(basf2.conditions, job.database_chain)
    collecting = read_path(Path(COLLECTOR_PATH))
    before = Path(RECONSTRUCTION_PATH)
    reconstruction = read_path(before) if before.exists() else basf2.create_path()
    basf2.process(build_whole_path(basf2, reconstruction, collecting, job.input_files))


def build_whole_path(basf2: Any, reconstruction: Any, collecting: Any, files: Sequence[str]) -> Any:
    """Return the path with an input module that reads these files, and with a file for histograms."""
    names = {module.type(): module for module in [*reconstruction.modules(), *collecting.modules()]}
    main_path = basf2.create_path()
    given = next((names[name] for name in _INPUTS if name in names), None)
    if given is None:
        main_path.add_module("RootInput", inputFileNames=list(files), ignoreCommandLineOverride=True)
    else:
        set_input(given, files)
    if "HistoManager" not in names:
        main_path.add_module("HistoManager", histoFileName=_OUTPUT_FILE)
    main_path.add_path(reconstruction)
    main_path.add_path(collecting)
    return main_path


def set_input(module: Any, files: Sequence[str]) -> None:
    """Let an input module of the user's read the files of the job.

    Entry ranges are written for one file: they count for every file.
    """
    known = {param.name: param for param in module.available_params()}
    module.param("inputFileNames", list(files))
    sequences = known.get(_SEQUENCES)
    if sequences is not None and len(sequences.values) == 1 and len(files) > 1:
        module.param(_SEQUENCES, list(sequences.values) * len(files))
    if "ignoreCommandLineOverride" in known:
        module.param("ignoreCommandLineOverride", True)


def set_conditions(conditions: Any, chain: Iterable[DatabaseEntry], *, new_payloads: Path | None = None) -> None:
    """Say where constants come from: this chain, and nothing of what the input files name.

    basf2 looks at all local databases before any global tag. Among either, what was put in front last counts first.

    :param conditions: `basf2.conditions`.
    :param chain: first hit wins.
    :param new_payloads: the `database.txt` into which payloads are committed.
    """
    conditions.reset()
    conditions.override_globaltags()
    for entry in reversed(tuple(chain)):
        if entry.kind == LOCAL:
            conditions.prepend_testing_payloads(os.path.join(entry.value, DATABASE_FILE))  # noqa: PTH118 - basf2 takes texts
        else:
            conditions.prepend_globaltag(entry.value)
    if new_payloads is not None:
        conditions.expert_settings(save_payloads=str(new_payloads))


def write_job_files(folder: Path, collectors: Iterable[Any], before: Any, where: str) -> list[str]:
    """Write what the jobs of a collection need beside their `job.json`, and return the names of the files.

    :param before: the path before the collectors, or None.
    :param where: the collection, for messages.
    :raises DefinitionError: if a path cannot be written.
    """
    import basf2

    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / STEERING_FILE, STEERING_TEXT.encode(), "steering file")
    collecting = basf2.create_path()
    for module in collectors:
        collecting.add_module(module)
    write_path(collecting, folder / COLLECTOR_PATH, f"collector of {where}")
    if not before:
        return [STEERING_FILE, COLLECTOR_PATH]
    write_path(before, folder / RECONSTRUCTION_PATH, f"pre_collector_path of {where}")
    return [STEERING_FILE, COLLECTOR_PATH, RECONSTRUCTION_PATH]


def write_path(path: Any, file: Path, what: str) -> None:
    """Write a path of the experiment's software as a text that `read_path` reads.

    :param what: the path, for messages.
    :raises DefinitionError: if something in it cannot be written, such as a module in Python.
    """
    try:
        value = _find_serialiser().serialize_path(path)
    except RuntimeError as error:
        raise DefinitionError(
            f"The {what} cannot travel with a job: {error}",
            hint="Modules in Python live in the script alone: use a module that is registered, or a function of one.",
        ) from error
    text = _build_literal(value)
    try:
        same = ast.literal_eval(text) == value
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        same = False
    if not same:
        raise DefinitionError(
            f"The {what} cannot travel with a job: a parameter in it is an object.",
            hint="Set parameters to numbers, texts, lists and mappings.",
        )
    write_bytes(file, text.encode(), what)


def read_path(file: Path) -> Any:
    """Read what `write_path` wrote.

    :raises InputError: if it is not there, or is something else.
    """
    try:
        value = ast.literal_eval(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"The path {file} cannot be read: {type(error).__name__}: {error}.",
            hint="Import the script again, and clear the task `prepare`.",
        ) from error
    return _find_serialiser().deserialize_path(value)


def _build_literal(value: Any) -> str:
    """Return the text of a value. Infinity has no literal of its own; a number that is too large reads as it."""
    if isinstance(value, float) and math.isinf(value):
        return "1e999" if value > 0 else "-1e999"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_build_literal(key)}: {_build_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_build_literal, value)) + "]"
    if isinstance(value, tuple):
        return "(" + "".join(f"{_build_literal(item)}, " for item in value) + ")"
    return repr(value)


def _find_serialiser() -> Any:
    """Return the software's own functions; they know what belongs to a path in this release."""
    try:
        return importlib.import_module("basf2.pickle_path")
    except ModuleNotFoundError:  # older releases
        return importlib.import_module("pickle_path")
