"""Carry out the strategy of an algorithm in a job: `strategy request.json`.

Each finished execution is kept at once, so a job that is ended early, by its walltime say, loses the execution that it
is at, and the next one goes on from there. `execution.job` describes what it leaves; nothing is committed here.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.algorithm_requests import StrategyRequest
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.lock import hold_lock
from airflow_provider_caf.core.reference import parse_reference
from airflow_provider_caf.core.strategies import build_strategy
from airflow_provider_caf.core.strategies.base import Commit, Report, Strategy, WriteFile
from airflow_provider_caf.execution.drive import (
    begin_strategy,
    build_executions,
    build_pool,
    describe_execution,
    drive_strategy,
    find_runs,
)
from airflow_provider_caf.execution.executions import FinishedExecution, describe_runs
from airflow_provider_caf.execution.job import (
    EXIT_TRY_AGAIN,
    LiveExecutions,
    StoredError,
    StrategyEnd,
    list_unanswered,
    open_checkpoint,
)
from airflow_provider_caf.worker.user_code import read_travelling_files

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Carry out the strategy of a request, and return 0 if another try would give the same."""
    parser = argparse.ArgumentParser(prog="strategy", description="Carry out the strategy of an algorithm.")
    parser.add_argument("request", help="path of the request, a JSON file")
    path = Path(parser.parse_args(argv).request)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", force=True)
    with hold_lock(_read_request(path).layout.job_lock, f"the strategy of {path}"):
        # What is to be done may be another thing by now, or be done: a system starts a job again that it has lost.
        request = _read_request(path)
        if request.app not in ("", Path(sys.argv[0]).name):
            raise CafError(
                f"The task of {request.title} has begun anew, with other code than this job has.",
                hint="Its new job carries it out.",
            )
        end = _find_end(request)
        if end is None or end.may_go_better:
            request.layout.job_end.unlink(missing_ok=True)
            end = carry_out(request)
            end.write(request.layout.job_end)
    return EXIT_TRY_AGAIN if end.may_go_better else 0


def _read_request(path: Path) -> StrategyRequest:
    return StrategyRequest.read_file(path, f"request {path}")


def _find_end(request: StrategyRequest) -> StrategyEnd | None:
    """Return how another start of the same job ended; None: not at all, or it cannot be read."""
    path = request.layout.job_end
    try:
        end = StrategyEnd.read_file(path, f"end of the job of {request.title}") if path.exists() else None
    except CafError as error:
        log.warning("%s", error)
        return None
    return end if end is not None and end.job == request.job else None


class _Sink:
    """Say what the strategy does, here and where the task looks. What is only shown need not survive the machine."""

    def __init__(self, request: StrategyRequest) -> None:
        self._path = request.layout.job_live
        self._live = LiveExecutions(generation=request.generation, count=0)
        self._live.write(self._path, durable=False)

    def commit(self, action: Commit) -> None:
        """Do nothing: the task commits when it goes through the plan again."""

    def report(self, action: Report) -> None:
        """Say what was reported; the task writes it down."""
        log.info("Reported: %s for %s.", action.execution.code.name, describe_runs(action.execution.runs))

    def write_file(self, action: WriteFile) -> None:
        """Do nothing: the task writes it."""

    def note(self, executions: Sequence[FinishedExecution]) -> None:
        """Say which executions are finished."""
        for finished in executions:
            log.info("%s", describe_execution(finished))
        self._live = self._live.add(executions)
        self._live.write(self._path, durable=False)


def carry_out(request: StrategyRequest) -> StrategyEnd:
    """Carry out a strategy, and return how it ended. An error of ours is an end, too."""
    checkpoint = open_checkpoint(request.layout)
    begin_strategy(request, checkpoint)
    checkpoint.accept()
    sink = _Sink(request)
    end: dict[str, Any] = {"job": request.job}
    executions = None
    # The Python of the job runs the app, in the environment of the job.
    with build_pool(request, (sys.executable, str(Path(sys.argv[0]).absolute()))) as pool:
        try:
            end["opened"] = opened = pool.open()
            runs = find_runs(request, opened)
            executions = build_executions(request, _load_strategy(request), runs, pool, checkpoint, sink)
            drive_strategy(request, _load_strategy(request), runs, executions, sink)
        except CafError as error:
            log.error("%s", error)
            end["error"] = StoredError.keep(error)
    if executions is not None:
        unanswered = list_unanswered(executions.errors)
        end |= {"replayed": executions.replayed, "wasted": executions.wasted, "unanswered": unanswered}
    return StrategyEnd(**end)


def _load_strategy(request: StrategyRequest) -> Strategy:
    """Load the strategy; one of the user's own from the job app, where it travels."""
    reference = request.strategy
    if ":" in reference:
        source, name = parse_reference(reference, "strategy")
        reference = f"{read_travelling_files().get(source, source)}:{name}"
    return build_strategy(reference, request.params)
