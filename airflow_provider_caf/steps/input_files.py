"""The input files of a collection: found, looked into where that is needed, and chosen."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.files import is_uri, write_json
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.io.filemap import read_filemap
from airflow_provider_caf.io.inputs import check_root_files, resolve_input_files, select_files
from airflow_provider_caf.io.layout import CalibrationLayout, metadata_cache_file
from airflow_provider_caf.io.metadata_cache import MetadataCache
from airflow_provider_caf.steps.file_metadata import HowToRead, read_metadata
from airflow_provider_caf.steps.progress import Progress
from airflow_provider_caf.steps.selection import choose_files

_log = logging.getLogger(__name__)


@record
class InputFiles:
    """Files that are there, sorted.

    :param iovs: the IoV of those whose data are known.
    :param events: the number of events of those in which somebody counted them.
    """

    files: tuple[str, ...]
    iovs: Mapping[str, IoV]
    events: Mapping[str, int]


def find_input(collection: Collection, where: str) -> InputFiles:
    """Find the input files of a collection.

    :param where: whose they are, for messages.
    :raises InputError: if a pattern matches nothing, or a file map is missing or cut off.
    """
    mapped = {file: entry for path in collection.filemaps for file, entry in read_filemap(Path(path)).items()}
    patterns = (*collection.input_files, *mapped)
    return InputFiles(
        files=resolve_input_files(patterns, where) if patterns else (),
        iovs={**{file: entry.iov for file, entry in mapped.items()}, **collection.files_to_iovs},
        events={file: entry.events for file, entry in mapped.items() if entry.events is not None},
    )


def choose_input(
    calibration: Calibration,
    collection: Collection,
    tree: HowToRead | None,
    resources: Resources,
    layout: CalibrationLayout,
) -> tuple[str, ...]:
    """Find the input files of a collection, check them, and keep those of the requested IoV and of the selection.

    What the selection chose is written beside the manifests.

    :param tree: where the runs stand in the files; None for a command, of which nobody knows.
    :param resources: the environment in which files are looked into.
    :raises InputError: if files are missing or no ROOT files, or none is left.
    :raises DefinitionError: if something has to be known of files into which nobody can look.
    """
    where = f"collection {collection.name!r} of calibration {calibration.name!r}"
    found = find_input(collection, where)
    if collection.command is None:
        check_root_files(found.files, where)
    rule = collection.selection
    need_iovs = calibration.requested_iov is not None or (rule is not None and rule.needs_runs)
    need_events = rule is not None and rule.needs_events
    found = _look_into(found, where, tree, resources, layout, need_iovs=need_iovs, need_events=need_events)
    selected = select_files(found.files, found.iovs, calibration.requested_iov)
    if found.files and not selected:
        raise InputError(
            f"None of the {len(found.files)} input files of {where} has data of the requested IoV "
            f"{calibration.requested_iov}.",
            hint="Change requested_iov, or correct files_to_iovs.",
        )
    record_file = layout.selection(collection.name)
    record_file.unlink(missing_ok=True)
    if rule is None:
        return selected
    try:
        chosen, left_out = choose_files(selected, found.iovs, found.events, rule)
    except InputError as error:
        raise InputError(f"In {where}: {error.what}", hint=error.hint) from error
    record_file.parent.mkdir(exist_ok=True)
    write_json(
        record_file,
        {
            "version": 1,
            "selection": rule.to_json(),
            "chosen": [{"file": file, "events": found.events.get(file)} for file in chosen],
            "left_out": [{"file": file, "reason": reason} for file, reason in sorted(left_out.items())],
        },
    )
    _log.info(
        "Collection %s: the selection chose %d of %d files; see %s",
        collection.name,
        len(chosen),
        len(selected),
        record_file,
    )
    return chosen


def _look_into(
    found: InputFiles,
    where: str,
    tree: HowToRead | None,
    resources: Resources,
    layout: CalibrationLayout,
    *,
    need_iovs: bool,
    need_events: bool,
) -> InputFiles:
    """Add what has to be known and was not said."""
    normalised = _normalise(found)
    missing = [
        file
        for file in found.files
        if (need_iovs and file not in normalised.iovs) or (need_events and file not in normalised.events)
    ]
    if not missing:
        return normalised
    closed = [file for file in missing if tree is None or is_uri(file)]
    if tree is None or closed:
        what = "the runs" if need_iovs else "the number of events"
        raise DefinitionError(
            f"For the requested IoV or the selection {what} in {len(closed)} of {len(found.files)} input files of "
            f"{where} must be known, such as of {closed[0]!r}.",
            hint="Give files_to_iovs, or a file map: airflow caf filemap.",
        )
    progress = Progress(f"Looking into the input of {where}", len(missing), "files")
    known = read_metadata(
        missing,
        tree,
        note=lambda part: progress.add(len(part)),
        app=layout.description_app,
        resources=resources,
        cache=MetadataCache(metadata_cache_file(layout.run_folder.parent.parent)),
    )
    return InputFiles(
        files=found.files,
        iovs={**{file: entry.iov for file, entry in known.items()}, **normalised.iovs},
        events={
            **{file: entry.events for file, entry in known.items() if entry.events is not None},
            **normalised.events,
        },
    )


def _normalise(found: InputFiles) -> InputFiles:
    """Return what is known by the paths under which the files were found."""
    files = set(found.files)
    names = {path: file for path in (*found.iovs, *found.events) if (file := _expand(path)) in files}
    return InputFiles(
        files=found.files,
        iovs={names[path]: iov for path, iov in found.iovs.items() if path in names},
        events={names[path]: count for path, count in found.events.items() if path in names},
    )


def _expand(path: str) -> str:
    return path if is_uri(path) else str(Path(path.removeprefix("file://")).expanduser())
