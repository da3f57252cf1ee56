"""Describe the user's classes without running them: the verb `describe`.

::

    {"version": 1,
     "collectors": [{"reference": "module:Class", "settings": {}, "granularity": null}],
     "algorithms": [{"reference": "module:Class", "settings": {}, "prefix": null}],
     "functions": [{"reference": "module:name"}]}

The answer has the same lists in the same order, with `ok`, `prefix` and `granularity`, or `error` and `hint`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.worker.algorithm.algorithm import Algorithm, make_algorithm
from airflow_provider_caf.worker.collect.collector import find_prefix, make_collector
from airflow_provider_caf.worker.user_code import load_user_code


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Describe every reference of a request."""
    kinds: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "collectors": describe_collector,
        "algorithms": describe_algorithm,
        "functions": describe_function,
    }
    return {kind: [_describe(item, describe) for item in request.get(kind, ())] for kind, describe in kinds.items()}


def describe_collector(item: Mapping[str, Any]) -> dict[str, Any]:
    """Make a collector with its settings and return its prefix and granularity, and the tree that it reads."""
    collector = make_collector(item["reference"], item.get("settings") or {}, item.get("granularity"))
    return {
        "prefix": find_prefix(collector),
        "granularity": collector.granularity,
        "tree": {
            "tree": collector.tree,
            "exp_branch": collector.exp_branch,
            "run_branch": collector.run_branch,
        },
    }


def describe_algorithm(item: Mapping[str, Any]) -> dict[str, Any]:
    """Make an algorithm with its settings and return the prefix it wants, or null."""
    algorithm = make_algorithm(item["reference"], item.get("settings") or {}, item.get("prefix"))
    return {
        "prefix": algorithm.prefix,
        "finds_boundaries": type(algorithm).is_boundary_required is not Algorithm.is_boundary_required,
    }


def describe_function(item: Mapping[str, Any]) -> dict[str, Any]:
    """Load a function, and return nothing about it."""
    if not callable(load_user_code(item["reference"], "function")):
        raise DefinitionError(f"{item['reference']!r} is not a function.", hint="Name a function.")
    return {}


def _describe(item: Mapping[str, Any], describe: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    reference = item.get("reference")
    try:
        return {"reference": reference, "ok": True, **describe(item)}
    except CafError as error:
        return {"reference": reference, "ok": False, "error": error.what, "hint": error.hint}
    except Exception as error:  # noqa: BLE001 - the answer carries it; the others shall be described too
        traceback.print_exc(file=sys.stderr)
        text = f"{reference!r} cannot be described: {type(error).__name__}: {error}"
        return {"reference": reference, "ok": False, "error": text, "hint": None}
