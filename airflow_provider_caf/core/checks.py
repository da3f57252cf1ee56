"""Check a whole definition: what each record says for itself, and what they say about one another.

All mistakes are found in one go, so that nobody mends a definition one error at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_caf.core.calibration_records import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    StepRecord,
)
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.graph import order_calibrations
from airflow_provider_caf.core.json_form import normalise_json
from airflow_provider_caf.core.names import check_file_name, check_name
from airflow_provider_caf.core.reference import parse_reference
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.strategies import BUILT_IN, find_built_in
from airflow_provider_caf.core.strategies.base import GRANULARITIES
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.tolerance import read_tolerance

MAX_ITERATIONS_LIMIT = 100
"""Passes are unrolled into tasks, and Airflow's scheduler and grid slow down past about a thousand."""

SUBJOB_RETRIES_LIMIT = 100
"""A subjob that has failed so often has a cause that another try does not mend."""

RESERVED_TASK_NAMES = ("decide",)
"""Tasks that stand beside collections and algorithms in an iteration."""

Place = tuple[Any, ...]


_RESERVED_CALIBRATIONS = ("configure", "join", "outputdb", "publish", "report", "sign_off")
"""Tasks of the whole CAF and the joined local database of a run stand beside the calibrations."""

MAKERS = ("external_command", "own")
"""Kinds of steps that may make input files."""

STEP_KINDS = ("external_command", "imported_payloads", "own")


def check_caf(caf: CafRecord) -> None:
    """Refuse a definition with mistakes.

    :raises DefinitionError: that names all mistakes, one per line; `causes` has them one by one.
    """
    mistakes = find_mistakes(caf)
    if mistakes:
        raise join_definition_errors(mistakes, f"the CAF {caf.name!r}")


def find_mistakes(caf: CafRecord) -> tuple[DefinitionError, ...]:
    """Find all mistakes in a definition. Each has the way to its place in the record as `where`."""
    return tuple(_find_in_caf(caf))


def _find_in_caf(caf: CafRecord) -> Iterator[DefinitionError]:
    yield from _try(("name",), check_name, "CAF", caf.name)
    yield from _try(("backend_args",), normalise_json, caf.backend_args, "backend_args of the CAF")
    if not caf.calibrations:
        yield DefinitionError(f"The CAF {caf.name!r} has no calibration.", hint="Add one.", where=("calibrations",))
    yield from _find_doubles("calibration", [each.name for each in caf.calibrations], ("calibrations",))
    for index, member in enumerate(caf.calibrations):
        if isinstance(member, StepRecord):
            yield from _find_in_step(member, ("calibrations", index))
        else:
            yield from _find_in_calibration(member, ("calibrations", index))
    yield from _find_in_dependencies(caf)
    yield from _find_in_budget(caf)


def _find_in_budget(caf: CafRecord) -> Iterator[DefinitionError]:
    if caf.job_budget is None:
        return
    sharing = [
        (number, member, collection.name)
        for number, member in enumerate(caf.calibrations)
        if isinstance(member, CalibrationRecord)
        for collection in member.collections
        if collection.splitting == Splitting()
    ]
    if type(caf.job_budget) is not int or caf.job_budget < len(sharing):
        yield DefinitionError(
            f"job_budget is {caf.job_budget!r}, but {len(sharing)} collections share it.",
            hint="Give each at least one subjob, or a splitting of its own.",
            where=("job_budget",),
        )
    elif not sharing:
        yield DefinitionError(
            "job_budget has no effect: every collection has a splitting of its own.",
            hint="Take it out, or max_collector_jobs and max_files_per_collector_job.",
            where=("job_budget",),
        )
    makers = {each.name for each in caf.calibrations if isinstance(each, StepRecord) and each.kind in MAKERS}
    known = {each.name: each.depends_on for each in caf.calibrations}
    for number, member, collection in sharing:
        before = _find_before(known, member.name) & makers
        if before:
            yield DefinitionError(
                f"Collection {collection!r} of calibration {member.name!r} shares the job_budget, but its files are "
                f"not known when that is shared: {min(before)!r} may make them.",
                hint="Give it max_collector_jobs or max_files_per_collector_job.",
                where=("calibrations", number),
            )


