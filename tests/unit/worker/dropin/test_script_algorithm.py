"""An algorithm of a script in its process, behind our own interface."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.worker.basf2.dropin.caf import strategies, utils
from airflow_provider_caf.worker.basf2.script_algorithm import ScriptAlgorithm, run_pre_algorithm
from tests.unit.core.strategies.reference_cases import Bench
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, Software, wrap

RULE: dict[str, Any] = {"events": {"1.1": 10, "1.2": 10}, "min_events": 5, "failing": [], "iterating": []}


class OwnStrategy(strategies.SequentialRunByRun):
    """A strategy of a script."""


@pytest.mark.parametrize("runs_strategy", [False, True])
def test_the_function_before_an_algorithm_runs_once(
    runs_strategy: bool, software: Software, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It changes the collected files: the machine of a strategy of the script's own calls it, or we do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "caf.utils", utils)
    called: list[int] = []
    wrapped = wrap(CalibrationAlgorithm(Bench(RULE, []), ((1, 1), (1, 2))))
    wrapped.strategy, wrapped.pre_algorithm = OwnStrategy, lambda cpp, iteration: called.append(iteration)
    algorithm = ScriptAlgorithm()
    algorithm.runs_strategy = runs_strategy
    words = {"iteration": 3, "runs": (), "collected_runs": (), "output_files": {"mumu": ["0/CollectorOutput.root"]}}
    for name, value in words.items():
        monkeypatch.setattr(ScriptAlgorithm, name, value, raising=False)
    algorithm._wrapped, algorithm._committed = wrapped, tmp_path
    algorithm._session = SimpleNamespace(constants=SimpleNamespace(chain=()))  # type: ignore[assignment]
    run_pre_algorithm(algorithm)
    if runs_strategy:
        assert algorithm.calibrate() is ResultCode.OK
    assert called == [3]
