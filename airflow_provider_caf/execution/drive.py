"""Carry out a strategy with the processes of an algorithm. A task and a job do it by the same functions."""

from __future__ import annotations

import logging
import shutil
import traceback
from collections.abc import Mapping, Sequence
from typing import Protocol

from airflow_provider_caf.core.algorithm_requests import StrategyRequest
from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, NotEnoughData
from airflow_provider_caf.core.iov import ExpRun, filter_runs
from airflow_provider_caf.core.strategies.ahead import LookAhead, list_parts
from airflow_provider_caf.core.strategies.base import Commit, Outcome, Plan, Report, Strategy, WriteFile
from airflow_provider_caf.core.strategies.drive import drive_plan
from airflow_provider_caf.execution.checkpoint import Checkpoint, Start
from airflow_provider_caf.execution.executions import (
    Executions,
    FinishedExecution,
    Pool,
    describe_runs,
)
from airflow_provider_caf.execution.pool import AlgorithmPool
from airflow_provider_caf.execution.process import AlgorithmProcess, Opened

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Who gets what a strategy does."""

    def commit(self, action: Commit, /) -> None:
        """Take payloads for the local database."""

    def report(self, action: Report, /) -> None:
        """Take a result."""

    def write_file(self, action: WriteFile, /) -> None:
        """Write an extra file."""

    def note(self, executions: Sequence[FinishedExecution], /) -> None:
        """Take executions that the plan asked for."""


def begin_strategy(request: StrategyRequest, checkpoint: Checkpoint) -> Start:
    """Remove what must not be there from an earlier try, or everything; logs go on, and what was committed stays.

    Afterwards `checkpoint.known` are the executions that are finished already. `checkpoint.accept` has to follow.
    """
    layout = request.layout
    layout.folder.mkdir(parents=True, exist_ok=True)
    start = checkpoint.begin(request.generation, request.made_of, keep=request.keep_executions)
    # The first is of processes that were killed.
    for folder in (layout.committed_folder, *([layout.staging_folder] if start is Start.FRESH else [])):
        if folder.exists():
            shutil.rmtree(folder)
    layout.staging_folder.mkdir(exist_ok=True)
    if checkpoint.known:
        log.info("%d finished executions of an earlier try are used again.", len(checkpoint.known))
    return start


def build_pool(
    request: StrategyRequest, argv: Sequence[str], environment: Mapping[str, str] | None = None
) -> AlgorithmPool:
    """Return the processes of the algorithm; each is opened when it is first needed.

    :param argv: what runs the job app.
    :param environment: variables over those of this process.
    """
    layout = request.layout

    def open_process(number: int) -> AlgorithmProcess:
        process = AlgorithmProcess(
            argv=argv,
            log_path=layout.worker_log(number),
            cwd=layout.folder,
            environment=environment,
            name=request.title,
            cpus=request.cpus,
        )
        try:
            process.open(request.open, copies=layout.copies_folder(number))
        except BaseException:
            process.close()
            raise
        return process

    growth = request.memory_growth
    return AlgorithmPool(
        open_process,
        workers=request.workers,
        staging=layout.staging_folder,
        timeout=request.execution_timeout,
        memory_growth_kb=None if growth is None else growth * 1024,
    )


def find_runs(request: StrategyRequest, opened: Opened) -> tuple[ExpRun, ...]:
    """Return the runs that the strategy works on.

    :raises NotEnoughData: if there is none.
    """
    runs = filter_runs(opened.runs, requested=request.requested_iov, ignored=request.ignored_runs)
    if not runs:
        raise NotEnoughData(
            f"{request.title[0].upper()}{request.title[1:]} has no run to work on: "
            f"{len(opened.runs)} were collected, and all are ignored or outside the requested IoV.",
            hint="Check requested_iov and ignored_runs, and whether anything was collected.",
        )
    return runs


def build_executions(
    request: StrategyRequest,
    strategy: Strategy,
    runs: tuple[ExpRun, ...],
    pool: Pool,
    checkpoint: Checkpoint,
    sink: Sink,
) -> Executions:
    """Return who answers the questions of the plan.

    :param strategy: only to look ahead.
    """
    look_ahead = None
    if request.workers > 1:
        look_ahead = LookAhead(list_parts(strategy, runs), 2 * request.workers if request.run_ahead else 0)
    return Executions(pool, known=checkpoint.known, checkpoint=checkpoint, look_ahead=look_ahead, note=sink.note)


def drive_strategy(
    request: StrategyRequest, strategy: Strategy, runs: tuple[ExpRun, ...], executions: Executions, sink: Sink
) -> Outcome:
    """Carry out a strategy to its end.

    :raises AlgorithmFailed: if an expert's own strategy raises.
    :raises CafError: if a process cannot be opened, or the search for boundaries fails.
    """
    try:
        return drive_plan(
            _plan(request, strategy, runs),
            execute=executions.execute,
            find_boundaries=executions.find_boundaries,
            commit=sink.commit,
            report=sink.report,
            write_file=sink.write_file,
        )
    finally:
        executions.flush()


def describe_execution(finished: FinishedExecution) -> str:
    """Return a line such as `Execution 3: OK for run 1.3 (0.2 s).`"""
    execution = finished.execution
    runs = describe_runs(execution.runs)
    return f"Execution {execution.key}: {execution.code.name} for {runs} ({finished.seconds:.3g} s)."


def _plan(request: StrategyRequest, strategy: Strategy, runs: tuple[ExpRun, ...]) -> Plan:
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
            f"The strategy {request.strategy} of {request.title} raised {type(error).__name__}: {error}",
            hint="Correct the strategy.",
            log_tail="".join(traceback.format_tb(error.__traceback__)[-3:]),
        ) from error
    finally:
        plan.close()
