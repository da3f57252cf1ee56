"""The first step of a calibration: everything that can be known before a job is submitted, known and checked.

It resolves the input files, plans the subjobs, packs the job app, asks the collectors and algorithms who they are (in a
process of the job's own environment), and writes the manifests. What is wrong with a definition is found here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.core.calibration import CafRecord, CalibrationRecord, CollectionRecord, DatabaseEntry
from airflow_provider_caf.core.chain import build_database_chain
from airflow_provider_caf.core.checks import find_mistakes
from airflow_provider_caf.core.errors import DefinitionError, InputError, join_definition_errors
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import plan_subjobs
from airflow_provider_caf.core.strategies import load_strategy
from airflow_provider_caf.io.inputs import check_root_files, resolve_input_files, select_files
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.steps.describe import Description, describe_code
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest


@record
class Surroundings:
    """What stands around a calibration in its CAF.

    :param ancestors: the calibrations it depends on, directly or not, nearest first.
    :param backend: the batch system.
    :param connection_args: the arguments of the Airflow connection, below all others.
    :param backend_args: the arguments that the CAF gives.
    :param database_chain: the end of the chain.
    """

    ancestors: tuple[str, ...] = ()
    backend: str = "local"
    connection_args: Mapping[str, Any] | None = None
    backend_args: Mapping[str, Any] | None = None
    database_chain: tuple[DatabaseEntry, ...] = ()


def prepare_calibration(
    calibration: CalibrationRecord, surroundings: Surroundings, layout: CalibrationLayout
) -> dict[str, dict[str, int]]:
    """Check a calibration and write its manifests. Running it again writes them anew.

    :return: collection → how many files and subjobs it has.
    :raises DefinitionError: if the definition cannot run as it is.
    :raises InputError: if an input file is missing or no ROOT file.
    """
    _check_filled(calibration)
    layout.manifest_folder.mkdir(parents=True, exist_ok=True)
    own = merge_resources(
        parse_resources(surroundings.connection_args or {}, "the connection"),
        parse_resources(surroundings.backend_args or {}, "the CAF"),
        parse_resources(calibration.backend_args, f"calibration {calibration.name!r}"),
    )
    collecting, calibrating = _list_references(calibration)
    build_job_app(layout.description_app, {*collecting, *calibrating})
    description = describe_code(calibration, layout, own)
    # The jobs get the collectors' code alone: a corrected algorithm is no reason to collect again.
    build_job_app(layout.app, collecting)
    _check_strategies(calibration, description)
    chain = _build_chain(calibration, surroundings, layout)
    counts = {}
    for collection in calibration.collections:
        manifest = _prepare_collection(calibration, collection, surroundings, own, chain, description)
        manifest.write(layout.iteration(0).collection(collection.name))
        files = {file for subjob in manifest.subjobs for file in subjob.files}
        counts[collection.name] = {"files": len(files), "subjobs": len(manifest.subjobs)}
    CalibrationManifest(
        calibration=calibration,
        granularities=description.granularities,
        prefixes=description.prefixes,
        database_chain=chain,
        resources=own,
    ).write(layout)
    return counts


def _check_filled(calibration: CalibrationRecord) -> None:
    """Check again what was checked while Airflow parsed: a template may have been filled with anything since.

    :raises DefinitionError: with every mistake found.
    """
    alone = replace(calibration, depends_on=())
    mistakes = find_mistakes(CafRecord(name=calibration.name, calibrations=(alone,)))
    if mistakes:
        raise join_definition_errors(mistakes, f"calibration {calibration.name!r}")


def _prepare_collection(
    calibration: CalibrationRecord,
    collection: CollectionRecord,
    surroundings: Surroundings,
    resources: Resources,
    chain: tuple[DatabaseEntry, ...],
    description: Description,
) -> CollectionManifest:
    where = f"collection {collection.name!r} of calibration {calibration.name!r}"
    files = resolve_input_files(collection.input_files, where) if collection.input_files else ()
    if collection.command is None:
        check_root_files(files, where)
    selected = select_files(files, collection.files_to_iovs, calibration.requested_iov)
    if files and not selected:
        raise InputError(
            f"None of the {len(files)} input files of {where} has data of the requested IoV "
            f"{calibration.requested_iov}.",
            hint="Change requested_iov, or correct files_to_iovs.",
        )
    return CollectionManifest(
        calibration=calibration.name,
        collection=collection,
        prefix=description.prefixes.get(collection.name, ""),
        granularity=description.granularities[collection.name],
        subjobs=plan_subjobs(selected, collection.splitting),
        database_chain=tuple(dict.fromkeys((*collection.database_chain, *chain))),
        backend=surroundings.backend,
        resources=merge_resources(resources, parse_resources(collection.backend_args, where)),
    )


def _list_references(calibration: CalibrationRecord) -> tuple[set[str], set[str]]:
    """Give every class and function of the user's that a job imports, and that an algorithm process imports."""
    collecting = {collection.collector for collection in calibration.collections}
    collecting |= {(collection.pre_collector or {}).get("function") for collection in calibration.collections}
    calibrating = {algorithm.algorithm for algorithm in calibration.algorithms}
    calibrating |= {function for algorithm in calibration.algorithms if (function := algorithm.pre_algorithm)}
    return {reference for reference in collecting if reference is not None}, calibrating


def _build_chain(
    calibration: CalibrationRecord, surroundings: Surroundings, layout: CalibrationLayout
) -> tuple[DatabaseEntry, ...]:
    dependencies = [str(layout.sibling(name).database) for name in surroundings.ancestors]
    return build_database_chain(None, dependencies, (*calibration.database_chain, *surroundings.database_chain))


def _check_strategies(calibration: CalibrationRecord, description: Description) -> None:
    """Refuse a strategy that cannot work on what the collectors keep.

    :raises DefinitionError: also for a parameter that the strategy does not know.
    """
    for algorithm in calibration.algorithms:
        strategy = load_strategy(algorithm.strategy)
        strategy(algorithm.params)
        for collection, granularity in description.granularities.items():
            if granularity not in strategy.allowed_granularities:
                raise DefinitionError(
                    f"The strategy {algorithm.strategy!r} of algorithm {algorithm.name!r} in calibration "
                    f"{calibration.name!r} needs runs kept apart, but collection {collection!r} has granularity "
                    f"{granularity!r}.",
                    hint="Use the strategy SingleIOV, or set the collector's granularity to 'run'.",
                )
