"""The params of a run: what the trigger form asks for, and how it changes the definition.

Each has a JSON Schema, by which Airflow makes its form and refuses a wrong conf when a run is triggered.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_caf.batch.arguments import AMOUNTS, ARGUMENTS, CAF_NAMES
from airflow_provider_caf.batch.systems import SYSTEMS
from airflow_provider_caf.core.chain import GLOBAL_TAG
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.files import LOCAL_URI
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.words import TEXTS_SCHEMA

_FILES = {"anyOf": [{"type": "string"}, TEXTS_SCHEMA, {"type": "object"}]}

CALIBRATIONS = "calibrations"
"""The param that says which calibrations run."""

CONNECTION = "connection"

NO_CONNECTION = ""
"""The value of the param `connection` for a run without any. Airflow's form gives null for a field that nobody has
filled in: that has to mean what the definition says."""


def _describe(title: str, description: str, schema: Mapping[str, Any], default: Any = None) -> dict[str, Any]:
    return {**schema, "default": default, "title": title, "description": description}


def _list_integers(length: int) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer"}, "minItems": length, "maxItems": length}


def _only(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"properties": dict(properties), "additionalProperties": False}


_PARAMS: dict[str, dict[str, Any]] = {
    "input_data": _describe("Input data", "", {"type": "object"}, default={}),
    "requested_iov": _describe(
        "Requested IoV",
        "Only these runs: `exp, run, exp, run`, -1 for an open end. Empty: as the definition says.",
        {"anyOf": [{"type": "null"}, _list_integers(4), {"type": "string"}]},
    ),
    "ignored_runs": _describe(
        "Ignored runs",
        "Not these runs, in addition to those of the definition: [[exp, run], …].",
        {"type": ["array", "null"], "items": {"anyOf": [_list_integers(2), {"type": "string"}]}},
        default=[],
    ),
    "global_tags": _describe(
        "Global tags",
        "Instead of those in the CAF's database chain; the first that has a payload wins.",
        {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}},
    ),
    "backend": _describe(
        "Batch system",
        "Empty: as the definition or the connection says. A connection of the definition to another one does not "
        "count.",
        {"type": ["string", "null"], "enum": [None, *sorted(SYSTEMS)]},
    ),
    "backend_args": _describe(
        "Arguments of the batch system",
        'Over those of the CAF, as in {"queue": "long", "memory": "4 GB"}.',
        {"type": ["object", "null"]},
        default={},
    ),
    "connection": _describe(
        "Connection to a batch system",
        'Empty: as the definition says. A conf of `{"connection": ""}`: none.',
        {"type": ["string", "null"]},
    ),
    "max_iterations": _describe(
        "Most iterations",
        "No calibration repeats more often than this. Empty: as the definition says.",
        {"type": ["integer", "null"], "minimum": 0},
    ),
    "expert_config": _describe("Expert options", "", {"type": ["object", "null"]}, default={}),
    CALIBRATIONS: _describe(
        "Calibrations", "Only these; the others are skipped. Empty: all.", {"type": ["array", "null"]}, default=[]
    ),
}
"""The params of every run, as far as they do not depend on the definition."""


def describe_params(caf: CAF) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each param, with `default`, `title` and `description`.

    :raises DefinitionError: if a param of the definition has the name of one of ours, or an option no JSON type.
    """
    ours = _describe_ours(caf)
    for name in caf.params:
        if name in ours:
            raise DefinitionError(
                f"The param {name!r} of CAF {caf.name!r} has the name of one that every run has.",
                hint="Rename it.",
                where=("params", name),
            )
    return {**ours, **{name: dict(schema) for name, schema in caf.params.items()}}


