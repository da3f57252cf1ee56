"""Read a calibration of a script into plain words, by its attributes: its classes may be ours or the release's."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.names import build_slug
from airflow_provider_caf.core.strategies import BUILT_IN
from airflow_provider_caf.worker.basf2.steering import write_job_files

FILE_MAP = "files.json"
"""Which files a collection reads, beside its paths."""

_DEFAULT_GRANULARITY = "run"
_RUNNER = "SeqAlgorithmsRunner"


def describe_calibration(
    calibration: Any, folder: Path, known: Mapping[str, IoV], warnings: list[str]
) -> dict[str, Any]:
    """Describe a calibration in plain words, and write the side files of its collections.

    :param folder: of the side files of the whole script.
    :param known: the IoVs of the input files that the script was given.
    :raises DefinitionError: if there is something in it that cannot run.
    """
    name = calibration.name
    if not hasattr(calibration, "collections"):
        raise DefinitionError(
            f"The calibration {name!r} is a {type(calibration).__name__} with a run() of its own.",
            hint="Only Calibration and its subclasses can be imported. Make it a calibration type of your own.",
        )
    used: dict[str, Any] = {}
    for key, collection in calibration.collections.items():
        if collection.collector and collection.input_files:
            used[key] = collection
        elif collection.collector or key != "default":
            lacks = "input files" if collection.collector else "collector"
            warnings.append(f"The collection {key!r} of calibration {name!r} has no {lacks} and is left out.")
    if not used:
        raise DefinitionError(
            f"The calibration {name!r} has no collection with a collector and input files.",
            hint="Is there input for it? Look at what the script prints.",
        )
    if not calibration.algorithms:
        raise DefinitionError(f"The calibration {name!r} has no algorithm.", hint="Set its `algorithms`.")
    runner = getattr(calibration.algorithms_runner, "__name__", repr(calibration.algorithms_runner))
    if runner != _RUNNER:
        raise DefinitionError(
            f"The calibration {name!r} has the algorithms_runner {runner}, which nothing here would use.",
            hint="Algorithms run one after the other. Put what it does into a strategy.",
        )
    return {
        "name": name,
        "depends_on": [needed.name for needed in calibration.dependencies],
        "max_iterations": calibration.max_iterations,
        "ignored_runs": [list(ExpRun(*run)) for run in calibration.ignored_runs or ()],
        "save_payloads": bool(calibration.save_payloads),
        "database_chain": describe_chain(calibration.database_chain),
        "collections": {
            key: _describe_collection(collection, f"{build_slug(name)}/{build_slug(key)}", folder, known, name, key)
            for key, collection in used.items()
        },
        "algorithms": [describe_algorithm(algorithm, name, warnings) for algorithm in calibration.algorithms],
    }


def check_dependencies(calibrations: Sequence[Mapping[str, Any]]) -> None:
    """Refuse calibrations of which one depends on another that the script did not return.

    :raises DefinitionError: with the names there are.
    """
    known = {calibration["name"] for calibration in calibrations}
    for calibration in calibrations:
        for other in calibration["depends_on"]:
            if other not in known:
                raise DefinitionError(
                    f"The calibration {calibration['name']!r} depends on {other!r}, which get_calibrations does not "
                    "return.",
                    hint=f"It returns {', '.join(sorted(known))}. Return that one too, or take the dependency out.",
                )


def _describe_collection(
    collection: Any, place: str, folder: Path, known: Mapping[str, IoV], calibration: str, name: str
) -> dict[str, Any]:
    where = f"collection {name!r} of calibration {calibration!r}"
    target = folder / place
    collectors = collection.collector if isinstance(collection.collector, (list, tuple)) else [collection.collector]
    job_files = write_job_files(target, collectors, collection.pre_collector_path, where)
    files = [read_uri(path) for path in collection.input_files]
    own = {read_uri(path): IoV.of_basf2(tuple(iov)) for path, iov in (collection.files_to_iovs or {}).items()}
    iovs = {**known, **own}
    unknown = [path for path in files if path not in iovs]
    if not unknown:
        # Nobody has to look into the files again.
        entries = {
            path: {"iov": iovs[path].to_json(), "events": None, "size": None, "mtime_ns": None} for path in files
        }
        text = json.dumps({"version": 1, "how": "a calibration script", "files": entries})
        write_bytes(target / FILE_MAP, text.encode(), "file map")
    return {
        "place": place,
        "job_files": job_files,
        "collector": [module.type() for module in collectors],
        "granularity": _find_granularity(collectors, where),
        "files": len(files),
        # Of files that the script has found by itself nobody knows the runs.
        "input_files": files if unknown else None,
        "splitting": describe_splitter(collection.splitter, where),
        "output_patterns": [str(pattern) for pattern in collection.output_patterns],
        "backend_args": normalise_json(dict(collection.backend_args or {}), f"backend_args of {where}"),
        "database_chain": describe_chain(collection.database_chain),
    }


def read_uri(path: str) -> str:
    """Return a local path for a `file://` URI, which the release's Collection makes of each path."""
    parts = urlsplit(path)
    return unquote(parts.path) if parts.scheme == "file" else path


