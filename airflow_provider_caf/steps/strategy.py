"""The algorithm step: a strategy plans, algorithm processes execute, and the payloads are committed at the end.

Each finished execution is kept in the checkpoint, its payloads in the staging folder. When the strategy has ended
they are written to the local database in one step, also when it failed: what was committed until then is good.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.wrapper import build_site_argv
from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.algorithm_requests import OpenRequest, StrategyRequest
from airflow_provider_caf.core.chain import DatabaseEntry, build_database_chain
from airflow_provider_caf.core.errors import AlgorithmDied, AlgorithmFailed, CafError, DefinitionError
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.files import read_json, write_json, write_text
from airflow_provider_caf.core.iov import ExpRun
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.core.payloads import FilledGap, fill_gaps
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies import (
    Commit,
    Execution,
    FinalState,
    Outcome,
    Report,
    WriteFile,
    build_strategy,
)
from airflow_provider_caf.core.strategies.base import Strategy
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.execution.checkpoint import Checkpoint, Start, TaskState
from airflow_provider_caf.execution.drive import (
    begin_strategy,
    build_executions,
    build_pool,
    describe_execution,
    drive_strategy,
    find_runs,
)
from airflow_provider_caf.execution.executions import Broken, FinishedExecution, describe_runs
from airflow_provider_caf.execution.job import RecordedPool, StrategyEnd
from airflow_provider_caf.execution.pool import AlgorithmPool
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import CalibrationLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.app_run import build_app_argv
from airflow_provider_caf.steps.finish import read_executed_runs
from airflow_provider_caf.steps.gaps import write_gaps
from airflow_provider_caf.steps.manifest import CalibrationManifest, read_member
from airflow_provider_caf.steps.results import CalibrationResults, CommittedPayload, list_committed

log = logging.getLogger(__name__)


@record
class StrategyResult:
    """How a strategy ended.

    :param executions: how many executions the plan asked for, committed or not.
    :param replayed: how many of them, and searches for boundaries, an earlier try had finished.
    :param wasted: how many ran ahead and were not asked for.
    :param broken: how many of those that it asked for gave no answer.
    :param codes: the result codes that were reported; they decide on iterating.
    :param committed: the lines that stand in the algorithm's local database.
    """

    outcome: Outcome
    executions: int
    replayed: int
    wasted: int
    broken: int
    codes: tuple[int, ...]
    committed: tuple[CommittedPayload, ...]


class StrategyRun:
    """One algorithm in one pass of a calibration.

    :param layout: the calibration's paths.
    :param iteration: the number of the pass, from 0.
    :param algorithm: the algorithm's name.
    :param results: where executions and payloads are recorded as they come.
    :param state: the task's state store, where finished executions survive.
    :param generation: a number that a clear of the task raises and a retry does not.
    :raises InputError: if the calibration was not prepared.
    """

    def __init__(
        self,
        layout: CalibrationLayout,
        iteration: int,
        algorithm: str,
        results: CalibrationResults,
        *,
        state: TaskState,
        generation: int,
    ) -> None:
        self.calibration = layout
        self.iteration = iteration
        self.layout: AlgorithmLayout = layout.iteration(iteration).algorithm(algorithm)
        self.manifest = CalibrationManifest.read(layout)
        self.definition = self.manifest.find_algorithm(algorithm)
        self.target = self.manifest.targets.get(algorithm)
        self.results = results
        self.state = state
        self._generation = generation
        self._executions: list[Execution] = []
        self._commits: list[Commit] = []
        self._reports: list[Report] = []

    def run(self) -> StrategyResult:
        """Run the strategy here to its end and commit.

        :raises NotEnoughData: if no run is left to work on.
        :raises AlgorithmFailed: if executions broke, or the strategy ends as failed. What it had committed before is
            written, and what is finished is there for the next try.
        """
        with self._wait_for_job():
            return self._run_alone(self.build_request())

    @contextmanager
    def _wait_for_job(self) -> Iterator[None]:
        """Wait until a job of an earlier try is dead, where there was one: it was told to end and may write still."""
        lock = self.layout.job_lock
        with hold_lock(lock, f"the job of {self.layout.name}") if lock.exists() else nullcontext():
            yield

    def _run_alone(self, request: StrategyRequest) -> StrategyResult:
        checkpoint = Checkpoint(self.state, self.layout.checkpoint_folder, self.layout.staging_folder)
        start = begin_strategy(request, checkpoint)
        if start is not Start.RETRY or not checkpoint.known or not self.layout.app.exists():
            # Packed when the run begins and not once for all: who corrects an algorithm clears this task alone. A
            # retry that has finished executions goes on with the code that made them.
            build_job_app(self.layout.app, self.list_references())
        checkpoint.accept()
        resources = self.manifest.resources
        argv = build_site_argv(resources, build_app_argv(self.layout.app, resources))
        with build_pool(request, argv, resources.environment) as pool:
            return self.carry_out(request, pool, checkpoint)

    def clear_results(self) -> None:
        """Remove what an earlier try has committed and written."""
        self.layout.result.unlink(missing_ok=True)
        for folder in (self.layout.database, self.layout.files_folder):
            if folder.exists():
                shutil.rmtree(folder)

    def list_references(self) -> list[str]:
        """Return the classes and functions of the user that the processes of the algorithm import."""
        definition = self.definition
        return [name for name in (definition.algorithm, definition.pre_algorithm, definition.data_input) if name]

    def build_request(self) -> StrategyRequest:
        """Return what is to be carried out."""
        definition, calibration = self.definition, self.manifest.calibration
        return StrategyRequest(
            folder=str(self.layout.folder),
            name=self.layout.name,
            title=f"algorithm {self.layout.name!r} of calibration {self.calibration.name!r}",
            strategy=definition.strategy,
            params=definition.params,
            open=self._build_open(),
            generation=self._generation,
            made_of=self._describe_origin(),
            workers=definition.workers,
            run_ahead=definition.run_ahead,
            cpus=definition.cpus,
            execution_timeout=definition.execution_timeout,
            memory_growth=definition.memory_growth,
            requested_iov=calibration.requested_iov,
            ignored_runs=tuple(calibration.ignored_runs),
            keep_executions=definition.keep_executions,
        )

    def carry_out(
        self,
        request: StrategyRequest,
        pool: RecordedPool | AlgorithmPool,
        checkpoint: Checkpoint,
        end: StrategyEnd | None = None,
    ) -> StrategyResult:
        """Carry out the strategy and commit.

        :param end: how the job ended that has done it before; None: it is done here.
        :raises CafError: as `run` does.
        """
        self.clear_results()
        self.results.begin_algorithm(self.iteration, self.layout.name)
        runs = find_runs(request, pool.open())
        executions = build_executions(request, self._build_strategy(), runs, pool, checkpoint, self)
        try:
            outcome = drive_strategy(request, self._build_strategy(), runs, executions, self)
        finally:
            committed = self._commit()
        result = StrategyResult(
            outcome=outcome,
            executions=len(self._executions),
            replayed=(end or executions).replayed,
            wasted=(end or executions).wasted,
            broken=len(executions.broken),
            codes=tuple(int(report.execution.code) for report in self._reports),
            committed=committed,
        )
        self._write_result(result)
        self._check(result, executions.broken)
        return result

    def _describe_origin(self) -> str:
        """Return a digest of what executions depend on, apart from the code."""
        this = self.calibration.iteration(self.iteration)
        collected = []
        for name in self.manifest.calibration.collections:
            layout = this.collection(name)
            for path in (layout.merged_file, layout.merged_index):
                status = path.stat() if path.exists() else None
                collected.append([path.name, status and status.st_size, status and status.st_mtime_ns])
        folders = self._list_earlier_databases()
        if not collected:
            # What it sees of others is all that it has; a collector's output depends on it by itself.
            folders += [str(self.calibration.sibling(name).database) for name in self.manifest.ancestors]
        databases = [(Path(folder) / DATABASE_FILE).read_text("utf-8") for folder in folders]
        definition = self.definition
        what = [definition.algorithm, definition.settings, definition.prefix]
        what += [definition.pre_algorithm, definition.data_input]
        text = json.dumps([collected, databases, what, self.iteration], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _build_strategy(self) -> Strategy:
        return build_strategy(self.definition.strategy, self.definition.params)

    def _build_open(self) -> OpenRequest:
        definition = self.definition
        this = self.calibration.iteration(self.iteration)
        collections = {name: this.collection(name) for name in self.manifest.calibration.collections}
        return OpenRequest(
            algorithm=definition.algorithm,
            indexes=tuple(str(layout.merged_index) for layout in collections.values()),
            database_chain=tuple(self.build_chain()),
            settings=definition.settings,
            iteration=self.iteration,
            prefix=definition.prefix,
            pre_algorithm=definition.pre_algorithm,
            data_input=definition.data_input,
            output_files={
                name: tuple(read_json(layout.outputs_file, "The list of outputs")["files"])
                for name, layout in collections.items()
            },
            runs=tuple(self._find_known_runs()),
        )

    def _find_known_runs(self) -> list[ExpRun]:
        """Return the runs to work on where nothing is collected: those of the calibrations that this one depends on."""
        calibration = self.manifest.calibration
        if calibration.collections:
            return []
        runs: set[ExpRun] = set()
        for name in self.manifest.ancestors:
            if isinstance(read_member(self.calibration.sibling(name)), Calibration):
                runs |= read_executed_runs(self.calibration.sibling(name))
        iov = calibration.requested_iov or self._build_strategy().params.get("apply_iov")
        if not runs and iov is not None:
            # Imported payloads have IoVs, and no runs.
            runs.add(iov.low)
        return sorted(runs)

    def build_chain(self) -> tuple[DatabaseEntry, ...]:
        """Return what the algorithm sees: the algorithms before it in this pass, the previous pass, then the rest."""
        return build_database_chain(None, self._list_earlier_databases(), self.manifest.database_chain)

    def _list_earlier_databases(self) -> list[str]:
        names = [algorithm.name for algorithm in self.manifest.calibration.algorithms]
        before = names[: names.index(self.layout.name)]
        this = self.calibration.iteration(self.iteration)
        earlier = [str(this.algorithm(name).database) for name in reversed(before)]
        if self.iteration:
            earlier.append(str(self.calibration.iteration(self.iteration - 1).database))
        return earlier

    def note(self, executions: Sequence[FinishedExecution]) -> None:
        """Record executions that the plan asked for."""
        for finished in executions:
            self._executions.append(finished.execution)
            log.info("%s", describe_execution(finished))
        self.results.add_executions(self.iteration, self.layout.name, executions, self.layout.staging_folder)

    def report(self, action: Report) -> None:
        """Take a result that decides on iterating."""
        self._reports.append(action)
        log.info("Reported: %s for %s.", action.execution.code.name, describe_runs(action.execution.runs))

    def commit(self, action: Commit) -> None:
        """Take payloads: all are written at the end, in one step."""
        self._commits.append(action)

    def write_file(self, action: WriteFile) -> None:
        """Write an extra file of the strategy."""
        path = self.layout.extra_file(action.name)
        path.parent.mkdir(exist_ok=True)
        if isinstance(action.content, str):
            write_text(path, action.content)
        else:
            write_json(path, action.content)

    def _commit(self) -> tuple[CommittedPayload, ...]:
        """Write all payloads in one step, and what they leave open."""
        committed = list_committed(self._commits)
        runs = sorted({run for execution in self._executions for run in execution.runs})
        filled: tuple[FilledGap, ...] = ()
        if self.definition.fill_gaps:
            entries, filled = fill_gaps([payload.entry for payload in committed], runs)
            committed = tuple(replace(payload, entry=entry) for payload, entry in zip(committed, entries, strict=True))
        database = LocalDatabase(self.layout.database)
        database.create()
        staging = self.layout.staging_folder
        database.commit(
            [(payload.entry.name, staging / payload.entry.file_name, payload.entry.iov) for payload in committed]
        )
        write_gaps(self.layout.gaps, database.check_gaps(runs), filled)
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
                "replayed": result.replayed,
                "wasted": result.wasted,
                "broken": result.broken,
                "executions": [execution.to_json() for execution in self._executions],
            },
        )

    def _check(self, result: StrategyResult, broken: Sequence[Broken]) -> None:
        """Fail unless the strategy completed and every execution that it asked for gave an answer."""
        outcome = result.outcome
        if outcome.state is not FinalState.FAILED and not broken:
            return
        where = f"of algorithm {self.layout.name!r} in calibration {self.calibration.name!r}"
        kept = (
            f"{len(result.committed)} payloads are committed and kept in {self.layout.database}. "
            "Finished executions are not repeated by a retry."
        )
        if not broken:
            raise AlgorithmFailed(
                f"The strategy {self.definition.strategy} {where} failed: {outcome.reason}",
                hint=kept,
                log=str(self.layout.log),
            )
        # One that died comes first: it is what a retry may mend.
        worst = next((one for one in broken if isinstance(one.error, AlgorithmDied)), broken[0])
        error = worst.error
        what = (
            f"{len(broken)} of {result.executions} executions {where} broke. One was for "
            f"{describe_runs(worst.execution.runs)}: {error.what}"
        )
        hint = f"{error.hint or ''} {kept}".strip()
        if isinstance(error, AlgorithmFailed):
            raise type(error)(what, hint=hint, log=error.log, log_tail=error.log_tail) from error
        if isinstance(error, DefinitionError):
            raise DefinitionError(what, hint=hint) from error
        # Not of the algorithm: a full disk, say.
        raise CafError(what, hint=hint) from error
