"""Check a whole definition: what its words say about one another. What each says for itself is checked when it is read.

All mistakes are found in one go, so that nobody mends a definition one error at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.names import check_name
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.strategies import BUILT_IN, find_built_in
from airflow_provider_caf.core.strategies.base import GRANULARITIES
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.task_ids import DECIDE, TASKS_OF_RUN
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.calibration import Calibration, CalibrationBase, ExternalCommand, OwnCalibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.definitions.form import fill, is_template

Place = tuple[Any, ...]


_RESERVED_CALIBRATIONS = (*TASKS_OF_RUN, "outputdb")
"""Tasks of the whole CAF and the joined local database of a run stand beside the calibrations."""

MAKERS = (ExternalCommand, OwnCalibration)
"""Steps that may make input files."""


def list_sharing(members: Sequence[CalibrationBase]) -> list[tuple[int, Calibration, Collection]]:
    """Return the collections that share the job budget, with the number and the calibration of each."""
    return [
        (number, member, collection)
        for number, member in enumerate(members)
        if isinstance(member, Calibration)
        for collection in member.collections.values()
        if collection.splitting == Splitting()
    ]


def find_mistakes(name: str, members: Sequence[CalibrationBase], job_budget: int | None) -> Iterator[DefinitionError]:
    """Find all mistakes in what a CAF resolves to. Each has the way to its place as `where`."""
    yield from _try(("name",), check_name, "CAF", name)
    if not members:
        yield DefinitionError(f"The CAF {name!r} has no calibration.", hint="Add one.", where=("calibrations",))
    yield from _find_doubles("calibration", [member.name for member in members], ("calibrations",))
    for index, member in enumerate(members):
        yield from _find_in_member_name(member.name, ("calibrations", index))
        if isinstance(member, Calibration):
            yield from _find_in_calibration(member, ("calibrations", index))
    yield from _find_in_dependencies(members)
    if job_budget is not None and not is_template(job_budget):
        yield from _find_in_budget(members, job_budget)


def _find_in_budget(members: Sequence[CalibrationBase], budget: int) -> Iterator[DefinitionError]:
    sharing = list_sharing(members)
    if budget < len(sharing):
        yield DefinitionError(
            f"job_budget is {budget!r}, but {len(sharing)} collections share it.",
            hint="Give each at least one subjob, or a splitting of its own.",
            where=("job_budget",),
        )
    elif not sharing:
        yield DefinitionError(
            "job_budget has no effect: every collection has a splitting of its own.",
            hint="Take it out, or max_collector_jobs and max_files_per_collector_job.",
            where=("job_budget",),
        )
    makers = {member.name for member in members if isinstance(member, MAKERS)}
    known = {member.name: member.dependencies for member in members}
    for number, member, collection in sharing:
        before = _find_before(known, member.name) & makers
        if before:
            yield DefinitionError(
                f"Collection {collection.name!r} of calibration {member.name!r} shares the job_budget, but its files "
                f"are not known when that is shared: {min(before)!r} may make them.",
                hint="Give it max_collector_jobs or max_files_per_collector_job.",
                where=("calibrations", number),
            )


def _find_before(known: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """Return what a calibration depends on, also where the dependencies go round or lead nowhere."""
    found: set[str] = set()
    left = list(known.get(name, ()))
    while left:
        other = left.pop()
        if other not in found:
            found.add(other)
            left += known.get(other, ())
    return found


def _find_in_dependencies(members: Sequence[CalibrationBase]) -> Iterator[DefinitionError]:
    names = [member.name for member in members]
    known: dict[str, list[str]] = {name: [] for name in names}
    for index, calibration in enumerate(members):
        for number, other in enumerate(calibration.dependencies):
            if other in known:
                known[calibration.name].append(other)
                continue
            yield DefinitionError(
                f"Calibration {calibration.name!r} depends on {other!r}, which does not exist.",
                hint=build_word_hint(other, set(names) - {calibration.name}, "calibrations"),
                where=("calibrations", index, "depends_on", number),
            )
    yield from _try(("calibrations",), order_calibrations, known)


def _find_in_member_name(name: str, place: Place) -> Iterator[DefinitionError]:
    yield from _try((*place, "name"), check_name, "calibration", name)
    if name in _RESERVED_CALIBRATIONS:
        yield DefinitionError(
            f"A calibration cannot be named {name!r}.",
            hint="A task or folder of the run has that name. Rename it.",
            where=(*place, "name"),
        )


def _find_in_calibration(calibration: Calibration, place: Place) -> Iterator[DefinitionError]:
    name = calibration.name
    if not calibration.collections and not calibration.dependencies:
        hint = "Add one, or say by depends_on on whose payloads its algorithms work."
        yield DefinitionError(f"Calibration {name!r} has no collection.", hint=hint, where=(*place, "collections"))
    if not calibration.algorithms:
        yield DefinitionError(f"Calibration {name!r} has no algorithm.", hint="Add one.", where=(*place, "algorithms"))
    names = [algorithm.name for algorithm in calibration.algorithms]
    yield from _find_doubles("algorithm", names, (*place, "algorithms"), f" in calibration {name!r}")
    for collection in calibration.collections.values():
        yield from _find_in_collection(collection, name, (*place, "collections", collection.name))
    for index, algorithm in enumerate(calibration.algorithms):
        at = (*place, "algorithms", index)
        yield from _find_in_algorithm(algorithm, name, at)
        yield from _find_in_granularity(algorithm, calibration, at)
        yield from _find_in_boundaries(algorithm, calibration, at)
        yield from _find_in_task_names(algorithm, calibration, at)


def _find_in_collection(collection: Collection, calibration: str, place: Place) -> Iterator[DefinitionError]:
    where = f"collection {collection.name!r} of calibration {calibration!r}"
    yield from _try((*place, "name"), check_name, "collection", collection.name)
    if collection.name == DECIDE:
        yield _reserved("collection", collection.name, calibration, place)
    if not collection.input_files and not collection.filemaps and collection.arguments is None:
        yield DefinitionError(
            f"The {where} has no input files.",
            hint="Name files or patterns; only a collection that is split by arguments can do without.",
            where=(*place, "input_files"),
        )
    if not collection.output_patterns:
        yield DefinitionError(
            f"The {where} declares no output.",
            hint="Give output_patterns: without them nobody can tell whether a subjob did its work.",
            where=(*place, "output_patterns"),
        )


def _find_in_algorithm(algorithm: Algorithm, calibration: str, place: Place) -> Iterator[DefinitionError]:
    where = f"algorithm {algorithm.name!r} of calibration {calibration!r}"
    yield from _try((*place, "name"), check_name, "algorithm", algorithm.name)
    if algorithm.prefix is not None:
        yield from _try((*place, "prefix"), check_name, "collector prefix", algorithm.prefix)
    if ":" in algorithm.strategy:
        return
    yield from _add_where(_try((*place, "strategy"), find_built_in, algorithm.strategy), where)
    if algorithm.strategy in BUILT_IN:
        yield from _add_where(_find_in_params(algorithm, (*place, "params")), where)


def _find_in_params(algorithm: Algorithm, place: Place) -> Iterator[DefinitionError]:
    """Find mistakes in the parameters of a built-in strategy. Of a template only the name can be checked yet."""
    strategy = BUILT_IN[algorithm.strategy]
    known = strategy.list_params()
    params = {
        name: None if _has_template(value) else value
        for name, value in fill(algorithm.params, {}).items()
        if name not in known or not _has_template(value)
    }
    _, errors = strategy.parse_params(params)
    for error in errors:
        yield error.within(*place)


def _has_template(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_template, value))
    return is_template(value)


def _find_in_boundaries(algorithm: Algorithm, calibration: Calibration, place: Place) -> Iterator[DefinitionError]:
    """No payload can begin with a run that no algorithm sees."""
    boundaries = fill(algorithm.params, {}).get("payload_boundaries")
    ignored = [list(run) for run in calibration.ignored_runs]
    for boundary in boundaries if isinstance(boundaries, (list, tuple)) else ():
        # What is no run has been refused with the other parameters.
        if isinstance(boundary, (list, tuple)) and list(boundary) in ignored:
            yield DefinitionError(
                f"Algorithm {algorithm.name!r} of calibration {calibration.name!r} has a boundary at run "
                f"{'.'.join(map(str, boundary))}, which is in ignored_runs.",
                hint="Begin the payload with a run that is used, or take the run out of ignored_runs.",
                where=(*place, "params", "payload_boundaries"),
            )


def _find_in_granularity(algorithm: Algorithm, calibration: Calibration, place: Place) -> Iterator[DefinitionError]:
    """With a prefix, the algorithm may read just those of the collections that are kept by run."""
    strategy = BUILT_IN.get(algorithm.strategy)
    if strategy is None or not calibration.collections:
        return
    refused = [
        collection
        for collection in calibration.collections.values()
        if collection.granularity in GRANULARITIES and collection.granularity not in strategy.allowed_granularities
    ]
    if not refused or (algorithm.prefix is not None and len(refused) < len(calibration.collections)):
        return
    first = refused[0]
    yield DefinitionError(
        f"Algorithm {algorithm.name!r} of calibration {calibration.name!r} uses the strategy "
        f"{algorithm.strategy}, but its collection {first.name!r} has the granularity {first.granularity!r}: "
        "its data cannot be told apart by run.",
        hint="Collect with the granularity 'run', or use the strategy SingleIOV.",
        where=(*place, "strategy"),
    )


def _find_in_task_names(algorithm: Algorithm, calibration: Calibration, place: Place) -> Iterator[DefinitionError]:
    if algorithm.name == DECIDE:
        yield _reserved("algorithm", algorithm.name, calibration.name, place)
    if algorithm.name in calibration.collections:
        yield DefinitionError(
            f"Calibration {calibration.name!r} has an algorithm and a collection named {algorithm.name!r}.",
            hint="Rename one of them: they become tasks side by side.",
            where=(*place, "name"),
        )


def _reserved(kind: str, name: str, calibration: str, place: Place) -> DefinitionError:
    return DefinitionError(
        f"No {kind} of calibration {calibration!r} can be named {name!r}: a task beside it has that name.",
        hint="Rename it.",
        where=(*place, "name"),
    )


def _find_doubles(kind: str, names: Sequence[str], place: Place, where: str = "") -> Iterator[DefinitionError]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield DefinitionError(
                f"There are two {kind}s named {name!r}{where}.",
                hint="Rename one of them.",
                where=(*place, index, "name"),
            )
        seen.add(name)


def _try(place: Place, check: Callable[..., object], *args: Any) -> Iterator[DefinitionError]:
    try:
        check(*args)
    except DefinitionError as error:
        yield error.within(*place)


def _add_where(errors: Iterable[DefinitionError], where: str) -> Iterator[DefinitionError]:
    for error in errors:
        yield DefinitionError(f"In {where}: {error.what}", hint=error.hint, where=error.where)
