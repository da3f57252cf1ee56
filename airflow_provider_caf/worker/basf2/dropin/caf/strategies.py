"""The strategies by the names that scripts know. The decisions are those of our own plans."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from airflow_provider_caf.core import strategies as core
from airflow_provider_caf.core.iov import ExpRun as CoreRun
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FinalState, FindBoundaries, Report
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.worker.basf2.dropin.caf.state_machines import AlgorithmMachine, _SetUp
from airflow_provider_caf.worker.basf2.dropin.caf.utils import (
    B2INFO_MULTILINE,
    AlgResult,
    ExpRun,
    IoV,
    IoV_Result,
    find_gaps_in_iov_list,
    runs_from_vector,
    runs_overlapping_iov,
    vector_from_runs,
)

_GOOD = (AlgResult.ok.value, AlgResult.iterate.value)


class StrategyError(Exception):
    """A strategy was not set up."""


class AlgorithmStrategy(_SetUp, ABC):
    """Decide on which runs an algorithm is executed, and which of its payloads are committed.

    :param algorithm: a `caf.framework.Algorithm`.
    """

    required_attrs: ClassVar[list[str]] = [*AlgorithmMachine.required_attrs, "ignored_runs"]
    required_true_attrs: ClassVar[list[str]] = list(AlgorithmMachine.required_true_attrs)
    allowed_granularities: ClassVar[list[str]] = ["run", "all"]
    FINISHED_RESULTS = "DONE"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"

    def __init__(self, algorithm: Any) -> None:
        super().__init__(algorithm)
        self.ignored_runs: list[Any] = []
        self.results: list[IoV_Result] = []
        self.queue: Any = None

    @abstractmethod
    def run(self, iov: IoV | None, iteration: int, queue: Any) -> None:
        """Execute the algorithm, and send results and the final state."""

    def find_iov_gaps(self) -> list[IoV]:
        """Return the gaps between the results, inside an experiment."""
        return find_gaps_in_iov_list(sorted(result.iov for result in self.results))

    def any_failed_iov(self) -> bool:
        """Return whether a result is a failure, or lacks data."""
        bad = (AlgResult.failure.value, AlgResult.not_enough_data.value)
        return any(result.result in bad for result in self.results)

    def send_result(self, result: IoV_Result) -> None:
        """Hand in a result."""
        self.queue.put({"type": "result", "value": result})

    def send_final_state(self, state: str) -> None:
        """Hand in the final state."""
        self.queue.put({"type": "final_state", "value": state})


class _BuiltIn(AlgorithmStrategy):
    """Drive one of our own plans with the machine."""

    plan_class: type[core.Strategy]
    usable_params: ClassVar[dict[str, Any]] = {}

    def __init__(self, algorithm: Any) -> None:
        super().__init__(algorithm)
        self.machine = AlgorithmMachine(self.algorithm)
        self.first_execution = True
        self._payloads: dict[int, Any] = {}
        self._experiment: int | None = None

    def run(self, iov: IoV | None, iteration: int, queue: Any) -> None:
        """Execute, commit and send as the plan says."""
        if not self.is_valid():
            raise StrategyError(f"The strategy {type(self).__name__} was not set up.")
        self.queue = queue
        self.machine.setup_from_dict({name: getattr(self, name) for name in AlgorithmStrategy.required_attrs})
        self.machine.setup_algorithm(iteration=iteration)
        plan = self.plan_class(self._build_params())
        outcome = drive_plan(
            plan.plan(self._find_runs(iov)),
            execute=lambda key, action: self._execute(key, action, iteration),
            find_boundaries=lambda action: self._find_boundaries(action, iteration),
            commit=self._commit,
            report=self._report,
            write_file=lambda action: None,
        )
        Path(f"{self.algorithm.name}_iov_gaps.json").write_text(json.dumps(self.find_iov_gaps()), encoding="utf-8")
        if outcome.reason:
            B2INFO_MULTILINE([f"{self.algorithm.name}: {outcome.reason}"])
        self.send_final_state(self.COMPLETED if outcome.state is FinalState.COMPLETED else self.FAILED)

    def _build_params(self) -> dict[str, Any]:
        known = self.plan_class.list_params()
        return {name: value for name, value in self.algorithm.params.items() if name in known}

    def _find_runs(self, iov: IoV | None) -> tuple[CoreRun, ...]:
        collected = set(runs_from_vector(self.algorithm.algorithm.getRunListFromAllData()))
        runs = runs_overlapping_iov(iov, collected) if iov else collected
        ignored = {ExpRun(*run) for run in self.ignored_runs or ()}
        return tuple(CoreRun(*run) for run in sorted(runs - ignored))

    def _execute(self, key: int, action: Execute, iteration: int) -> Execution:
        runs = [ExpRun(*run) for run in action.runs]
        self._enter_experiment(runs[0].exp)
        if not self.first_execution:
            self.machine.setup_algorithm(iteration=iteration)
        self.first_execution = False
        self.machine.execute_runs(runs=runs, iteration=iteration, apply_iov=IoV(*action.iov))
        assert self.machine.result is not None
        code = int(self.machine.result.result)
        B2INFO_MULTILINE([f"{self.algorithm.name}: {AlgResult(code).name} for {runs[0]} to {runs[-1]}."])
        if code in _GOOD:
            self._payloads[key] = self.machine.algorithm.algorithm.getPayloadValues()
            self.machine.complete()
        else:
            self.machine.fail()
        return Execution(key=key, runs=action.runs, iov=action.iov, code=ResultCode(code))

    def _enter_experiment(self, experiment: int) -> None:
        """Prepare the first execution of an experiment; a subclass may."""

    def _find_boundaries(self, action: FindBoundaries, iteration: int) -> list[CoreRun]:
        runs = vector_from_runs([ExpRun(*run) for run in action.runs])
        found = self.algorithm.algorithm.findPayloadBoundaries(runs, iteration)
        return [CoreRun(*run) for run in runs_from_vector(found)]

    def _commit(self, action: Commit) -> None:
        payloads = self._payloads.pop(action.execution.key)
        if action.iov is not None and action.iov != action.execution.iov:
            before, after = action.execution.iov, IoV(*action.iov)._cpp_iov
            for query in payloads:
                iov = query.iov
                own = (iov.getExperimentLow(), iov.getRunLow(), iov.getExperimentHigh(), iov.getRunHigh())
                # One that the algorithm has given an IoV of its own keeps it.
                if own == before:
                    query.iov = after
        self.machine.algorithm.algorithm.commit(payloads)

    def _report(self, action: Report) -> None:
        iov = action.execution.iov if action.iov is None else action.iov
        result = IoV_Result(IoV(*iov), int(action.execution.code))
        self.results.append(result)
        self.send_result(result)


class SingleIOV(_BuiltIn):
    """Execute once, on all runs."""

    plan_class = core.SingleIOV
    usable_params: ClassVar[dict[str, Any]] = {"apply_iov": IoV}


class SimpleRunByRun(_BuiltIn):
    """Execute each run by itself."""

    plan_class = core.SimpleRunByRun
    allowed_granularities: ClassVar[list[str]] = ["run"]


class SequentialRunByRun(_BuiltIn):
    """Execute run by run; runs with too little are joined with those after them."""

    plan_class = core.SequentialRunByRun
    allowed_granularities: ClassVar[list[str]] = ["run"]
    usable_params: ClassVar[dict[str, Any]] = {"has_experiment_settings": bool, "iov_coverage": IoV, "step_size": int}

    def apply_experiment_settings(self, algorithm: Any, experiment: int) -> None:
        """Set what an algorithm needs for an experiment; a subclass writes it."""

    def _enter_experiment(self, experiment: int) -> None:
        if self.algorithm.params.get("has_experiment_settings") and experiment != self._experiment:
            self.apply_experiment_settings(self.machine.algorithm.algorithm, experiment)
        self._experiment = experiment

    def _build_params(self) -> dict[str, Any]:
        return {name: value for name, value in super()._build_params().items() if name != "has_experiment_settings"}


class SequentialBoundaries(_BuiltIn):
    """Execute from one boundary to the next; stretches with too little are joined with those after them."""

    plan_class = core.SequentialBoundaries
    allowed_granularities: ClassVar[list[str]] = ["run"]
    usable_params: ClassVar[dict[str, Any]] = {"iov_coverage": IoV, "payload_boundaries": []}
