"""Import a calibration script: describe it in the experiment's environment, and write the definition.

::

    <folder>/<name>.yaml                 the definition
    <folder>/_<name>/<digest>/           its side files: never changed, so that a run keeps what it began with
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from airflow.sdk import conf

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.names import build_slug, check_name
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.definitions.files import read_definition
from airflow_provider_caf.definitions.script import (
    CAFS,
    CafConfig,
    ScriptOptions,
    build_definition,
    dump_definition,
    name_script,
)
from airflow_provider_caf.hooks.batch import BatchHook
from airflow_provider_caf.io.files import PRIVATE, write_json, write_text
from airflow_provider_caf.io.transport.base import Transport
from airflow_provider_caf.io.transport.local import LocalTransport
from airflow_provider_caf.steps.script import APP, DEFAULT_TIMEOUT, describe_script

VALIDATION_REQUEST = "validation.json"
_DIGITS = 12
_DRAFT = "_draft_"
_OLD_DRAFT = 24 * 3600.0
"""Seconds after which a draft is one of a process that was killed."""


@record
class ScriptImport:
    """What is imported, and how.

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


@record
class Imported:
    """What became of a script.

    :param name: of the definition, which is that of the DAG.
    :param file: the definition.
    :param settings: the script's.
    :param calibrations: their names in the definition.
    :param warnings: what a reader should know.
    :param printed: the end of what the script printed.
    """

    name: str
    file: Path
    settings: Mapping[str, Any]
    calibrations: tuple[str, ...]
    warnings: tuple[str, ...]
    printed: str


def find_configured_folder() -> Path | None:
    """Give `[caf] definitions_folder`, where it is set."""
    configured = conf.get("caf", "definitions_folder", fallback="")
    return Path(configured) if configured else None


def import_script(asked: ScriptImport) -> Imported:
    """Describe a script, check the definition that it makes, and write it.

    Importing the same again changes nothing. Whatever goes wrong, the earlier definition stays as it was.

    :raises DefinitionError: if the script or what it asks for cannot be.
    :raises InputError: if its input is not there.
    :raises TransportError: if it could not be tried.
    """
    resources, transport = find_environment(asked)
    with _drafting(asked) as draft:
        description, printed = describe(asked, draft, resources, transport, input_data=asked.input_data or {})
        return _write(asked, description, printed, draft, resources)


def read_settings(asked: ScriptImport) -> dict[str, Any]:
    """Describe the settings of a script alone; it is not asked for calibrations.

    :raises DefinitionError: as `import_script`.
    """
    resources, transport = find_environment(asked)
    with _drafting(asked) as draft:
        description, _ = describe(asked, draft, resources, transport, input_data=None)
    settings: dict[str, Any] = description["settings"]
    return settings


@contextmanager
def _drafting(asked: ScriptImport) -> Iterator[Path]:
    """Give the folder in which a script is described; nothing of it is left behind.

    Nobody else has it: the same script may be described by another process, or on another host, at the same time.
    """
    asked.folder.mkdir(parents=True, exist_ok=True)
    _remove_old_drafts(asked)
    draft = asked.folder / f"{_DRAFT}{build_temporary_name()}"
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_old_drafts(asked: ScriptImport) -> None:
    """Remove what processes have left that were killed; nobody who lives describes for that long."""
    oldest = time.time() - max(_OLD_DRAFT, 2 * asked.timeout)
    for draft in asked.folder.glob(f"{_DRAFT}*"):
        with suppress(FileNotFoundError):  # another one removes it, too
            if draft.stat().st_mtime < oldest:
                shutil.rmtree(draft)


def describe(
    asked: ScriptImport,
    folder: Path,
    resources: Resources,
    transport: Transport,
    *,
    input_data: Mapping[str, Any] | None,
) -> tuple[dict[str, Any], str]:
    """Describe a script into a folder."""
    if asked.caf not in CAFS:
        raise DefinitionError(f"caf is {asked.caf!r}.", hint=build_word_hint(asked.caf, CAFS, "choices"))
    return describe_script(
        {
            "script": asked.script,
            "caf": asked.caf,
            "script_folders": list_script_folders(asked.script, asked.script_folders),
            "requested_iov": asked.config.requested_iov.to_json(),
            "expert_config": dict(asked.config.expert_config or {}),
            "input_data": None if input_data is None else dict(input_data),
        },
        folder,
        resources,
        transport,
        asked.timeout,
    )