def _find_before(known: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """Give what a calibration depends on, also where the dependencies go round or lead nowhere."""
    found: set[str] = set()
    left = list(known.get(name, ()))
    while left:
        each = left.pop()
        if each not in found:
            found.add(each)
            left += known.get(each, ())
    return found


def _find_in_dependencies(caf: CafRecord) -> Iterator[DefinitionError]:
    names = [each.name for each in caf.calibrations]
    known: dict[str, list[str]] = {name: [] for name in names}
    for index, calibration in enumerate(caf.calibrations):
        for number, other in enumerate(calibration.depends_on):
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


def _find_in_step(step: StepRecord, place: Place) -> Iterator[DefinitionError]:
    yield from _find_in_member_name(step.name, place)
    if step.kind not in STEP_KINDS:
        yield DefinitionError(
            f"The step {step.name!r} is of the kind {step.kind!r}.",
            hint=build_word_hint(step.kind, STEP_KINDS, "kinds"),
            where=(*place, "kind"),
        )
    yield from _try((*place, "options"), normalise_json, step.options, f"options of {step.name!r}")


def _find_in_calibration(calibration: CalibrationRecord, place: Place) -> Iterator[DefinitionError]:
    name = calibration.name
    yield from _find_in_member_name(name, place)
    what = f"backend_args of calibration {name!r}"
    yield from _try((*place, "backend_args"), normalise_json, calibration.backend_args, what)
    limit = calibration.max_iterations
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MAX_ITERATIONS_LIMIT:
        yield DefinitionError(
            f"Calibration {name!r} has max_iterations {limit!r}.",
            hint=f"Give a whole number from 0 (one pass only) to {MAX_ITERATIONS_LIMIT}.",
            where=(*place, "max_iterations"),
        )
    for kind, members in (("collection", calibration.collections), ("algorithm", calibration.algorithms)):
        at = (*place, f"{kind}s")
        if not members and kind == "algorithm":
            yield DefinitionError(f"Calibration {name!r} has no {kind}.", hint="Add one.", where=at)
        if not members and kind == "collection" and not calibration.depends_on:
            yield DefinitionError(
                f"Calibration {name!r} has no collection.",
                hint="Add one, or say by depends_on on whose payloads its algorithms work.",
                where=at,
            )
        yield from _find_doubles(kind, [each.name for each in members], at, f" in calibration {name!r}")
    for index, collection in enumerate(calibration.collections):
        yield from _find_in_collection(collection, name, (*place, "collections", index))
    for index, algorithm in enumerate(calibration.algorithms):
        at = (*place, "algorithms", index)
        yield from _find_in_algorithm(algorithm, name, at)
        yield from _find_in_granularity(algorithm, calibration, at)
        yield from _find_in_boundaries(algorithm, calibration, at)
        yield from _find_in_task_names(algorithm, calibration, at)


def _find_in_collection(collection: CollectionRecord, calibration: str, place: Place) -> Iterator[DefinitionError]:
    where = f"collection {collection.name!r} of calibration {calibration!r}"
    yield from _try((*place, "name"), check_name, "collection", collection.name)
    if collection.name in RESERVED_TASK_NAMES:
        yield _reserved("collection", collection.name, calibration, place)
    if (collection.collector is None) == (collection.command is None):
        found = "neither a collector nor" if collection.collector is None else "both a collector and"
        yield DefinitionError(f"The {where} has {found} a command.", hint="Give one of them.", where=place)
    if collection.collector is not None:
        yield from _try_reference(collection.collector, f"collector of {where}", (*place, "collector"))
    if collection.command is not None:
        yield from _find_in_argv(collection.command, f"command of {where}", (*place, "command"))
    if not collection.input_files and not collection.filemaps and collection.splitting.arguments is None:
        yield DefinitionError(
            f"The {where} has no input files.",
            hint="Name files or patterns; only a collection that is split by arguments can do without.",
            where=(*place, "input_files"),
        )
    if collection.granularity is not None and collection.granularity not in GRANULARITIES:
        yield DefinitionError(
            f"The {where} has the granularity {collection.granularity!r}.",
            hint=build_word_hint(collection.granularity, GRANULARITIES, "granularities"),
            where=(*place, "granularity"),
        )
    yield from _find_in_output_patterns(collection, where, (*place, "output_patterns"))
    yield from _find_in_pre_collector(collection.pre_collector, where, (*place, "pre_collector"))
    yield from _find_in_failures(collection, where, place)
    for name in collection.job_files:
        yield from _try((*place, "job_files"), check_file_name, name)
    for field in ("settings", "backend_args"):
        value = getattr(collection, field)
        yield from _try((*place, field), normalise_json, value, f"{field} of {where}")


def _find_in_failures(collection: CollectionRecord, where: str, place: Place) -> Iterator[DefinitionError]:
    retries = collection.max_subjob_retries
    if type(retries) is not int or not 0 <= retries <= SUBJOB_RETRIES_LIMIT:
        yield DefinitionError(
            f"max_subjob_retries of {where} is {retries!r}.",
            hint=f"Give a whole number from 0 (one try only) to {SUBJOB_RETRIES_LIMIT}.",
            where=(*place, "max_subjob_retries"),
        )
    what = f"max_failed_subjobs of {where}"
    yield from _try((*place, "max_failed_subjobs"), read_tolerance, collection.max_failed_subjobs, what)


def _find_in_output_patterns(collection: CollectionRecord, where: str, place: Place) -> Iterator[DefinitionError]:
    if not collection.output_patterns:
        yield DefinitionError(
            f"The {where} declares no output.",
            hint="Give output_patterns: without them nobody can tell whether a subjob did its work.",
            where=place,
        )
    for pattern in collection.output_patterns:
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            yield DefinitionError(
                f"The output pattern {pattern!r} of {where} leaves the subjob's folder.",
                hint="Give a path or glob relative to the folder in which the collector runs.",
                where=place,
            )


def _find_in_pre_collector(
    pre_collector: Mapping[str, Any] | None, where: str, place: Place
) -> Iterator[DefinitionError]:
    if pre_collector is None:
        return
    what = f"pre_collector of {where}"
    if set(pre_collector) == {"function"}:
        yield from _try_reference(pre_collector["function"], what, place)
    elif set(pre_collector) == {"command"}:
        yield from _find_in_argv(pre_collector["command"], what, place)
    else:
        yield DefinitionError(
            f"The {what} has the fields {sorted(pre_collector)}.",
            hint="It has to have either 'function', a reference, or 'command', a list of words.",
            where=place,
        )


def _find_in_argv(argv: Any, what: str, place: Place) -> Iterator[DefinitionError]:
    fits = isinstance(argv, (list, tuple)) and all(isinstance(word, str) for word in argv)
    if not fits or not argv or not argv[0] or any("\0" in word for word in argv):
        yield DefinitionError(
            f"The {what} is {argv!r}.",
            hint="Give a list of words, the first of which is the program. No shell reads it.",
            where=place,
        )


def _find_in_algorithm(algorithm: AlgorithmRecord, calibration: str, place: Place) -> Iterator[DefinitionError]:
    where = f"algorithm {algorithm.name!r} of calibration {calibration!r}"
    yield from _try((*place, "name"), check_name, "algorithm", algorithm.name)
    yield from _try_reference(algorithm.algorithm, f"class of {where}", (*place, "algorithm"))
    if algorithm.prefix is not None:
        yield from _try((*place, "prefix"), check_name, "collector prefix", algorithm.prefix)
    if algorithm.pre_algorithm is not None:
        what = f"pre_algorithm of {where}"
        yield from _try_reference(algorithm.pre_algorithm, what, (*place, "pre_algorithm"))
    for field in ("params", "settings"):
        yield from _try((*place, field), normalise_json, getattr(algorithm, field), f"{field} of {where}")
    yield from _find_in_processes(algorithm, where, place)
    if ":" in algorithm.strategy:
        yield from _try_reference(algorithm.strategy, f"strategy of {where}", (*place, "strategy"))
        return
    yield from _add_where(_try((*place, "strategy"), find_built_in, algorithm.strategy), where)
    if algorithm.strategy in BUILT_IN:
        yield from _add_where(_find_in_params(algorithm, (*place, "params")), where)


def _find_in_params(algorithm: AlgorithmRecord, place: Place) -> Iterator[DefinitionError]:
    """Find mistakes in the parameters of a built-in strategy. Of a template only the name can be checked yet."""
    strategy = BUILT_IN[algorithm.strategy]
    params = {name: value for name, value in algorithm.params.items() if not _has_template(value)}
    known = strategy.list_params()
    params.update({name: None for name in algorithm.params if name not in params and name not in known})
    _, errors = strategy.parse_params(params)
    for error in errors:
        yield _move(error, place)


def _has_template(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_has_template, value))
    return isinstance(value, str) and "{{" in value


