"""The machine that strategies use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.dropin.caf.runners import RunnerError, SeqAlgorithmsRunner
from airflow_provider_caf.worker.basf2.dropin.caf.state_machines import (
    AlgorithmMachine,
    CalibrationMachine,
    ConditionError,
    Machine,
    MachineError,
    State,
    TransitionError,
)
from airflow_provider_caf.worker.basf2.dropin.caf.utils import CentralDatabase, ExpRun, IoV, LocalDatabase
from tests.unit.core.strategies.reference_cases import Bench
from tests.unit.worker.dropin.conftest import CalibrationAlgorithm, Software, wrap

RULE: dict[str, Any] = {"events": {"1.1": 10, "1.2": 10}, "min_events": 5, "failing": [], "iterating": []}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, software: Software) -> AlgorithmMachine:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "database.txt").touch()
    made = AlgorithmMachine(wrap(CalibrationAlgorithm(Bench(RULE, []))))
    made.setup_from_dict(
        {
            "database_chain": [CentralDatabase("tag"), LocalDatabase(tmp_path / "database.txt")],
            "dependent_databases": [("before/database.txt", "before")],
            "output_dir": str(tmp_path / "output"),
            "output_database_dir": tmp_path / "outputdb",
            "input_files": ["0/CollectorOutput.root", "0/other.root"],
        }
    )
    return made


def test_the_first_set_up_gets_everything_ready(machine: AlgorithmMachine, software: Software, tmp_path: Path) -> None:
    asked = []
    machine.algorithm.pre_algorithm = lambda cpp, iteration: asked.append((cpp, iteration, Path.cwd()))
    machine.setup_algorithm(iteration=3)
    assert software.calls == [
        ("reset_log",),
        ("set_log_level", "INFO"),
        ("log_to_file", str(tmp_path / "output" / "CalibrationAlgorithm_stdout")),
        ("reset",),
        ("override_globaltags",),
        ("prepend_globaltag", "tag"),
        ("prepend_testing_payloads", str(tmp_path / "database.txt")),
        ("prepend_testing_payloads", "before/database.txt"),
        ("expert_settings", str(tmp_path / "outputdb" / "database.txt")),
    ]
    assert machine.algorithm.algorithm.files == ["0/CollectorOutput.root"]
    assert asked == [(machine.algorithm.algorithm, 3, tmp_path / "output")]
    assert (tmp_path / "outputdb").is_dir()


def test_later_ones_do_not(machine: AlgorithmMachine, software: Software) -> None:
    machine.setup_algorithm()
    machine.execute_runs(runs=[ExpRun(1, 1), ExpRun(1, 2)], iteration=0, apply_iov=None)
    assert machine.result == (IoV(1, 1, 1, 2), 0)
    machine.complete()
    software.calls.clear()
    machine.setup_algorithm()
    assert software.calls == []
    assert str(machine.state) == "ready"
    machine.execute_runs(runs=[ExpRun(1, 1)], iteration=0, apply_iov=IoV(1, 0, -1, -1))
    assert machine.result == (IoV(1, 0, -1, -1), 0)
    machine.fail()
    assert machine.state == State("failed")


@pytest.mark.parametrize("step", ["execute_runs", "complete", "fail"])
def test_a_step_that_is_not_possible_is_an_error(machine: AlgorithmMachine, step: str) -> None:
    words = {"runs": [ExpRun(1, 1)]} if step == "execute_runs" else {}
    with pytest.raises(TransitionError, match=f"{step} is not possible in the state init"):
        getattr(machine, step)(**words)


def test_what_was_not_set_up_is_an_error() -> None:
    machine = AlgorithmMachine(wrap(CalibrationAlgorithm()))
    assert not machine.is_valid()
    with pytest.raises(ConditionError, match="CalibrationAlgorithm is not set up"):
        machine.setup_algorithm()


def test_a_state_is_its_name() -> None:
    assert {State("a"): 1}[State("a")] == 1
    assert (str(State("a")), repr(State("a")), State("a") == "a", State("a") == State("b")) == (
        "a",
        "State(name=a)",
        True,
        False,
    )
    assert Machine(initial_state="begin").state == "begin"
    assert issubclass(ConditionError, MachineError)


def test_runners_say_who_runs_algorithms() -> None:
    runner = SeqAlgorithmsRunner("Mean")
    assert (runner.name, runner.results, runner.final_state, runner.COMPLETED) == ("Mean", {}, None, "COMPLETED")
    with pytest.raises(RunnerError, match="Airflow's tasks"):
        runner.run(None, 0)


def test_a_calibration_needs_none() -> None:
    with pytest.raises(NotImplementedError, match="import the script"):
        CalibrationMachine(None)
