from __future__ import annotations

import pytest

from airflow_provider_caf.core import errors
from airflow_provider_caf.core.errors import (
    CafError,
    DefinitionError,
    InputError,
    JobFailed,
    JobHeld,
    explain_os_error,
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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied"), "x could not be read: Permission denied.\n  hint: Look."),
        # A transport of others may give no number.
        (OSError("Failure"), "x could not be read: Failure.\n  hint: Look."),
        (FileNotFoundError(2, "No such file"), "x is missing.\n  hint: Make it."),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "x could not be read: 'utf-8' codec can't decode"),
    ],
)
def test_an_error_of_the_operating_system_is_explained(error: Exception, text: str) -> None:
    missing = ("x is missing.", "Make it.")
    with (
        pytest.raises(InputError) as caught,
        explain_os_error(InputError, "x could not be read", "Look.", missing=missing),
    ):
        raise error
    assert str(caught.value).startswith(text)
    assert caught.value.__cause__ is error


def test_what_is_not_there_is_an_error_like_others_unless_said_otherwise() -> None:
    with (
        pytest.raises(CafError, match="x could not be read: No such file"),
        explain_os_error(CafError, "x could not be read"),
    ):
        raise FileNotFoundError(2, "No such file")


def test_other_errors_are_left_alone() -> None:
    error = DefinitionError("Bad.")
    with pytest.raises(DefinitionError) as caught, explain_os_error(InputError, "x could not be read"):
        raise error
    assert caught.value is error
