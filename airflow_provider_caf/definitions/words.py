"""The types of the words of a definition: how a value is read, and the JSON Schema of what may be written.

An error says what is wrong with a value; `form` adds where it stands.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, BeforeValidator, Strict

from airflow_provider_caf.batch.arguments import ARGUMENTS, CAF_NAMES
from airflow_provider_caf.batch.systems import find_system_name
from airflow_provider_caf.core.chain import GLOBAL_TAG, LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import MAX_NUMBER, ExpRun, IoV
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.names import check_file_name
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.tolerance import Tolerance
from airflow_provider_caf.definitions.form import FIXED, TEMPLATE_SCHEMA, Template, Word, below, is_template, show_value
from airflow_provider_caf.definitions.references import build_reference

CodeReference = str | type | Callable[..., object]
"""A class or function of the user: itself, or `package.module:Name`, or `/path/to/file.py:Name`."""

FilePath = str | os.PathLike[str]

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)

_RUN_NUMBER = {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER}
_END_NUMBER = {**_RUN_NUMBER, "minimum": -1}
_RUN_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _RUN_NUMBER, "minItems": 2, "maxItems": 2},
        {"type": "string", "pattern": r"^\d+\.\d+$"},
    ]
}
_IOV_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": _END_NUMBER, "minItems": 4, "maxItems": 4},
        {"type": "string", "pattern": r"^-?\d+,-?\d+,-?\d+,-?\d+$"},
    ]
}
_TEXT_SCHEMA = {"type": "string"}
TEXTS_SCHEMA = {"type": "array", "items": _TEXT_SCHEMA}
_CODE_SCHEMA = {"type": "string", "pattern": r"^.+:.+$"}
_ARGV_SCHEMA = {**TEXTS_SCHEMA, "minItems": 1}
_MAPPING_SCHEMA = {"type": "object"}


def _many(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"anyOf": [dict(schema), TEMPLATE_SCHEMA]}}


def refuse(value: Any, wanted: str) -> DefinitionError:
    """Return the error for a value that cannot stand here."""
    return DefinitionError(f"{show_value(value)} cannot stand here.", hint=wanted)


def read_text(value: Any) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise refuse(value, "It has to be a text.")
    return value


def read_seconds(value: Any) -> float:
    """Read a time in seconds, or a text such as `2h`."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf"):
        return value
    if isinstance(value, str):
        try:
            return int(ARGUMENTS["walltime"](value, "time"))
        except DefinitionError:
            pass  # the message below says the forms of all times
    raise refuse(value, "It has to be a number of seconds above 0, or a text such as '90m', '2h' or '7d'.")


def read_items(value: Any, noun: str) -> list[Any]:
    """Read a list of anything that can be gone through. A text is none."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise refuse(value, f"It has to be a list of {noun}.")
    return list(value)


def read_list(read: Callable[[Any], Any], noun: str) -> Callable[[Any], list[Any]]:
    """Return the reader of a list. An item that is a template is left as it is."""

    def read_all(value: Any) -> list[Any]:
        items = []
        for index, item in enumerate(read_items(value, noun)):
            with below(index):
                items.append(item if is_template(item) else read(item))
        return items

    return read_all


def read_mapping(value: Any) -> dict[str, Any]:
    """Read a mapping whose words are the user's own, and whose values JSON has."""
    if not isinstance(value, Mapping):
        raise refuse(value, "It has to be a mapping of names to values.")
    normalised: dict[str, Any] = normalise_json(value, "value")
    return normalised


def read_run(value: Any) -> ExpRun:
    """Read a run: `[exp, run]` or `"exp.run"`."""
    if isinstance(value, float):
        raise DefinitionError(
            f"{value!r} is not a run: it is read as a number with a fraction.",
            hint="Write [exp, run], or 'exp.run' in quotes: 8.10 without them is 8.1.",
        )
    return ExpRun.parse(value) if isinstance(value, str) else ExpRun.from_json(value)


def read_iov(value: Any) -> IoV:
    """Read an IoV: four numbers, or `"exp,run,exp,run"`."""
    return IoV.parse(value) if isinstance(value, str) else IoV.from_json(value)


def read_file_iov(value: Any) -> IoV:
    """Read the IoV of a file: an IoV, or one run."""
    is_run = (isinstance(value, str) and "," not in value) or (isinstance(value, (list, tuple)) and len(value) == 2)
    return IoV.spanning([read_run(value)]) if is_run else read_iov(value)


