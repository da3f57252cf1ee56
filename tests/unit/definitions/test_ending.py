"""What happens at the end of a CAF."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_caf import CAF, Publish, SignOff, Upload
from airflow_provider_caf.core.errors import DefinitionError

FULL = CAF(
    "demo",
    gaps="fail",
    sign_off=SignOff(message="Look.", users=("anna",), timeout=60.0),  # type: ignore[arg-type]
    publish=Publish(command=["upload", "{database}"]),
)

INTO_TAG = CAF(
    "demo", publish=Publish(upload=Upload(global_tag="user_anna_spot", connection="conditions", dry_run=True))
)


@pytest.mark.parametrize("caf", [CAF("demo"), FULL, CAF("demo", publish=Publish(folder="/accepted")), INTO_TAG])
def test_json(caf: CAF) -> None:
    assert CAF.from_json(caf.to_json()) == caf


UPLOAD = {"global_tag": "user_anna_spot", "connection": "conditions"}


@pytest.mark.parametrize("words", [{}, {"folder": "/a", "command": ("b",)}, {"folder": "/a", "upload": UPLOAD}])
def test_a_publication_is_one_of_three(words: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="not one of folder, command and upload"):
        Publish(**words)


@pytest.mark.parametrize("tag", ["", "--help", "a b", "a;b", "../a", "$x"])
def test_a_global_tag_is_a_name(tag: str) -> None:
    with pytest.raises(DefinitionError, match="global_tag"):
        Upload(global_tag=tag, connection="conditions")


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
