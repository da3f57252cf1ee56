"""Make a definition of a described calibration script.

What the description holds says `worker/basf2/describe_script.py`, which makes it in the experiment's environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_caf.core.caf_config import CafConfig
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.names import build_slug
from airflow_provider_caf.core.record import record

CAFS = ("dropin", "release")
"""Where the modules `caf` and `prompt` come from: this package, or the experiment's release."""

DEFAULT_TIMEOUT = 600.0
"""Seconds. Scripts that count the events of thousands of files take minutes."""

VALIDATION = "validation"
"""The name of the step that runs a validation script."""

_ALGORITHM = "airflow_provider_caf.worker.basf2.script_algorithm:ScriptAlgorithm"
_PRE_ALGORITHM = "airflow_provider_caf.worker.basf2.script_algorithm:run_pre_algorithm"
_OWN_STRATEGY = "airflow_provider_caf.core.strategies.of_script:ScriptStrategy"
_EXECUTABLE = "basf2"
_STEERING_FILE = "steering.py"


@record
class ScriptImport:
    """Which script is imported, and how.

    :param script: its absolute path, or its name in the release.
    :param config: what `caf_config.json` says.
    :param input_data: what `input_data.json` says: name → list of `[folder, file or URI, [exp, run]]`.
    :param folder: where the definition goes.
    :param name: of the definition; None: as the script's settings say.
    :param adds_digest: whether the name gets a digest of what was described, so that each content has a DAG of its own.
    :param caf: where the modules `caf` and `prompt` come from: `dropin`, ours, or `release`.
    :param script_folders: where other scripts are, that this one imports; beside its own folder.
    :param backend: the batch system, None for that of the connection.
    :param connection: the Airflow connection of type `caf_batch`; the script is described where its commands run.
    :param arguments: of the jobs and of what describes, such as `setup` and `python`.
    :param after: names of the CAFs whose results start a run; None: of the scripts that it depends on.
    :param tags: in Airflow.
    :param starts_paused: None: as Airflow is configured.
    :param validation: a validation script.
    :param timeout: of the description, in seconds.
    :param max_files_per_collector_job: of all collections, instead of what the script says.
    :param max_collector_jobs: the same; one of the two.
    """

    script: str
    folder: Path
    config: CafConfig = CafConfig()
    input_data: Mapping[str, Any] | None = None
    name: str | None = None
    adds_digest: bool = False
    caf: str = "dropin"
    script_folders: tuple[str, ...] = ()
    backend: str | None = None
    connection: str | None = None
    arguments: Mapping[str, Any] | None = None
    after: tuple[str, ...] | None = None
    tags: tuple[str, ...] = ()
    starts_paused: bool | None = None
    validation: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    max_files_per_collector_job: int | None = None
    max_collector_jobs: int | None = None

    def find_splitting(self) -> dict[str, int]:
        """Return the splitting of all collections; nothing where the script's own counts.

        :raises DefinitionError: if both words are given.
        """
        words = ("max_files_per_collector_job", "max_collector_jobs")
        given = {word: value for word in words if (value := getattr(self, word)) is not None}
        if len(given) > 1:
            raise DefinitionError(f"The import has {' and '.join(words)}.", hint="Give one of them.")
        return given


def name_script(settings: Mapping[str, Any]) -> str:
    """Return the name of the definition made of a script's settings."""
    return build_slug(settings["name"])


