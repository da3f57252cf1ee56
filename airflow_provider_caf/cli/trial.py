"""`try`: a calibration on some events of one file, without a run and without Airflow's database."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from airflow.configuration import conf

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.cli.output import command
from airflow_provider_caf.cli.plan import find_resources, read_conf, resolve
from airflow_provider_caf.cli.worker_program import build_worker_argv
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.files import is_uri
from airflow_provider_caf.core.splitting import SubjobPlan, plan_subjobs
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.files import load_definitions
from airflow_provider_caf.steps.collect import build_job
from airflow_provider_caf.steps.input_files import find_input
from airflow_provider_caf.steps.merge import build_empty_index


@command
def try_definition(arguments: Any) -> None:
    """Collect some events of one file for each collection, merge, and execute each algorithm once."""
    path = Path(arguments.file).absolute()
    caf, calibration = choose_calibration(load_definitions(path), arguments.calibration, read_conf(arguments.conf))
    given = _read_data(arguments.data or (), calibration)
    request = build_request(caf, calibration, given, arguments.events)
    request["search_paths"] = [str(path.parent), conf.get("core", "dags_folder")]
    if not has_root():
        collection = next(iter(calibration.collections.values()))
        _become_job(request, find_resources(caf, calibration, collection)[1], use_pdb=arguments.pdb)
    from airflow_provider_caf.worker.trial import run_trial

    code = run_trial(request, use_pdb=arguments.pdb)
    if code:
        raise SystemExit(code)


def choose_calibration(cafs: Iterable[CAF], name: str | None, params: Mapping[str, Any]) -> tuple[CAF, Calibration]:
    """Return a calibration that collects, as a run with these params would have it, and its CAF.

    :param name: which one; None: the first.
    :raises DefinitionError: if there is none.
    """
    known = []
    for caf in cafs:
        # Only a run needs the connection, which may stand in Airflow's database.
        resolved = resolve(caf, params, lambda definition, _: definition).caf
        for member in resolved.calibrations:
            if isinstance(member, Calibration) and member.collections:
                if name in (None, member.name):
                    return resolved, member
                known.append(member.name)
    if name is None:
        raise DefinitionError("No calibration of this definition collects anything.", hint="There is nothing to try.")
    raise DefinitionError(
        f"There is no calibration {name!r} that collects.", hint=build_word_hint(name, known, "calibrations")
    )


def build_request(caf: CAF, calibration: Calibration, given: Mapping[str, str], events: int) -> dict[str, Any]:
    """Return the request of the verb `try`; see `worker/trial`.

    :param given: input files by the names of collections, instead of the first of their own.
    :param events: so many of each file are tried.
    :raises CafError: if input is missing.
    """
    chain = [entry.to_job_json() for entry in dict.fromkeys((*calibration.databases, *caf.databases))]
    return {
        "version": 1,
        "title": f"calibration {calibration.name} of {caf.name}",
        "collections": [
            _build_collection(caf, calibration, collection, given.get(collection.name), events)
            for collection in calibration.collections.values()
        ],
        "algorithms": [
            {**_build_algorithm(algorithm), "database_chain": chain} for algorithm in calibration.algorithms
        ],
    }


def _build_collection(
    caf: CAF, calibration: Calibration, collection: Collection, file: str | None, events: int
) -> dict[str, Any]:
    where = f"collection {collection.name!r} of calibration {calibration.name!r}"
    files = (file,) if file is not None else find_input(collection, where).files
    subjobs = plan_subjobs(files, collection.splitting)
    first = (
        replace(subjobs[0], files=subjobs[0].files[:1])
        if subjobs
        else SubjobPlan(index=0, files=files[:1], arguments={})
    )
    databases = tuple(dict.fromkeys((*collection.databases, *calibration.databases, *caf.databases)))
    return {
        # Its side files are copied from where they lie; only a job has them in its app.
        "job": {**build_job(calibration.name, collection, first, databases), "job_files": [], "most_events": events},
        "job_files": {name: str(path) for name, path in collection.job_files.items()},
        "empty_index": None
        if collection.merge
        else build_empty_index(collection.name, collection.granularity or "run"),
    }


def _build_algorithm(algorithm: Algorithm) -> dict[str, Any]:
    words = ("name", "algorithm", "prefix", "pre_algorithm", "data_input", "cpus")
    return {**{word: getattr(algorithm, word) for word in words}, "settings": dict(algorithm.settings)}


def _read_data(texts: Iterable[str], calibration: Calibration) -> dict[str, str]:
    """Read `[COLLECTION=]FILE`.

    :raises DefinitionError: if there are several collections and it does not say of which the file is.
    :raises InputError: if there is no such file.
    """
    names = list(calibration.collections)
    given = {}
    for text in texts:
        name, mark, file = text.partition("=")
        if not mark or name not in names:
            if len(names) > 1:
                raise DefinitionError(
                    f"--data {text} does not say which collection it is for.",
                    hint=f"Write COLLECTION=FILE; the collections are {', '.join(names)}.",
                )
            name, file = names[0], text
        if not is_uri(file) and not Path(file).is_file():
            raise InputError(f"The input file {file} does not exist.", hint="Check the path.")
        given[name] = file if is_uri(file) else str(Path(file).absolute())
    return given


def has_root() -> bool:
    """Return whether this Python has ROOT, which is not imported."""
    try:
        return find_spec("ROOT") is not None
    except ImportError:
        return False


def _become_job(request: Mapping[str, Any], resources: Resources, *, use_pdb: bool) -> NoReturn:
    """Let the jobs' Python take the place of this process, so that a terminal and Ctrl-C are its own."""
    from airflow_provider_caf.worker.programs import become_program

    # A file without a name: nobody has to remove it.
    with tempfile.TemporaryFile() as stream:
        stream.write(json.dumps(request).encode())
        stream.flush()
        os.set_inheritable(stream.fileno(), True)
        words = [f"/dev/fd/{stream.fileno()}", *(["--pdb"] if use_pdb else [])]
        os.environ.update(resources.environment or {})
        sys.stdout.flush()
        become_program(build_worker_argv(resources, "trial", words), Path.cwd())
