"""What a DAG run leaves in the catalog, written by the steps as they go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.file_names import STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.core.iteration import IterationAction, IterationDecision
from airflow_provider_caf.core.payloads import PayloadEntry
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.strategies.base import Commit
from airflow_provider_caf.core.strategies.drive import build_entries
from airflow_provider_caf.core.tails import read_end
from airflow_provider_caf.definitions.calibration import Calibration
from airflow_provider_caf.execution.executions import FinishedExecution
from airflow_provider_caf.io.catalog import (
    Catalog,
    CatalogJournal,
    ExecutionRow,
    FailedSubjobRow,
    FigureRow,
    IterationRow,
    JsonValue,
    LogRow,
    MonitoredRow,
    OfRun,
    PayloadRow,
    SelectionRow,
    SubjobsRow,
)
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.subjobs import count_subjobs, describe_end
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
    """List the lines that commits make, in their order."""
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


class CalibrationResults:
    """Write the results of one calibration in one DAG run.

    :param catalog: where to; a journal in a task, which must not fail for the catalog.
    """

    def __init__(self, catalog: CatalogJournal | Catalog, dag_id: str, run_id: str, calibration: str) -> None:
        self.catalog = catalog
        self._ids: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "calibration": calibration}
        self._failed: defaultdict[tuple[int, str], set[tuple[int, int]]] = defaultdict(set)

    def add_selections(self, calibration: Calibration, manifests: Sequence[CollectionManifest]) -> None:
        """Write what the collections of a calibration take as their input."""
        self.catalog.write(self._build_selection(calibration, manifest) for manifest in manifests)

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
        decided, reason = decision.action.value, decision.reason
        row = IterationRow(**self._ids, iteration=iteration, decision=decided, reason=reason, ended=_now())
        self.catalog.end_iteration([row])
        if decision.action is IterationAction.ITERATE:
            self.catalog.write([IterationRow(**self._ids, iteration=iteration + 1, started=_now())])
        else:
            self.catalog.forget_iterations(**self._ids, first=iteration + 1)

    def begin_algorithm(self, iteration: int, algorithm: str) -> None:
        """Remove what an earlier try of an algorithm left."""
        self.catalog.forget_algorithm(**self._ids, iteration=iteration, algorithm=algorithm)

    def add_executions(
        self, iteration: int, algorithm: str, executions: Sequence[FinishedExecution], staging: Path
    ) -> None:
        """Write executions that a plan asked for, with the numbers and figures that they handed in.

        :param staging: where the figures lie.
        """
        place = {**self._ids, "iteration": iteration, "algorithm": algorithm}
        self.catalog.write(row for execution in executions for row in _build_execution(place, execution, staging))

    def add_payloads(self, iteration: int, algorithm: str, committed: Sequence[CommittedPayload]) -> None:
        """Write the payloads that an algorithm's strategy committed."""
        place = {**self._ids, "iteration": iteration, "algorithm": algorithm, "committed": _now()}
        self.catalog.write(
            _build_payload(place, position, payload.entry, payload.value, execution=payload.execution)
            for position, payload in enumerate(committed)
        )

    def add_final(self, entries: Sequence[PayloadEntry], values: Sequence[JsonValue]) -> None:
        """Write the payloads of a step that has neither passes nor algorithms.

        :param values: of each, None where it is not known.
        """
        place = {**self._ids, "iteration": 0, "algorithm": "", "committed": _now()}
        rows = [
            _build_payload(place, position, entry, value, final=True)
            for position, (entry, value) in enumerate(zip(entries, values, strict=True))
        ]
        self.catalog.forget_iterations(**self._ids)
        self.catalog.write_final_payloads(**self._ids, rows=rows)

    def finish(self, iteration: int) -> None:
        """Mark the payloads of the last pass as the final ones."""
        self.catalog.mark_final_payloads(**self._ids, iteration=iteration)

    def find_subjob_seconds(self, collection: str) -> float | None:
        """Return the mean run time in seconds of the subjobs of a collection in the DAG run that last had some.

        It only decides how many of them share a job: a wrong one costs time, no result.
        """
        own = {**self._ids, "run_id": None}
        for row in self.catalog.read(SubjobsRow, **own, collection=collection, newest_by="updated", limit=20):
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
        :param resources: what is asked for where nothing was submitted.
        """
        counts = count_subjobs(observation.verdicts)
        # A retry may have asked for more than the definition does.
        requested = [submitted.array.resources for submitted in observation.arrays] or [resources]
        place = {**self._ids, "iteration": iteration, "collection": collection}
        row = SubjobsRow(
            **place,
            total=len(observation.verdicts),
            queued=sum(counts[status] for status in _WAITING),
            held=counts[SubjobStatus.HELD],
            running=counts[SubjobStatus.RUNNING],
            done=counts[SubjobStatus.DONE],
            failed=sum(counts[status] for status in _OVER),
            retries=max(0, len(attempts) - len({attempt.subjob for attempt in attempts})),
            cpu_seconds=sum(attempt.cpu_seconds for attempt in attempts),
            wall_seconds=sum(attempt.seconds for attempt in attempts),
            peak_memory_kb=max((attempt.peak_memory_kb for attempt in attempts), default=0),
            hosts=tuple(sorted({attempt.host for attempt in attempts})),
            requested_memory_mb=max((one.memory for one in requested if one.memory is not None), default=None),
            requested_seconds=max((one.walltime for one in requested if one.walltime is not None), default=None),
            updated=_now(),
        )
        known = self._failed[iteration, collection]
        failed = {
            (attempt.subjob, attempt.attempt): (attempt, logs)
            for attempt, logs in _list_failed(place, observation, attempts)
            if (attempt.subjob, attempt.attempt) not in known
        }
        logs_left = max(0, _LOGS_OF_A_PASS - len(known))
        at = {**self._ids, "iteration": iteration, "step": collection}
        logs = [
            log
            for attempt, paths in [*failed.values()][:logs_left]
            for log in _build_log(paths, **at, subjob=attempt.subjob, attempt=attempt.attempt)
        ]
        self.catalog.write([row, *(attempt for attempt, _ in failed.values()), *logs])
        known.update(failed)

    def add_algorithm_log(self, iteration: int, algorithm: str, path: Path) -> None:
        """Write the end of what an algorithm has printed; where that is nothing, that it is nothing."""
        place = {**self._ids, "iteration": iteration, "step": algorithm}
        nothing = LogRow(**place, path=str(path), text="(It has printed nothing.)\n", is_whole=True)
        self.catalog.write([*_build_log([path], **place)] or [nothing])


def _build_execution(place: Mapping[str, Any], finished: FinishedExecution, staging: Path) -> Iterator[OfRun]:
    """Yield the rows of an execution, of its numbers and of its figures."""
    execution = finished.execution
    yield ExecutionRow(
        **place,
        key=execution.key,
        runs=execution.runs,
        iov=execution.iov,
        code=execution.code,
        output=execution.output,
        seconds=finished.seconds,
        ended=datetime.fromisoformat(finished.ended),
    )
    for number in execution.monitored:
        yield MonitoredRow(**place, execution=execution.key, name=number.name, value=number.value, error=number.error)
    for figure in execution.figures:
        path = staging / figure.file
        yield FigureRow(
            **place,
            execution=execution.key,
            name=figure.name,
            media_type=figure.media_type,
            path=str(path),
            content=path.read_bytes() if path.stat().st_size <= LARGEST_FIGURE else None,
        )


def _build_payload(
    place: Mapping[str, Any], position: int, entry: PayloadEntry, value: JsonValue, **words: Any
) -> PayloadRow:
    return PayloadRow(
        **place, name=entry.name, iov=entry.iov, revision=entry.revision, value=value, position=position, **words
    )


def _list_failed(
    place: Mapping[str, Any], observation: Observation, attempts: Sequence[ExitRecord]
) -> Iterator[tuple[FailedSubjobRow, list[Path]]]:
    """Yield the attempts that failed, each with its logs, the most telling one first."""
    # A verdict holds also what the batch system and our notes tell of the newest attempt.
    verdicts = observation.verdicts.values()
    reasons = {
        (verdict.subjob, verdict.record.label): verdict.reason for verdict in verdicts if verdict.record is not None
    }
    for attempt in attempts:
        if not attempt.says_success:
            failed = FailedSubjobRow(
                **place,
                subjob=attempt.subjob,
                attempt=attempt.attempt,
                reason=reasons.get((attempt.subjob, attempt.label)) or attempt.reason or describe_end(attempt),
                exit_code=attempt.exit_code,
                signal=attempt.signal,
                host=attempt.host,
                log=str(attempt.folder / STDERR_FILE),
                ended=attempt.ended,
            )
            yield failed, [attempt.folder / name for name in (STDERR_FILE, STDOUT_FILE)]
    for verdict in verdicts:
        # Held ones that come free again are no failures; these have left no exit record.
        if verdict.status in _OVER and verdict.record is None:
            silent = FailedSubjobRow(
                **place,
                subjob=verdict.subjob,
                attempt=verdict.attempt or 0,
                reason=verdict.reason or verdict.status.value,
                host=verdict.host,
                log=None if verdict.log is None else str(verdict.log),
            )
            yield silent, [] if verdict.log is None else [verdict.log]


def _build_log(paths: Sequence[Path], **place: Any) -> Iterator[LogRow]:
    """Yield the end of the first log that holds something."""
    for path in paths:
        found = read_end(path, _LOG_BYTES)
        if found is not None:
            yield LogRow(**place, path=str(path), text=found[0], is_whole=found[1])
            return


def _now() -> datetime:
    return datetime.now(UTC)
