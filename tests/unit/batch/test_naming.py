"""Names of arrays."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.batch import naming
from airflow_provider_caf.batch.naming import SHORTEST
from airflow_provider_caf.core.errors import DefinitionError

PARTS: dict[str, Any] = {
    "dag": "demo",
    "run": "manual__2026-01-01T00:00:00",
    "calibration": "vertex",
    "iteration": 0,
    "collection": "default",
    "attempt": 0,
    "part": 0,
    "folder": "/w/arrays/0",
}


def build_array_name(*, dag: str, run: str, calibration: str, iteration: int, collection: str, **words: Any) -> str:
    """Build the name of an array of a collection."""
    identity = (dag, run, calibration, iteration, collection)
    return naming.build_array_name(labels=(calibration, collection, f"i{iteration}"), identity=identity, **words)


TEXTS = st.fixed_dictionaries({name: st.text(max_size=20) for name in ("dag", "run", "calibration", "collection")})


def test_it_is_readable_and_always_the_same() -> None:
    # A name that changes with a release would make an array that was submitted before impossible to find.
    assert build_array_name(**PARTS) == "caf_vertex_default_i0_a0_85bc171337"
    assert build_array_name(**PARTS) == build_array_name(**dict(PARTS))


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_part_counts(name: str) -> None:
    other = PARTS[name] + (1 if isinstance(PARTS[name], int) else "x")
    assert build_array_name(**{**PARTS, name: other}) != build_array_name(**PARTS)


def test_parts_that_look_equal_once_cleaned_or_joined_differ() -> None:
    names = {
        build_array_name(**{**PARTS, "calibration": calibration, "collection": collection})
        for calibration, collection in [("a b", "c"), ("a_b", "c"), ("a;b", "c"), ("a", "b_c"), ("a", "b c")]
    }
    assert len(names) == 5


@given(TEXTS, st.integers(SHORTEST, 80))
def test_any_text_gives_a_safe_name(texts: dict[str, str], length: int) -> None:
    name = build_array_name(**{**PARTS, **texts, "length": length})
    assert re.fullmatch(r"[a-z][A-Za-z0-9_-]*", name)
    assert len(name) <= length


def test_old_pbs_takes_fifteen_characters() -> None:
    assert len(build_array_name(**PARTS, length=15)) <= 15
    with pytest.raises(DefinitionError, match="needs 14 characters, not 13"):
        build_array_name(**PARTS, length=SHORTEST - 1)


def test_labels_alone_tell_arrays_apart() -> None:
    names = {
        naming.build_array_name(labels=labels, attempt=0, folder=folder)
        for labels in (("fit",), ("fit", "muons"), ("fit-muons",))
        for folder in ("/w/arrays/0", "/v/arrays/0")
    }
    assert len(names) == 6
    assert {name[:10] for name in names} == {"caf_fit_a0", "caf_fit_mu", "caf_fit-mu"}
