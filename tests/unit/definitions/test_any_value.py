"""Whatever stands at any place of a definition: it is refused with a message, or it means the same when read again."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_caf import CAF
from airflow_provider_caf.core.errors import DefinitionError

GOOD: dict[str, Any] = {
    "name": "demo",
    "description": "All there is.",
    "dag": {"schedule": "@daily", "tags": ["x"], "retries": 1, "retry_delay": "5m"},
    "params": {"level": {"type": "string", "default": "low"}},
    "input_data": {"muons": ["/data/*"], "electrons": {"/e1": [1, 3]}, "listed": {"filemap": "/map.json"}},
    "expert_config": {"hits": 3},
    "backend": "slurm",
    "backend_args": {"memory": "4 GB"},
    "connection": "farm",
    "max_iterations": 5,
    "requested_iov": [1, 0, 3, -1],
    "ignored_runs": [[1, 4], "1.7"],
    "database_chain": [{"local": "/db"}, {"global_tag": "main"}],
    "job_budget": 200,
    "gaps": "fill",
    "sign_off": {"message": "Look.", "users": ["anna"], "timeout": "7d"},
    "publish": {"folder": "/accepted"},
    "calibrations": [
        {
            "name": "spot",
            "collector": "hits:C",
            "input_data": ["muons", "electrons"],
            "max_iterations": 0,
            "algorithms": [
                {
                    "algorithm": "hits:A",
                    "strategy": "SequentialBoundaries",
                    "params": {"payload_boundaries": [[1, 0], [1, 9]]},
                    "settings": {"x": "{{ params.level }} {{ params.expert_config.hits }}"},
                }
            ],
        },
        {
            "name": "alignment",
            "depends_on": ["spot"],
            "requested_iov": "1,0,2,0",
            "collections": {
                "cosmics": {
                    "collector": "hits:C",
                    "input_files": ["/a"],
                    "files_to_iovs": {"/a": [1, 2]},
                    "input_data": "listed",
                    "selection": {"max_files_per_run": 3, "random_seed": 1},
                    "granularity": "run",
                    "pre_collector": ["prepare"],
                    "max_failed_subjobs": "2%",
                },
                "made": {"collector": ["make"], "input_files": ["/b"], "arguments": [{"a": 1}], "max_subjobs": 3},
            },
            "algorithms": ["hits:B", {"algorithm": "hits:D", "prefix": "cosmics", "execution_timeout": "2h"}],
        },
        {"name": "earlier", "type": "imported_payloads", "folder": "/by/hand", "payloads": ["Spot"]},
        {"name": "made", "type": "external_command", "command": ["make"], "timeout": 60, "environment": {"A": "b"}},
        {"name": "own", "type": "mine:My", "n": 3},
    ],
}
VALUES: list[Any] = [None, True, -1, 1.5, "", "x", "m:X", "{{ params.level }}", [], [1], [None], {}, {"a": None}, [{}]]


def list_ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if way:
        yield way
    for part in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from list_ways(value[part], (*way, part))


def put(way: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(GOOD)
    place: Any = changed
    for part in way[:-1]:
        place = place[part]
    place[way[-1]] = value
    return changed


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_at_any_place(value: Any) -> None:
    good = 0
    for way in list_ways(GOOD):
        try:
            caf = CAF.from_json(put(way, value))
            record = caf.resolve()
        except DefinitionError:
            continue
        written = json.loads(json.dumps(caf.to_json()))
        assert CAF.from_json(written).to_json() == written, way
        assert CAF.from_json(written).resolve() == record, way
        good += 1
    # Some words are null when they say nothing, and some values are the user's own.
    assert 0 < good < len(list(list_ways(GOOD)))
