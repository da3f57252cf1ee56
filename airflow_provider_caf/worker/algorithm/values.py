"""Tell the values of payloads that are small JSON: `values request.json --output answer.json`.

::

    {"version": 1, "payloads": [{"name": <payload>, "file": <path>}, …]}

The answer is `{"version": 1, "values": [<value or null>, …], "faults": [<text>, …]}`, the values in the order of the
payloads; null for an object of ROOT, a large value, and a file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.worker.constants import build_shown_value, read_payload
from airflow_provider_caf.worker.requests import read_request


def main(argv: Sequence[str]) -> int:
    """Read the payloads that the request names."""
    parser = argparse.ArgumentParser(prog="values", description="Tell the values of payloads that are small JSON.")
    parser.add_argument("request", help="path of the request")
    parser.add_argument("--output", required=True, help="file for the answer")
    arguments = parser.parse_args(argv)
    values: list[Any] = []
    faults: list[str] = []
    known: dict[tuple[str, str], Any] = {}
    for each in read_request(arguments.request, "request for values")["payloads"]:
        key = (each["file"], each["name"])
        if key not in known:
            try:
                known[key] = build_shown_value(read_payload(*key))
            except CafError as error:
                known[key] = None
                faults.append(str(error.what))
        values.append(known[key])
    answer = {"version": 1, "values": values, "faults": faults}
    write_bytes(Path(arguments.output), json.dumps(answer).encode(), "answer")
    return 0
