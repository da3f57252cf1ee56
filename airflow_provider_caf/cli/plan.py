"""`plan`: what a run would submit and execute."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import SandboxedEnvironment
from rich.text import Text

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.cli.check import describe_passes
from airflow_provider_caf.cli.output import EXIT_PROBLEM, command, show_json, show_reason, show_table, show_text
from airflow_provider_caf.cli.table import Cell, Column, Table, build_columns
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.graph import find_ancestors, order_calibrations
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import SubjobPlan, plan_subjobs
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.caf import CAF
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase, ExternalCommand, ImportedPayloads
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.files import load_definitions
from airflow_provider_caf.definitions.resolve import Resolved, fill_templates, resolve_run
from airflow_provider_caf.definitions.run_params import describe_params
from airflow_provider_caf.definitions.words import describe_job
from airflow_provider_caf.hooks.batch import choose_connection, find_backend
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.configure import share_jobs
from airflow_provider_caf.steps.input_files import InputFiles, find_input
from airflow_provider_caf.steps.manifest import CollectionManifest, Target
from airflow_provider_caf.steps.prepare import limit_splitting

_NUMBERS = {"files": 3, "IoVs known": 0, "subjobs": 4, "files each": 1}
_COLUMNS = (
    *build_columns("calibration", "collection", **_NUMBERS),
    Column(name="then", goes=2, wraps=True),
)

_RUN = "plan"
"""Stands for the id of the run, which is not there yet."""


@record
class CollectionPlan:
    """What would be submitted for a collection.

    :param files: how many input files it has, before a selection.
    :param runs: how many different IoVs its files hold, None where that is not known.
    :param problem: why its input could not be found.
    """

    calibration: Calibration
    collection: Collection
    files: int = 0
    runs: int | None = None
    subjobs: tuple[SubjobPlan, ...] = ()
    problem: str | None = None


@command
def plan(arguments: Any) -> None:
    """Show what a run would submit and execute."""
    conf = read_conf(arguments.conf)
    planned = []
    for caf in load_definitions(Path(arguments.file)):
        resolved = resolve(caf, conf)
        planned.append((resolved.caf, resolved.chosen, plan_run(resolved.caf, resolved.chosen)))
    if arguments.as_json:
        show_json([_build_json(*plans_of, dry_run=arguments.dry_run) for plans_of in planned])
    else:
        for caf, chosen, plans in planned:
            _show(caf, chosen, plans)
            for own in plans if arguments.dry_run else ():
                if own.problem is None:
                    show_text(preview(caf, own))
    if any(own.problem is not None for *_, plans in planned for own in plans):
        raise SystemExit(EXIT_PROBLEM)


def read_conf(text: str | None) -> dict[str, Any]:
    """Read the params of a run: JSON, or `@file`.

    :raises DefinitionError: if it is no JSON object.
    """
    if text is None:
        return {}
    try:
        value = json.loads(Path(text[1:]).read_text("utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise DefinitionError(f"--conf cannot be read: {error}.", hint='Write {"param": value}, or @file.') from error
    if not isinstance(value, dict):
        raise DefinitionError("--conf is no JSON object.", hint='Write {"param": value}, or @file.')
    return value


def resolve(
    caf: CAF,
    conf: Mapping[str, Any],
    choose: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] = choose_connection,
) -> Resolved:
    """Return what the task `configure` would, without a run.

    :param choose: as `resolve_run` takes it.
    :raises DefinitionError: if the conf does not fit the definition.
    """
    described = describe_params(caf)
    params = {**{name: schema["default"] for name, schema in described.items()}, **conf}
    variables = {"dag_run": {"conf": dict(conf), "run_id": _RUN}, "run_id": _RUN}
    filled = fill_templates(caf.to_json(), params, variables, SandboxedEnvironment(undefined=jinja2.StrictUndefined))
    return resolve_run(filled, params, conf, described, choose)


def plan_run(caf: CAF, chosen: tuple[str, ...]) -> list[CollectionPlan]:
    """Plan the subjobs of all collections, in the order in which calibrations may run."""
    members = {member.name: member for member in caf.calibrations}
    collecting = [
        (member, collection)
        for name in order_calibrations(caf.map_dependencies())
        if name in chosen and isinstance(member := members[name], Calibration)
        for collection in member.collections.values()
    ]
    found: dict[tuple[str, str], InputFiles | CafError] = {}
    for calibration, collection in collecting:
        try:
            where = f"collection {collection.name!r} of calibration {calibration.name!r}"
            found[calibration.name, collection.name] = find_input(collection, where)
        except CafError as error:
            # One that has no input yet does not hide the others.
            found[calibration.name, collection.name] = error
    counts = {key: len(files.files) for key, files in found.items() if isinstance(files, InputFiles)}
    shares = share_jobs(caf, counts)
    return [
        _plan_collection(
            calibration,
            collection,
            found[calibration.name, collection.name],
            shares.get(calibration.name, {}).get(collection.name),
        )
        for calibration, collection in collecting
    ]


def _plan_collection(
    calibration: Calibration, collection: Collection, found: InputFiles | CafError, share: int | None
) -> CollectionPlan:
    if isinstance(found, CafError):
        return CollectionPlan(calibration=calibration, collection=collection, problem=str(found))
    return CollectionPlan(
        calibration=calibration,
        collection=collection,
        files=len(found.files),
        runs=len(set(found.iovs.values())) if found.iovs else None,
        subjobs=plan_subjobs(found.files, limit_splitting(collection.splitting, share)),
    )


def preview(caf: CAF, planned: CollectionPlan) -> str:
    """Return the submit commands, files and scripts of a collection. Nothing is submitted.

    :raises DefinitionError: if the batch system cannot do what the arguments ask for.
    """
    target, resources = find_resources(caf, planned.calibration, planned.collection)
    with tempfile.TemporaryDirectory(prefix="caf-plan-") as folder:
        layout = RunLayout(work_dir=Path(folder), dag_id=caf.name, run_id=_RUN).calibration(planned.calibration.name)
        collecting = layout.iteration(0).collection(planned.collection.name)
        layout.manifest_folder.mkdir(parents=True)
        build_job_app(layout.app, set())
        CollectionManifest(
            calibration=planned.calibration.name,
            collection=planned.collection,
            prefix="",
            granularity=planned.collection.granularity or "run",
            subjobs=planned.subjobs,
            database_chain=planned.collection.databases,
            backend=target.backend,
            resources=resources,
        ).write(collecting.manifest)
        run = CollectionRun(layout, 0, planned.collection.name)
        run.write_jobs()
        lines = [f"── {planned.calibration.name}, collection {planned.collection.name}, on {target.backend}"]
        lines.append(f"constants from: {_describe_chain(caf, planned) or 'nowhere'}")
        for array, submission in run.preview():
            lines.append(f"{len(array.elements)} elements, submitted with")
            lines.append("  " + shlex.join(submission.command.argv))
            for file in submission.files:
                lines += [f"  {file.path}:", *(f"    | {line}" for line in file.text.splitlines())]
        # The folder is made up; in a run it is that of the run.
        return "\n".join(lines).replace(folder, "<work_dir>")


def find_resources(caf: CAF, calibration: Calibration, collection: Collection) -> tuple[Target, Resources]:
    """Return where the jobs of a collection run, and with which arguments.

    :raises DefinitionError: if the connection cannot be used, or an argument is wrong.
    """
    target = find_backend(caf, calibration)
    layers = {
        f"CAF {caf.name!r}": caf.backend_args,
        f"calibration {calibration.name!r}": calibration.backend_args,
        f"collection {collection.name!r}": collection.backend_args,
    }
    return target, target.merge(layers)


def _describe_chain(caf: CAF, planned: CollectionPlan) -> str:
    """Return where constants are looked up in the first pass, nearest first."""
    calibration = planned.calibration
    own = (*planned.collection.databases, *calibration.databases, *caf.databases)
    ancestors = [f"payloads of {name}" for name in find_ancestors(caf.map_dependencies(), calibration.name)]
    return ", ".join(dict.fromkeys([*ancestors, *(f"{entry.kind} {entry.value}" for entry in own)]))


def _show(caf: CAF, chosen: tuple[str, ...], plans: list[CollectionPlan]) -> None:
    table = Table(f"{caf.name}: what a run would do", _COLUMNS)
    for name in order_calibrations(caf.map_dependencies()):
        member = next(member for member in caf.calibrations if member.name == name)
        if name not in chosen:
            table.add_row(name, Text("left out", style="dim"), "", "", "", "", "")
        elif not isinstance(member, Calibration):
            table.add_row(name, Text(member.describe_kind(), style="dim"), "", "", "", "", _describe_step(member))
        else:
            then = f"{', '.join(map(_describe_algorithm, member.algorithms))}; {describe_passes(member)}"
            rows = [_describe_row(planned) for planned in plans if planned.calibration.name == name]
            for row in rows or [[Text("collects nothing", style="dim"), "", "", "", ""]]:
                table.add_row(name, *row, then)
    show_table(table)
    for planned in plans:
        if planned.problem is not None:
            show_reason(planned.problem)


def _describe_row(planned: CollectionPlan) -> list[Cell]:
    name = planned.collection.name
    if planned.problem is not None:
        return [name, Text("not found", style="red"), "", "", ""]
    sizes = [len(subjob.files) for subjob in planned.subjobs]
    most = f"{min(sizes)}-{max(sizes)}" if sizes and min(sizes) != max(sizes) else str(max(sizes, default=0))
    selected = " (before the selection)" if planned.collection.selection is not None else ""
    runs = "" if planned.runs is None else str(planned.runs)
    return [name, f"{planned.files}{selected}", runs, str(len(sizes)), most]


def _describe_algorithm(algorithm: Algorithm) -> str:
    strategy = algorithm.strategy.rpartition(":")[2]
    return f"{algorithm.name} ({strategy}{describe_job(algorithm.backend, algorithm.connection)})"


def _describe_step(step: CalibrationBase) -> str:
    if isinstance(step, ExternalCommand):
        return shlex.join(step.command) + describe_job(step.backend, step.connection)
    return step.folder if isinstance(step, ImportedPayloads) else step.describe_kind()


def _build_json(caf: CAF, chosen: tuple[str, ...], plans: list[CollectionPlan], *, dry_run: bool) -> dict[str, Any]:
    return {
        "caf": caf.to_json(),
        "chosen": list(chosen),
        "collections": [
            {
                "calibration": planned.calibration.name,
                "collection": planned.collection.name,
                "files": planned.files,
                "problem": planned.problem,
                **({"dry_run": preview(caf, planned)} if dry_run and planned.problem is None else {}),
                "subjobs": [
                    {"files": list(subjob.files), "arguments": dict(subjob.arguments)} for subjob in planned.subjobs
                ],
            }
            for planned in plans
        ],
    }