def _find_in_boundaries(
    algorithm: AlgorithmRecord, calibration: CalibrationRecord, place: Place
) -> Iterator[DefinitionError]:
    """No payload can begin with a run that no algorithm sees."""
    boundaries = algorithm.params.get("payload_boundaries")
    ignored = [run.to_json() for run in calibration.ignored_runs]
    for boundary in boundaries if isinstance(boundaries, (list, tuple)) else ():
        # What is no run has been refused with the other parameters.
        if isinstance(boundary, (list, tuple)) and list(boundary) in ignored:
            yield DefinitionError(
                f"Algorithm {algorithm.name!r} of calibration {calibration.name!r} has a boundary at run "
                f"{'.'.join(map(str, boundary))}, which is in ignored_runs.",
                hint="Begin the payload with a run that is used, or take the run out of ignored_runs.",
                where=(*place, "params", "payload_boundaries"),
            )


def _find_in_processes(algorithm: AlgorithmRecord, where: str, place: Place) -> Iterator[DefinitionError]:
    numbers = {"workers": (int,), "cpus": (int,), "execution_timeout": (int, float), "memory_growth": (int,)}
    optional = ("execution_timeout", "memory_growth")
    for field, types in numbers.items():
        value = getattr(algorithm, field)
        if value is None and field in optional:
            continue
        if type(value) not in types or not 0 < value < math.inf:
            form = "a number above 0" if float in types else "a whole number, at least 1"
            yield DefinitionError(
                f"{field} of {where} is {value!r}.",
                hint=f"It has to be {form}{', or None' if field in optional else ''}.",
                where=(*place, field),
            )
    for field in ("run_ahead", "keep_executions", "fill_gaps"):
        if not isinstance(getattr(algorithm, field), bool):
            yield DefinitionError(
                f"{field} of {where} is {getattr(algorithm, field)!r}.",
                hint="It has to be True or False.",
                where=(*place, field),
            )


