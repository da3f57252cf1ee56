"""What a DAG run leaves in the catalog, written by the steps as they go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.iteration import IterationAction, IterationDecision
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies.base import Commit
from airflow_provider_caf.core.strategies.drive import build_entries
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.io.catalog import (
    Catalog,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    JsonValue,
    LogRow,
    MonitoredRow,
    PayloadRow,
    Row,
    SelectionRow,
    SubjobsRow,
)
from airflow_provider_caf.io.jobs.exit_records import ExitRecord
from airflow_provider_caf.io.jobs.subjobs import SubjobStatus, Verdict, count_subjobs, describe_end
from airflow_provider_caf.io.jobs.submission import Observation
from airflow_provider_caf.io.layout import STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.io.tails import read_end
from airflow_provider_caf.steps.executions import Asked
from airflow_provider_caf.steps.manifest import CollectionManifest


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


LARGEST_FIGURE = 250_000
"""Bytes of a picture that the catalog takes: a page shows it in one request. Of a larger one it has the path."""


_SHOWN_PATTERNS = 20

_LOG_BYTES = 100_000
"""Of the end of a log that the catalog keeps; the whole one stays where it is."""

_LOGS_OF_A_PASS = 200
"""So many failed tries of a collection have their log in the catalog. Whoever has more failures has one cause."""

_OVER = (SubjobStatus.FAILED, SubjobStatus.CANCELLED, SubjobStatus.LOST)
_WAITING = (SubjobStatus.QUEUED, SubjobStatus.MISSING)


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
        self._failed: defaultdict[tuple[int, str], set[tuple[int, int]]] = defaultdict(set)

    def add_selections(self, calibration: Calibration, manifests: Sequence[CollectionManifest]) -> None:
        """Write what the collections of a calibration take as their input."""
        self.catalog.write(self._build_selection(calibration, each) for each in manifests)

    def _build_selection(self, calibration: Calibration, manifest: CollectionManifest) -> SelectionRow:
        collection = manifest.collection
        requested = calibration.requested_iov
        # As far as somebody has said which runs are in the files: one run to a file, as a rule.
        known = [collection.files_to_iovs[file] for file in manifest.files if file in collection.files_to_iovs]
        details: dict[str, Any] = {
            "input_files": list(collection.input_files[:_SHOWN_PATTERNS]),
            "more_patterns": max(0, len(collection.input_files) - _SHOWN_PATTERNS),
            "filemaps": list(collection.filemaps),
            "selection": None if collection.selection is None else collection.selection.to_json(),
            "requested_iov": None if requested is None else requested.to_json(),
            "granularity": manifest.granularity,
            "backend": manifest.backend,
            "connection": manifest.connection,
            "resources": manifest.resources.to_json(),
        }
        return SelectionRow(
            **self._ids,
            collection=collection.name,
            files=len(manifest.files),
            subjobs=len(manifest.subjobs),
            runs=tuple(sorted({iov.low for iov in known if iov.low == iov.high})),
            ignored=tuple(calibration.ignored_runs),
            details=details,
        )

    def begin_iteration(self, iteration: int) -> None:
        """Note that a pass begins; what an earlier life of this and later passes left is removed."""
        self.catalog.forget_iterations(**self._ids, first=iteration)
        self.catalog.write([IterationRow(**self._ids, iteration=iteration, started=_now())])

    def end_iteration(self, iteration: int, decision: IterationDecision) -> None:
        """Note what was decided at the end of a pass, and that the next one begins.

        Where none follows, what later passes left in an earlier life is removed.
        """
        known = [row for row in self.catalog.read_iterations(**self._ids) if row.iteration == iteration]
        self.catalog.write(
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
            self.catalog.write([IterationRow(**self._ids, iteration=iteration + 1, started=_now())])
        else:
            self.catalog.forget_iterations(**self._ids, first=iteration + 1)

    def begin_algorithm(self, iteration: int, algorithm: str) -> None:
        """Remove what an earlier try of an algorithm left."""
        self.catalog.forget_algorithm(**self._ids, iteration=iteration, algorithm=algorithm)

    def add_executions(self, iteration: int, algorithm: str, asked: Sequence[Asked], staging: Path) -> None:
        """Write executions that a plan asked for, with the numbers and figures that they handed in.

        :param staging: where the figures lie.
        """
        rows: list[Row] = []
        for each in asked:
            rows += self._build_execution(iteration, algorithm, each, staging)
        self.catalog.write(rows)

    def _build_execution(self, iteration: int, algorithm: str, each: Asked, staging: Path) -> Iterator[Row]:
        execution = each.execution
        yield ExecutionRow(
            **self._ids,
            iteration=iteration,
            algorithm=algorithm,
            key=execution.key,
            runs=execution.runs,
            iov=execution.iov,
            code=execution.code,
            output=execution.output,
            seconds=each.seconds,
            ended=each.ended,
        )
        for number in execution.monitored:
            yield MonitoredRow(
                **self._ids,
                iteration=iteration,
                algorithm=algorithm,
                execution=execution.key,
                name=number.name,
                value=number.value,
                error=number.error,
            )
        for figure in execution.figures:
            path = staging / figure.file
            yield FigureRow(
                **self._ids,
                iteration=iteration,
                algorithm=algorithm,
                execution=execution.key,
                name=figure.name,
                media_type=figure.media_type,
                path=str(path),
                content=path.read_bytes() if path.stat().st_size <= LARGEST_FIGURE else None,
            )

    def add_payloads(self, iteration: int, algorithm: str, committed: Sequence[CommittedPayload]) -> None:
        """Write the payloads that an algorithm's strategy committed."""
        now = _now()
        self.catalog.write(
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

    def add_final(self, entries: Sequence[PayloadEntry], values: Sequence[JsonValue]) -> None:
        """Write the payloads of a step that has neither passes nor algorithms.

        :param values: of each, None where it is not known.
        """
        now = _now()
        rows = [
            PayloadRow(
                **self._ids,
                iteration=0,
                algorithm="",
                name=entry.name,
                iov=entry.iov,
                revision=entry.revision,
                value=value,
                position=position,
                final=True,
                committed=now,
            )
            for position, (entry, value) in enumerate(zip(entries, values, strict=True))
        ]
        self.catalog.forget_iterations(**self._ids)
        self.catalog.write_final_payloads(**self._ids, rows=rows)

    def finish(self, iteration: int) -> None:
        """Mark the payloads of the last pass as the final ones."""
        rows = [row for row in self.catalog.read_payloads(**self._ids) if row.iteration == iteration]
        self.catalog.write_final_payloads(**self._ids, rows=[replace(row, final=True) for row in rows])

    def find_subjob_seconds(self, collection: str) -> float | None:
        """Give the mean run time of the subjobs of a collection in the DAG run that last had some.

        It only decides how many of them share a job: a wrong one costs time, no result.
        """
        for row in self.catalog.read_subjobs_history(self._ids["dag_id"], self._ids["calibration"], collection):
            tries = row.done + row.failed + row.retries
            if row.done and row.run_id != self._ids["run_id"]:
                return row.wall_seconds / tries
        return None

    def add_subjobs(
        self,
        iteration: int,
        collection: str,
        observation: Observation,
        attempts: Sequence[ExitRecord],
        resources: Resources,
    ) -> None:
        """Write how many subjobs of a collection are in which state, what they have used, and which tries failed why.

        :param attempts: the exit records of all tries.
        :param resources: what was asked for.
        """
        counts = count_subjobs(observation.verdicts)
        row = SubjobsRow(
            **self._ids,
            iteration=iteration,
            collection=collection,
            total=len(observation.verdicts),
            queued=sum(counts[status] for status in _WAITING),
            held=counts[SubjobStatus.HELD],
            running=counts[SubjobStatus.RUNNING],
            done=counts[SubjobStatus.DONE],
            failed=sum(counts[status] for status in _OVER),
            retries=max(0, len(attempts) - len({each.subjob for each in attempts})),
            cpu_seconds=sum(each.cpu_seconds for each in attempts),
            wall_seconds=sum(each.seconds for each in attempts),
            peak_memory_kb=max((each.peak_memory_kb for each in attempts), default=0),
            hosts=tuple(sorted({each.host for each in attempts})),
            requested_memory_mb=resources.memory,
            requested_seconds=resources.walltime,
            updated=_now(),
        )
        known = self._failed[iteration, collection]
        failed = {
            (each.subjob, each.attempt): (each, logs)
            for each, logs in self._list_failed(iteration, collection, observation, attempts)
            if (each.subjob, each.attempt) not in known
        }
        logs_left = max(0, _LOGS_OF_A_PASS - len(known))
        logs = [log for each in [*failed.values()][:logs_left] for log in self._build_log(*each)]
        self.catalog.write([row, *(each for each, _ in failed.values()), *logs])
        known.update(failed)

    def _list_failed(
        self, iteration: int, collection: str, observation: Observation, attempts: Sequence[ExitRecord]
    ) -> Iterator[tuple[FailedSubjobRow, list[Path]]]:
        """Give the tries that failed, each with its logs, the most telling first."""
        for each in attempts:
            if not each.says_success:
                logs = [each.folder / name for name in (STDERR_FILE, STDOUT_FILE)]
                yield self._build_failed_try(iteration, collection, each), logs
        for verdict in observation.verdicts.values():
            # Held ones that come free again are no failures; these have left no exit record.
            if verdict.status in _OVER and verdict.record is None:
                yield (
                    self._build_silent_try(iteration, collection, verdict),
                    [] if verdict.log is None else [verdict.log],
                )

    def add_algorithm_log(self, iteration: int, algorithm: str, path: Path) -> None:
        """Write the end of what an algorithm has printed."""
        found = read_end(path, _LOG_BYTES)
        if found is not None:
            text, is_whole = found
            row = LogRow(**self._ids, iteration=iteration, step=algorithm, path=str(path), text=text, is_whole=is_whole)
            self.catalog.write([row])

    def _build_log(self, row: FailedSubjobRow, logs: Sequence[Path]) -> Iterator[LogRow]:
        """Give the end of the first log that says something."""
        for path in logs:
            found = read_end(path, _LOG_BYTES)
            if found is not None:
                yield LogRow(
                    **self._ids,
                    iteration=row.iteration,
                    step=row.collection,
                    subjob=row.subjob,
                    attempt=row.attempt,
                    path=str(path),
                    text=found[0],
                    is_whole=found[1],
                )
                return

    def _build_failed_try(self, iteration: int, collection: str, attempt: ExitRecord) -> FailedSubjobRow:
        return FailedSubjobRow(
            **self._ids,
            iteration=iteration,
            collection=collection,
            subjob=attempt.subjob,
            attempt=attempt.attempt,
            reason=attempt.reason or describe_end(attempt),
            exit_code=attempt.exit_code,
            signal=attempt.signal,
            host=attempt.host,
            log=str(attempt.folder / STDERR_FILE),
            ended=attempt.ended,
        )

    def _build_silent_try(self, iteration: int, collection: str, verdict: Verdict) -> FailedSubjobRow:
        """Give the row of a try that has left no exit record."""
        return FailedSubjobRow(
            **self._ids,
            iteration=iteration,
            collection=collection,
            subjob=verdict.subjob,
            attempt=verdict.attempt or 0,
            reason=verdict.reason or verdict.status.value,
            host=verdict.host,
            log=None if verdict.log is None else str(verdict.log),
        )


def _now() -> datetime:
    return datetime.now(UTC)