def read_path(value: Any) -> str:
    """Read the path of an input file: absolute, a template, or a URI."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or (not path.startswith(("/", "{{")) and "://" not in path):
        raise DefinitionError(
            f"The input file {path!r} is not absolute.",
            hint="Tasks run in folders of their own. Write a path that begins with '/', or a URI such as root://….",
        )
    return path


def read_paths(value: Any) -> list[str]:
    """Read one path or several."""
    if isinstance(value, Mapping):
        raise DefinitionError(
            "A list of files is meant, and this is a mapping.",
            hint="Put a mapping from file to IoV into files_to_iovs: its files are the input then.",
        )
    if isinstance(value, (str, os.PathLike)):
        return [read_path(value)]
    return read_list(read_path, "paths, patterns or URIs")(value)


def read_files_to_iovs(value: Any) -> dict[str, Any] | str:
    """Read a mapping from file to IoV or run, or the path of a file map."""
    if isinstance(value, (str, os.PathLike)):
        return read_path(value)
    if not isinstance(value, Mapping):
        raise refuse(value, "It has to be a mapping from file to IoV or run, or the path of a file map.")
    files = {}
    for path, iov in value.items():
        with below(path):
            files[read_path(path)] = iov if is_template(iov) else read_file_iov(iov)
    return files


def read_data_set(value: Any) -> Any:
    """Read a data set: files, a mapping from file to IoV, or `{filemap: path}`."""
    if isinstance(value, Mapping) and set(value) == {"filemap"}:
        return {"filemap": read_path(value["filemap"])}
    return read_files_to_iovs(value) if isinstance(value, Mapping) else read_paths(value)


def _read_names(value: Any) -> list[str]:
    return read_list(read_text, "names")([value] if isinstance(value, str) else value)


def read_output_pattern(value: Any) -> str:
    """Read a glob relative to the subjob's folder."""
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in value.split("/"):
        raise DefinitionError(
            f"The output pattern {value!r} leaves the subjob's folder, or is none.",
            hint="Write a path or glob relative to the folder in which the collector runs.",
        )
    return value


def read_argv(value: Any) -> list[str]:
    """Read the words of a command."""
    # A text can be gone through, too: letter by letter.
    is_list = isinstance(value, (list, tuple))
    if not is_list or not value or not all(isinstance(word, str) and word and "\0" not in word for word in value):
        raise DefinitionError(
            f"The command is {list(value) if is_list else value!r}.",
            hint="Write a list of words, each a string that is not empty, as in ['python3', 'collect.py'].",
        )
    return list(value)


def _check_backend(name: str) -> str:
    if not is_template(name):
        find_system_name(name)
    return name


INHERIT = "inherit"
"""In the place of a batch system: the one of the collectors."""


def _check_job_backend(name: str) -> str:
    return name if name == INHERIT else _check_backend(name)


def describe_job(backend: str | None, connection: str | None) -> str:
    """Return where a job runs, such as ` on slurm`; nothing where the definition names nothing."""
    if connection is not None:
        return f" by {connection}"
    return "" if backend is None else " on the system of the collectors" if backend == INHERIT else f" on {backend}"


def read_backend_args(value: Any) -> dict[str, Any]:
    """Read the arguments of a batch system. Of one with a template only the name can be checked yet."""
    arguments = read_mapping(value)
    for given, argument in arguments.items():
        name = CAF_NAMES.get(given, given)
        with below(given):
            if name not in ARGUMENTS:
                hint = build_word_hint(given, (*ARGUMENTS, *CAF_NAMES), "arguments")
                raise DefinitionError(f"There is no argument {given!r}.", hint=hint)
            if argument is not None and "{{" not in json.dumps(argument):
                ARGUMENTS[name](argument, f"argument {given!r}")
    return arguments