def _describe_ours(caf: CAF) -> dict[str, dict[str, Any]]:
    """Return the params that every run has: what is calibrated, where jobs run, how the run goes."""
    names = [member.name for member in caf.calibrations]
    described = copy.deepcopy(_PARAMS)
    described["input_data"] |= {"description": _describe_data(caf.input_data)}
    described["input_data"] |= _only(dict.fromkeys(caf.input_data, _FILES))
    described["backend_args"] |= _only({name: {} for name in _list_arguments(caf)})
    if CONNECTION not in caf.run_options:
        described[CONNECTION] |= {
            "enum": [None, NO_CONNECTION],
            "description": 'The definition\'s own; a conf of `{"connection": ""}`: none.',
        }
    described["global_tags"]["default"] = [entry.value for entry in caf.databases if entry.kind == GLOBAL_TAG]
    described["max_iterations"]["maximum"] = find_most_iterations(caf)
    described["expert_config"] |= {"description": _describe_options(caf.expert_config)}
    described["expert_config"] |= _describe_fields(caf.expert_config)
    described[CALIBRATIONS] |= {"items": {"type": "string", "enum": names}, "examples": names}
    return described


def _list_arguments(caf: CAF) -> list[str]:
    """Return the arguments of the batch system that a run may give."""
    allowed = {*AMOUNTS, *(name for name in caf.run_options if name in ARGUMENTS)}
    return sorted({*allowed, *(name for name, ours in CAF_NAMES.items() if ours in allowed)})


def find_most_iterations(caf: CAF) -> int:
    """Return how often the calibration repeats that may do so most."""
    own = [member.max_iterations for member in caf.calibrations if isinstance(member, Calibration)]
    return max((caf.max_iterations if limit is None else limit for limit in own), default=0)


