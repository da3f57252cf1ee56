"""Runs that begin when Airflow has started and go on beside other tests: a chain of calibrations takes minutes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from rich.console import Console

from demo import PROJECT, run_demo
from tests.integration.started_airflow import StartedAirflow

T = TypeVar("T")

_AT_ONCE = 2
"""More of them would take the processors from each other, and all would end late."""


class Beside:
    """What runs in threads of its own, and what it gives.

    :param started: where it runs.
    """

    def __init__(self, started: StartedAirflow) -> None:
        self._started = started
        self._threads = ThreadPoolExecutor(_AT_ONCE)
        self._begun: dict[Callable[[StartedAirflow], Any], Future[Any]] = {}

    def begin_for(self, items: Iterable[pytest.Item]) -> None:
        """Begin what the modules of the chosen tests name in `BESIDE`."""
        modules = dict.fromkeys(item.module for item in items if isinstance(item, pytest.Function))
        runs = [run for module in modules for run in getattr(module, "BESIDE", ())]
        # Most tests look at the demonstration, and the tests of the page come first.
        for run in sorted(runs, key=lambda run: run is not run_demonstration):
            self._begin(run)

    def wait(self, run: Callable[[StartedAirflow], T]) -> T:
        """Give what a run has given when it has ended; where nobody has begun it, it begins now."""
        result: T = self._begin(run).result()
        return result

    def _begin(self, run: Callable[[StartedAirflow], Any]) -> Future[Any]:
        if run not in self._begun:
            self._begun[run] = self._threads.submit(run, self._started)
        return self._begun[run]


def run_demonstration(started: StartedAirflow) -> tuple[int, str]:
    """Take the demonstration's data, let it run, and give exit code and output."""
    command = [sys.executable, "-W", "ignore", str(PROJECT / "dags" / "demo_detector.py"), str(started.demo_data)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    output = io.StringIO()
    console = Console(file=output, width=120)
    exit_code = run_demo(started.airflow, started.folder, started.demo_data, console)
    return exit_code, output.getvalue()
