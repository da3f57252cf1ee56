"""What stands for ROOT and basf2 where only their names are needed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.worker.basf2.dropin.caf.framework import Algorithm
from tests.unit.core.strategies.reference_cases import Bench

Call = tuple[Any, ...]


class Pair(NamedTuple):
    """A pair of C++."""

    first: int
    second: int


class Runs(list[Pair]):
    """A vector of C++."""

    def push_back(self, item: Pair) -> None:
        self.append(item)


class IntervalOfValidity:
    """The C++ class."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)

    def getExperimentLow(self) -> int:
        return self.numbers[0]

    def getRunLow(self) -> int:
        return self.numbers[1]

    def getExperimentHigh(self) -> int:
        return self.numbers[2]

    def getRunHigh(self) -> int:
        return self.numbers[3]


class CalibrationAlgorithm:
    """A C++ algorithm that answers by a rule, and writes down what is asked of it."""

    def __init__(self, bench: Bench | None = None, runs: tuple[tuple[int, int], ...] = ()) -> None:
        self.bench = bench
        self.runs = runs
        self.committed: list[list[int]] = []
        self.minimum: int | None = None
        self.minima: list[int | None] = []
        self.files: list[str] = []
        self._payloads: list[SimpleNamespace] = []

    def setInputFileNames(self, names: list[str]) -> None:
        self.files = list(names)

    def getRunListFromAllData(self) -> list[Pair]:
        return [Pair(*run) for run in self.runs]

    def execute(self, runs: Runs, iteration: int, iov: IntervalOfValidity) -> int:
        assert isinstance(runs, Runs)
        assert self.bench is not None
        self.minima.append(self.minimum)
        executed = tuple(ExpRun(*run) for run in runs)
        code = int(self.bench.answer(executed))
        self.bench.executions.append(
            {"runs": [list(run) for run in executed], "iov": list(iov.numbers), "result": code}
        )
        self._payloads = [SimpleNamespace(name="Mean", iov=IntervalOfValidity(*iov.numbers))]
        return code

    def findPayloadBoundaries(self, runs: Runs, iteration: int) -> list[Pair]:
        assert isinstance(runs, Runs)
        assert self.bench is not None
        return [Pair(*run) for run in self.bench.boundaries]

    def getPayloadValues(self) -> list[SimpleNamespace]:
        return list(self._payloads)

    def commit(self, payloads: list[SimpleNamespace] | None = None) -> bool:
        self.committed += [list(each.iov.numbers) for each in (self._payloads if payloads is None else payloads)]
        return True


class Module:
    """A module of a path."""

    def __init__(self, name: str, granularity: str = "run") -> None:
        self._name = name
        self._granularity = granularity

    def name(self) -> str:
        return self._name

    def available_params(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="granularity", values=self._granularity)]


class Conditions:
    """The settings of the conditions database, as they were called."""

    default_globaltags = ("second", "first")

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **words: self._calls.append((name, *args, *words.values()))


class Software:
    """Both of them.

    :param calls: what was asked of basf2's settings and logging, in order.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.root = ModuleType("ROOT")
        words: dict[str, Any] = {
            "std": SimpleNamespace(pair=lambda *types: Pair, vector=lambda kind: Runs),
            "Belle2": SimpleNamespace(IntervalOfValidity=IntervalOfValidity, CalibrationAlgorithm=CalibrationAlgorithm),
        }
        vars(self.root).update(words)
        self.basf2 = ModuleType("basf2")
        logging = {name: self._write_down(name) for name in ("B2INFO", "reset_log", "set_log_level", "log_to_file")}
        words = {
            "Module": Module,
            "register_module": Module,
            "LogLevel": SimpleNamespace(INFO="INFO"),
            "conditions": Conditions(self.calls),
        }
        vars(self.basf2).update({**words, **logging})

    def _write_down(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))


@pytest.fixture
def software(monkeypatch: pytest.MonkeyPatch) -> Software:
    """Both are importable."""
    made = Software()
    monkeypatch.setitem(sys.modules, "ROOT", made.root)
    monkeypatch.setitem(sys.modules, "basf2", made.basf2)
    return made


class Results:
    """The queue of a strategy."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def put(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def results(self) -> list[dict[str, Any]]:
        values = [each["value"] for each in self.messages if each["type"] == "result"]
        return [{"iov": list(value.iov), "result": int(value.result)} for value in values]

    @property
    def final_states(self) -> list[str]:
        return [each["value"] for each in self.messages if each["type"] == "final_state"]


def wrap(cpp: CalibrationAlgorithm, params: dict[str, Any] | None = None) -> Algorithm:
    """Give an algorithm as a script sees it."""
    algorithm = Algorithm(cpp)
    algorithm.params = params or {}
    return algorithm
