"""The first step of a calibration: everything that can be known before a job is submitted, known and checked.

It resolves the input files, plans the subjobs, packs the job app, asks the collectors and algorithms who they are (in a
process of the job's own environment), and writes the manifests. What is wrong with a definition is found here.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import Splitting, plan_subjobs
from airflow_provider_caf.core.strategies import load_strategy
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.steps.describe import Description, describe_code
from airflow_provider_caf.steps.input_files import choose_input
from airflow_provider_caf.steps.manifest import CalibrationManifest, CollectionManifest, JobTarget, Target

_log = logging.getLogger(__name__)


@record
class Surroundings:
    """What stands around a calibration in its CAF.

    :param ancestors: the calibrations it depends on, directly or not, nearest first.
    :param target: where the collectors run.
    :param algorithms: algorithm → where it runs, if that is a job.
    :param backend_args: the arguments that the CAF gives.
    :param database_chain: the end of the chain.
    :param shares: collection → the most subjobs it may have, where the CAF shares a job budget.
    """

    ancestors: tuple[str, ...] = ()
    target: Target = Target()
    algorithms: Mapping[str, Target] = field(default_factory=dict)
    backend_args: Mapping[str, Any] | None = None
    database_chain: tuple[DatabaseEntry, ...] = ()
    shares: Mapping[str, int] = field(default_factory=dict)


def prepare_calibration(
    calibration: Calibration, surroundings: Surroundings, layout: CalibrationLayout
) -> list[CollectionManifest]:
    """Check a calibration and write its manifests. Running it again writes them anew.

    :return: the manifests of its collections.
    :raises DefinitionError: if the definition cannot run as it is.
    :raises InputError: if an input file is missing or no ROOT file.
    """
    shutil.rmtree(layout.manifest_folder, ignore_errors=True)
    layout.manifest_folder.mkdir(parents=True, exist_ok=True)
    own = _merge_arguments(calibration, surroundings, surroundings.target)
    collecting, calibrating = _list_references(calibration)
    build_job_app(layout.description_app, {*collecting, *calibrating})
    description = describe_code(calibration, layout, own)
    # The jobs get the collectors' code alone: a corrected algorithm is no reason to collect again.
    build_job_app(layout.app, collecting, files=_list_job_files(calibration))
    _check_strategies(calibration, description)
    manifests = []
    for collection in calibration.collections.values():
        manifest = _prepare_collection(calibration, collection, surroundings, own, description, layout)
        manifest.write(layout.iteration(0).collection(collection.name).manifest)
        _tell_ignored(manifest)
        manifests.append(manifest)
    CalibrationManifest(
        calibration=calibration,
        granularities=description.granularities,
        prefixes=description.prefixes,
        database_chain=_build_chain(calibration, surroundings, layout),
        resources=own,
        ancestors=surroundings.ancestors,
        targets=_find_targets(calibration, surroundings),
    ).write(layout.definition)
    return manifests


def _merge_arguments(calibration: Calibration, surroundings: Surroundings, target: Target) -> Resources:
    return target.merge(
        {
            "the CAF": surroundings.backend_args or {},
            f"calibration {calibration.name!r}": calibration.backend_args,
        }
    )


def _find_targets(calibration: Calibration, surroundings: Surroundings) -> dict[str, JobTarget]:
    """Return where the algorithms run that run as jobs.

    :raises DefinitionError: if a job cannot do what the arguments ask for.
    """
    targets = {}
    for algorithm in calibration.algorithms:
        target = surroundings.algorithms.get(algorithm.name)
        if target is None:
            continue
        where = f"algorithm {algorithm.name!r} of calibration {calibration.name!r}"
        cores = None if "cpus" in load_system(target.backend).ignored else algorithm.workers * algorithm.cpus
        resources = merge_resources(
            Resources(cpus=cores),
            _merge_arguments(calibration, surroundings, target),
            parse_resources(algorithm.backend_args, where),
        )
        targets[algorithm.name] = JobTarget.choose(target, resources, where)
    return targets


def _prepare_collection(
    calibration: Calibration,
    collection: Collection,
    surroundings: Surroundings,
    resources: Resources,
    description: Description,
    layout: CalibrationLayout,
) -> CollectionManifest:
    where = f"collection {collection.name!r} of calibration {calibration.name!r}"
    selected = choose_input(calibration, collection, description.trees.get(collection.name), resources, layout)
    return CollectionManifest(
        calibration=calibration.name,
        collection=collection,
        prefix=description.prefixes.get(collection.name, ""),
        granularity=description.granularities[collection.name],
        subjobs=plan_subjobs(selected, limit_splitting(collection.splitting, surroundings.shares.get(collection.name))),
        database_chain=_build_chain(calibration, surroundings, layout, collection.databases),
        backend=surroundings.target.backend,
        connection=surroundings.target.connection,
        resources=merge_resources(resources, parse_resources(collection.backend_args, where)),
    )


def limit_splitting(splitting: Splitting, share: int | None) -> Splitting:
    """Return the splitting of a collection that has a share of the CAF's job budget."""
    return splitting if share is None or splitting != Splitting() else Splitting(max_collector_jobs=share)


def _tell_ignored(manifest: CollectionManifest) -> None:
    """Say which arguments have no effect: one definition runs on several systems, so they are no mistakes."""
    ignored = sorted(load_system(manifest.backend).ignored.intersection(manifest.resources.to_json()))
    if ignored:
        _log.warning(
            "Collection %s: %s has no use for the backend_args %s; they have no effect.",
            manifest.collection.name,
            manifest.backend,
            ", ".join(ignored),
        )


def _list_references(calibration: Calibration) -> tuple[set[str], set[str]]:
    """Return every class and function of the user's that a job imports, and that an algorithm process imports."""
    collecting = {collection.reference for collection in calibration.collections.values()}
    collecting |= {(collection.pre_job or {}).get("function") for collection in calibration.collections.values()}
    calibrating = {algorithm.algorithm for algorithm in calibration.algorithms}
    for algorithm in calibration.algorithms:
        calibrating |= {
            reference for reference in (algorithm.pre_algorithm, algorithm.data_input) if reference is not None
        }
    return {reference for reference in collecting if reference is not None}, calibrating


def _list_job_files(calibration: Calibration) -> dict[str, Path]:
    return {
        f"{collection.name}/{name}": Path(path)
        for collection in calibration.collections.values()
        for name, path in collection.job_files.items()
    }


def _build_chain(
    calibration: Calibration,
    surroundings: Surroundings,
    layout: CalibrationLayout,
    nearest: tuple[DatabaseEntry, ...] = (),
) -> tuple[DatabaseEntry, ...]:
    """Return the chain without the payloads of a previous pass.

    :param nearest: what a collection says, before what its calibration says. What the calibrations before have found
        out comes first all the same: nobody wants to collect with a global tag in its place.
    """
    dependencies = [str(layout.sibling(name).database) for name in surroundings.ancestors]
    own = (*nearest, *calibration.databases, *surroundings.database_chain)
    return build_database_chain(None, dependencies, own)


def _check_strategies(calibration: Calibration, description: Description) -> None:
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
