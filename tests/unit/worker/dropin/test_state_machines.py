"""The machine that strategies use."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.basf2.dropin.caf.framework import Calibration
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
from airflow_provider_caf.worker.basf2.dropin.caf.strategies import AlgorithmStrategy
from airflow_provider_caf.worker.basf2.dropin.caf.utils import CentralDatabase, ExpRun, IoV, IoV_Result, LocalDatabase
from airflow_provider_caf.worker.basf2.dropin.warn import CafWarning
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
    assert issubclass(ConditionError, MachineError)


@pytest.fixture
def walker() -> Machine:
    made = Machine(["standing", State("walking")], "standing")
    made.add_transition("walk", "standing", "walking")
    made.add_transition("stop", "walking", State("standing"))
    return made


def test_a_machine_goes_from_state_to_state(walker: Machine) -> None:
    walker.walk()
    assert walker.state == "walking"
    walker.stop()
    walker.state = "walking"
    assert (walker.state.name, walker.initial_state.name) == ("walking", "standing")
    assert (walker.get_transitions("walking"), walker.get_transitions(State("standing"))) == (["stop"], ["walk"])
    assert walker.get_transition_dict("walking", "stop") == {
        "source": State("walking"),
        "dest": State("standing"),
        "conditions": [Machine.default_condition],
        "before": [],
        "after": [],
    }
    copy.deepcopy(walker).stop()
    assert [walker.state.name, Machine().state.name] == ["walking", "default_initial"]


def test_a_step_that_is_not_possible_is_no_attribute(walker: Machine) -> None:
    assert (hasattr(walker, "walk"), hasattr(walker, "stop"), hasattr(walker, "fly")) == (True, False, False)
    with pytest.raises(TransitionError, match="stop is not possible in the state standing: walking is needed"):
        walker.stop()
    with pytest.raises(AttributeError, match="no step of that name"):
        walker.fly()


def test_a_step_calls_what_belongs_to_it_in_order(walker: Machine) -> None:
    called: list[tuple[Any, ...]] = []

    def note(name: str) -> Any:
        def function(**words: Any) -> bool:
            called.append((name, str(walker.state), words))
            return True

        return function

    walker.states["standing"].on_exit = note("exit")
    walker.add_state("jumping", enter=[note("enter")])
    walker.add_transition(
        "jump", "standing", "jumping", [note("first"), note("second")], before=note("before"), after=(note("after"),)
    )
    walker.jump(height=2)
    states = {"prior_state": State("standing"), "new_state": State("jumping")}
    assert called == [
        ("first", "standing", {"height": 2}),
        ("second", "standing", {"height": 2}),
        ("before", "standing", {"height": 2}),
        ("exit", "standing", states),
        ("enter", "standing", states),
        ("after", "jumping", {"height": 2}),
    ]
    called.clear()
    walker.initial_state = "standing"
    assert called == []


@pytest.mark.parametrize("answers", [[False], [True, False], [False, True]])
def test_each_condition_has_to_be_met(walker: Machine, answers: list[bool]) -> None:
    walker.add_state("jumping")
    walker.add_transition("jump", "standing", "jumping", conditions=[lambda each=each: each for each in answers])
    with pytest.raises(ConditionError, match="jump is not possible in the state standing: a condition"):
        walker.jump()
    assert walker.state == "standing"


def test_what_a_machine_cannot_have_is_an_error(walker: Machine) -> None:
    with pytest.raises(MachineError, match="no state flying in the machine; there are standing, walking"):
        walker.state = "flying"
    with pytest.raises(KeyError, match="no state flying"):
        Machine(["standing"], "flying")
    with pytest.raises(KeyError, match="needs a state flying"):
        walker.add_transition("fly", "standing", "flying")
    with pytest.raises(KeyError, match="no step walk out of the state walking"):
        walker.get_transition_dict("walking", "walk")
    with pytest.raises(TypeError, match="A state is a text or a State, not a int"):
        walker.add_state(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="calls functions, not a str"):
        walker.add_transition("walk", "standing", "walking", before="print")
    with pytest.warns(CafWarning, match="The state walking is in the machine already"):
        walker.add_state("walking")


def test_a_machine_can_be_drawn(walker: Machine, tmp_path: Path) -> None:
    walker.save_graph(tmp_path / "graph.dot", "Walker")
    assert (tmp_path / "graph.dot").read_text().splitlines() == [
        "digraph Walker {",
        '  "standing" [shape=ellipse, color=black]',
        '  "walking" [shape=ellipse, color=black]',
        '  "standing" -> "walking" [label="walk"]',
        '  "walking" -> "standing" [label="stop"]',
        "}",
    ]


def build_calibration(name: str, **words: Any) -> Calibration:
    calibration = Calibration(name, "CaTest", CalibrationAlgorithm(), ["/data/1.root"])
    for word, value in words.items():
        setattr(calibration, word, value)
    return calibration


def test_the_machine_of_a_calibration_can_be_read(
    software: Software, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    calibration, other = build_calibration("Mean"), build_calibration("Other")
    calibration.depends_on(other)
    machine = CalibrationMachine(calibration, IoV(1, 1, 1, 9), iteration=2)
    assert calibration.machine is machine
    assert (machine.state, machine.iteration, machine.root_dir) == ("init", 2, tmp_path / "Mean")
    steps = {(name, str(step["source"]), str(step["dest"])) for name, of in machine.transitions.items() for step in of}
    assert steps == {
        ("submit_collector", "init", "running_collector"),
        ("fail", "running_collector", "collector_failed"),
        ("complete", "running_collector", "collector_completed"),
        ("run_algorithms", "collector_completed", "running_algorithms"),
        ("complete", "running_algorithms", "algorithms_completed"),
        ("fail", "running_algorithms", "algorithms_failed"),
        ("iterate", "algorithms_completed", "init"),
        ("finish", "algorithms_completed", "completed"),
        ("fail_fully", "algorithms_failed", "failed"),
        ("fail_fully", "collector_failed", "failed"),
    }
    with pytest.raises(ConditionError, match="submit_collector is not possible in the state init"):
        machine.submit_collector()
    files = {"a": IoV(1, 1, 1, 1), "b": IoV(2, 1, 2, 1), "c": IoV(1, 2, 1, 2)}
    assert machine.files_containing_iov(["a", "b"], files, IoV(1, 0, 1, -1)) == {"a"}
    machine.state = "algorithms_failed"
    assert calibration.state == "algorithms_failed"
    machine.automatic_transition()
    assert calibration.state == "failed"
    with pytest.raises(MachineError, match="no step that is possible out of the state failed"):
        machine.automatic_transition()


@pytest.mark.parametrize(
    ("iteration", "limit", "codes", "expected"),
    [
        (0, 2, [0, 1], ("init", 1)),
        (2, 2, [1], ("completed", 2)),
        (0, 2, [0, 0], ("completed", 0)),
        (0, None, [0], ("completed", 0)),
    ],
)
def test_a_calibration_iterates_until_nobody_asks_for_more(
    software: Software, iteration: int, limit: int | None, codes: list[int], expected: tuple[str, int], tmp_path: Path
) -> None:
    calibration = build_calibration("Mean", max_iterations=limit)
    machine = CalibrationMachine(calibration, initial_state="algorithms_completed", iteration=iteration)
    machine.root_dir = tmp_path
    calibration.results[iteration] = [((1, 1, 1, 1), code) for code in codes]
    (tmp_path / str(iteration) / "algorithm_output" / "outputdb").mkdir(parents=True)
    machine.automatic_transition()
    assert (machine.state.name, machine.iteration) == expected
    assert (tmp_path / "outputdb").exists() == (expected[0] == "completed")


def test_without_a_limit_an_iteration_is_an_error(software: Software) -> None:
    calibration = build_calibration("Mean")
    machine = CalibrationMachine(calibration, initial_state="algorithms_completed")
    calibration.results[0] = [((1, 1, 1, 1), 1)]
    with pytest.raises(MachineError, match="Mean asks for another iteration and has no max_iterations"):
        machine.iterate()


class OwnStrategy(AlgorithmStrategy):
    """Send what the parameters of the algorithm say."""

    def run(self, iov: IoV | None, iteration: int, queue: Any) -> None:
        self.queue = queue
        if self.algorithm.params["code"] == 9:
            raise SystemExit(9)
        self.send_result(IoV_Result(iov or IoV(1, 1, 1, 1), self.algorithm.params["code"]))
        self.send_final_state(self.FAILED if self.algorithm.params["code"] == 3 else self.COMPLETED)


def build_runner(*codes: int) -> SeqAlgorithmsRunner:
    runner = SeqAlgorithmsRunner("Mean")
    runner.algorithms = [wrap(CalibrationAlgorithm(), {"code": code}) for code in codes]
    for number, algorithm in enumerate(runner.algorithms):
        algorithm.name, algorithm.strategy = f"{number}", OwnStrategy
    return runner


def test_a_runner_runs_one_algorithm_after_the_other() -> None:
    runner = build_runner(0, 1)
    assert (runner.name, runner.results, runner.final_state) == ("Mean", {}, None)
    runner.run(IoV(1, 2, 3, 4), 0)
    assert runner.results == {"0": [((1, 2, 3, 4), 0)], "1": [((1, 2, 3, 4), 1)]}
    assert runner.final_state == runner.COMPLETED == "COMPLETED"


def test_a_runner_ends_with_the_first_that_fails() -> None:
    runner = build_runner(0, 3, 0)
    runner.run()
    assert (list(runner.results), runner.final_state) == (["0", "1"], runner.FAILED)
    with pytest.raises(RunnerError, match="exit code 9"):
        build_runner(9).run()
