from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import BUILT_IN, SequentialBoundaries, SequentialRunByRun
from airflow_provider_caf.core.strategies.base import Execution, StagedPayload, Strategy
from airflow_provider_caf.core.strategies.params import Param

EXECUTION = Execution(
    key=3,
    runs=(ExpRun(1, 2), ExpRun(1, 3)),
    iov=IoV(1, 0, 1, -1),
    code=ResultCode.ITERATE,
    output={"chi2": [1.5, None]},
    payloads=(
        StagedPayload(name="A", revision="ab", size=12),
        StagedPayload(name="B", revision="cd", size=0, iov=IoV(1, 2, 1, 2)),
    ),
)


class Mine(SequentialRunByRun):
    known_params: ClassVar[Mapping[str, Param]] = {
        "floor": Param(kind="float", text="Least.", default=1.0, minimum=0.5),
        "step_size": Param(kind="int", text="Other default.", default=4),
    }


class TestExecution:
    def test_round_trip_through_text(self) -> None:
        assert Execution.from_json(json.loads(json.dumps(EXECUTION.to_json()))) == EXECUTION

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"code": 9}, "In 'code' of the execution: 9 is no result code"),
            ({"iov": [1]}, "In 'iov' of the execution"),
            ({"runs": [[1]]}, "In item 0 of 'runs' of the execution"),
            ({"payloads": [{"name": "A"}]}, "The staged payload 'A' has no 'revision'"),
            ({"payloads": [{"name": "A", "revision": "1", "size": 1, "x": 1}]}, "unknown field 'x'"),
            ({"extra": 1}, "unknown field 'extra'"),
        ],
    )
    def test_strict_reading(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DefinitionError, match=message):
            Execution.from_json({**EXECUTION.to_json(), **change})


class TestParams:
    def test_defaults(self) -> None:
        assert SequentialRunByRun().params == {
            "has_experiment_settings": False,
            "iov_coverage": None,
            "step_size": 1,
        }

    def test_values_are_read_from_json(self) -> None:
        strategy = SequentialBoundaries({"iov_coverage": [1, 0, -1, -1], "payload_boundaries": [[1, 3]]})
        assert strategy.params == {"iov_coverage": IoV(1, 0, -1, -1), "payload_boundaries": (ExpRun(1, 3),)}
        assert isinstance(strategy.params["iov_coverage"], IoV)

    def test_a_subclass_adds_and_changes(self) -> None:
        assert list(Mine.list_params()) == ["floor", "has_experiment_settings", "iov_coverage", "step_size"]
        assert Mine({"floor": 2}).params["floor"] == 2.0
        assert Mine().params["step_size"] == 4
        assert SequentialRunByRun().params["step_size"] == 1

    def test_unknown_param_is_an_error_with_a_hint(self) -> None:
        with pytest.raises(DefinitionError) as caught:
            SequentialRunByRun({"stepsize": 3})
        assert str(caught.value) == (
            "The strategy SequentialRunByRun has no parameter 'stepsize'.\n"
            "  hint: Did you mean 'step_size'? "
            "Known parameters: has_experiment_settings, iov_coverage, step_size."
        )

    def test_a_param_of_another_strategy(self) -> None:
        with pytest.raises(DefinitionError, match="SingleIOV has no parameter 'iov_coverage'") as caught:
            BUILT_IN["SingleIOV"]({"iov_coverage": [0, 0, -1, -1]})
        assert "Known parameters: apply_iov." in str(caught.value)

    def test_all_mistakes_at_once(self) -> None:
        with pytest.raises(DefinitionError) as caught:
            SequentialRunByRun({"x": 3, "step_size": 0, "iov_coverage": [1]})
        text = str(caught.value)
        assert text.startswith("3 mistakes in the parameters of the strategy SequentialRunByRun:")
        assert "has no parameter 'x'" in text
        assert "'step_size' of the strategy SequentialRunByRun is 0. hint: It has to be a whole number" in text
        assert "is [1]. hint: It has to be an IoV [exp_low, run_low, exp_high, run_high], or null." in text

    def test_a_strategy_without_parameters(self) -> None:
        with pytest.raises(DefinitionError, match=r"There are no parameters\."):
            Strategy({"a": 1})


def test_granularities() -> None:
    assert {name: strategy.allowed_granularities for name, strategy in BUILT_IN.items()} == {
        "SequentialBoundaries": ("run",),
        "SequentialRunByRun": ("run",),
        "SimpleRunByRun": ("run",),
        "SingleIOV": ("run", "all"),
    }


def test_a_strategy_without_plan() -> None:
    with pytest.raises(NotImplementedError, match="Strategy has no plan"):
        Strategy().plan(())
