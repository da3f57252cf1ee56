"""Tell what the user's classes are, without running them: `describe refs.json --output answer.json`.

::

    {"version": 1,
     "collectors": [{"reference": "module:Class", "settings": {}, "granularity": null}],
     "algorithms": [{"reference": "module:Class", "settings": {}, "prefix": null}],
     "functions": [{"reference": "module:name"}]}

The answer has the same lists in the same order, with `ok`, `prefix` and `granularity`, or `error` and `hint`.
What the user's modules print goes where it always goes; the answer has a file of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.worker.algorithm.algorithm import Algorithm, make_algorithm
from airflow_provider_caf.worker.collect.collector import find_prefix, make_collector
from airflow_provider_caf.worker.requests import read_request
from airflow_provider_caf.worker.user_code import load_user_code


def main(argv: Sequence[str]) -> int:
    """Describe what `refs.json` names."""
    parser = argparse.ArgumentParser(prog="describe", description="Tell what the user's classes are.")
    parser.add_argument("request", help="path of refs.json")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--output", help="file for the answer")
    target.add_argument("--out-fd", type=int, help="open file descriptor for the answer")
    arguments = parser.parse_args(argv)
    request = read_request(arguments.request, "list of references")
    answer = json.dumps(describe_all(request), indent=1).encode() + b"\n"
    if arguments.output is not None:
        write_bytes(Path(arguments.output), answer, "answer")
    else:
        with os.fdopen(arguments.out_fd, "wb") as stream:
            stream.write(answer)
    return 0


def describe_all(request: Mapping[str, Any]) -> dict[str, Any]:
    """Describe every reference of a request."""
    kinds: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "collectors": describe_collector,
        "algorithms": describe_algorithm,
        "functions": describe_function,
    }
    return {
        "version": 1,
        **{kind: [_describe(each, describe) for each in request.get(kind, ())] for kind, describe in kinds.items()},
    }


def describe_collector(item: Mapping[str, Any]) -> dict[str, Any]:
    """Make a collector with its settings and give its prefix and granularity, and the tree that it reads."""
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
    """Make an algorithm with its settings and give the prefix it wants, or null."""
    algorithm = make_algorithm(item["reference"], item.get("settings") or {}, item.get("prefix"))
    return {
        "prefix": algorithm.prefix,
        "finds_boundaries": type(algorithm).is_boundary_required is not Algorithm.is_boundary_required,
    }


def describe_function(item: Mapping[str, Any]) -> dict[str, Any]:
    """Load a function."""
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
