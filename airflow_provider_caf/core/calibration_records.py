"""The records of a checked definition: what the definitions give and the factory and the operators work with.

They carry what was written, not what it leads to: file patterns, not files; references, not classes. All of
them have a JSON form, and reading it back is strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Union

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.ending import Ending
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import (
    ObjectReader,
    build_json,
    normalise_json,
    read_flag,
    read_list,
    read_number,
    read_object,
    read_optional,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.selection import Selection
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.tolerance import NO_FAILURES, Tolerance, read_tolerance

DEFAULT_OUTPUT_PATTERNS = ("CollectorOutput.root",)
DEFAULT_MAX_ITERATIONS = 5
DEFAULT_STRATEGY = "SingleIOV"
DEFAULT_MEMORY_GROWTH: int | None = 2000
DEFAULT_SUBJOB_RETRIES = 3

_TEXTS = read_list(read_text)
_DATABASE_CHAIN = read_list(read_with(DatabaseEntry.from_json))
_OPTIONAL_TEXT = read_optional(read_text)


@record
class CollectionRecord:
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

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads.

        :raises DefinitionError: if a setting has no JSON form.
        """
        where = f"of collection {self.name!r}"
        return {
            "name": self.name,
            "collector": self.collector,
            "command": None if self.command is None else list(self.command),
            "settings": normalise_json(self.settings, f"settings {where}"),
            "input_files": list(self.input_files),
            "files_to_iovs": {path: iov.to_json() for path, iov in self.files_to_iovs.items()},
            "splitting": self.splitting.to_json(),
            "output_patterns": list(self.output_patterns),
            "granularity": self.granularity,
            "database_chain": build_json(self.database_chain),
            "backend_args": normalise_json(self.backend_args, f"backend_args {where}"),
            "pre_collector": normalise_json(self.pre_collector, f"pre_collector {where}"),
            "max_subjob_retries": self.max_subjob_retries,
            "max_failed_subjobs": self.max_failed_subjobs,
            "selection": None if self.selection is None else self.selection.to_json(),
            "filemaps": list(self.filemaps),
            "job_files": dict(self.job_files),
            "merge": self.merge,
        }

    @classmethod
    def from_json(cls, value: Any) -> CollectionRecord:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, _name_place("collection", value))
        collection = cls(
            name=reader.take("name", read_text),
            collector=reader.take_or("collector", _OPTIONAL_TEXT, None),
            command=reader.take_or("command", read_optional(_TEXTS), None),
            settings=reader.take_or("settings", read_object, {}),
            input_files=reader.take_or("input_files", _TEXTS, ()),
            files_to_iovs=reader.take_or("files_to_iovs", _read_files_to_iovs, {}),
            splitting=reader.take_or("splitting", read_with(Splitting.from_json), Splitting()),
            output_patterns=reader.take_or("output_patterns", _TEXTS, DEFAULT_OUTPUT_PATTERNS),
            granularity=reader.take_or("granularity", _OPTIONAL_TEXT, None),
            database_chain=reader.take_or("database_chain", _DATABASE_CHAIN, ()),
            backend_args=reader.take_or("backend_args", read_object, {}),
            pre_collector=reader.take_or("pre_collector", read_optional(read_object), None),
            max_subjob_retries=reader.take_or("max_subjob_retries", read_whole_number, DEFAULT_SUBJOB_RETRIES),
            max_failed_subjobs=reader.take_or("max_failed_subjobs", read_tolerance, NO_FAILURES),
            selection=reader.take_or("selection", read_optional(read_with(Selection.from_json)), None),
            filemaps=reader.take_or("filemaps", _TEXTS, ()),
            job_files=reader.take_or("job_files", read_object, {}),
            merge=reader.take_or("merge", read_flag, True),
        )
        reader.finish()
        return collection


