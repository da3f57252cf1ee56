"""Read what stands behind the words of a definition, and give its JSON form.

The errors say what is wrong; `form` adds where.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from airflow_provider_caf.batch.arguments import ARGUMENTS, CAF_NAMES
from airflow_provider_caf.batch.systems import find_system_name
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.names import check_file_name
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.tolerance import Tolerance, read_tolerance
from airflow_provider_caf.definitions.form import TEMPLATE_SCHEMA, Word, is_template
from airflow_provider_caf.definitions.references import build_reference

CodeReference = str | type | Callable[..., object]
"""A class or function of the user: itself, or `package.module:Name`, or `/path/to/file.py:Name`."""

FilePath = str | os.PathLike[str]

_RUN_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 2},
        {"type": "string", "pattern": r"^\d+\.\d+$"},
    ]
}
_IOV_SCHEMA = {
    "anyOf": [
        {"type": "array", "items": {"type": "integer", "minimum": -1}, "minItems": 4, "maxItems": 4},
        {"type": "string", "pattern": r"^-?\d+,-?\d+,-?\d+,-?\d+$"},
    ]
}
_TEXT_SCHEMA = {"type": "string"}
_CODE_SCHEMA = {"type": "string", "pattern": r"^.+:.+$"}
_ARGV_SCHEMA = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_MAPPING_SCHEMA = {"type": "object"}


def _many(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"anyOf": [dict(schema), TEMPLATE_SCHEMA]}}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [dict(schema), {"type": "null"}]}


def refuse(value: Any, wanted: str) -> DefinitionError:
    """Give the error for a value that cannot stand here."""
    text = repr(value)
    return DefinitionError(f"{text if len(text) <= 100 else text[:97] + '…'} cannot stand here.", hint=wanted)


def read_text(value: Any) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise refuse(value, "It has to be a text.")
    return value


def read_optional_text(value: Any) -> str | None:
    """Read a text or nothing."""
    return None if value is None or value == "" else read_text(value)


def read_flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise refuse(value, "It has to be true or false.")
    return value


def read_count(low: int, high: int | None = None) -> Callable[[Any], int]:
    """Give the reader of a whole number in a range."""
    limits = f"at least {low}" if high is None else f"from {low} to {high}"

    def read(value: Any) -> int:
        if type(value) is not int or value < low or (high is not None and value > high):
            raise refuse(value, f"It has to be a whole number, {limits}.")
        return value

    return read


def read_optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Give the reader that leaves None as it is."""
    return lambda value: None if value is None else read(value)


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


def read_items(value: Any, what: str) -> list[Any]:
    """Read a list of anything that can be gone through. A text is none."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise refuse(value, f"It has to be a list of {what}.")
    return list(value)


def read_list(read: Callable[[Any], Any], what: str) -> Callable[[Any], list[Any]]:
    """Give the reader of a list. An item that is a template is left as it is."""

    def read_all(value: Any) -> list[Any]:
        items = []
        for index, item in enumerate(read_items(value, what)):
            try:
                items.append(item if is_template(item) else read(item))
            except DefinitionError as error:
                raise DefinitionError(error.what, hint=error.hint, where=(index, *error.where)) from error
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
    paths: list[str] = read_list(read_path, "paths, patterns or URIs")(value)
    return paths


def read_files_to_iovs(value: Any) -> dict[str, Any] | str:
    """Read a mapping from file to IoV or run, or the path of a file map."""
    if isinstance(value, (str, os.PathLike)):
        return read_path(value)
    if not isinstance(value, Mapping):
        raise refuse(value, "It has to be a mapping from file to IoV or run, or the path of a file map.")
    files = {}
    for path, iov in value.items():
        try:
            files[read_path(path)] = iov if is_template(iov) else read_file_iov(iov)
        except DefinitionError as error:
            raise DefinitionError(error.what, hint=error.hint, where=(path,)) from error
    return files


def read_data_set(value: Any) -> Any:
    """Read a data set: files, a mapping from file to IoV, or `{filemap: path}`."""
    if isinstance(value, Mapping) and set(value) == {"filemap"}:
        return {"filemap": read_path(value["filemap"])}
    return read_files_to_iovs(value) if isinstance(value, Mapping) else read_paths(value)


def read_names(value: Any) -> list[str]:
    """Read one name or several."""
    names: list[str] = read_list(read_text, "names")([value] if isinstance(value, str) else value)
    return names


def read_output_pattern(value: Any) -> str:
    """Read a glob relative to the subjob's folder."""
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in value.split("/"):
        raise DefinitionError(
            f"The output pattern {value!r} leaves the subjob's folder, or is none.",
            hint="Write a path or glob relative to the folder in which the collector runs.",
        )
    return value