def read_absolute(value: Any, noun: str = "folder") -> str:
    """Read a path that is absolute, or begins with a template."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path.startswith(("/", "{{")):
        raise DefinitionError(f"The {noun} {path!r} is not absolute.", hint="Begin it with '/'.")
    return path


def read_job_files(value: Any) -> dict[str, str]:
    """Read which files travel with a job: the name of each in the work folder, and its path."""
    if not isinstance(value, Mapping):
        raise refuse(value, "It has to be a mapping of file names to paths.")
    return {check_file_name(name): read_absolute(path, f"path of {name!r},") for name, path in value.items()}


def read_tolerated(value: Any) -> Tolerance:
    """Read how many subjobs may fail: a count such as 3, a share such as 0.02, or a text such as "2%".

    1.0 is refused: all or one could be meant.
    """
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    # Ten digits: 7 % shall be 0.07, not 0.07000000000000001, of which 100 subjobs give 8.
    number = round(float(match[1]) / 100, 10) if match is not None else value
    is_count = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    if not is_count and not (isinstance(number, float) and 0 <= number < 1):
        raise refuse(value, "Give a count such as 3, or a share below 1 such as 0.02 or '2%'.")
    return number


def _read_database(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in (LOCAL, GLOBAL_TAG):
        raise DefinitionError(f"{value!r} is no database.", hint="Write {local: /folder} or {global_tag: name}.")
    ((kind, name),) = value.items()
    name = DatabaseEntry(kind=kind, value=os.fspath(name) if isinstance(name, os.PathLike) else name).value
    return {kind: read_absolute(name, "local database") if kind == LOCAL else name}


Bool = Annotated[bool, Strict()]
Natural = Annotated[int, Strict(), Ge(0)]
Positive = Annotated[int, Strict(), Ge(1)]
Repeats = Annotated[int, Strict(), Ge(0), Le(100)]
"""How often something is tried or repeated. What has failed a hundred times has a cause that another try does not mend,
and passes are tasks, of which Airflow's grid bears about a thousand."""
Text = Annotated[str, Strict(), MinLen(1)]
Name = Annotated[str, Strict(), FIXED]
_EMPTY_IS_NONE = BeforeValidator(lambda value: None if value == "" else value)
OptionalText = Annotated[Text | None, _EMPTY_IS_NONE]
Flag = Annotated[Bool, Template()]
Count = Annotated[Positive, Template()]
OptionalCount = Annotated[Positive | None, Template()]
OptionalNumber = Annotated[Natural | None, Template()]
Retries = Annotated[Repeats | None, Template()]
Iterations = Annotated[Repeats | None, FIXED]
Seconds = Annotated[Any, Word(read_seconds, {"type": ["number", "string"]})]
OptionalSeconds = Annotated[Seconds | None, Template()]
_TOLERATED_SCHEMA = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": "%$"}]}
Tolerated = Annotated[Annotated[Tolerance, Word(read_tolerated, _TOLERATED_SCHEMA)] | None, Template()]
Folder = Annotated[str, Word(read_absolute, _TEXT_SCHEMA)]
Backend = Annotated[Annotated[Text, AfterValidator(_check_backend)] | None, _EMPTY_IS_NONE]
JobBackend = Annotated[Annotated[Text, AfterValidator(_check_job_backend)] | None, _EMPTY_IS_NONE]
BackendArgs = Annotated[dict[str, Any], Word(read_backend_args, _MAPPING_SCHEMA), Template()]
_Mappings = Word(read_list(read_mapping, "mappings"), {"type": "array", "items": _MAPPING_SCHEMA})
OptionalMappings = Annotated[Annotated[list[dict[str, Any]], _Mappings] | None, Template()]
Settings = Annotated[dict[str, Any], Word(read_mapping, _MAPPING_SCHEMA), Template()]
JobFiles = Annotated[
    dict[str, Any], Word(read_job_files, {"type": "object", "additionalProperties": _TEXT_SCHEMA}), Template()
]
Paths = Annotated[list[str], Word(read_paths, {"anyOf": [_TEXT_SCHEMA, _many(_TEXT_SCHEMA)]}), Template()]
Patterns = Annotated[
    list[str],
    Word(read_list(read_output_pattern, "patterns"), {**TEXTS_SCHEMA, "minItems": 1}),
    Template(),
]
Runs = Annotated[list[Any], Word(read_list(read_run, "runs"), _many(_RUN_SCHEMA)), Template()]
OptionalIov = Annotated[Annotated[Any, Word(read_iov, _IOV_SCHEMA)] | None, Template()]
_FILES_SCHEMA = {"type": "object", "additionalProperties": {"anyOf": [_RUN_SCHEMA, _IOV_SCHEMA]}}
FilesToIovs = Annotated[Any, Word(read_files_to_iovs, {"anyOf": [_FILES_SCHEMA, _TEXT_SCHEMA]}), Template()]
_DATA_SET_SCHEMA = {"anyOf": [_TEXT_SCHEMA, _many(_TEXT_SCHEMA), _FILES_SCHEMA]}
DataSet = Annotated[Any, Word(read_data_set, _DATA_SET_SCHEMA), Template()]
Names = Annotated[list[str], Word(_read_names, {"anyOf": [_TEXT_SCHEMA, TEXTS_SCHEMA]})]
NamesOfData = Annotated[Names, Template()]
Argv = Annotated[list[str], Word(read_argv, _ARGV_SCHEMA), Template()]
OptionalArgv = Annotated[Annotated[list[str], Word(read_argv, _ARGV_SCHEMA)] | None, Template()]
Databases = Annotated[
    list[Any],
    Word(
        read_list(_read_database, "databases"),
        _many(
            {
                "type": "object",
                "properties": {"local": _TEXT_SCHEMA, "global_tag": _TEXT_SCHEMA},
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            }
        ),
    ),
    Template(),
]


def code(noun: str) -> Word:
    """Return the word for a class or function."""
    return Word(lambda value: build_reference(value, noun), _CODE_SCHEMA)


def code_or_argv(noun: str) -> Word:
    """Return the word for a class or function, or a command."""
    return Word(
        lambda value: read_argv(value) if isinstance(value, (list, tuple)) else build_reference(value, noun),
        {"anyOf": [_CODE_SCHEMA, _ARGV_SCHEMA]},
    )


def choice(refusal: str, plural: str, *known: str) -> Word:
    """Return the word for one of some texts.

    :param refusal: the message for any other value, which stands in it as `{!r}`.
    """

    def read(value: Any) -> str:
        if value not in known:
            raise DefinitionError(refusal.format(value), hint=build_word_hint(str(value), known, plural))
        return str(value)

    return Word(read, {"enum": list(known)})
