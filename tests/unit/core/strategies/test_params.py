from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.strategies.params import Param


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("bool", True, True),
        ("int", 3, 3),
        ("float", 3, 3.0),
        ("float", 0.5, 0.5),
        ("str", "x", "x"),
        ("iov", [1, 2, 3, -1], IoV(1, 2, 3, -1)),
        ("iov", IoV(1, 2, 3, 4), IoV(1, 2, 3, 4)),
        ("run", [1, 2], ExpRun(1, 2)),
        ("runs", [[1, 2], (3, 4)], (ExpRun(1, 2), ExpRun(3, 4))),
        ("runs", [], ()),
        ("json", {"a": (1,)}, {"a": [1]}),
        ("json", None, None),
        ("int", None, None),
    ],
)
def test_good_values(kind: str, value: Any, read: Any) -> None:
    assert Param(kind=kind, text="").parse(value) == read


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", 1),
        ("bool", "true"),
        ("int", 1.0),
        ("int", True),
        ("int", "1"),
        ("float", "1"),
        ("float", True),
        ("float", float("nan")),
        ("float", float("inf")),
        ("str", 1),
        ("iov", [1, 2, 3]),
        ("iov", "1,2,3,4"),
        ("run", [1]),
        ("run", 1),
        ("runs", [1, 2]),
        ("runs", "ab"),
        ("json", object()),
    ],
)
def test_bad_values(kind: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        Param(kind=kind, text="").parse(value)


def test_null_only_where_it_is_the_default() -> None:
    with pytest.raises(ValueError, match="has to be a whole number"):
        Param(kind="int", text="", default=1).parse(None)


@pytest.mark.parametrize(("kind", "value"), [("int", 0), ("float", 0.9)])
def test_minimum(kind: str, value: float) -> None:
    with pytest.raises(ValueError, match="is too small"):
        Param(kind=kind, text="", minimum=1).parse(value)
    assert Param(kind=kind, text="", minimum=1).parse(1) == 1


@pytest.mark.parametrize(
    ("param", "form"),
    [
        (Param(kind="int", text="", default=1, minimum=1), "a whole number, at least 1"),
        (Param(kind="float", text="", minimum=0.5), "a number, at least 0.5, or null"),
        (Param(kind="json", text=""), "a JSON value"),
        (Param(kind="runs", text=""), "a list of runs [exp, run], or null"),
    ],
)
def test_form(param: Param, form: str) -> None:
    assert param.form == form


def test_unknown_kind() -> None:
    with pytest.raises(DefinitionError, match="unknown kind 'integer'") as caught:
        Param(kind="integer", text="")
    assert "Use one of: bool, float, int, iov, json, run, runs, str." in str(caught.value)