def build_definition(
    description: Mapping[str, Any],
    order: ScriptImport,
    *,
    name: str,
    side_folder: str,
    validation: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Build the form of files of a definition.

    :param description: what the script is, see the module's text.
    :param name: of the definition.
    :param side_folder: where its side files are, for good.
    :param validation: the command of the validation step.
    :raises DefinitionError: if two of its names become one.
    """
    settings = description["settings"]
    names = _name_calibrations(description["calibrations"])
    chain = order.config.build_chain()
    front = order.config.build_front() if chain is None else None
    common = _Common(front=front, splitting=order.find_splitting(), side_folder=side_folder)
    members = [_build_calibration(calibration, names, common) for calibration in description["calibrations"]]
    if validation is not None:
        members.append(
            {
                "type": "external_command",
                "name": VALIDATION,
                "command": list(validation),
                "depends_on": list(names.values()),
                "save_payloads": False,
            }
        )
    after = order.after
    if after is None:
        after = tuple(build_slug(script) for script in settings["depends_on"])
    form: dict[str, Any] = {
        "name": name,
        "description": settings.get("description") or settings["name"],
        "software": description.get("software"),
        "backend": order.backend,
        "connection": order.connection,
        "backend_args": {**(order.config.backend_args or {}), **(order.arguments or {})},
        "database_chain": chain,
        "dag": {
            "tags": ["script", *settings["input_data_formats"], *order.tags],
            "after": list(after),
            "starts_paused": order.starts_paused,
        },
        "calibrations": members,
    }
    kept: dict[str, Any] = _drop_empty(form)
    return kept


def dump_definition(form: Mapping[str, Any], comment: str) -> str:
    """Build the text of a definition's file.

    :param comment: stands above it.
    """
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(dict(form), sort_keys=False, allow_unicode=True, width=120)


def _name_calibrations(calibrations: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    names = {calibration["name"]: build_slug(calibration["name"]) for calibration in calibrations}
    for name, slug in names.items():
        others = [other for other, same in names.items() if same == slug and other != name]
        if others or slug == VALIDATION:
            raise DefinitionError(
                f"The calibrations {name!r} and {(others or [VALIDATION])[0]!r} would both be {slug!r} in Airflow.",
                hint="Rename one of them in the script.",
            )
    return names


@record
class _Common:
    """What all calibrations of a script have in common.

    :param front: what comes in front of the chains that the script gave; None: that of the CAF counts instead.
    :param splitting: of all collections; empty: as the script says.
    :param side_folder: where the side files are.
    """

    front: list[dict[str, str]] | None
    splitting: Mapping[str, int]
    side_folder: str

    def build_chain(self, described: Mapping[str, Any]) -> list[dict[str, str]] | None:
        """Return the chain of a calibration or a collection."""
        return None if self.front is None else [*self.front, *described["database_chain"]]


def _build_calibration(described: Mapping[str, Any], names: Mapping[str, str], common: _Common) -> dict[str, Any]:
    algorithms = []
    taken: set[str] = set()
    for number, algorithm in enumerate(described["algorithms"]):
        name = build_slug(algorithm["name"])
        name = name if name not in taken else f"{name}_{number}"
        taken.add(name)
        algorithms.append(
            {
                "name": name,
                "algorithm": _ALGORITHM,
                "strategy": algorithm["strategy"] if algorithm["is_built_in"] else _OWN_STRATEGY,
                "params": algorithm["params"],
                "settings": {
                    "arguments": f"{common.side_folder}/arguments.json",
                    "calibration": described["name"],
                    "number": number,
                    **({} if algorithm["is_built_in"] else {"runs_strategy": True}),
                },
                "pre_algorithm": _PRE_ALGORITHM if algorithm["has_pre_algorithm"] else None,
            }
        )
    return {
        "name": names[described["name"]],
        "depends_on": [names[name] for name in described["depends_on"]],
        "max_iterations": described["max_iterations"],
        "ignored_runs": described["ignored_runs"],
        "save_payloads": described["save_payloads"],
        "database_chain": common.build_chain(described),
        "collections": {
            build_slug(name): _build_collection(collection, common)
            for name, collection in described["collections"].items()
        },
        "algorithms": algorithms,
    }


def _build_collection(described: Mapping[str, Any], common: _Common) -> dict[str, Any]:
    folder = f"{common.side_folder}/{described['place']}"
    return {
        "collector": [_EXECUTABLE, _STEERING_FILE],
        "job_files": {name: f"{folder}/{name}" for name in described["job_files"]},
        "merge": False,
        "input_files": described["input_files"],
        "files_to_iovs": f"{folder}/files.json" if described["input_files"] is None else None,
        "granularity": described["granularity"],
        **(common.splitting or described["splitting"]),
        "output_patterns": described["output_patterns"],
        "backend_args": described["backend_args"],
        "database_chain": common.build_chain(described),
    }


def _drop_empty(value: Any) -> Any:
    """Leave out empty values, so that a reader sees what matters."""
    if isinstance(value, Mapping):
        found = {name: _drop_empty(item) for name, item in value.items()}
        return {name: item for name, item in found.items() if item not in (None, [], {})}
    return [_drop_empty(item) for item in value] if isinstance(value, list) else value
