"""The table of `docs/reference/caf-compatibility.md`, row by row: every name can be imported, and none is forgotten."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reference" / "caf-compatibility.md"
STATES = ("works", "differs", "not needed")
NOT_THERE = "## Not there"

LIST_NAMES = """
import importlib, json, sys
from airflow_provider_caf.worker.basf2.dropin import install
install()
found = {}
for name in json.loads(sys.argv[1]):
    module = importlib.import_module(name)
    assert module is sys.modules["airflow_provider_caf.worker.basf2.dropin." + name]
    shown = getattr(module, "__all__", ())
    assert all(hasattr(module, each) for each in shown)
    # Values of Python's own types do not know where they are from; a module with a list of its names lists them.
    unknown = None if shown else module.__name__
    found[name] = [
        each for each, value in vars(module).items()
        if not each.startswith("_") and getattr(value, "__module__", unknown) == module.__name__
        and type(value).__name__ not in ("module", "_Feature")
    ]
    found[name] += shown
loaded = [name for name in ("ROOT", "basf2", "airflow", "pydantic") if name in sys.modules]
print(json.dumps({"names": found, "loaded": loaded}))
"""


FIND_NAMES = """
import json, pydoc, sys
from airflow_provider_caf.worker.basf2.dropin import install
install()
print(json.dumps([name for name in json.loads(sys.argv[1]) if pydoc.locate(name) is not None]))
"""


def read_tables() -> dict[str, dict[str, str]]:
    """Give module → name → state."""
    tables: dict[str, dict[str, str]] = {}
    module = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line == NOT_THERE:
            break
        if line.startswith("## "):
            module = line[3:]
            tables[module] = {}
        elif row := re.match(r"\| `(\w+)` \| ([\w ]+) \|", line):
            tables[module][row[1]] = row[2]
    return tables


@pytest.fixture(scope="module")
def found() -> Any:
    """What our modules have, imported by the names of the reference in a process of their own."""
    argv = [sys.executable, "-c", LIST_NAMES, json.dumps(list(read_tables()))]
    return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("module", list(read_tables()))
def test_every_name_can_be_imported_and_none_is_forgotten(found: Any, module: str) -> None:
    assert set(read_tables()[module]) == set(found["names"][module])


def test_every_state_is_one_of_the_three() -> None:
    assert {state for table in read_tables().values() for state in table.values()} <= set(STATES)


def test_importing_them_needs_python_alone(found: Any) -> None:
    assert found["loaded"] == []


def test_what_is_said_not_to_be_there_is_not() -> None:
    section = PAGE.read_text("utf-8").partition(NOT_THERE)[2].partition("\n## ")[0]
    names = re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE)
    assert len(names) > 10
    # What the members are of has to be there: else a name that is written wrongly would do.
    owners = {name.rpartition(".")[0] for name in names}
    argv = [sys.executable, "-c", FIND_NAMES, json.dumps([*names, *sorted(owners)])]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == sorted(owners)


def read_shown() -> dict[str, str]:
    """Give the section and the first cell of each row → the cell that says which tests show it."""
    section, cells = "", {}
    for line in re.sub(rf"{NOT_THERE}\n.*?(?=\n## )", "", PAGE.read_text("utf-8"), flags=re.DOTALL).splitlines():
        row = [cell.strip() for cell in line.strip("|").split(" |")]
        if line.startswith("## "):
            section = line[3:]
        elif row[0] in ("name", "what"):
            assert row[-1] == "shown by", section
        elif line.startswith("|") and not line.startswith("|-"):
            cells[f"{section}: {row[0]}"] = row[-1]
    return cells


def list_tests() -> dict[str, list[tuple[Path, list[str]]]]:
    """Give the name of a file, as the page has it → the files of that name, each with its tests."""
    found: dict[str, list[tuple[Path, list[str]]]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        names = re.findall(r"^def test_(\w+)\(", file.read_text("utf-8"), re.MULTILINE)
        found.setdefault(file.stem.removeprefix("test_"), []).append((file, names))
    return found


def find_fault(row: str, cell: str, tests: dict[str, list[tuple[Path, list[str]]]]) -> str | None:
    """Say what is wrong with a row's tests: none is named, one is not there, or none of their files has the name."""
    if cell == "not shown":
        return None
    if not re.fullmatch(r"`[\w/]+::\w+`(, `[\w/]+::\w+`)*", cell):
        return f"{cell!r} names no test"
    text = "".join(script.read_text("utf-8") for script in sorted((TESTS / "caf_scripts").rglob("*.py")))
    for folder, stem, name in re.findall(r"`(?:(\w+)/)?(\w+)::(\w+)`", cell):
        files = [(file, names) for file, names in tests.get(stem, []) if folder in ("", file.parent.name)]
        found = [test for _, names in files for test in names if test.startswith(name)]
        if len(files) != 1 or (name not in found and len(found) != 1):
            return f"{name} is {found or 'no test'} of {[str(file) for file, _ in files]}"
        text += files[0][0].read_text("utf-8")
    word = re.fullmatch(r"(?:caf|prompt)[\w.]*: `(\w+)`", row)
    return f"no file of its tests has the word {word[1]}" if word and not re.search(rf"\b{word[1]}\b", text) else None


def test_every_row_is_shown_by_tests_that_are_there() -> None:
    tests, cells = list_tests(), read_shown()
    assert len(cells) > 100
    faults = {row: find_fault(row, cell, tests) for row, cell in cells.items()}
    assert {row: fault for row, fault in faults.items() if fault} == {}
