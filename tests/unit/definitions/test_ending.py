"""What happens at the end of a CAF."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf import CAF, Publish, SignOff
from airflow_provider_caf.core.errors import DefinitionError

FULL = CAF(
    "demo",
    gaps="fail",
    sign_off=SignOff(message="Look.", users=("anna",), timeout=60.0),  # type: ignore[arg-type]
    publish=Publish(command=["upload", "{database}"]),
)


@pytest.mark.parametrize("caf", [CAF("demo"), FULL, CAF("demo", publish=Publish(folder="/accepted"))])
def test_json(caf: CAF) -> None:
    assert CAF.from_json(caf.to_json()) == caf


@pytest.mark.parametrize("words", [{}, {"folder": "/a", "command": ("b",)}])
def test_a_publication_is_one_of_two(words: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="neither or both of folder and command"):
        Publish(**words)


def test_another_policy_is_refused() -> None:
    with pytest.raises(DefinitionError, match="There is no policy 'fil' for gaps") as caught:
        CAF("demo", gaps="fil")
    assert "Did you mean 'fill'" in str(caught.value.hint)


@pytest.mark.parametrize(
    "value", [{"gap": "fill"}, {"sign_off": {"user": []}}, {"publish": {"folder": "/a", "to": 1}}, {"gaps": 1}]
)
def test_what_is_unknown_or_wrong_is_refused(value: Any) -> None:
    with pytest.raises(DefinitionError):
        CAF.from_json({"name": "demo", **value})