def list_script_folders(script: str, more: tuple[str, ...]) -> list[str]:
    """Give the folders in which scripts find each other's settings: first its own."""
    own = [str(Path(script).parent)] if script.startswith("/") else []
    return list(dict.fromkeys([*own, *more]))


def find_environment(asked: ScriptImport) -> tuple[Resources, Transport]:
    """Give the environment in which the script is described: that of the jobs.

    :raises DefinitionError: if an argument or the connection cannot be used.
    """
    own = merge_resources(
        parse_resources(asked.arguments or {}, "the arguments of the import"),
        parse_resources(asked.config.backend_args or {}, "the caf_config"),
    )
    if asked.connection is None:
        return own, LocalTransport()
    hook = BatchHook(asked.connection)
    if hook.read_submit_host().work_dir is not None:
        raise DefinitionError(
            f"The submit host of connection {asked.connection!r} does not see our files (remote_work_dir).",
            hint="Describe the script on a machine that does, or name another connection. Its jobs may run there.",
        )
    return merge_resources(parse_resources(hook.read_arguments(), "the connection"), own), hook.open_transport()


def _write(
    asked: ScriptImport, description: Mapping[str, Any], printed: str, draft: Path, resources: Resources
) -> Imported:
    digest = _digest(draft, description)
    name = asked.name or name_script(description["settings"])
    if asked.adds_digest:
        name = f"{name}_{digest}"
    check_name("CAF", name)
    side = (asked.folder / f"_{name}" / digest).absolute()
    validation = None
    if asked.validation is not None:
        write_json(draft / VALIDATION_REQUEST, _build_validation(asked, description), mode=PRIVATE)
        python = (resources.python or sys.executable, str(side / APP))
        validation = build_site_argv(resources, (*python, "validate", str(side / VALIDATION_REQUEST)))
    form = build_definition(
        description,
        asked.config,
        ScriptOptions(
            side_folder=str(side),
            name=name,
            backend=asked.backend,
            connection=asked.connection,
            job_arguments=asked.arguments,
            after=asked.after,
            tags=asked.tags,
            starts_paused=asked.starts_paused,
            validation=validation,
        ),
    )
    comment = f"Made of the calibration script {asked.script}. Change that, and import it again."
    _keep_side_files(draft, side)
    file = asked.folder / f"{name}.yaml"
    # What is wrong with it is found before anybody loads it.
    checked = side.parent / f"{build_temporary_name(digest)}.yaml"
    try:
        write_text(checked, dump_definition(form, comment))
        read_definition(checked)
        checked.replace(file)
    finally:
        checked.unlink(missing_ok=True)
    return Imported(
        name=name,
        file=file,
        settings=description["settings"],
        calibrations=tuple(each["name"] for each in form["calibrations"]),
        warnings=tuple(description["warnings"]),
        printed=printed,
    )


def _keep_side_files(draft: Path, side: Path) -> None:
    """Give the side files their place. Where they have it, those of another run of this import stay."""
    side.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.rename(side)
    except OSError:
        # A folder that is not empty is never replaced. The same digest has the same files.
        if not side.is_dir():
            raise


def _digest(draft: Path, description: Mapping[str, Any]) -> str:
    """Give what makes one description differ from another: all side files, and what the script is."""
    total = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for path in sorted(each for each in draft.rglob("*") if each.is_file()):
        name = path.relative_to(draft).as_posix()
        if name not in ("request.json", "answer.json"):
            total.update(f"\0{name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:_DIGITS]


def _build_validation(asked: ScriptImport, description: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the validation step reads. It runs in a folder beside those of the calibrations."""
    assert asked.validation is not None
    return {
        "version": 1,
        "script": asked.validation,
        "caf": asked.caf,
        "script_folders": list_script_folders(asked.script, asked.script_folders),
        "requested_iov": asked.config.requested_iov.to_json(),
        "expert_config": {},
        "calibrations": {each["name"]: f"../{build_slug(each['name'])}" for each in description["calibrations"]},
        "input_data_path": _find_common_folder(asked.input_data or {}),
    }


def _find_common_folder(input_data: Mapping[str, Any]) -> str:
    places = sorted(str(entry[0]) for entries in input_data.values() for entry in entries)
    return places[0] if places else ""