def _find_in_granularity(
    algorithm: AlgorithmRecord, calibration: CalibrationRecord, place: Place
) -> Iterator[DefinitionError]:
    """With a prefix, the algorithm may read just those of the collections that are kept by run."""
    strategy = BUILT_IN.get(algorithm.strategy)
    if strategy is None or not calibration.collections:
        return
    refused = [
        collection
        for collection in calibration.collections
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


def _find_in_task_names(
    algorithm: AlgorithmRecord, calibration: CalibrationRecord, place: Place
) -> Iterator[DefinitionError]:
    if algorithm.name in RESERVED_TASK_NAMES:
        yield _reserved("algorithm", algorithm.name, calibration.name, place)
    if algorithm.name in (collection.name for collection in calibration.collections):
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


def _try_reference(reference: Any, what: str, place: Place) -> Iterator[DefinitionError]:
    if not isinstance(reference, str):
        yield DefinitionError(f"The {what} is {reference!r}.", hint="Give a reference as text.", where=place)
    # A template is filled in when the task runs, and checked then.
    elif "{{" not in reference:
        yield from _try(place, parse_reference, reference, what)


def _try(place: Place, check: Callable[..., object], *args: Any) -> Iterator[DefinitionError]:
    try:
        check(*args)
    except DefinitionError as error:
        yield _move(error, place)


def _move(error: DefinitionError, place: Place) -> DefinitionError:
    return DefinitionError(error.what, hint=error.hint, where=(*place, *error.where))


def _add_where(errors: Iterable[DefinitionError], where: str) -> Iterator[DefinitionError]:
    for error in errors:
        yield DefinitionError(f"In {where}: {error.what}", hint=error.hint, where=error.where)
