"""A script that is described when it runs: the file `<name>.script.yaml` in the folder of definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.caf import DagOptions
from airflow_provider_caf.definitions.files import SCRIPT_RUN_SUFFIX, place_errors
from airflow_provider_caf.definitions.form import FIXED, Form, Word
from airflow_provider_caf.definitions.words import (
    Backend,
    BackendArgs,
    Name,
    OptionalText,
    Positive,
    Seconds,
    Text,
    choice,
    read_text,
    refuse,
)
from airflow_provider_caf.definitions.yaml_reader import read_source
from airflow_provider_caf.scripts.definition import CAFS


def _read_data(value: Any, file: str = "input_data.json") -> Any:
    if isinstance(value, str):
        return read_text(value)
    if not isinstance(value, dict):
        raise refuse(value, f"It has to be what {file} holds, or the path of that file.")
    return value


def _read_config(value: Any) -> Any:
    if isinstance(_read_data(value, "caf_config.json"), dict):
        CafConfig.from_json(value)
    return value


_TEXT = {"type": "string"}
_FILE_OR_OBJECT = {"anyOf": [_TEXT, {"type": "object"}]}

IMPORT_OPTIONS = (
    "caf",
    "script_folders",
    "backend",
    "connection",
    "arguments",
    "validation",
    "timeout",
    "max_files_per_collector_job",
    "max_collector_jobs",
)


class ScriptRun(Form):
    """A calibration script that a DAG describes before it runs it."""

    noun: ClassVar[str] = "script run"

    name: Name
    """Of the DAG."""
    script: Annotated[Text, FIXED]
    """Its path, or its name in the release."""
    caf_config: Annotated[Any, Word(_read_config, _FILE_OR_OBJECT), FIXED] = {}
    """`caf_config.json`, or its path."""
    input_data: Annotated[Any, Word(_read_data, _FILE_OR_OBJECT), FIXED] = {}
    """`input_data.json`, or its path."""
    caf: Annotated[str, choice("There is no caf {!r}.", "choices", *CAFS), FIXED] = "dropin"
    """Where the modules `caf` and `prompt` come from: `dropin`, ours, or `release`."""
    script_folders: Annotated[list[Text], FIXED] = []
    """Where other scripts are that it imports, beside its own folder."""
    backend: Backend = None
    connection: OptionalText = None
    """The connection of type `caf_batch`."""
    arguments: BackendArgs = {}
    """Of the jobs and the description, as `setup` and `python`."""
    validation: Annotated[OptionalText, FIXED] = None
    """A validation script."""
    timeout: Annotated[Seconds, FIXED] = 600.0
    """Of the description."""
    max_files_per_collector_job: Annotated[Positive | None, FIXED] = None
    """Of all collections, instead of what the script says."""
    max_collector_jobs: Annotated[Positive | None, FIXED] = None
    """The same; one of the two."""
    dag: DagOptions | None = None
    """Options of the DAG."""

    def list_options(self) -> dict[str, Any]:
        """Return the words that `ScriptImport` has, too, apart from those that a run may set."""
        return {word: getattr(self, word) for word in IMPORT_OPTIONS}


def is_script_run(path: Path) -> bool:
    """Return whether a file holds a script that is described when it runs."""
    return path.name.endswith(SCRIPT_RUN_SUFFIX)


def read_script_run(path: Path) -> ScriptRun:
    """Read such a file.

    :raises DefinitionError: with every mistake found, each with its line.
    """
    source = read_source(path)
    try:
        return ScriptRun.from_json(source.value)
    except DefinitionError as error:
        raise place_errors(source, error) from None