def read_code(what: str) -> Callable[[Any], str]:
    """Give the reader of a class or function."""
    return lambda value: build_reference(value, what)


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


def read_backend(value: Any) -> str | None:
    """Read the name of a batch system."""
    name = read_optional_text(value)
    if name is not None and not is_template(name):
        find_system_name(name)
    return name


def read_backend_args(value: Any) -> dict[str, Any]:
    """Read the arguments of a batch system. Of one with a template only the name can be checked yet."""
    arguments = read_mapping(value)
    for given, argument in arguments.items():
        name = CAF_NAMES.get(given, given)
        try:
            if name not in ARGUMENTS:
                hint = build_word_hint(given, (*ARGUMENTS, *CAF_NAMES), "arguments")
                raise DefinitionError(f"There is no argument {given!r}.", hint=hint)
            if argument is not None and "{{" not in json.dumps(argument):
                ARGUMENTS[name](argument, f"argument {given!r}")
        except DefinitionError as error:
            raise DefinitionError(error.what, hint=error.hint, where=(given,)) from error
    return arguments


def read_folder(value: Any) -> str:
    """Read the path of a folder: absolute, or a template."""
    folder = read_text(value)
    if not folder.startswith(("/", "{{")):
        raise DefinitionError(f"The folder {folder!r} is not absolute.", hint="Begin it with '/'.")
    return folder


def read_job_files(value: Any) -> dict[str, str]:
    """Read which files travel with a job: the name of each in the work folder, and its path."""
    if not isinstance(value, Mapping):
        raise refuse(value, "It has to be a mapping of file names to paths.")
    files = {}
    for name, path in value.items():
        text = os.fspath(path) if isinstance(path, os.PathLike) else path
        if not isinstance(text, str) or not text.startswith(("/", "{{")):
            raise DefinitionError(f"The path {text!r} of {name!r} is not absolute.", hint="Begin it with '/'.")
        files[check_file_name(name)] = text
    return files


def read_code_or_argv(what: str) -> Callable[[Any], str | list[str]]:
    """Give the reader of a class or function, or of a command."""
    return lambda value: read_argv(value) if isinstance(value, (list, tuple)) else build_reference(value, what)


def read_tolerated(value: Any) -> Tolerance:
    """Read how many subjobs may fail."""
    try:
        return read_tolerance(value, "number of subjobs")
    except DefinitionError as error:
        raise refuse(value, error.hint or "") from error


def read_database_chain(value: Any) -> list[dict[str, str]]:
    """Read the entries of a database chain."""
    chain: list[dict[str, str]] = read_list(_read_database, "databases")(value)
    return chain


def _read_database(value: Any) -> dict[str, str]:
    kinds = ("local", "global_tag")
    if not isinstance(value, Mapping) or len(value) != 1 or next(iter(value)) not in kinds:
        raise DefinitionError(f"{value!r} is no database.", hint="Write {local: /folder} or {global_tag: name}.")
    ((kind, name),) = value.items()
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DefinitionError(
            f"The {kind} database has the value {name!r}.",
            hint="Give the folder's path, or the name of the global tag.",
        )
    if kind == "local" and not name.startswith(("/", "{{")):
        raise DefinitionError(
            f"The local database {name!r} is not absolute.", hint="Write a path that begins with '/'."
        )
    return {kind: name}


def _read_name(value: Any) -> str:
    # The checks of the record say what a name may be, and which one would do.
    return value if isinstance(value, str) else read_text(value)


