"""The records of a checked definition: what the definitions give and the factory and the operators work with.

They carry what was written, not what it leads to: file patterns, not files; references, not classes. All of
them have a JSON form, and reading it back is strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Union

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.ending import Ending
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import JsonRecord, read_with
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.selection import Selection
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.tolerance import NO_FAILURES, Tolerance

DEFAULT_OUTPUT_PATTERNS = ("CollectorOutput.root",)
DEFAULT_MAX_ITERATIONS = 5
DEFAULT_STRATEGY = "SingleIOV"
DEFAULT_MEMORY_GROWTH: int | None = 2000
DEFAULT_SUBJOB_RETRIES = 3


@record
class CollectionRecord(JsonRecord):
    """One collector with its input files.

    :param collector: reference of a collector class, or None where `command` is given.
    :param command: the argv list of any command that collects, or None.
    :param settings: attributes set on the collector.
    :param input_files: paths, patterns or URIs.
    :param files_to_iovs: the IoV of an input file, where it is known.
    :param splitting: how the files become subjobs.
    :param output_patterns: globs relative to the subjob's folder; each must match a file that is not empty.
    :param granularity: `run` or `all`, or None for the collector's own.
    :param database_chain: looked up before that of the calibration.
    :param backend_args: arguments of the batch system, over those of the calibration.
    :param pre_collector: what runs in the job before: `{"function": reference}` or `{"command": argv}`.
    :param max_subjob_retries: tries of one subjob after its first.
    :param max_failed_subjobs: so many, or such a share, may fail for good, and the calibration goes on without them.
    :param selection: which of the files are used, None for all of them.
    :param filemaps: files that `airflow caf filemap` wrote: further input files with their IoVs.
    :param job_files: files that travel with each job: name in its work folder → path.
    :param merge: False where the outputs stay as they are, for an algorithm that reads them itself.
    """

    noun = "collection"

    name: str
    collector: str | None = None
    command: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    input_files: tuple[str, ...] = ()
    files_to_iovs: Mapping[str, IoV] = field(default_factory=dict)
    splitting: Splitting = Splitting()
    output_patterns: tuple[str, ...] = DEFAULT_OUTPUT_PATTERNS
    granularity: str | None = None
    database_chain: tuple[DatabaseEntry, ...] = ()
    backend_args: Mapping[str, Any] = field(default_factory=dict)
    pre_collector: Mapping[str, Any] | None = None
    max_subjob_retries: int = DEFAULT_SUBJOB_RETRIES
    max_failed_subjobs: Tolerance = NO_FAILURES
    selection: Selection | None = None
    filemaps: tuple[str, ...] = ()
    job_files: Mapping[str, str] = field(default_factory=dict)
    merge: bool = True


@record
class AlgorithmRecord(JsonRecord):
    """One algorithm with its strategy.

    :param algorithm: reference of the algorithm class.
    :param strategy: a built-in name, or the reference of a strategy class.
    :param params: the strategy's parameters in JSON form.
    :param settings: attributes set on the algorithm.
    :param prefix: the collector prefix whose objects it reads, None where there is only one.
    :param pre_algorithm: reference of a function that runs before the first execution of a process.
    :param data_input: reference of a function that chooses the algorithm's input files, None for the merged ones.
    :param workers: how many processes execute at the same time; the result is that of one.
    :param run_ahead: whether executions may begin on the guess that those before them succeed.
    :param cpus: how many threads each process may use.
    :param execution_timeout: of one execution in seconds, None for no limit.
    :param memory_growth: in MB; a process that grew by more is started afresh, None for never.
    :param keep_executions: whether a clear of the task keeps its finished executions.
    :param fill_gaps: whether a payload is extended over runs after it that have none.
    """

    noun = "algorithm"

    name: str
    algorithm: str
    strategy: str = DEFAULT_STRATEGY
    params: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    prefix: str | None = None
    pre_algorithm: str | None = None
    data_input: str | None = None
    workers: int = 1
    run_ahead: bool = True
    cpus: int = 1
    execution_timeout: float | None = None
    memory_growth: int | None = DEFAULT_MEMORY_GROWTH
    keep_executions: bool = False
    fill_gaps: bool = False


@record
class CalibrationRecord(JsonRecord):
    """One calibration: collections, then algorithms in order, repeated until the algorithms are content.

    :param collections: none where its algorithms only work on payloads of the calibrations that it depends on.
    :param max_iterations: at most so many repetitions after the first pass.
    :param ignored_runs: runs that no algorithm sees.
    :param requested_iov: only runs inside it are calibrated.
    :param depends_on: the calibrations whose payloads it needs.
    :param save_payloads: False where its payloads only serve other calibrations.
    :param database_chain: looked up after that of the collection and before that of the CAF.
    :param backend_args: arguments of the batch system for all its collections, over those of the CAF.
    :param backend: its batch system, where that is not the CAF's.
    :param connection: its Airflow connection, where that is not the CAF's.
    """

    noun = "calibration"

    name: str
    collections: tuple[CollectionRecord, ...]
    algorithms: tuple[AlgorithmRecord, ...]
    max_iterations: int = DEFAULT_MAX_ITERATIONS
    ignored_runs: tuple[ExpRun, ...] = ()
    requested_iov: IoV | None = None
    depends_on: tuple[str, ...] = ()
    save_payloads: bool = True
    database_chain: tuple[DatabaseEntry, ...] = ()
    backend_args: Mapping[str, Any] = field(default_factory=dict)
    backend: str | None = None
    connection: str | None = None


@record
class StepRecord(JsonRecord):
    """A member of a CAF that collects nothing: its payloads come from somewhere else.

    :param kind: `imported_payloads`, `external_command`, or `own` for a type of the user's.
    :param type: reference of the user's class for the kind `own`, else None.
    :param options: what the kind needs. `imported_payloads`: `folder`, the local database, and `payloads`, the names to
        take or None for all. `external_command`: `command`, an argv list, `environment`, and `timeout` in seconds or
        None. `own`: the fields of the user's class.
    :param depends_on: the calibrations whose payloads it needs.
    :param save_payloads: False where its payloads only serve other calibrations.
    :param database_chain: looked up before that of the CAF.
    """

    noun = "step"

    name: str
    kind: str
    type: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    save_payloads: bool = True
    database_chain: tuple[DatabaseEntry, ...] = ()


def _read_member(value: Any) -> CalibrationRecord | StepRecord:
    if isinstance(value, Mapping) and "kind" in value:
        return StepRecord.from_json(value)
    return CalibrationRecord.from_json(value)


Member = Annotated[Union[CalibrationRecord, StepRecord], read_with(_read_member)]
"""What a CAF consists of."""


@record
class CafRecord(JsonRecord):
    """Several calibrations that run together.

    :param name: the DAG's id.
    :param calibrations: calibrations, and steps that bring payloads from elsewhere.
    :param backend: the batch system; None: that of the connection, or the local one where there is none.
    :param backend_args: its arguments for all collections.
    :param connection: the Airflow connection whose arguments stand below `backend_args`, or None.
    :param database_chain: the end of every calibration's chain.
    :param job_budget: how many subjobs all collections without a splitting of their own have together; each gets a
        share by its number of files. None: there is no such limit.
    :param ending: what happens when all calibrations have ended.
    """

    noun = "CAF"

    name: str
    calibrations: tuple[Member, ...]
    backend: str | None = None
    backend_args: Mapping[str, Any] = field(default_factory=dict)
    connection: str | None = None
    database_chain: tuple[DatabaseEntry, ...] = ()
    job_budget: int | None = None
    ending: Ending = Ending()

    def map_dependencies(self) -> dict[str, tuple[str, ...]]:
        """Give for each calibration those that it depends on, as `core.graph` takes it."""
        return {calibration.name: calibration.depends_on for calibration in self.calibrations}
