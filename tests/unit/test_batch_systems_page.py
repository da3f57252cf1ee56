"""The reference page of the batch systems against their modules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_caf.batch.arguments import ARGUMENTS
from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.systems import SYSTEMS, load_system

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "batch-systems.md"
NO_NEWS = "no news"


def read_table(heading: str) -> dict[str, dict[str, str]]:
    """Give row → column → cell of the table below a heading, without backticks in the first column."""
    section = re.search(rf"^## {heading}$(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert section, heading
    lines = [line.strip("|").split("|") for line in section[1].splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line] for line in lines]
    assert all(len(row) == len(head) for row in rows)
    return {row[0].strip("`"): dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_every_argument_is_there_once() -> None:
    first, second = read_table("Arguments that a system gets"), read_table("Arguments that work the same everywhere")
    assert sorted([*first, *second]) == sorted(ARGUMENTS)


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_what_a_system_ignores(system: str) -> None:
    given = read_table("Arguments that a system gets")
    same = read_table("Arguments that work the same everywhere")
    said = {name for name, cells in given.items() if cells[system] == "ignored"}
    said |= {name for name, cells in same.items() if system in cells["ignored on"].split(", ")}
    assert said == load_system(system).ignored


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_states(system: str) -> None:
    said = {
        code: state for state, cells in read_table("States").items() for code in re.findall(r"`(\w+)`", cells[system])
    }
    states = load_system(system).states
    assert said == {code: NO_NEWS if state is JobState.UNKNOWN else state.value for code, state in states.items()}


@pytest.mark.parametrize("system", sorted(SYSTEMS))
def test_limits(system: str) -> None:
    elements, characters, _, seconds, _ = [cells[system] for cells in read_table("Limits").values()]
    made = load_system(system)
    assert (elements, characters, float(seconds)) == (
        "any" if made.largest_array is None else str(made.largest_array),
        str(made.longest_name),
        made.grace,
    )