def _find_granularity(collectors: Iterable[Any], where: str) -> str:
    found = {
        str(param.values) for module in collectors for param in module.available_params() if param.name == "granularity"
    }
    if len(found) > 1:
        raise DefinitionError(f"The collectors of {where} differ in granularity.", hint="Give all the same one.")
    return found.pop() if found else _DEFAULT_GRANULARITY


def describe_splitter(splitter: Any, where: str) -> dict[str, Any]:
    """Return how a collection is split into subjobs, in the words of a definition.

    :raises DefinitionError: if the splitter is one of the script's own.
    """
    if splitter is None:
        return {"max_collector_jobs": 1}
    limit = getattr(splitter, "max_subjobs", None)
    files = getattr(splitter, "max_files_per_subjob", None)
    generator = getattr(splitter, "arguments_generator", None)
    if generator is not None:
        arguments = [normalise_json(words, f"arguments of {where}") for words in _take(generator, limit or 1000)]
        return {"arguments": arguments, "max_subjobs": limit or len(arguments)}
    if files is not None:
        return {"max_files_per_collector_job": int(files)}
    if limit is not None:
        return {"max_collector_jobs": int(limit)}
    raise DefinitionError(
        f"The splitter of {where} is a {type(splitter).__name__}, which is not known.",
        hint="Use max_files_per_collector_job or max_collector_jobs.",
    )


def _take(generator: Any, limit: int) -> Iterable[Any]:
    iterator = generator.generator
    for number in range(limit):
        try:
            # Which files a subjob has is not known yet.
            yield {"args": list(iterator.send(SimpleNamespace(id=number, input_files=[])))}
        except StopIteration:
            return


def describe_chain(databases: Iterable[Any]) -> list[dict[str, str]]:
    """Return a database chain with the first hit first, in the words of a definition.

    basf2 looks at all local databases before any global tag; among either, what was added last counts first.
    """
    local: list[dict[str, str]] = []
    tags: list[dict[str, str]] = []
    for database in reversed(list(databases or ())):
        if database.db_type == "central":
            tags.append({"global_tag": str(database.global_tag)})
            continue
        path, payloads = Path(database.filepath), Path(database.payload_dir)
        if path.name != DATABASE_FILE or payloads != path.parent:
            raise DefinitionError(
                f"The local database {path} has its payloads in {payloads}.",
                hint=f"Payloads have to lie beside a file named {DATABASE_FILE}: copy or link it.",
            )
        local.append({"local": str(path.parent)})
    return local + tags


def describe_algorithm(algorithm: Any, calibration: str, warnings: list[str]) -> dict[str, Any]:
    """Describe an algorithm in plain words.

    A built-in strategy is run by ours, which makes the same decisions. One of the script's own runs in the algorithm's
    process.
    """
    strategy = algorithm.strategy
    built_in = getattr(importlib.import_module("caf.strategies"), strategy.__name__, None)
    is_built_in = strategy.__name__ in BUILT_IN and strategy is built_in
    params: dict[str, Any] = {}
    known = BUILT_IN[strategy.__name__].list_params() if is_built_in else {}
    for name, value in (algorithm.params or {}).items() if is_built_in else ():
        if name not in known:
            warnings.append(
                f"Algorithm {algorithm.name!r} of calibration {calibration!r} sets {name!r}, which has no effect: "
                f"{strategy.__name__} takes no notice of it."
            )
        elif not (value is None and known[name].default is None):
            params[name] = normalise_json(value, f"param {name!r} of {algorithm.name!r}")
    return {
        "name": algorithm.name,
        "strategy": strategy.__name__,
        "is_built_in": is_built_in,
        "params": params,
        "has_pre_algorithm": algorithm.pre_algorithm is not None,
    }
