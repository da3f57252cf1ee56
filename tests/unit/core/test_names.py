from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.names import MAX_NAME_LENGTH, build_slug, check_name


@pytest.mark.parametrize("name", ["a", "7", "Vertex_2-b", "x" * MAX_NAME_LENGTH])
def test_good_names(name: str) -> None:
    assert check_name("calibration", name) == name


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("a/b", "a_b"),
        ("two words", "two_words"),
        ("a;rm", "a_rm"),
        ("$(id)", "id"),
        ("`id`", "id"),
        ("it's", "it_s"),
        ('"x"', "x"),
        ("..", "unnamed"),
        ("../up", "up"),
        ("a.b", "a_b"),
        ("_hidden", "hidden"),
        ("-rf", "rf"),
        ("", "unnamed"),
        ("a\n", "a"),
        ("Müon", "Muon"),
        ("x" * (MAX_NAME_LENGTH + 1), "x" * MAX_NAME_LENGTH),
    ],
)
def test_bad_names(name: str, slug: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        check_name("collection", name)
    text = str(caught.value)
    assert f"{name!r} cannot be the name of a collection." in text
    assert "letters, digits, '_' and '-'" in text
    assert f"{slug!r} would do" in text


def test_a_name_that_is_no_text() -> None:
    with pytest.raises(DefinitionError, match="7 cannot be the name of a CAF"):
        check_name("CAF", 7)  # type: ignore[arg-type]


@given(st.text())
def test_every_slug_is_a_good_name(text: str) -> None:
    assert check_name("calibration", build_slug(text))


@given(st.text(max_size=150))
def test_what_passes_is_harmless(text: str) -> None:
    try:
        check_name("calibration", text)
    except DefinitionError:
        return
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", text, re.ASCII)
    assert not text.startswith(("-", "_"))
