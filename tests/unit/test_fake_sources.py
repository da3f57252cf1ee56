"""Each answer of a fake batch system names where it is known from. Whether it is so, only who reads that can say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "fakes"
FRONTS = sorted(FAKES.glob("*_front.py"))
ANSWERS = {"_fail", "complain", "os._exit", "print", "sys.stdout.write", "write"}
"""What a front prints with, or ends without a word."""
TOOLS = {"_fail", "complain", "write"}
"""Functions that print what they are given: the source stands where they are called."""
SOURCE = re.compile(r"# source: (?:seen: .|[\w.]+(?:\.(?:c|cpp|h|in))|getopt |JobStatus )|# no source: .")


def find_answers(tree: ast.Module) -> Iterator[ast.stmt]:
    """Give the innermost statements that print something."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name not in TOOLS:
            for statement in ast.walk(function):
                if isinstance(statement, ast.stmt) and any(map(is_answer, walk_expressions(statement))):
                    yield statement


def walk_expressions(statement: ast.stmt) -> Iterator[ast.AST]:
    """Give what is in a statement itself, and not in a statement below it."""
    waiting = [child for child in ast.iter_child_nodes(statement) if not isinstance(child, ast.stmt)]
    for node in waiting:
        yield node
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)]


def is_answer(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ANSWERS


def find_unsourced(text: str) -> list[str]:
    """Give the lines of the answers above which no comment names a source."""
    lines = text.splitlines()
    unsourced = []
    for statement in find_answers(ast.parse(text)):
        above = statement.lineno - 1
        while lines[above - 1].lstrip().startswith("#"):
            above -= 1
        if not any(SOURCE.match(line.strip()) for line in lines[above : statement.lineno - 1]):
            unsourced.append(f"{statement.lineno}: {lines[statement.lineno - 1].strip()}")
    return unsourced


@pytest.mark.parametrize("front", FRONTS, ids=lambda front: front.stem)
def test_each_answer_of_a_fake_names_its_source(front: Path) -> None:
    text = front.read_text("utf-8")
    assert len(list(find_answers(ast.parse(text)))) > 10
    assert find_unsourced(text) == []


@pytest.mark.parametrize("name", ["STATUS", "HOLD_CODES", "STATES", "END_STATES", "LIVE_STATES", "FIELDS", "WORDS"])
def test_each_table_of_words_names_its_source(name: str) -> None:
    places = [
        (lines[number - 1], front.name)
        for front in FRONTS
        for lines in [front.read_text("utf-8").splitlines()]
        for number, line in enumerate(lines)
        if line.startswith(f"{name} =")
    ]
    assert places
    assert all(SOURCE.match(above) for above, _ in places), places


@pytest.mark.parametrize(
    ("comment", "is_sourced"),
    [
        ("# source: submit.cpp, main", True),
        ("# source: seen: bjobs 4711", True),
        ("# no source: IBM's LSF", True),
        ("# source:", False),
        ("# source: it looks right", False),
        ("# no source: ", False),
        ("# what it says", False),
        ("", False),
    ],
)
def test_a_source_is_a_file_or_what_was_seen(comment: str, is_sourced: bool) -> None:
    text = f"def answer():\n    x = 1\n    {comment}\n    if x:\n        pass\n    {comment}\n    print('no job', 1)\n"
    assert (find_unsourced(text) == []) == is_sourced
