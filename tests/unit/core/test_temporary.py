"""Temporary names are nobody else's."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import airflow_provider_caf
from airflow_provider_caf.core.temporary import build_temporary_name

PACKAGE = Path(airflow_provider_caf.__file__).parent


def test_no_two_are_the_same_in_one_process_and_in_two() -> None:
    code = (
        "from airflow_provider_caf.core.temporary import build_temporary_name\n"
        "for _ in range(500): print(build_temporary_name('x'))"
    )
    names = [build_temporary_name("x") for _ in range(500)]
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        names += done.stdout.split()
    assert len(set(names)) == 1500


def test_it_is_hidden_and_fits_on_every_disk(tmp_path: Path) -> None:
    for target in ("", "a.root", "n" * 255):
        name = build_temporary_name(target)
        assert name.startswith(f".{target[:100]}")
        assert name.endswith(".tmp")
        (tmp_path / name).touch()


def test_nobody_makes_a_name_of_the_number_of_a_process() -> None:
    """It comes again on every host, in every container and after each boot."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr) and "getpid" in ast.dump(node):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []
    assert str(os.getpid()) not in build_temporary_name()[:8]
