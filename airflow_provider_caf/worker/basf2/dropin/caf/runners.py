"""The names of the reference's runners. Here strategies are run by Airflow's tasks, or by `CAF.run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class RunnerError(Exception):
    """A runner was not set up."""


class Runner(ABC):
    """Run something."""

    @abstractmethod
    def run(self) -> None:
        """Do so."""


class AlgorithmsRunner(Runner):
    """Run the algorithms of a calibration.

    :param name: of the calibration.
    """

    FAILED = "FAILED"
    COMPLETED = "COMPLETED"

    def __init__(self, name: str) -> None:
        self.name = name
        self.algorithms: Any = None
        self.input_files: list[str] = []
        self.database_chain: list[Any] = []
        self.dependent_databases: list[Any] = []
        self.output_database_dir: Any = ""
        self.output_dir: Any = ""
        self.ignored_runs: list[Any] = []
        self.results: dict[str, list[Any]] = {}
        self.final_state: str | None = None


class SeqAlgorithmsRunner(AlgorithmsRunner):
    """Run the algorithms one after the other, as is always done here."""

    def run(self, *_: Any) -> None:
        """Not needed: import the script into Airflow, or call `CAF.run`.

        :raises RunnerError: always.
        """
        raise RunnerError("Algorithms are run by Airflow's tasks: import the script, or call CAF().run().")