@record
class AlgorithmRecord:
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

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads.

        :raises DefinitionError: if a parameter or setting has no JSON form.
        """
        where = f"of algorithm {self.name!r}"
        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "strategy": self.strategy,
            "params": normalise_json(self.params, f"params {where}"),
            "settings": normalise_json(self.settings, f"settings {where}"),
            "prefix": self.prefix,
            "pre_algorithm": self.pre_algorithm,
            "data_input": self.data_input,
            "workers": self.workers,
            "run_ahead": self.run_ahead,
            "cpus": self.cpus,
            "execution_timeout": self.execution_timeout,
            "memory_growth": self.memory_growth,
            "keep_executions": self.keep_executions,
            "fill_gaps": self.fill_gaps,
        }

    @classmethod
    def from_json(cls, value: Any) -> AlgorithmRecord:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, _name_place("algorithm", value))
        algorithm = cls(
            name=reader.take("name", read_text),
            algorithm=reader.take("algorithm", read_text),
            strategy=reader.take_or("strategy", read_text, DEFAULT_STRATEGY),
            params=reader.take_or("params", read_object, {}),
            settings=reader.take_or("settings", read_object, {}),
            prefix=reader.take_or("prefix", _OPTIONAL_TEXT, None),
            pre_algorithm=reader.take_or("pre_algorithm", _OPTIONAL_TEXT, None),
            data_input=reader.take_or("data_input", _OPTIONAL_TEXT, None),
            workers=reader.take_or("workers", read_whole_number, 1),
            run_ahead=reader.take_or("run_ahead", read_flag, True),
            cpus=reader.take_or("cpus", read_whole_number, 1),
            execution_timeout=reader.take_or("execution_timeout", read_optional(read_number), None),
            memory_growth=reader.take_or("memory_growth", read_optional(read_whole_number), DEFAULT_MEMORY_GROWTH),
            keep_executions=reader.take_or("keep_executions", read_flag, False),
            fill_gaps=reader.take_or("fill_gaps", read_flag, False),
        )
        reader.finish()
        return algorithm


@record
class CalibrationRecord:
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

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads.

        :raises DefinitionError: if a setting has no JSON form.
        """
        return {
            "name": self.name,
            "collections": build_json(self.collections),
            "algorithms": build_json(self.algorithms),
            "max_iterations": self.max_iterations,
            "ignored_runs": build_json(self.ignored_runs),
            "requested_iov": None if self.requested_iov is None else self.requested_iov.to_json(),
            "depends_on": list(self.depends_on),
            "save_payloads": self.save_payloads,
            "database_chain": build_json(self.database_chain),
            "backend_args": normalise_json(self.backend_args, f"backend_args of calibration {self.name!r}"),
            "backend": self.backend,
            "connection": self.connection,
        }

    @classmethod
    def from_json(cls, value: Any) -> CalibrationRecord:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, _name_place("calibration", value))
        calibration = cls(
            name=reader.take("name", read_text),
            collections=reader.take("collections", read_list(read_with(CollectionRecord.from_json))),
            algorithms=reader.take("algorithms", read_list(read_with(AlgorithmRecord.from_json))),
            max_iterations=reader.take_or("max_iterations", read_whole_number, DEFAULT_MAX_ITERATIONS),
            ignored_runs=reader.take_or("ignored_runs", read_list(read_with(ExpRun.from_json)), ()),
            requested_iov=reader.take_or("requested_iov", read_optional(read_with(IoV.from_json)), None),
            depends_on=reader.take_or("depends_on", _TEXTS, ()),
            save_payloads=reader.take_or("save_payloads", read_flag, True),
            database_chain=reader.take_or("database_chain", _DATABASE_CHAIN, ()),
            backend_args=reader.take_or("backend_args", read_object, {}),
            backend=reader.take_or("backend", _OPTIONAL_TEXT, None),
            connection=reader.take_or("connection", _OPTIONAL_TEXT, None),
        )
        reader.finish()
        return calibration


@record
class StepRecord:
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

    name: str
    kind: str
    type: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    save_payloads: bool = True
    database_chain: tuple[DatabaseEntry, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads.

        :raises DefinitionError: if an option has no JSON form.
        """
        return {
            "name": self.name,
            "kind": self.kind,
            "type": self.type,
            "options": normalise_json(self.options, f"options of {self.name!r}"),
            "depends_on": list(self.depends_on),
            "save_payloads": self.save_payloads,
            "database_chain": build_json(self.database_chain),
        }

    @classmethod
    def from_json(cls, value: Any) -> StepRecord:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, _name_place("step", value))
        step = cls(
            name=reader.take("name", read_text),
            kind=reader.take("kind", read_text),
            type=reader.take_or("type", _OPTIONAL_TEXT, None),
            options=reader.take_or("options", read_object, {}),
            depends_on=reader.take_or("depends_on", _TEXTS, ()),
            save_payloads=reader.take_or("save_payloads", read_flag, True),
            database_chain=reader.take_or("database_chain", _DATABASE_CHAIN, ()),
        )
        reader.finish()
        return step


Member = Union[CalibrationRecord, StepRecord]
"""What a CAF consists of."""


@record
class CafRecord:
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

    name: str
    calibrations: tuple[Member, ...]
    backend: str | None = None
    backend_args: Mapping[str, Any] = field(default_factory=dict)
    connection: str | None = None
    database_chain: tuple[DatabaseEntry, ...] = ()
    job_budget: int | None = None
    ending: Ending = Ending()

    def to_json(self) -> dict[str, Any]:
        """Give the form that `from_json` reads.

        :raises DefinitionError: if a setting has no JSON form.
        """
        return {
            "name": self.name,
            "calibrations": build_json(self.calibrations),
            "backend": self.backend,
            "backend_args": normalise_json(self.backend_args, f"backend_args of CAF {self.name!r}"),
            "connection": self.connection,
            "database_chain": build_json(self.database_chain),
            "job_budget": self.job_budget,
            "ending": self.ending.to_json(),
        }

    @classmethod
    def from_json(cls, value: Any) -> CafRecord:
        """Read what `to_json` gave.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, _name_place("CAF", value))
        caf = cls(
            name=reader.take("name", read_text),
            calibrations=reader.take("calibrations", read_list(read_with(_read_member))),
            backend=reader.take_or("backend", _OPTIONAL_TEXT, None),
            backend_args=reader.take_or("backend_args", read_object, {}),
            connection=reader.take_or("connection", _OPTIONAL_TEXT, None),
            database_chain=reader.take_or("database_chain", _DATABASE_CHAIN, ()),
            job_budget=reader.take_or("job_budget", read_optional(read_whole_number), None),
            ending=reader.take_or("ending", read_with(Ending.from_json), Ending()),
        )
        reader.finish()
        return caf

    def map_dependencies(self) -> dict[str, tuple[str, ...]]:
        """Give for each calibration those that it depends on, as `core.graph` takes it."""
        return {calibration.name: calibration.depends_on for calibration in self.calibrations}


def _read_files_to_iovs(value: Any, where: str) -> dict[str, IoV]:
    return {
        path: read_with(IoV.from_json)(iov, f"{path!r} of {where}") for path, iov in read_object(value, where).items()
    }


def _read_member(value: Any) -> Member:
    if isinstance(value, Mapping) and "kind" in value:
        return StepRecord.from_json(value)
    return CalibrationRecord.from_json(value)


def _name_place(kind: str, value: Any) -> str:
    name = value.get("name") if isinstance(value, Mapping) else None
    return f"{kind} {name!r}" if isinstance(name, str) else kind
