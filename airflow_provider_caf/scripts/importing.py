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

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.files import PRIVATE, write_json, write_text
from airflow_provider_caf.core.names import build_slug, check_name
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.definitions.files import read_definition
from airflow_provider_caf.hooks.batch import BatchHook
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport
from airflow_provider_caf.scripts.definition import (
    CAFS,
    ScriptImport,
    build_definition,
    dump_definition,
    name_script,
)
from airflow_provider_caf.scripts.describe import APP, describe_script

VALIDATION_REQUEST = "validation.json"
_DIGITS = 12
_DRAFT = "_draft_"
_OLD_DRAFT = 24 * 3600.0
"""Seconds after which a draft is one of a process that was killed."""


@record
class Imported:
    """A script that has been imported.

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


def import_script(order: ScriptImport) -> Imported:
    """Describe a script, check the definition that it makes, and write it.

    Importing the same again changes nothing. Whatever goes wrong, the earlier definition stays as it was.

    :raises DefinitionError: if the script, or something that it needs, cannot be used.
    :raises TransportError: if it could not be tried.
    """
    with _drafting(order) as draft:
        description, printed, resources = _describe(order, draft, order.input_data or {})
        return _write(order, description, printed, draft, resources)


def read_settings(order: ScriptImport) -> tuple[dict[str, Any], list[str]]:
    """Describe the settings of a script alone, and what a reader should know of them; its calibrations are not built.

    :raises DefinitionError: as `import_script`.
    """
    with _drafting(order) as draft:
        description, _, _ = _describe(order, draft, None)
    return description["settings"], description["warnings"]


@contextmanager
def _drafting(order: ScriptImport) -> Iterator[Path]:
    """Yield the folder in which a script is described; nothing of it is left behind.

    No other process has it: the same script may be described on another host at the same time. What is left of
    processes that were killed is removed: no living one describes for so long.
    """
    order.folder.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - max(_OLD_DRAFT, 2 * order.timeout)
    for old in order.folder.glob(f"{_DRAFT}*"):
        with suppress(FileNotFoundError):  # another process removes it, too
            if old.stat().st_mtime < oldest:
                shutil.rmtree(old)
    draft = order.folder / f"{_DRAFT}{build_temporary_name()}"
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _describe(
    order: ScriptImport, folder: Path, input_data: Mapping[str, Any] | None
) -> tuple[dict[str, Any], str, Resources]:
    """Return the description of a script, what it printed, and the environment of both."""
    if order.caf not in CAFS:
        raise DefinitionError(f"caf is {order.caf!r}.", hint=build_word_hint(order.caf, CAFS, "choices"))
    resources, transport = find_environment(order)
    request = {
        **_build_request(order, order.script),
        "expert_config": dict(order.config.expert_config or {}),
        "input_data": None if input_data is None else dict(input_data),
    }
    return *describe_script(request, folder, resources, transport, order.timeout), resources


def _build_request(order: ScriptImport, script: str) -> dict[str, Any]:
    return {
        "script": script,
        "caf": order.caf,
        "script_folders": list_script_folders(order.script, order.script_folders),
        "requested_iov": order.config.requested_iov.to_json(),
    }


def list_script_folders(script: str, more: tuple[str, ...]) -> list[str]:
    """List the folders in which scripts find each other's settings: first its own."""
    own = [str(Path(script).parent)] if script.startswith("/") else []
    return list(dict.fromkeys([*own, *more]))


def find_environment(order: ScriptImport) -> tuple[Resources, Transport]:
    """Return the environment in which the script is described: that of the jobs.

    :raises DefinitionError: if an argument or the connection cannot be used.
    """
    own = merge_resources(
        parse_resources(order.config.backend_args or {}, "the caf_config"),
        parse_resources(order.arguments or {}, "the arguments of the import"),
    )
    if order.connection is None:
        return own, LocalTransport()
    hook = BatchHook(order.connection)
    if hook.read_submit_host().work_dir is not None:
        raise DefinitionError(
            f"The submit host of connection {order.connection!r} does not see our files (remote_work_dir).",
            hint="Describe the script on a machine that does, or name another connection. Its jobs may run there.",
        )
    return merge_resources(parse_resources(hook.read_arguments(), "the connection"), own), hook.open_transport()


def _write(
    order: ScriptImport, description: Mapping[str, Any], printed: str, draft: Path, resources: Resources
) -> Imported:
    digest = _digest(draft, description)
    name = order.name or name_script(description["settings"])
    if order.adds_digest:
        name = f"{name}_{digest}"
    check_name("CAF", name)
    side = (order.folder / f"_{name}" / digest).absolute()
    validation = None
    if order.validation is not None:
        write_json(draft / VALIDATION_REQUEST, _build_validation(order, description), mode=PRIVATE)
        python = (resources.python or sys.executable, str(side / APP))
        validation = build_site_argv(resources, (*python, "validate", str(side / VALIDATION_REQUEST)))
    form = build_definition(description, order, name=name, side_folder=str(side), validation=validation)
    comment = f"Made of the calibration script {order.script}. Change that, and import it again."
    _keep_side_files(draft, side)
    file = order.folder / f"{name}.yaml"
    # A mistake in it is found before anybody loads it.
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
        calibrations=tuple(calibration["name"] for calibration in form["calibrations"]),
        warnings=tuple(description["warnings"]),
        printed=printed,
    )


def _keep_side_files(draft: Path, side: Path) -> None:
    """Put the side files where they stay. Where the same script was imported before, its side files are kept."""
    side.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.rename(side)
    except OSError:
        # A folder that is not empty is never replaced. The same digest has the same files.
        if not side.is_dir():
            raise


def _digest(draft: Path, description: Mapping[str, Any]) -> str:
    """Return a digest of a description: of all side files, and of the answer itself."""
    total = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for path in sorted(file for file in draft.rglob("*") if file.is_file()):
        name = path.relative_to(draft).as_posix()
        if name not in ("request.json", "answer.json"):
            total.update(f"\0{name}\0".encode() + path.read_bytes())
    return total.hexdigest()[:_DIGITS]


def _build_validation(order: ScriptImport, description: Mapping[str, Any]) -> dict[str, Any]:
    """Build the request of the validation step, which runs in a folder beside those of the calibrations."""
    assert order.validation is not None
    names = [calibration["name"] for calibration in description["calibrations"]]
    return {
        "version": 1,
        **_build_request(order, order.validation),
        "expert_config": {},
        "calibrations": {name: f"../{build_slug(name)}" for name in names},
        "input_data_path": _find_common_folder(order.input_data or {}),
    }


def _find_common_folder(input_data: Mapping[str, Any]) -> str:
    places = sorted(str(entry[0]) for entries in input_data.values() for entry in entries)
    return places[0] if places else ""
