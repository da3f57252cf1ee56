"""State machines: of any states, of a calibration, and the one with which strategies execute an algorithm."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from airflow_provider_caf.worker.basf2.dropin.caf.calibration_steps import CalibrationSteps
from airflow_provider_caf.worker.basf2.dropin.caf.utils import (
    IoV,
    IoV_Result,
    create_directories,
    iov_from_runs,
    vector_from_runs,
)
from airflow_provider_caf.worker.basf2.dropin.warn import warn


class _SetUp:
    """An object that is set up attribute by attribute, and knows which ones it needs."""

    # Lists, as in the reference: a subclass may add to them. Each class has its own.
    required_attrs: ClassVar[list[str]]
    required_true_attrs: ClassVar[list[str]]

    def __init__(self, algorithm: Any) -> None:
        self.algorithm = algorithm
        self.input_files: list[str] = []
        self.dependent_databases: list[Any] = []
        self.database_chain: list[Any] = []
        self.output_dir: str | os.PathLike[str] = ""
        self.output_database_dir: str | os.PathLike[str] = ""

    def setup_from_dict(self, params: Mapping[str, Any]) -> None:
        """Set attributes."""
        for name, value in params.items():
            setattr(self, name, value)

    def is_valid(self) -> bool:
        """Return whether everything that is needed is set."""
        return all(hasattr(self, name) for name in self.required_attrs) and all(
            getattr(self, name) for name in self.required_true_attrs
        )


class MachineError(Exception):
    """A machine was not set up, or cannot do that now."""


class ConditionError(MachineError):
    """The condition of a step is not met."""


class TransitionError(MachineError, AttributeError):
    """A step is not possible in this state. As in the reference, the machine has no attribute of its name then."""


def _list_functions(given: Any) -> list[Callable[..., Any]]:
    """Return the functions of one, a list of them, or nothing."""
    functions = list(given) if isinstance(given, (list, tuple, set)) else [given] if given else []
    for function in functions:
        if not callable(function):
            raise TypeError(f"A machine calls functions, not a {type(function).__name__}.")
    return functions


class _Functions:
    """An attribute that is a list of functions; set one, several, or nothing."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, state: Any, owner: type | None = None) -> Any:
        return self if state is None else getattr(state, self._name)

    def __set__(self, state: Any, value: Any) -> None:
        setattr(state, self._name, _list_functions(value))


class State:
    """The state of a machine. It equals its name.

    :param enter: functions that are called, with `prior_state` and `new_state`, before a machine is in it.
    :param exit: functions that are called so before it is in another one.
    :raises TypeError: if one of them is no function.
    """

    on_enter = _Functions()
    on_exit = _Functions()

    def __init__(self, name: str, enter: Any = None, exit: Any = None) -> None:
        self.name = name
        self.on_enter = enter
        self.on_exit = exit

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"State(name={self.name})"

    def __eq__(self, other: object) -> bool:
        return self.name == (other.name if isinstance(other, State) else other)

    def __hash__(self) -> int:
        return hash(self.name)


