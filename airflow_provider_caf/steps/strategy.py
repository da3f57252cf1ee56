"""The algorithm step: a strategy plans, an algorithm process executes, and the payloads are committed at the end.

Payloads wait in the staging folder until the strategy has ended. Then they are written in one step, also when the
strategy failed: what it committed until then is good.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from airflow_provider_caf.core.calibration import AlgorithmRecord, DatabaseEntry
from airflow_provider_caf.core.chain import build_database_chain
from airflow_provider_caf.core.errors import AlgorithmFailed, NotEnoughData
from airflow_provider_caf.core.iov import filter_runs
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.base import Commit, Execute, Execution, FinalState, Outcome, Report
from airflow_provider_caf.core.strategies.drive import build_entries, drive_plan
from airflow_provider_caf.io.algorithm_process import AlgorithmProcess
from airflow_provider_caf.io.files import write_json
from airflow_provider_caf.io.layout import AlgorithmLayout, CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase, NewPayload
from airflow_provider_caf.steps.manifest import CalibrationManifest


@record
class StrategyResult:
    """How a strategy ended.

    :param executions: every execution in order, committed or not.
    :param codes: the result codes that were reported; they decide on iterating.
    :param committed: the lines that stand in the local database.
    """

    outcome: Outcome
    executions: tuple[Execution, ...]
    codes: tuple[int, ...]
    committed: tuple[PayloadEntry, ...]


def run_strategy(
    layout: CalibrationLayout,
    *,
    iteration: int,
    algorithm: str,
    notify: Callable[[Execution], None],
) -> StrategyResult:
    """Run one algorithm over all runs of a pass.

    :param notify: called after each execution.
    :raises NotEnoughData: if no run is left to work on.
    :raises AlgorithmFailed: if the algorithm process breaks. What was committed until then is written.
    """
    manifest = CalibrationManifest.read(layout)
    definition = manifest.find_algorithm(algorithm)
    place = layout.iteration(iteration).algorithm(algorithm)
    _make_fresh(place)
    strategy = build_strategy(definition.strategy, definition.params)
    commits: list[Commit] = []
    reports: list[Report] = []
    executions: list[Execution] = []
    with _start_process(layout, manifest, definition, iteration) as process:
        opened = process.opened
        calibration = manifest.calibration
        runs = filter_runs(
            opened.runs, requested=calibration.requested_iov, ignored=calibration.ignored_runs
        )
        if not runs:
            raise NotEnoughData(
                f"Algorithm {algorithm!r} of calibration {layout.name!r} has no run to work on: "
                f"{len(opened.runs)} were collected, all outside the requested IoV or ignored.",
                hint="Check requested_iov and ignored_runs.",
            )

        def execute(number: int, action: Execute) -> Execution:
            execution = process.execute(number, action, staging=place.staging_folder)
            executions.append(execution)
            notify(execution)
            return execution

        try:
            outcome = drive_plan(
                strategy.plan(runs),
                execute=execute,
                find_boundaries=process.find_boundaries,
                commit=commits.append,
                report=reports.append,
            )
        except AlgorithmFailed:
            _commit(place, commits)
            raise
    committed = _commit(place, commits)
    result = StrategyResult(
        outcome=outcome,
        executions=tuple(executions),
        codes=tuple(int(report.execution.code) for report in reports),
        committed=committed,
    )
    write_result(place, result)
    return result


def check_outcome(result: StrategyResult, layout: CalibrationLayout, algorithm: str) -> None:
    """Refuse a strategy that failed.

    :raises AlgorithmFailed: with the strategy's reason.
    """
    if result.outcome.state is FinalState.FAILED:
        raise AlgorithmFailed(
            f"The strategy of algorithm {algorithm!r} in calibration {layout.name!r} failed: "
            f"{result.outcome.reason}",
            hint="The payloads that it committed before are kept in the algorithm's output folder.",
        )


def write_result(place: AlgorithmLayout, result: StrategyResult) -> None:
    """Write what the decision on iterating and a reader need."""
    write_json(
        place.result,
        {
            "version": 1,
            "state": result.outcome.state.value,
            "reason": result.outcome.reason,
            "codes": list(result.codes),
            "executions": [execution.to_json() for execution in result.executions],
        },
    )


def _make_fresh(place: AlgorithmLayout) -> None:
    """Remove what an earlier try left, but not its log."""
    place.folder.mkdir(parents=True, exist_ok=True)
    place.result.unlink(missing_ok=True)
    for folder in (place.staging_folder, place.database):
        shutil.rmtree(folder, ignore_errors=False) if folder.exists() else None
    place.staging_folder.mkdir()


def _start_process(
    layout: CalibrationLayout, manifest: CalibrationManifest, algorithm: AlgorithmRecord, iteration: int
) -> AlgorithmProcess:
    raise NotImplementedError


def build_algorithm_chain(
    layout: CalibrationLayout, manifest: CalibrationManifest, algorithm: str, iteration: int
) -> tuple[DatabaseEntry, ...]:
    """Give what an algorithm sees: the algorithms before it in this pass, the previous pass, then the rest."""
    this = layout.iteration(iteration)
    names = [each.name for each in manifest.calibration.algorithms]
    before = names[: names.index(algorithm)]
    earlier = [str(this.algorithm(name).database) for name in reversed(before)]
    if iteration:
        earlier.append(str(layout.iteration(iteration - 1).database))
    return build_database_chain(None, earlier, manifest.database_chain)


def _commit(place: AlgorithmLayout, commits: Sequence[Commit]) -> tuple[PayloadEntry, ...]:
    database = LocalDatabase(place.database)
    entries = [entry for commit in commits for entry in build_entries(commit)]
    payloads: list[NewPayload] = [
        (entry.name, place.staging_folder / Path(entry.file_name).name, entry.iov) for entry in entries
    ]
    database.create()
    return database.commit(payloads)
