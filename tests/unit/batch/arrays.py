"""Arrays on which the tests of all batch systems are done."""

from __future__ import annotations

from typing import Any

from airflow_provider_caf.batch.spec import ArraySpec


def make_array(name: str = "caf_a", elements: int = 3, **changes: Any) -> ArraySpec:
    """Give an array with one subjob in each element."""
    values: dict[str, Any] = {
        "name": name,
        "folder": f"/w/{name}",
        "input_folder": "/w/in",
        "output_folder": "/w/out",
        "status_folder": "/w/out/status",
        "elements": tuple((subjob,) for subjob in range(elements)),
        "attempt": 0,
        "app": "/w/app.pyz",
        "python": "python3",
    }
    return ArraySpec(**{**values, **changes})