Text = Annotated[str, Word(read_text, _TEXT_SCHEMA, is_text=True)]
Name = Annotated[
    str, Word(lambda value: value if isinstance(value, str) else read_text(value), _TEXT_SCHEMA, fixed=True)
]
OptionalText = Annotated[str | None, Word(read_optional_text, _or_null(_TEXT_SCHEMA), is_text=True)]
Flag = Annotated[bool, Word(read_flag, {"type": "boolean"})]
Count = Annotated[int, Word(read_count(1), {"type": "integer", "minimum": 1})]
OptionalCount = Annotated[int | None, Word(read_optional(read_count(1)), _or_null({"type": "integer", "minimum": 1}))]
OptionalNumber = Annotated[int | None, Word(read_optional(read_count(0)), _or_null({"type": "integer", "minimum": 0}))]
Retries = Annotated[
    int | None, Word(read_optional(read_count(0, 100)), _or_null({"type": "integer", "minimum": 0, "maximum": 100}))
]
Iterations = Annotated[
    int | None,
    Word(read_optional(read_count(0, 100)), _or_null({"type": "integer", "minimum": 0, "maximum": 100}), fixed=True),
]
OptionalSeconds = Annotated[Any, Word(read_optional(read_seconds), _or_null({"type": ["number", "string"]}))]
Tolerated = Annotated[
    Tolerance | None,
    Word(read_optional(read_tolerated), _or_null({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "%$"}]})),
]
Folder = Annotated[str, Word(read_folder, _TEXT_SCHEMA, is_text=True)]
Backend = Annotated[str | None, Word(read_backend, _or_null(_TEXT_SCHEMA), is_text=True)]
BackendArgs = Annotated[dict[str, Any], Word(read_backend_args, _MAPPING_SCHEMA)]
Settings = Annotated[dict[str, Any], Word(read_mapping, _MAPPING_SCHEMA)]
JobFiles = Annotated[
    dict[str, Any], Word(read_job_files, {"type": "object", "additionalProperties": {"type": "string"}})
]
Paths = Annotated[list[str], Word(read_paths, {"anyOf": [_TEXT_SCHEMA, _many(_TEXT_SCHEMA)]})]
Patterns = Annotated[
    list[str], Word(read_list(read_output_pattern, "patterns"), {"type": "array", "items": _TEXT_SCHEMA, "minItems": 1})
]
Runs = Annotated[list[Any], Word(read_list(read_run, "runs"), _many(_RUN_SCHEMA))]
OptionalIov = Annotated[Any, Word(read_optional(read_iov), _or_null(_IOV_SCHEMA))]
_FILES_SCHEMA = {"type": "object", "additionalProperties": {"anyOf": [_RUN_SCHEMA, _IOV_SCHEMA]}}
FilesToIovs = Annotated[Any, Word(read_files_to_iovs, {"anyOf": [_FILES_SCHEMA, _TEXT_SCHEMA]})]
_DATA_SET_SCHEMA = {"anyOf": [_TEXT_SCHEMA, _many(_TEXT_SCHEMA), _FILES_SCHEMA]}
DataSet = Annotated[Any, Word(read_data_set, _DATA_SET_SCHEMA)]
NamesOfData = Annotated[
    list[str], Word(read_names, {"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA}]})
]
Names = Annotated[list[str], Word(read_list(read_text, "names"), {"type": "array", "items": _TEXT_SCHEMA}, fixed=True)]
Argv = Annotated[list[str], Word(read_argv, _ARGV_SCHEMA)]
OptionalArgv = Annotated[list[str] | None, Word(read_optional(read_argv), _or_null(_ARGV_SCHEMA))]
Databases = Annotated[
    list[Any],
    Word(
        read_database_chain,
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
]


def code(what: str) -> Word:
    """Give the word for a class or function."""
    return Word(read_code(what), _CODE_SCHEMA, is_text=True)


def optional_code(what: str) -> Word:
    """Give the word for a class or function that need not be there."""
    return Word(read_optional(read_code(what)), _or_null(_CODE_SCHEMA), is_text=True)


def code_or_argv(what: str) -> Word:
    """Give the word for a class or function, or a command, that need not be there."""
    schema = {"anyOf": [_CODE_SCHEMA, _ARGV_SCHEMA, {"type": "null"}]}
    return Word(read_optional(read_code_or_argv(what)), schema, is_text=True)
