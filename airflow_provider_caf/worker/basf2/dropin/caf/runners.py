"""Runners: what runs the algorithms of a calibration where no task of Airflow does."""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from airflow_provider_caf.worker.basf2.strategy_results import StrategyResults


class RunnerError(Exception):
    """The process of an algorithm died."""


class Runner(ABC):
    """Run something."""

    @abstractmethod
    def run(self, iov: Any = None, iteration: int = 0) -> None:
        """Do so."""


class AlgorithmsRunner(Runner):
    """Run the algorithms of a calibration.

    :param name: of the calibration.
    """

    FAILED = "FAILED"
    COMPLETED = "COMPLETED"

    def __init__(self, name: str) -> None:
        self.name = name
        self.algorithms: Any = []
        self.input_files: list[str] = []
        self.database_chain: list[Any] = []
        self.dependent_databases: list[Any] = []
        self.output_database_dir: Any = ""
        self.output_dir: Any = ""
        self.ignored_runs: Any = []
        self.results: dict[str, list[Any]] = {}
        """Algorithm → the IoVs and result codes of its executions, as plain numbers."""
        self.final_state: str | None = None


class SeqAlgorithmsRunner(AlgorithmsRunner):
    """Run the algorithms one after the other, each by its strategy in a process of its own."""

    def run(self, iov: Any = None, iteration: int = 0) -> None:
        """Run all of them, or up to the first one that fails.

        :param iov: only runs in it are calibrated; None: all.
        :raises RunnerError: if a process dies, or raises.
        """
        strategies = [algorithm.strategy(algorithm) for algorithm in self.algorithms]
        for strategy in strategies:
            strategy.setup_from_dict(
                {
                    "database_chain": self.database_chain,
                    "dependent_databases": self.dependent_databases,
                    "output_dir": str(self.output_dir),
                    "output_database_dir": Path(self.output_database_dir),
                    "input_files": self.input_files,
                    "ignored_runs": self.ignored_runs,
                }
            )
        self.results, self.final_state = {}, None
        for strategy in strategies:
            # Two of them may have one name.
            known = self.results.setdefault(strategy.algorithm.name, [])
            results, state = _run_apart(strategy, iov, iteration)
            known.extend(results)
            if state != strategy.COMPLETED:
                self.final_state = self.FAILED
                return
        self.final_state = self.COMPLETED


def _run_apart(strategy: Any, iov: Any, iteration: int) -> tuple[list[Any], str | None]:
    """Run a strategy in a process of its own, and return its results and its final state."""
    import multiprocessing  # noqa: TID251 - a strategy gets a queue, and no other program is started

    # A fork: what a script has set on the algorithm, closures too, is there.
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_run_strategy, args=(strategy, iov, iteration, writer))
    process.start()
    writer.close()
    sent: Any = None
    with contextlib.suppress(EOFError):  # it died, or raised
        sent = reader.recv()
    process.join()
    if sent is None or process.exitcode:
        raise RunnerError(f"exit code {process.exitcode}")
    results, state = sent
    return results, state


def _run_strategy(strategy: Any, iov: Any, iteration: int, writer: Any) -> None:
    queue = StrategyResults()
    strategy.run(iov, iteration, queue)
    sys.stdout.flush()
    writer.send((queue.results, queue.final_state))
