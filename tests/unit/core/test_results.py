from __future__ import annotations

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.results import ResultCode


def test_numbers_are_those_of_the_reference() -> None:
    assert {code.name: int(code) for code in ResultCode} == {
        "OK": 0,
        "ITERATE": 1,
        "NOT_ENOUGH_DATA": 2,
        "FAILURE": 3,
        "UNDEFINED": 4,
    }


def test_only_ok_and_iterate_are_successes() -> None:
    assert [code for code in ResultCode if code.is_success] == [ResultCode.OK, ResultCode.ITERATE]


@pytest.mark.parametrize("code", ResultCode)
def test_round_trip(code: ResultCode) -> None:
    assert ResultCode.from_json(int(code)) is code


@pytest.mark.parametrize("value", [5, -1, True, "0", None, 1.0, [], {}])
def test_nonsense(value: object) -> None:
    with pytest.raises(DefinitionError, match="is no result code") as caught:
        ResultCode.from_json(value)
    assert "2 (NOT_ENOUGH_DATA)" in str(caught.value)
