from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import DefinitionError


def local(path: str) -> DatabaseEntry:
    return DatabaseEntry(kind="local", value=path)


TAG = DatabaseEntry(kind="global_tag", value="main")


def test_order_of_the_chain() -> None:
    chain = build_database_chain("/it/0", ["/near", "/far"], [local("/own"), TAG])
    assert chain == (local("/it/0"), local("/near"), local("/far"), local("/own"), TAG)


def test_first_iteration_without_dependencies() -> None:
    assert build_database_chain(None, [], []) == ()
    assert build_database_chain(None, [], [TAG]) == (TAG,)


def test_a_place_is_looked_up_once() -> None:
    assert build_database_chain("/a", ["/b", "/a"], [local("/b"), TAG, TAG]) == (
        local("/a"),
        local("/b"),
        TAG,
    )


@pytest.mark.parametrize("entry", [local("/x"), TAG])
def test_round_trip(entry: DatabaseEntry) -> None:
    assert DatabaseEntry.from_json(entry.to_json()) == entry
    assert DatabaseEntry.from_json(entry.to_job_json()) == entry


def test_forms() -> None:
    assert local("/x").to_json() == {"kind": "local", "value": "/x"}
    assert local("/x").to_job_json() == {"kind": "local", "path": "/x"}
    assert TAG.to_job_json() == {"kind": "global_tag", "name": "main"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"kind": "locl", "value": "/x"}, "There is no kind of database 'locl'"),
        ({"kind": "local", "value": " "}, "The local database has the value ' '"),
        ({"kind": "local", "value": "a\0b"}, "The local database has the value"),
        ({"kind": "local", "name": "main"}, "has no 'value'"),
        ({"kind": "local", "path": "/x", "value": "/y"}, "unknown field 'path'"),
        ({"kind": "local", "value": 3}, "'value' of the entry of the database chain is 3"),
        ({"value": "/x"}, "has no 'kind'"),
        ("local:/x", "not an object"),
    ],
)
def test_strict_reading(value: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        DatabaseEntry.from_json(value)
