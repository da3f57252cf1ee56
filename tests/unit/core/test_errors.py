from __future__ import annotations

import pytest

from airflow_provider_caf.core import errors
from airflow_provider_caf.core.errors import (
    CafError,
    DefinitionError,
    JobFailed,
    JobHeld,
    join_definition_errors,
)


def test_what_and_hint() -> None:
    assert str(CafError("It broke.")) == "It broke."
    assert str(CafError("It broke.", hint="Mend it.")) == "It broke.\n  hint: Mend it."


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "Bad."),
        ({"file": "caf.yaml"}, "caf.yaml: Bad."),
        ({"file": "caf.yaml", "line": 3}, "caf.yaml:3: Bad."),
    ],
)
def test_place_of_a_definition_error(place: dict[str, object], text: str) -> None:
    error = DefinitionError("Bad.", **place)  # type: ignore[arg-type]
    assert str(error) == text
    assert isinstance(error, ValueError)


def test_job_error_shows_the_log() -> None:
    error = JobFailed("Subjob 3 failed.", hint="Look.", log="/logs/3", log_tail="one\ntwo")
    assert str(error) == "Subjob 3 failed.\n  log: /logs/3\n    | one\n    | two\n  hint: Look."
    assert str(JobHeld("Held.")) == "Held."


def test_all_errors_are_caf_errors() -> None:
    found = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(found) > 10
    assert all(issubclass(each, CafError) for each in found)


def test_one_error_is_joined_to_itself() -> None:
    error = DefinitionError("Bad.")
    assert join_definition_errors([error], "the CAF 'x'") is error


def test_several_errors_are_joined_one_per_line() -> None:
    errors_found = [DefinitionError("Bad.", hint="Mend it.", where=("a", 1)), DefinitionError("Worse.")]
    joined = join_definition_errors(errors_found, "the CAF 'x'")
    assert str(joined) == "2 mistakes in the CAF 'x':\n- Bad. hint: Mend it.\n- Worse."
    assert joined.causes == tuple(errors_found)
    assert joined.where == ("a", 1)
