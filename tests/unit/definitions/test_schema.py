"""The JSON Schema: what editors are told is what is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_caf.definitions.schema import build_schema
from airflow_provider_caf.definitions.yaml_reader import read_source
from tests.script_shapes import build_definition, read_shapes

TOP = Path(__file__).resolve().parents[3]
FILES = [
    *(TOP / "dags" / "definitions").glob("*.yaml"),
    *(TOP / "tests" / "integration" / "definitions").glob("*.yaml"),
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = build_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_definitions_are_valid(validator: Any, file: Path) -> None:
    assert [error.message for error in validator.iter_errors(read_source(file).value)] == []


def test_the_shapes_of_real_scripts_are_valid(validator: Any) -> None:
    for shape in read_shapes():
        assert [error.message for error in validator.iter_errors(build_definition(shape))] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"bakend": "local"},
        {"max_iterations": -1},
        {"gaps": "fil"},
        {"calibrations": [{"name": "a", "colector": "h:C"}]},
        {"calibrations": [{"name": "a", "algorithms": [{"algorithm": "h:A", "workers": 0}]}]},
        {"publish": {"to": "/x"}},
    ],
)
def test_what_is_refused_is_not_valid(validator: Any, changes: dict[str, Any]) -> None:
    assert list(validator.iter_errors({"name": "x", "calibrations": [], **changes}))


def test_every_word_says_what_it_means() -> None:
    schema = build_schema()
    for form in (schema, *schema["$defs"].values()):
        for word, meaning in form["properties"].items():
            assert meaning.get("description", "").endswith((".", "`")), word