class Machine:
    """States, and the steps that lead from one to another. Each step is a method while it is possible.

    A step calls its conditions; if all of them return a true value, the functions before it; then the state changes,
    and the functions after it are called. All get the arguments of the step, by name.

    :param states: names, or `State` objects.
    :param initial_state: one of them; without it there is another state, `default_initial`.
    :raises KeyError: if it is none of them.
    """

    def __init__(self, states: Iterable[str | State] | None = None, initial_state: str = "default_initial") -> None:
        self.states: dict[str, State] = {}
        self.transitions: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for state in states or ():
            self.add_state(state)
        if initial_state == "default_initial":
            self.add_state(initial_state)
        self.initial_state = initial_state

    def add_state(self, state: str | State, enter: Any = None, exit: Any = None) -> None:
        """Add a state, by its name or as an object; one that is there stays, with a warning.

        :raises TypeError: if it is neither.
        """
        if not isinstance(state, (str, State)):
            raise TypeError(f"A state is a text or a State, not a {type(state).__name__}.")
        made = State(state, enter, exit) if isinstance(state, str) else state
        if made.name in self.states:
            warn(f"The state {made} is in the machine already; it stays as it is.")
        else:
            self.states[made.name] = made

    @property
    def initial_state(self) -> State:
        """The state in which it begins. To set it calls nothing, and puts the machine into it."""
        return self._initial_state

    @initial_state.setter
    def initial_state(self, state: str | State) -> None:
        if str(state) not in self.states:
            raise KeyError(f"There is no state {state} in the machine; there are {', '.join(self.states)}.")
        self._initial_state = self._state = self.states[str(state)]

    @property
    def state(self) -> State:
        """The state in which it is. To set it calls what the old one has for its end and the new one for its begin."""
        return self._state

    @state.setter
    def state(self, state: str | State) -> None:
        new = self.states.get(str(state))
        if new is None:
            raise MachineError(f"There is no state {state} in the machine; there are {', '.join(self.states)}.")
        for function in (*self._state.on_exit, *new.on_enter):
            function(prior_state=self._state, new_state=new)
        self._state = new

    @staticmethod
    def default_condition(**_: Any) -> bool:
        """Return that a step without conditions is possible."""
        return True

    def add_transition(
        self,
        trigger: str,
        source: str | State,
        dest: str | State,
        conditions: Any = None,
        before: Any = None,
        after: Any = None,
    ) -> None:
        """Add a step from a state to another one; a step of one name may lead from several.

        :raises KeyError: if there is no such state.
        :raises TypeError: if there is something else than functions among the last three.
        """
        for state in (source, dest):
            if str(state) not in self.states:
                raise KeyError(f"The step {trigger} needs a state {state}, which is not in the machine: add it before.")
        self.transitions[trigger].append(
            {
                "source": self.states[str(source)],
                "dest": self.states[str(dest)],
                "conditions": _list_functions(conditions) or [self.default_condition],
                "before": _list_functions(before),
                "after": _list_functions(after),
            }
        )

    def get_transitions(self, source: str | State) -> list[str]:
        """Return the names of the steps out of a state."""
        return [name for name, steps in self.transitions.items() for step in steps if step["source"] == source]

    def get_transition_dict(self, state: str | State, transition: str) -> dict[str, Any]:
        """Return the step of a name out of a state: its `source`, `dest`, `conditions`, `before` and `after`.

        :raises KeyError: if there is none.
        """
        for step in self.transitions.get(transition, ()):
            if step["source"] == state:
                return step
        raise KeyError(f"There is no step {transition} out of the state {state}.")

    def __getattr__(self, name: str) -> Any:
        steps = self.__dict__.get("transitions", {}).get(name)
        if steps is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}, and no step of that name.")
        if name not in self.get_transitions(self.state):
            sources = ", ".join(step["source"].name for step in steps)
            raise TransitionError(f"{name} is not possible in the state {self.state}: {sources} is needed.")
        return partial(self._step, name, self.get_transition_dict(self.state, name))

    def _step(self, _name: str, _step: Mapping[str, Any], **words: Any) -> None:
        if not all(condition(**words) for condition in _step["conditions"]):
            raise ConditionError(f"{_name} is not possible in the state {self.state}: a condition of it is not met.")
        for function in _step["before"]:
            function(**words)
        self.state = _step["dest"]
        for function in _step["after"]:
            function(**words)

    def save_graph(self, filename: str | os.PathLike[str], graphname: str) -> None:
        """Write the states and steps as a graph of Graphviz."""
        nodes = [f'  "{name}" [shape=ellipse, color=black]' for name in self.states]
        edges = [
            f'  "{step["source"]}" -> "{step["dest"]}" [label="{name}"]'
            for name, steps in self.transitions.items()
            for step in steps
        ]
        Path(filename).write_text("\n".join([f"digraph {graphname} {{", *nodes, *edges, "}"]) + "\n", encoding="utf-8")