def check_conf(caf: CAF, conf: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse a conf with words that nobody reads. Airflow accepts them silently.

    :param known: the params of the DAG.
    :raises DefinitionError: with "did you mean".
    """
    known = list(known)
    mistakes = [
        DefinitionError(
            f"The conf of this run has an unknown word {word!r}.", hint=build_word_hint(word, known, "params")
        )
        for word in conf
        if word not in known
    ]
    for word, names, plural in (
        ("input_data", caf.input_data, "data sets"),
        ("expert_config", caf.expert_config, "options"),
        (CALIBRATIONS, [member.name for member in caf.calibrations], "calibrations"),
    ):
        for name in conf.get(word) or ():
            if name not in names:
                mistakes.append(
                    DefinitionError(f"{word} of this run has {name!r}.", hint=build_word_hint(str(name), names, plural))
                )
    mistakes += _find_forbidden(caf, conf)
    if mistakes:
        raise join_definition_errors(mistakes, "the conf of this run")


def _find_forbidden(caf: CAF, conf: Mapping[str, Any]) -> Iterator[DefinitionError]:
    """Find what only the author of the definition may choose: what is executed, as whom, and from where it reads.

    The schema of the params says the same to whoever triggers a run; Airflow can be told not to look.
    """
    allowed = _list_arguments(caf)
    forbidden = [name for name in conf.get("backend_args") or {} if name in ARGUMENTS and name not in allowed]
    if conf.get(CONNECTION) and CONNECTION not in caf.run_options:
        forbidden.append(CONNECTION)
    for name in forbidden:
        yield DefinitionError(
            f"The conf of this run sets {name!r}, which says what is executed, or as whom.",
            hint=f"Write it into the definition; or its author lets runs choose it: run_options: [{name}].",
        )
    for name, files in (conf.get("input_data") or {}).items() if caf.data_roots else ():
        for path in _list_paths(files):
            if not any(_is_inside(path, root) for root in caf.data_roots):
                yield DefinitionError(
                    f"The conf of this run names files for {name!r} that are in none of the definition's data_roots: "
                    f"{path}",
                    hint=f"Name files in {', '.join(caf.data_roots)}.",
                )


def merge_params(caf: CAF, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params as templates see them: expert options are merged over the defaults, one level deep."""
    given = params.get("expert_config") or {}
    merged = {
        name: {**default, **given[name]}
        if name in given and isinstance(default, Mapping) and isinstance(given[name], Mapping)
        else given.get(name, default)
        for name, default in caf.expert_config.items()
    }
    return {**params, "expert_config": merged}


def apply_params(definition: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definition of one run: the one that is for all, with the run's params over it.

    :param definition: in the form of files, its templates filled in.
    """
    # The options and params have been filled in.
    run: dict[str, Any] = {word: value for word, value in definition.items() if word not in ("expert_config", "params")}
    # An empty param leaves the definition as it is, but for two: an empty connection is none, no tags are no tags.
    given = {word: value for word, value in params.items() if value not in (None, "", [], {})}
    if params.get("connection") == NO_CONNECTION:
        run.pop("connection", None)
    elif "connection" in given:
        run.pop("backend", None)
    for word, value in given.items():
        if word in ("backend", "connection", "requested_iov"):
            run[word] = value
        elif word in ("input_data", "backend_args"):
            run[word] = {**run.get(word, {}), **value}
        elif word == "ignored_runs":
            run[word] = [*run.get(word, []), *value]
    if params.get("global_tags") is not None:
        run["database_chain"] = _replace_tags(run.get("database_chain", []), params["global_tags"])
    run["calibrations"] = [_apply_to_member(member, run, given) for member in run.get("calibrations", [])]
    return run


def _replace_tags(chain: list[dict[str, str]], tags: Sequence[str]) -> list[dict[str, str]]:
    """Return a chain with these global tags at its end; where they are what it has, it stays as it is."""
    if [entry["global_tag"] for entry in chain if "global_tag" in entry] == list(tags):
        return chain
    return [*(entry for entry in chain if "global_tag" not in entry), *({"global_tag": tag} for tag in tags)]


def _apply_to_member(member: Mapping[str, Any], caf: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a calibration that the run's IoV and its limit of iterations count for. Its backend stays what it is."""
    changed = dict(member)
    if member.get("type", "calibration") != "calibration":
        return changed
    if "requested_iov" in given:
        changed.pop("requested_iov", None)
    if "max_iterations" in given:
        own = member.get("max_iterations")
        default = caf.get("max_iterations", CAF.model_fields["max_iterations"].default)
        changed["max_iterations"] = min(given["max_iterations"], default if own is None else own)
    return changed


def _describe_data(data: Mapping[str, Any]) -> str:
    if not data:
        return "The definition has no named data sets."
    return f'Other files for: {", ".join(data)}. As in {{"{next(iter(data))}": ["/data/*.root"]}}.'


def _describe_options(options: Mapping[str, Any]) -> str:
    if not options:
        return "The definition has no expert options."
    return "Over the defaults: " + ", ".join(f"{name} = {value!r}" for name, value in options.items()) + "."


def _describe_option(value: Any) -> dict[str, Any]:
    """Return the schema of an option, by its default."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {"type": "object", "default": value, **_describe_fields(value)}
    # A bool is a number, too, and comes first.
    kinds: tuple[tuple[Any, str], ...] = ((bool, "boolean"), ((int, float), "number"), (str, "string"))
    return {"type": next((kind for types, kind in kinds if isinstance(value, types)), "array"), "default": value}


def _describe_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    return _only({name: _describe_option(value) for name, value in options.items()})


def _list_paths(files: Any) -> list[str]:
    """Return the paths, globs and URIs in a data set: a text, a list of texts, or a mapping with files as keys."""
    if isinstance(files, Mapping):
        return [str(value) if name == "filemap" else str(name) for name, value in files.items()]
    return [files] if isinstance(files, str) else [str(path) for path in files or ()]


def _is_inside(path: str, root: str) -> bool:
    """Return whether a path, glob or URI can only be of something in a folder. Links in it are the folder's own."""
    plain = path.removeprefix(LOCAL_URI)
    parts = plain.split("/")
    return plain.startswith(root.rstrip("/") + "/") and not {".", ".."}.intersection(parts)
