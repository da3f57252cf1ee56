"""Check that no function is longer than 60 lines and no file longer than 500."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 500

FOLDERS = ("airflow_provider_caf", "benchmarks", "dags", "docs", "scripts", "tests")


def find_oversize(path: Path, text: str) -> Iterator[str]:
    """Yield one line of text for each thing in a file that is too long.

    :param path: the name to print.
    :param text: the file's content.
    """
    lines = len(text.splitlines())
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines; a file has at most {MAX_FILE_LINES}. Split it by subject."
    for node in ast.walk(ast.parse(text, filename=str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {length} lines; a function has at most "
                    f"{MAX_FUNCTION_LINES}. Take a step out of it."
                )


def main() -> int:
    """Check every Python file of the checkout; give the exit code."""
    top = Path(__file__).resolve().parent.parent
    files = sorted(path for folder in FOLDERS for path in (top / folder).rglob("*.py"))
    found: list[str] = []
    for path in files:
        found += find_oversize(path.relative_to(top), path.read_text(encoding="utf-8"))
    for line in found:
        print(line)
    if not found:
        print(f"Sizes of {len(files)} files are within the limits.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