class CalibrationMachine(Machine):
    """Lead a calibration through its states: collectors, algorithms, and again, until no algorithm asks for more.

    `CAF.run` drives one for each calibration. Airflow's tasks do what it does by themselves.

    :param calibration: a `caf.framework.Calibration`; its `state` and `iteration` follow.
    :param iov_to_calibrate: only runs in it are calibrated; None: all.
    :param iteration: with which it begins.
    """

    collector_input_dir = "collector_input"
    collector_output_dir = "collector_output"

    def __init__(
        self, calibration: Any, iov_to_calibrate: IoV | None = None, initial_state: str = "init", iteration: int = 0
    ) -> None:
        names = (
            *("init", "running_collector", "collector_failed", "collector_completed", "running_algorithms"),
            *("algorithms_failed", "algorithms_completed", "completed", "failed"),
        )
        self.default_states = [State(name, enter=self._tell_calibration) for name in names]
        super().__init__(self.default_states, initial_state)
        self.calibration = calibration
        self.iteration = iteration
        self.iov_to_calibrate = iov_to_calibrate
        self.collector_backend: Any = None
        self.root_dir = Path.cwd() / calibration.name
        self.failure = ""
        """Why the last step of it failed."""
        calibration.machine = self
        self.steps = CalibrationSteps(self)
        self._add_transitions()

    def _add_transitions(self) -> None:
        add = self.add_transition
        add("submit_collector", "init", "running_collector", self.dependencies_completed, before=self._submit)
        add("fail", "running_collector", "collector_failed", self._collection_failed)
        add("complete", "running_collector", "collector_completed", self._collection_completed)
        run = [self._run_algorithms, self.automatic_transition]
        add("run_algorithms", "collector_completed", "running_algorithms", after=run)
        add("complete", "running_algorithms", "algorithms_completed", self._went_well, after=self.automatic_transition)
        add("fail", "running_algorithms", "algorithms_failed", lambda **_: not self._went_well())
        again = self._increment_iteration
        add("iterate", "algorithms_completed", "init", self._needs_iteration, after=again)
        add("finish", "algorithms_completed", "completed", lambda **_: not self._needs_iteration(), before=self._finish)
        add("fail_fully", "algorithms_failed", "failed")
        add("fail_fully", "collector_failed", "failed")

    def dependencies_completed(self, **_: Any) -> bool:
        """Return whether all calibrations that this one depends on are completed."""
        return bool(self.calibration.dependencies_met())

    def automatic_transition(self, **_: Any) -> None:
        """Take the first step out of this state whose conditions are met; one that fails last.

        :raises MachineError: if there is none.
        """
        for name in sorted(self.get_transitions(self.state), key="fail".__eq__):
            try:
                getattr(self, name)()
            except ConditionError:
                continue
            return
        raise MachineError(f"There is no step that is possible out of the state {self.state}.")

    def files_containing_iov(self, file_paths: Iterable[str], files_to_iovs: Mapping[str, IoV], iov: IoV) -> set[str]:
        """Return the files whose data overlap with an IoV."""
        wanted = set(file_paths)
        return {path for path, of_file in files_to_iovs.items() if path in wanted and of_file.overlaps(iov)}

    def _tell_calibration(self, new_state: State, **_: Any) -> None:
        self.calibration.state = new_state

    def _submit(self, **_: Any) -> None:
        self.steps.submit()

    def _collection_completed(self, **_: Any) -> bool:
        return all(job.ready() and job.status == "completed" for job in self.steps.jobs)

    def _collection_failed(self, **_: Any) -> bool:
        return all(job.ready() for job in self.steps.jobs) and not self._collection_completed()

    def _run_algorithms(self, **_: Any) -> None:
        self.failure = self.steps.run_algorithms()

    def _went_well(self, **_: Any) -> bool:
        return not self.failure

    def _needs_iteration(self, **_: Any) -> bool:
        if not self.steps.asks_for_iteration():
            return False
        if self.calibration.max_iterations is None:
            raise MachineError(f"{self.calibration} asks for another iteration and has no max_iterations: set it.")
        return bool(self.iteration < self.calibration.max_iterations)

    def _increment_iteration(self, **_: Any) -> None:
        self.iteration += 1
        self.calibration.iteration = self.iteration

    def _finish(self, **_: Any) -> None:
        self.steps.finish()


