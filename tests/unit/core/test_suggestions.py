from __future__ import annotations

import pytest

from airflow_provider_caf.core.suggestions import build_word_hint, suggest_word


@pytest.mark.parametrize(
    ("word", "found"),
    [("iov_coverag", "iov_coverage"), ("STEP_SIZE", "step_size"), ("xyz", None), ("step_size", "step_size")],
)
def test_suggest_word(word: str, found: str | None) -> None:
    assert suggest_word(word, ["step_size", "iov_coverage"]) == found


def test_hint() -> None:
    assert build_word_hint("stepsize", ["step_size", "a"], "words") == (
        "Did you mean 'step_size'? Known words: a, step_size."
    )
    assert build_word_hint("zzzz", ["b", "a"], "words") == "Known words: a, b."
    assert build_word_hint("zzzz", [], "words") == "There are no words."
