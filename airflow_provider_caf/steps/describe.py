"""Ask the user's classes who they are, in a process of the job's own environment.

Airflow's environment may lack what they import, and an import that crashes must not take the task with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.steps.app_run import AppFiles, build_app_argv, run_app
from airflow_provider_caf.steps.file_metadata import HowToRead

_TIMEOUT = 600.0
"""Seconds. The site's setup and the first import of an experiment's software from a network disk take minutes."""

_DEFAULT_GRANULARITY = "run"


@record
class Description:
    """Who the classes of a calibration are.

    :param prefixes: collection → prefix of its collector; commands have none.
    :param granularities: collection → `run` or `all`.
    :param trees: collection → where its collector finds runs in the input files; commands have none.
    """

    prefixes: Mapping[str, str]
    granularities: Mapping[str, str]
    trees: Mapping[str, HowToRead]


def describe_code(calibration: Calibration, layout: CalibrationLayout, resources: Resources) -> Description:
    """Import the classes of a calibration and ask for their prefixes and granularities.

    :param layout: the app with all of its code is there already.
    :raises DefinitionError: with every class that cannot be used, and why.
    """
    collections = [collection for collection in calibration.collections.values() if collection.reference is not None]
    answer = _ask(
        {
            "collectors": [_build_collector(collection) for collection in collections],
            "algorithms": [_build_algorithm(algorithm) for algorithm in calibration.algorithms],
            "functions": [{"reference": reference} for reference in _list_functions(calibration)],
        },
        layout,
        resources,
    )
    mistakes = [
        DefinitionError(f"In calibration {calibration.name!r}: {item['error']}", hint=item["hint"])
        for kind in ("collectors", "algorithms", "functions")
        for item in answer[kind]
        if not item["ok"]
    ]
    if mistakes:
        raise join_definition_errors(mistakes, f"the classes of calibration {calibration.name!r}")
    prefixes = {
        collection.name: item["prefix"] for collection, item in zip(collections, answer["collectors"], strict=True)
    }
    granularities = {
        collection.name: collection.granularity or _DEFAULT_GRANULARITY
        for collection in calibration.collections.values()
    }
    for collection, item in zip(collections, answer["collectors"], strict=True):
        granularities[collection.name] = item["granularity"]
    for algorithm, item in zip(calibration.algorithms, answer["algorithms"], strict=True):
        _check_prefix(calibration, algorithm, item["prefix"], prefixes)
    trees = {
        collection.name: HowToRead(**item["tree"])
        for collection, item in zip(collections, answer["collectors"], strict=True)
    }
    return Description(prefixes=prefixes, granularities=granularities, trees=trees)


def _ask(request: dict[str, Any], layout: CalibrationLayout, resources: Resources) -> dict[str, Any]:
    tried = (*build_app_argv(layout.description_app, resources), "describe")
    answer = run_app(
        "describe",
        request,
        layout.description_app,
        resources,
        what=f"Importing the classes of calibration {layout.name!r}",
        timeout=_TIMEOUT,
        hint=f"Does the job's Python start, and does the site's setup work? Try: {' '.join(tried)}",
        files=AppFiles(request=layout.folder / "describe.json", answer=layout.folder / "description.json"),
    )
    described: dict[str, Any] = answer.value
    return described


def _build_collector(collection: Collection) -> dict[str, Any]:
    return {
        "reference": collection.reference,
        "settings": dict(collection.settings),
        "granularity": collection.granularity,
    }


def _build_algorithm(algorithm: Algorithm) -> dict[str, Any]:
    return {
        "reference": algorithm.algorithm,
        "settings": dict(algorithm.settings),
        "prefix": algorithm.prefix,
    }


def _list_functions(calibration: Calibration) -> list[str]:
    functions = [(collection.pre_job or {}).get("function") for collection in calibration.collections.values()]
    functions += [
        function for algorithm in calibration.algorithms for function in (algorithm.pre_algorithm, algorithm.data_input)
    ]
    return sorted({function for function in functions if function is not None})


def _check_prefix(
    calibration: Calibration, algorithm: Algorithm, prefix: str | None, prefixes: Mapping[str, str]
) -> None:
    """Refuse an algorithm whose prefix no collector has. A command may write any prefix.

    :raises DefinitionError: with the prefixes that there are.
    """
    if not calibration.collections:
        return
    known = sorted(set(prefixes.values()))
    all_known = len(prefixes) == len(calibration.collections)
    if not all_known or prefix in known or (prefix is None and len(known) == 1):
        return
    where = f"Algorithm {algorithm.name!r} of calibration {calibration.name!r}"
    if prefix is None:
        raise DefinitionError(
            f"{where} does not say which collector it reads, and there are several: {', '.join(known)}.",
            hint="Set `prefix` on the algorithm.",
        )
    raise DefinitionError(
        f"{where} needs the objects of prefix {prefix!r}, which no collector of the calibration has.",
        hint=build_word_hint(prefix, known, "prefixes"),
    )
