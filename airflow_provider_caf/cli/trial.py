"""`try`: a calibration on a few events, here and now, without a run."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.cli.output import command
from airflow_provider_caf.cli.plan import read_conf, resolve
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.files import PRIVATE, write_json
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.processes import replace_process
from airflow_provider_caf.core.suggestions import check_word
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.files import load_definitions
from airflow_provider_caf.hooks.batch import find_backend
from airflow_provider_caf.io.job_app import build_job_app, collect_user_modules
from airflow_provider_caf.steps.app_run import build_app_argv
from airflow_provider_caf.steps.input_files import find_input
from airflow_provider_caf.steps.prepare import list_job_files, list_references


@command
def try_(arguments: Any) -> None:
    """Collect a few events of one file, execute the algorithms on one IoV, and print what comes out.

    It is done by a process in the environment of a job, which takes the place of this one: a debugger can be used.
    """
    cafs = load_definitions(Path(arguments.file))
    if len(cafs) != 1:
        raise DefinitionError(f"{arguments.file} has {len(cafs)} definitions.", hint="Try a file with one.")
    resolved = resolve(cafs[0], read_conf(arguments.conf))
    calibration = choose_calibration(resolved.caf, arguments.calibration)
    resources = find_backend(resolved.caf, calibration).merge(
        {
            f"CAF {resolved.caf.name!r}": resolved.caf.backend_args,
            f"calibration {calibration.name!r}": calibration.backend_args,
        }
    )
    # The process that tries removes it; here it is only if there will be none.
    folder = Path(tempfile.mkdtemp(prefix="caf-try-"))
    try:
        argv = _write_request(folder, resolved.caf, calibration, resources, arguments)
        replace_process(argv, variables=resources.environment or {})
    finally:
        shutil.rmtree(folder)


def _write_request(
    folder: Path, caf: CAF, calibration: Calibration, resources: Resources, arguments: Any
) -> tuple[str, ...]:
    """Write the job app and what is to be tried, and return the command that does it."""
    collecting, calibrating = list_references(calibration)
    references = {*collecting, *calibrating}
    app = folder / "app.pyz"
    build_job_app(app, references, files=list_job_files(calibration))
    modules, _ = collect_user_modules(references, [path or "." for path in sys.path])
    given = [DatabaseEntry(kind=LOCAL, value=str(Path(name).absolute())) for name in arguments.database or ()]
    chain = (*given, *calibration.databases, *caf.databases)
    request = {
        "version": 1,
        "collections": [
            _build_job(calibration, collection, (*collection.databases, *chain), arguments.input, arguments.events)
            for collection in calibration.collections.values()
        ],
        "algorithms": [_build_algorithm(algorithm, chain) for algorithm in calibration.algorithms],
        "sources": {
            file.as_posix(): str((module.folder / file).absolute())
            for module in modules.values()
            for file in module.files
        },
        "pdb": arguments.pdb,
    }
    path = folder / "request.json"
    write_json(path, request, mode=PRIVATE)
    return build_site_argv(resources, (*build_app_argv(app, resources), "try", str(path)))


def choose_calibration(caf: CAF, name: str | None) -> Calibration:
    """Return the calibration that was named, or else the first one that collects or has algorithms.

    :raises DefinitionError: if there is none.
    """
    members = {member.name: member for member in caf.calibrations}
    if name is not None:
        check_word(name, members, f"The CAF {caf.name!r} has no calibration {name!r}.", "calibrations")
        member = members[name]
        if not isinstance(member, Calibration):
            raise DefinitionError(f"{name!r} is {member.describe_kind()}.", hint="Try a calibration with algorithms.")
        return member
    for known in order_calibrations(caf.map_dependencies()):
        member = members[known]
        if isinstance(member, Calibration):
            return member
    raise DefinitionError(f"The CAF {caf.name!r} has no calibration with algorithms.", hint="There is nothing to try.")


def _build_job(
    calibration: Calibration, collection: Collection, chain: Sequence[DatabaseEntry], given: str | None, events: int
) -> dict[str, Any]:
    """Return the job of a collection: with one file, and a few events of it.

    :param given: an input file instead of the definition's first one.
    """
    where = f"collection {collection.name!r} of calibration {calibration.name!r}"
    files = find_input(collection, where).files if given is None else (str(Path(given).absolute()),)
    if given is not None and not Path(given).is_file():
        raise InputError(f"There is no file {given}.", hint="Check the path.")
    return {
        "version": 1,
        "calibration": calibration.name,
        "collection": collection.name,
        "iteration": 0,
        "subjob": 0,
        "command": collection.command,
        "collector": collection.reference,
        "settings": dict(collection.settings),
        "granularity": collection.granularity,
        "input_files": list(files[:1]),
        "output_patterns": list(collection.output_patterns),
        "database_chain": [entry.to_job_json() for entry in chain],
        "arguments": {},
        "pre_collector": collection.pre_job,
        "job_files": sorted(collection.job_files),
        "max_events": events,
    }


def _build_algorithm(algorithm: Algorithm, chain: Sequence[DatabaseEntry]) -> dict[str, Any]:
    return {
        "name": algorithm.name,
        "all_runs": algorithm.strategy == "SingleIOV",
        "open": {
            "algorithm": algorithm.algorithm,
            "settings": dict(algorithm.settings),
            "prefix": algorithm.prefix,
            "pre_algorithm": algorithm.pre_algorithm,
            "data_input": algorithm.data_input,
            "cpus": algorithm.cpus,
            "database_chain": [entry.to_job_json() for entry in chain],
        },
    }