class AlgorithmMachine(_SetUp, Machine):
    """Execute an algorithm on runs, in the states `init`, `ready`, `running_algorithm`, `completed` and `failed`.

    `setup_algorithm(iteration=…)` gets ready for an execution; the first time log, folder, constants and input are
    set. `execute_runs(runs=…, iteration=…, apply_iov=…)` executes; the payloads have the IoV `apply_iov`, or, if that
    is None, one from the first to the last run. Then `result` has the IoV and the result code. `complete()` or `fail()`
    ends it.

    :param algorithm: a `caf.framework.Algorithm`.
    """

    required_attrs: ClassVar[list[str]] = [
        "algorithm",
        "dependent_databases",
        "database_chain",
        "output_dir",
        "output_database_dir",
        "input_files",
    ]
    required_true_attrs: ClassVar[list[str]] = ["algorithm", "output_dir", "output_database_dir", "input_files"]

    def __init__(self, algorithm: Any = None, initial_state: str = "init") -> None:
        _SetUp.__init__(self, algorithm)
        self.default_states = [State(name) for name in ("init", "ready", "running_algorithm", "completed", "failed")]
        Machine.__init__(self, self.default_states, initial_state)
        self.ignored_runs: list[Any] | None = None
        self.result: IoV_Result | None = None
        begin = [
            *(self._check, self._set_up_logging, self._change_working_dir, self._set_up_constants),
            *(self._set_input_data, self._pre_algorithm),
        ]
        self.add_transition("setup_algorithm", "init", "ready", before=begin)
        self.add_transition("execute_runs", "ready", "running_algorithm", after=self._execute_over_iov)
        self.add_transition("complete", "running_algorithm", "completed")
        self.add_transition("fail", "running_algorithm", "failed")
        self.add_transition("fail", "ready", "failed")
        self.add_transition("setup_algorithm", "completed", "ready")
        self.add_transition("setup_algorithm", "failed", "ready")

    def _check(self, **_: Any) -> None:
        if not self.is_valid():
            raise ConditionError(f"The machine of {getattr(self.algorithm, 'name', None)} is not set up.")

    def _change_working_dir(self, **_: Any) -> None:
        os.chdir(self.output_dir)

    def _set_input_data(self, **_: Any) -> None:
        self.algorithm.data_input(self.input_files)

    def _pre_algorithm(self, iteration: int = 0, **_: Any) -> None:
        if self.algorithm.pre_algorithm:
            self.algorithm.pre_algorithm(self.algorithm.algorithm, iteration)

    def _execute_over_iov(self, runs: Any, iteration: int = 0, apply_iov: IoV | None = None, **_: Any) -> None:
        iov = apply_iov or iov_from_runs(runs)
        code = self.algorithm.algorithm.execute(vector_from_runs(runs), iteration, iov._cpp_iov)
        self.result = IoV_Result(iov, code)

    def _set_up_logging(self, **_: Any) -> None:
        import basf2

        create_directories(self.output_dir, overwrite=False)
        basf2.reset_log()
        basf2.set_log_level(basf2.LogLevel.INFO)
        basf2.log_to_file(str(Path(self.output_dir, f"{self.algorithm.name}_stdout")))

    def _set_up_constants(self, **_: Any) -> None:
        from basf2 import conditions

        conditions.reset()
        conditions.override_globaltags()
        for database in self.database_chain:
            if database.db_type == "local":
                conditions.prepend_testing_payloads(str(database.filepath))
            else:
                conditions.prepend_globaltag(database.global_tag)
        for filename, _ in self.dependent_databases:
            conditions.prepend_testing_payloads(str(filename))
        create_directories(self.output_database_dir, overwrite=False)
        conditions.expert_settings(save_payloads=str(Path(self.output_database_dir, "database.txt")))
