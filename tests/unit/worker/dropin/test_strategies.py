"""The strategies by the reference's names: what they execute, commit and say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.iov import ExpRun as CoreRun
from airflow_provider_caf.core.iov import IoV as CoreIoV
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies import Commit, Execution
from airflow_provider_caf.worker.basf2.dropin.caf import strategies
from airflow_provider_caf.worker.basf2.dropin.caf.utils import ExpRun, IoV, IoV_Result
from tests.unit.core.strategies.reference_cases import CASES, Bench, make_bench
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, Results, Software, wrap

RULE: dict[str, Any] = {"events": {"1.1": 10, "1.2": 10, "2.1": 10}, "min_events": 5, "failing": [], "iterating": []}
RUNS = ((1, 1), (1, 2), (2, 1))


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, software: Software) -> Path:
    # The machine goes into its folder.
    monkeypatch.chdir(tmp_path)
    return tmp_path


def build_params(given: dict[str, Any]) -> dict[str, Any]:
    """Give params in the classes that scripts use."""
    params = dict(given)
    if params.get("iov_coverage"):
        params["iov_coverage"] = IoV(*params["iov_coverage"])
    if params.get("apply_iov"):
        params["apply_iov"] = IoV(*params["apply_iov"])
    if params.get("payload_boundaries") is not None:
        params["payload_boundaries"] = [ExpRun(*run) for run in params["payload_boundaries"]]
    return params


def set_up(strategy: Any, folder: Path, ignored: list[Any] | None = None) -> Any:
    strategy.setup_from_dict(
        {
            "database_chain": [],
            "dependent_databases": [],
            "output_dir": str(folder / "output"),
            "output_database_dir": folder / "outputdb",
            "input_files": ["CollectorOutput.root"],
            "ignored_runs": ignored,
        }
    )
    return strategy


def replay(case: dict[str, Any], params: dict[str, Any], folder: Path) -> dict[str, Any]:
    bench = make_bench(case)
    cpp = CalibrationAlgorithm(bench, tuple(tuple(run) for run in case["runs"]))
    strategy = getattr(strategies, case["strategy"])(wrap(cpp, build_params(params)))
    set_up(strategy, folder, [ExpRun(*run) for run in case["ignored_runs"]])
    queue = Results()
    strategy.run(IoV(*case["requested_iov"]) if case["requested_iov"] else None, 0, queue)
    (state,) = queue.final_states
    assert queue.messages[-1]["type"] == "final_state"
    return {
        "executions": bench.executions,
        "committed": cpp.committed,
        "results": queue.results,
        "final_state": state,
    }


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{n}-{CASES[n]['strategy']}")
def test_they_decide_as_the_reference(number: int, folder: Path) -> None:
    case = CASES[number]
    assert replay(case, case["params"], folder) == case["expected"]


def test_boundaries_of_the_algorithm_decide_as_given_ones(folder: Path) -> None:
    cases = [case for case in CASES if case["params"].get("payload_boundaries")]
    for number, case in enumerate(cases):
        params = {name: value for name, value in case["params"].items() if name != "payload_boundaries"}
        assert replay(case, params, folder / str(number)) == case["expected"]
    assert len(cases) > 50


def test_params_of_others_are_passed_over(folder: Path) -> None:
    cpp = CalibrationAlgorithm(Bench(RULE, []), RUNS[:2])
    queue = Results()
    strategy = strategies.SingleIOV(wrap(cpp, {"iov_coverage": IoV(0, 0, -1, -1), "my_own": object()}))
    set_up(strategy, folder).run(None, 0, queue)
    assert (queue.final_states, cpp.committed) == (["COMPLETED"], [[1, 1, 1, 2]])


class ByExperiment(strategies.SequentialRunByRun):
    def apply_experiment_settings(self, algorithm: Any, experiment: int) -> None:
        algorithm.minimum = experiment


@pytest.mark.parametrize(("params", "minima"), [({"has_experiment_settings": True}, [1, 1, 2]), ({}, [None] * 3)])
def test_settings_of_an_experiment_are_applied_when_they_are_wanted(
    folder: Path, params: dict[str, Any], minima: list[int | None]
) -> None:
    cpp = CalibrationAlgorithm(Bench(RULE, []), RUNS)
    set_up(ByExperiment(wrap(cpp, params)), folder).run(None, 0, Results())
    assert cpp.minima == minima


def test_gaps_are_written_beside_the_log(folder: Path) -> None:
    rule = {**RULE, "events": {"1.1": 10, "1.5": 10}}
    cpp = CalibrationAlgorithm(Bench(rule, []), ((1, 1), (1, 5)))
    set_up(strategies.SimpleRunByRun(wrap(cpp)), folder).run(None, 0, Results())
    assert json.loads((folder / "output" / "CalibrationAlgorithm_iov_gaps.json").read_text()) == [[1, 2, 1, 4]]


def test_what_was_not_set_up_does_not_run() -> None:
    strategy = strategies.SingleIOV(wrap(CalibrationAlgorithm()))
    assert not strategy.is_valid()
    with pytest.raises(strategies.StrategyError, match="SingleIOV was not set up"):
        strategy.run(None, 0, Results())


def test_a_payload_takes_the_iov_of_the_commit_unless_it_has_its_own(folder: Path) -> None:
    cpp = CalibrationAlgorithm(Bench(RULE, []), RUNS)
    strategy = set_up(strategies.SingleIOV(wrap(cpp)), folder)
    strategy.machine.setup_from_dict({name: getattr(strategy, name) for name in strategy.required_true_attrs})
    strategy.machine.setup_algorithm()
    execution = Execution(key=0, runs=(CoreRun(1, 1),), iov=CoreIoV(1, 1, 1, 1), code=ResultCode.OK)
    cpp.execute(_vector((1, 1)), 0, IoV(*execution.iov)._cpp_iov)
    payloads = [*cpp.getPayloadValues(), *cpp.getPayloadValues()]
    cpp.execute(_vector((1, 1)), 0, IoV(7, 7, 7, 7)._cpp_iov)
    strategy._payloads[0] = [payloads[0], *cpp.getPayloadValues()]
    strategy._commit(Commit(execution=execution, iov=CoreIoV(1, 0, -1, -1)))
    assert cpp.committed == [[1, 0, -1, -1], [7, 7, 7, 7]]


def test_any_failed_iov() -> None:
    strategy = strategies.SingleIOV(wrap(CalibrationAlgorithm()))
    strategy.results = [IoV_Result(IoV(1, 1, 1, 1), 0), IoV_Result(IoV(1, 2, 1, 2), 1)]
    assert not strategy.any_failed_iov()
    strategy.results.append(IoV_Result(IoV(1, 3, 1, 3), 2))
    assert strategy.any_failed_iov()


def test_a_subclass_can_add_to_the_lists() -> None:
    more: list[str] = strategies.AlgorithmStrategy.required_attrs + ["own"]  # noqa: RUF005 - as scripts do it
    assert len(more) == 8
    assert strategies.SequentialBoundaries.allowed_granularities == ["run"]


def _vector(*runs: tuple[int, int]) -> Any:
    from airflow_provider_caf.worker.basf2.dropin.caf.utils import vector_from_runs

    return vector_from_runs([ExpRun(*run) for run in runs])
