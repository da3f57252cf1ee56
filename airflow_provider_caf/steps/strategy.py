"""The algorithm step: a strategy plans, an algorithm process executes, and the payloads are committed at the end.

Payloads wait in the staging folder until the strategy has ended. Then they are written in one step, also when the
strategy or the algorithm process failed: what was committed until then is good.
"""

from __future__ import annotations

import shutil
import time
import traceback
from collections.abc import Sequence

from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, NotEnoughData
from airflow_provider_caf.core.iov import ExpRun, filter_runs
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies import Commit, Execute, Execution, FinalState, Outcome, Report, build_strategy
from airflow_provider_caf.core.strategies.base import Plan, Strategy
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.io.algorithm_process import AlgorithmProcess
from airflow_provider_caf.io.files import write_json
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import AlgorithmLayout, CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.app_run import build_app_argv
from airflow_provider_caf.steps.manifest import CalibrationManifest
from airflow_provider_caf.steps.results import CalibrationResults, CommittedPayload, list_committed


@record
class StrategyResult:
    """How a strategy ended.

    :param executions: how many executions there were, committed or not.
    :param codes: the result codes that were reported; they decide on iterating.
    :param committed: the lines that stand in the algorithm's local database.
    """

    outcome: Outcome
    executions: int
    codes: tuple[int, ...]
    committed: tuple[CommittedPayload, ...]


