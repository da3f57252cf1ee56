"""What a DAG run leaves in the catalog, written by the steps as they go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypedDict

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.iteration import IterationAction, IterationDecision
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies.base import Commit, Execution
from airflow_provider_caf.core.strategies.drive import build_entries
from airflow_provider_caf.io.catalog import Catalog
from airflow_provider_caf.io.catalog_tables import (
    ExecutionRow,
    FailedSubjobRow,
    IterationRow,
    PayloadRow,
    SubjobsRow,
)
from airflow_provider_caf.io.exit_records import ExitRecord
from airflow_provider_caf.io.subjobs import SubjobStatus, count_subjobs, describe_end
from airflow_provider_caf.io.submission import Observation


@record
class CommittedPayload:
    """A line of a local database with what is known of its making.

    :param execution: the key of the execution that made it.
    :param value: its JSON value, where it has one that is small.
    """

    entry: PayloadEntry
    execution: int
    value: Any


def list_committed(commits: Sequence[Commit]) -> tuple[CommittedPayload, ...]:
    """Give the lines that commits make, in their order."""
    committed = []
    for commit in commits:
        payloads = commit.execution.payloads if commit.payloads is None else commit.payloads
        for entry, payload in zip(build_entries(commit), payloads, strict=True):
            committed.append(CommittedPayload(entry=entry, execution=commit.execution.key, value=payload.value))
    return tuple(committed)


class Ids(TypedDict):
    """Where a row belongs."""

    dag_id: str
    run_id: str
    calibration: str


class CalibrationResults:
    """Write the results of one calibration in one DAG run.

    :param catalog: where to.
    """

    def __init__(self, catalog: Catalog, dag_id: str, run_id: str, calibration: str) -> None:
        self.catalog = catalog
        self._ids: Ids = {"dag_id": dag_id, "run_id": run_id, "calibration": calibration}

    def begin_iteration(self, iteration: int) -> None:
        """Note that a pass begins; what an earlier life of this and later passes left is removed."""
        self.catalog.forget_iterations(**self._ids, first=iteration)
        self.catalog.write_iterations([IterationRow(**self._ids, iteration=iteration, started=_now())])

    def end_iteration(self, iteration: int, decision: IterationDecision) -> None:
        """Note what was decided at the end of a pass, and that the next one begins.

        Where none follows, what later passes left in an earlier life is removed.
        """
        known = [row for row in self.catalog.read_iterations(**self._ids) if row.iteration == iteration]
        self.catalog.write_iterations(
            [
                IterationRow(
                    **self._ids,
                    iteration=iteration,
                    decision=decision.action.value,
                    reason=decision.reason,
                    started=known[0].started if known else None,
                    ended=_now(),
                )
            ]
        )
        if decision.action is IterationAction.ITERATE:
            self.catalog.write_iterations([IterationRow(**self._ids, iteration=iteration + 1, started=_now())])
        else:
            self.catalog.forget_iterations(**self._ids, first=iteration + 1)

    def begin_algorithm(self, iteration: int, algorithm: str) -> None:
        """Remove what an earlier try of an algorithm left."""
        self.catalog.forget_algorithm(**self._ids, iteration=iteration, algorithm=algorithm)

    def add_execution(self, iteration: int, algorithm: str, execution: Execution, seconds: float) -> None:
        """Write one execution."""
        self.catalog.write_executions(
            [
                ExecutionRow(
                    **self._ids,
                    iteration=iteration,
                    algorithm=algorithm,
                    key=execution.key,
                    runs=execution.runs,
                    iov=execution.iov,
                    code=execution.code,
                    output=execution.output,
                    seconds=seconds,
                    ended=_now(),
                )
            ]
        )

    def add_payloads(self, iteration: int, algorithm: str, committed: Sequence[CommittedPayload]) -> None:
        """Write the payloads that an algorithm's strategy committed."""
        now = _now()
        self.catalog.write_payloads(
            PayloadRow(
                **self._ids,
                iteration=iteration,
                algorithm=algorithm,
                name=each.entry.name,
                iov=each.entry.iov,
                revision=each.entry.revision,
                execution=each.execution,
                value=each.value,
                position=position,
                committed=now,
            )
            for position, each in enumerate(committed)
        )

    def finish(self, iteration: int) -> None:
        """Mark the payloads of the last pass as the final ones."""
        rows = [row for row in self.catalog.read_payloads(**self._ids) if row.iteration == iteration]
        self.catalog.write_final_payloads(**self._ids, rows=[replace(row, final=True) for row in rows])

    def add_subjobs(
        self,
        iteration: int,
        collection: str,
        observation: Observation,
        attempts: Sequence[ExitRecord],
        resources: Resources,
    ) -> None:
        """Write what the subjobs of a collection did.

        :param attempts: the exit records of all tries.
        :param resources: what was asked for.
        """
        counts = count_subjobs(observation.verdicts)
        over = (SubjobStatus.FAILED, SubjobStatus.CANCELLED, SubjobStatus.LOST)
        waiting = (SubjobStatus.QUEUED, SubjobStatus.MISSING)
        self.catalog.write_subjobs(
            [
                SubjobsRow(
                    **self._ids,
                    iteration=iteration,
                    collection=collection,
                    total=len(observation.verdicts),
                    queued=sum(counts[status] for status in waiting),
                    held=counts[SubjobStatus.HELD],
                    running=counts[SubjobStatus.RUNNING],
                    done=counts[SubjobStatus.DONE],
                    failed=sum(counts[status] for status in over),
                    retries=max(0, len(attempts) - len({each.subjob for each in attempts})),
                    cpu_seconds=sum(each.cpu_seconds for each in attempts),
                    wall_seconds=sum(_measure_wall(each) for each in attempts),
                    peak_memory_kb=max((each.peak_memory_kb for each in attempts), default=0),
                    hosts=tuple(sorted({each.host for each in attempts})),
                    requested_memory_mb=resources.memory,
                    requested_seconds=resources.walltime,
                    updated=_now(),
                )
            ]
        )
        self.catalog.write_failed_subjobs(
            FailedSubjobRow(
                **self._ids,
                iteration=iteration,
                collection=collection,
                subjob=each.subjob,
                attempt=each.attempt,
                reason=each.reason or describe_end(each),
                exit_code=each.exit_code,
                signal=each.signal,
                host=each.host,
                log=str(each.folder / "stderr.log"),
                ended=_parse_time(each.ended),
            )
            for each in attempts
            if not each.says_success
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _measure_wall(attempt: ExitRecord) -> float:
    return max(0.0, (_parse_time(attempt.ended) - _parse_time(attempt.started)).total_seconds())
