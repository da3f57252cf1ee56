"""The first step of a run: its whole definition, checked, before anything is submitted.

`definition.json` in the run's folder has what came out, for readers such as reports and the command line.
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.graph import find_ancestors
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import share_budget
from airflow_provider_caf.core.stored_record import StoredRecord
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.checks import MAKERS, list_sharing
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.stored import StoredCaf
from airflow_provider_caf.io.catalog import Catalog, CatalogJournal, JsonValue, RunRow
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.input_files import find_input


@record
class RunDefinition(StoredRecord):
    """What a run does.

    :param caf: the definition with the run's params applied and its templates filled in.
    :param chosen: the calibrations that run, in the order of the definition.
    :param params: what the run was given.
    :param shares: calibration → collection → the most subjobs it may have, where the collections share a budget.
    """

    version = 1
    version_error = InputError
    version_hint = "It was written by another release. Clear the task `configure`."

    caf: StoredCaf
    chosen: tuple[str, ...]
    params: Mapping[str, Any]
    shares: Mapping[str, Mapping[str, int]]

    @classmethod
    def read(cls, layout: RunLayout) -> RunDefinition:
        """Read what the task `configure` wrote, see `read_file`."""
        return cls.read_file(layout.definition, f"definition of run {layout.run_id!r}")


def configure_run(
    caf: CAF, chosen: tuple[str, ...], params: Mapping[str, Any], layout: RunLayout, catalog: CatalogJournal | Catalog
) -> dict[str, int]:
    """Look for the input of all calibrations at once, share the job budget, and write the run's definition.

    What comes behind an external command is not looked for: the command may make it.

    :param catalog: gets a row of what the run does.
    :return: `<calibration>.<collection>` → how many input files it has.
    :raises InputError: with every pattern that matches nothing.
    :raises DefinitionError: if the job budget is too small.
    """
    counts: dict[tuple[str, str], int] = {}
    problems: list[InputError] = []
    for calibration, collection in _list_early(caf, chosen):
        where = f"collection {collection.name!r} of calibration {calibration.name!r}"
        try:
            counts[calibration.name, collection.name] = len(find_input(collection, where).files)
        except InputError as error:
            problems.append(error)
    if problems:
        raise _join(problems)
    RunDefinition(caf=caf, chosen=chosen, params=params, shares=share_jobs(caf, counts)).write(layout.definition)
    catalog.write(
        [
            RunRow(
                dag_id=layout.dag_id,
                run_id=layout.run_id,
                definition=caf.to_json(),
                chosen=chosen,
                params=normalise_json(dict(params), "params of the run"),
                versions={**find_versions(), **normalise_json(dict(caf.software), "software of the definition")},
                folder=str(layout.folder),
                configured=datetime.now(UTC),
            )
        ]
    )
    return {".".join(key): count for key, count in counts.items()}


def find_versions() -> dict[str, JsonValue]:
    """Return the versions of what runs the tasks."""
    found: dict[str, JsonValue] = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for name in ("airflow-provider-caf", "apache-airflow", "ROOT"):
        # ROOT may be in the environment of the jobs alone.
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def share_jobs(caf: CAF, counts: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    """Return how many subjobs the collections may have that share the job budget: calibration → collection → number.

    :param counts: (calibration, collection) → number of input files, where it is known.
    """
    keys = [(calibration.name, collection.name) for _, calibration, collection in list_sharing(caf.calibrations)]
    sharing = {key: counts[key] for key in keys if key in counts}
    shares: dict[str, dict[str, int]] = {}
    if caf.job_budget is not None:
        for (calibration, collection), share in share_budget(caf.job_budget, sharing).items():
            shares.setdefault(calibration, {})[collection] = share
    return shares


def _list_early(caf: CAF, chosen: tuple[str, ...]) -> Iterator[tuple[Calibration, Collection]]:
    dependencies = caf.map_dependencies()
    makers = {member.name for member in caf.calibrations if isinstance(member, MAKERS)}
    for calibration in caf.calibrations:
        if calibration.name not in chosen or not isinstance(calibration, Calibration):
            continue
        if not makers.intersection(find_ancestors(dependencies, calibration.name)):
            for collection in calibration.collections.values():
                yield calibration, collection


def _join(problems: list[InputError]) -> InputError:
    if len(problems) == 1:
        return problems[0]
    text = "\n".join(f"- {problem}" for problem in problems)
    return InputError(f"The input of {len(problems)} collections is not there:\n{text}")