class StrategyRun:
    """One algorithm in one pass of a calibration.

    :param layout: the calibration's paths.
    :param iteration: the number of the pass, from 0.
    :param algorithm: the algorithm's name.
    :param results: where executions and payloads are recorded as they come.
    :raises InputError: if the calibration was not prepared.
    """

    def __init__(self, layout: CalibrationLayout, iteration: int, algorithm: str, results: CalibrationResults) -> None:
        self.calibration = layout
        self.iteration = iteration
        self.layout: AlgorithmLayout = layout.iteration(iteration).algorithm(algorithm)
        self.manifest = CalibrationManifest.read(layout)
        self.definition = self.manifest.find_algorithm(algorithm)
        self.results = results
        self._executions: list[Execution] = []

    def run(self) -> StrategyResult:
        """Run the strategy to its end and commit.

        :raises NotEnoughData: if no run is left to work on.
        :raises AlgorithmFailed: if the algorithm or its process breaks, or the strategy ends as failed. What it had
            committed before is written.
        """
        self._make_fresh()
        self.results.begin_algorithm(self.iteration, self.layout.name)
        commits: list[Commit] = []
        reports: list[Report] = []
        strategy = build_strategy(self.definition.strategy, self.definition.params)
        with self._build_process() as process:
            runs = self._open(process)
            try:
                outcome = drive_plan(
                    self._plan(strategy, runs),
                    execute=lambda number, action: self._execute(process, number, action),
                    find_boundaries=process.find_boundaries,
                    commit=commits.append,
                    report=reports.append,
                )
            finally:
                committed = self._commit(commits)
        result = StrategyResult(
            outcome=outcome,
            executions=len(self._executions),
            codes=tuple(int(report.execution.code) for report in reports),
            committed=committed,
        )
        self._write_result(result)
        self._check_outcome(outcome, len(committed))
        return result

    def _make_fresh(self) -> None:
        """Remove what an earlier try left; the log goes on."""
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        self.layout.result.unlink(missing_ok=True)
        for folder in (self.layout.staging_folder, self.layout.database):
            if folder.exists():
                shutil.rmtree(folder)
        self.layout.staging_folder.mkdir()
        # Packed here and not once for all: who corrects an algorithm clears this task alone.
        functions = [self.definition.pre_algorithm] if self.definition.pre_algorithm else []
        build_job_app(self.layout.app, [self.definition.algorithm, *functions])

    def _build_process(self) -> AlgorithmProcess:
        resources = self.manifest.resources
        return AlgorithmProcess(
            argv=build_site_argv(resources, build_app_argv(self.layout.app, resources)),
            log_path=self.layout.log,
            cwd=self.layout.folder,
            environment=resources.environment,
            name=f"algorithm {self.layout.name!r} of calibration {self.calibration.name!r}",
        )

    def _open(self, process: AlgorithmProcess) -> tuple[ExpRun, ...]:
        """Open the algorithm and give the runs that the strategy works on."""
        calibration = self.manifest.calibration
        this = self.calibration.iteration(self.iteration)
        opened = process.open(
            algorithm=self.definition.algorithm,
            indexes=[str(this.collection(each.name).merged_index) for each in calibration.collections],
            settings=self.definition.settings,
            database_chain=self.build_chain(),
            iteration=self.iteration,
            prefix=self.definition.prefix,
            pre_algorithm=self.definition.pre_algorithm,
        )
        runs = filter_runs(opened.runs, requested=calibration.requested_iov, ignored=calibration.ignored_runs)
        if not runs:
            raise NotEnoughData(
                f"Algorithm {self.layout.name!r} of calibration {self.calibration.name!r} has no run to work on: "
                f"{len(opened.runs)} were collected, and all are ignored or outside the requested IoV.",
                hint="Check requested_iov and ignored_runs, and whether the collector collected anything.",
            )
        return runs

    def _plan(self, strategy: Strategy, runs: tuple[ExpRun, ...]) -> Plan:
        """Pass a plan through, and say whose code it was when an expert's own strategy raises."""
        plan = strategy.plan(runs)
        answer = None
        try:
            while True:
                answer = yield plan.send(answer)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except CafError:
            raise
        except Exception as error:  # an expert's code may raise anything; it is shown, and no retry mends it
            raise AlgorithmFailed(
                f"The strategy {self.definition.strategy} of algorithm {self.layout.name!r} in calibration "
                f"{self.calibration.name!r} raised {type(error).__name__}: {error}",
                hint="Correct the strategy.",
                log_tail="".join(traceback.format_tb(error.__traceback__)[-3:]),
            ) from error
        finally:
            plan.close()

    def build_chain(self) -> tuple[DatabaseEntry, ...]:
        """Give what the algorithm sees: the algorithms before it in this pass, the previous pass, then the rest."""
        names = [each.name for each in self.manifest.calibration.algorithms]
        before = names[: names.index(self.layout.name)]
        this = self.calibration.iteration(self.iteration)
        earlier = [str(this.algorithm(name).database) for name in reversed(before)]
        if self.iteration:
            earlier.append(str(self.calibration.iteration(self.iteration - 1).database))
        return build_database_chain(None, earlier, self.manifest.database_chain)

    def _execute(self, process: AlgorithmProcess, number: int, action: Execute) -> Execution:
        began = time.monotonic()
        execution = process.execute(number, action, staging=self.layout.staging_folder)
        self._executions.append(execution)
        self.results.add_execution(self.iteration, self.layout.name, execution, time.monotonic() - began)
        return execution

    def _commit(self, commits: Sequence[Commit]) -> tuple[CommittedPayload, ...]:
        committed = list_committed(commits)
        database = LocalDatabase(self.layout.database)
        database.create()
        staging = self.layout.staging_folder
        database.commit([(each.entry.name, staging / each.entry.file_name, each.entry.iov) for each in committed])
        self.results.add_payloads(self.iteration, self.layout.name, committed)
        return committed

    def _write_result(self, result: StrategyResult) -> None:
        write_json(
            self.layout.result,
            {
                "version": 1,
                "state": result.outcome.state.value,
                "reason": result.outcome.reason,
                "codes": list(result.codes),
                "executions": [execution.to_json() for execution in self._executions],
            },
        )

    def _check_outcome(self, outcome: Outcome, committed: int) -> None:
        if outcome.state is FinalState.FAILED:
            raise AlgorithmFailed(
                f"The strategy {self.definition.strategy} of algorithm {self.layout.name!r} in calibration "
                f"{self.calibration.name!r} failed: {outcome.reason}",
                hint=f"{committed} payloads were committed before and are kept in {self.layout.database}.",
                log=str(self.layout.log),
            )
