from __future__ import annotations

import ast
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import airflow_provider_caf.core
from airflow_provider_caf.core.record import record

CORE = Path(airflow_provider_caf.core.__file__).parent
FILES = sorted(CORE.rglob("*.py"))


@record
class Point:
    x: int
    y: int = 0


def test_is_frozen_slotted_and_keyword_only() -> None:
    point = Point(x=1)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        Point(1)  # type: ignore[call-arg]
    assert not hasattr(point, "__dict__")
    assert point == Point(x=1, y=0)


def test_works_without_the_newer_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    namespace: dict[str, object] = {"__name__": "record_on_3_9"}
    path = CORE / "record.py"
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    old_record = namespace["record"]
    assert callable(old_record)

    class Pair:
        x: int

    pair_record = old_record(Pair)
    made = pair_record(x=1)
    assert made == pair_record(1)
    with pytest.raises(FrozenInstanceError):
        made.x = 2


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_core_is_python_3_9_and_imports_nothing_but_itself(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    allowed = set(sys.stdlib_module_names)
    for name in imported:
        assert name.startswith("airflow_provider_caf.core") or name.partition(".")[0] in allowed, name
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))
