"""Templates: one that stands alone keeps its type, and what it gives is data."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from jinja2.sandbox import SandboxedEnvironment

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.templates import render

VARIABLES = {"params": {"n": 5, "list": [1, 2], "text": "a", "evil": "{{ 1 + 1 }}", "none": None, "map": {"x": True}}}


def fill(value: Any) -> Any:
    return render(value, VARIABLES, SandboxedEnvironment(undefined=jinja2.StrictUndefined))


@pytest.mark.parametrize(
    ("value", "filled"),
    [
        ("{{ params.n }}", 5),
        (" {{ params.list }} ", [1, 2]),
        ("{{ params.map }}", {"x": True}),
        ("{{ params.none }}", None),
        ("{{ params.n + 1 }}", 6),
        ("{{ params['text'] | upper }}", "A"),
        ("/data/{{ params.n }}/*.root", "/data/5/*.root"),
        ("{{ params.n }}{{ params.n }}", "55"),
        ("{% if params.n > 3 %}much{% endif %}", "much"),
        ("no template", "no template"),
        (7, 7),
        ({"a": ["{{ params.n }}", {"b": "{{ params.text }}"}], "{{ key }}": 1}, {"a": [5, {"b": "a"}], "{{ key }}": 1}),
        ("{{ params.evil }}", "{{ 1 + 1 }}"),
        ("x {{ params.evil }}", "x {{ 1 + 1 }}"),
    ],
)
def test_filling_in(value: Any, filled: Any) -> None:
    assert fill(value) == filled


@pytest.mark.parametrize(
    "value",
    ["{{ params.m }}", "x {{ params.m }}", "{{ nothing.there }}", "{{ params.n", "{{ params. }}", "{% if %}"],
)
def test_a_template_that_cannot_be_filled_in_is_named_with_its_place(value: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        fill({"calibrations": [{"settings": {"least": value}}]})
    assert f"The template {value!r} cannot be filled in in calibrations[0].settings.least" in caught.value.what


def test_a_template_cannot_leave_the_sandbox() -> None:
    with pytest.raises(DefinitionError, match="unsafe"):
        fill("{{ params.__class__.__mro__ }}")
