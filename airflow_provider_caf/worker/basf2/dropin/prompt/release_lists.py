"""The lists of data filters and formats of the release in which this runs, whose `prompt` ours stands in front of."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import Any

from airflow_provider_caf.worker.basf2.dropin.warn import warn

_FILTERS, _FORMATS = "INPUT_DATA_FILTERS", "allowed_data_formats"


def read_release_lists() -> dict[str, Any]:
    """Return `INPUT_DATA_FILTERS` and `allowed_data_formats` as the release's own `prompt` has them.

    Its source is read and not run: it would import basf2, and be a second `prompt`. A name that it does not have is
    left out; without a release that is both of them.
    """
    spec = PathFinder.find_spec("prompt", sys.path)
    source = spec and spec.loader and getattr(spec.loader, "get_source", lambda name: None)("prompt")
    if not source:
        return {}
    found = {}
    for name, node in _list_assignments(ast.parse(source)):
        if name not in (_FILTERS, _FORMATS):
            continue
        # The formats are a frozenset of what stands there.
        value = node.args[0] if isinstance(node, ast.Call) and len(node.args) == 1 else node
        try:
            found[name] = ast.literal_eval(value)
        except ValueError:
            assert spec is not None
            warn(f"{name} in {spec.origin} is no plain list: what is known without a release is used.")
    return found


def _list_assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
