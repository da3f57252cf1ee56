"""State machines: the one with which strategies execute an algorithm, and its base classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from airflow_provider_caf.worker.basf2.dropin.caf.utils import (
    IoV_Result,
    create_directories,
    iov_from_runs,
    vector_from_runs,
)


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


class TransitionError(MachineError):
    """A step is not possible in this state."""


class State:
    """The state of a machine. It equals its name."""

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
    """A state, and the steps that lead from one to another.

    :param moves: step → state → the state after it.
    """

    moves: ClassVar[Mapping[str, Mapping[str, str]]] = {}

    def __init__(self, states: Any = None, initial_state: str = "init") -> None:
        self.state = State(initial_state)

    def _move(self, step: str) -> None:
        targets = self.moves[step]
        if self.state.name not in targets:
            raise TransitionError(f"{step} is not possible in the state {self.state}: {', '.join(targets)} is needed.")
        self.state = State(targets[self.state.name])


class CalibrationMachine(Machine):
    """Not needed here: Airflow leads a calibration through its states."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("Airflow leads a calibration through its states: import the script into Airflow.")


class AlgorithmMachine(_SetUp, Machine):
    """Execute an algorithm on runs, in the states `init`, `ready`, `running_algorithm`, `completed` and `failed`.

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
    moves: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "setup_algorithm": {"init": "ready", "completed": "ready", "failed": "ready"},
        "execute_runs": {"ready": "running_algorithm"},
        "complete": {"running_algorithm": "completed"},
        "fail": {"running_algorithm": "failed", "ready": "failed"},
    }

    def __init__(self, algorithm: Any = None, initial_state: str = "init") -> None:
        super().__init__(algorithm)
        Machine.__init__(self, initial_state=initial_state)
        self.ignored_runs: list[Any] | None = None
        self.result: IoV_Result | None = None

    def setup_algorithm(self, iteration: int = 0, **_: Any) -> None:
        """Get ready for an execution. The first time log, folder, constants and input are set."""
        is_first = self.state == "init"
        if is_first and not self.is_valid():
            raise ConditionError(f"The machine of {getattr(self.algorithm, 'name', None)} is not set up.")
        self._move("setup_algorithm")
        if not is_first:
            return
        self._set_up_logging()
        os.chdir(self.output_dir)
        self._set_up_constants()
        self.algorithm.data_input(self.input_files)
        if self.algorithm.pre_algorithm:
            self.algorithm.pre_algorithm(self.algorithm.algorithm, iteration)

    def execute_runs(self, runs: Any, iteration: int = 0, apply_iov: Any = None, **_: Any) -> None:
        """Execute the algorithm on some runs; `result` has the IoV and the result code.

        :param apply_iov: of the payloads; None: from the first to the last run.
        """
        self._move("execute_runs")
        iov = apply_iov or iov_from_runs(runs)
        code = self.algorithm.algorithm.execute(vector_from_runs(runs), iteration, iov._cpp_iov)
        self.result = IoV_Result(iov, code)

    def complete(self, **_: Any) -> None:
        """End an execution that went well."""
        self._move("complete")

    def fail(self, **_: Any) -> None:
        """End an execution that did not go well."""
        self._move("fail")

    def _set_up_logging(self) -> None:
        import basf2

        create_directories(self.output_dir, overwrite=False)
        basf2.reset_log()
        basf2.set_log_level(basf2.LogLevel.INFO)
        basf2.log_to_file(str(Path(self.output_dir, f"{self.algorithm.name}_stdout")))

    def _set_up_constants(self) -> None:
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
