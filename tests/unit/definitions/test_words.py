"""What may be written for how many subjobs may fail."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.words import describe_job, read_tolerated


@pytest.mark.parametrize(
    ("given", "read"),
    [(0, 0), (3, 3), (0.0, 0.0), (0.02, 0.02), ("2%", 0.02), (" 2.5 % ", 0.025), ("0%", 0.0), ("7%", 0.07)],
)
def test_what_is_read(given: Any, read: float) -> None:
    found = read_tolerated(given)
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    "given",
    [-1, 1.0, 1.5, -0.1, "100%", "150 %", "2", "two", "-2%", True, False, None, [1], float("nan"), float("inf")],
)
def test_what_is_refused(given: Any) -> None:
    with pytest.raises(DefinitionError, match="cannot stand here") as caught:
        read_tolerated(given)
    assert "share below 1" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("backend", "connection", "text"),
    [
        (None, None, ""),
        ("slurm", None, " on slurm"),
        ("inherit", None, " on the system of the collectors"),
        (None, "farm", " by farm"),
        ("slurm", "farm", " by farm"),
    ],
)
def test_where_a_job_runs_is_said(backend: str | None, connection: str | None, text: str) -> None:
    assert describe_job(backend, connection) == text
