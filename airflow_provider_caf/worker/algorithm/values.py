"""Read the values of payloads that are small JSON: the verb `values`.

::

    {"version": 1, "payloads": [{"name": <payload>, "file": <path>}, …]}

The answer is `{"version": 1, "values": [<value or null>, …], "faults": [<text>, …]}`, the values in the order of the
payloads; null for an object of ROOT, a large value, and a file that cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.worker.constants import build_shown_value, read_payload


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Read the payloads that the request names."""
    values: list[Any] = []
    faults: list[str] = []
    known: dict[tuple[str, str], Any] = {}
    for payload in request["payloads"]:
        key = (payload["file"], payload["name"])
        if key not in known:
            try:
                known[key] = build_shown_value(read_payload(*key))
            except CafError as error:
                known[key] = None
                faults.append(str(error.what))
        values.append(known[key])
    return {"values": values, "faults": faults}
