"""The Python classes in which experts write a definition, with the words of the CAF.

They hold what was written; `CAF.build_record` checks all of it at once and gives the record that the factory and
the operators work with. Nothing here touches a file or imports a collector.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from airflow_provider_caf.core.calibration import (
    AlgorithmRecord,
    CafRecord,
    CalibrationRecord,
    CollectionRecord,
    DatabaseEntry,
    check_caf,
)
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.definitions.references import build_reference

_T = TypeVar("_T")

CodeReference = str | type | Callable[..., object]
"""A class or function of the user: itself, or `package.module:Name`, or `/path/to/file.py:Name`."""

FilePath = str | os.PathLike[str]

DEFAULT_COLLECTION = "default"
"""The name of the collection that `Calibration(collector=…, input_files=…)` makes."""


class Collection:
    """One collector with its input files, its splitting into subjobs and its batch arguments.

    :param collector: a `airflow_provider_caf.worker.Collector` subclass, or the argv list of any command.
    :param input_files: paths, globs or URIs; local ones must be absolute.
    :param max_files_per_collector_job: at most so many files in a subjob.
    :param max_collector_jobs: at most so many subjobs, files spread evenly.
    :param arguments: one subjob for each mapping; the collector finds it as `self.arguments`.
    :param max_subjobs: the limit of `arguments`, required with it.
    :param output_patterns: globs relative to the subjob's folder; each must match a file that is not empty.
    :param backend_args: arguments of the batch system, over those of the calibration.
    :param pre_collector: a function, or an argv list, that runs in the job before the collector.
    :param settings: attributes set on the collector.
    :param granularity: `run` or `all`, instead of the collector's own.
    :param files_to_iovs: the IoV of each input file, to leave out files outside the requested IoV.
    """

    def __init__(
        self,
        collector: CodeReference | Sequence[str],
        input_files: FilePath | Iterable[FilePath] = (),
        *,
        max_files_per_collector_job: int | None = None,
        max_collector_jobs: int | None = None,
        arguments: Iterable[Mapping[str, Any]] | None = None,
        max_subjobs: int | None = None,
        output_patterns: Iterable[str] | None = None,
        backend_args: Mapping[str, Any] | None = None,
        pre_collector: CodeReference | Sequence[str] | None = None,
        settings: Mapping[str, Any] | None = None,
        granularity: str | None = None,
        files_to_iovs: Mapping[str, Sequence[int] | str] | None = None,
        database_chain: Iterable[Mapping[str, str]] = (),
    ) -> None:
        self.collector = collector
        self.input_files = [input_files] if isinstance(input_files, (str, os.PathLike)) else list(input_files)
        self.max_files_per_collector_job = max_files_per_collector_job
        self.max_collector_jobs = max_collector_jobs
        self.arguments = None if arguments is None else [dict(each) for each in arguments]
        self.max_subjobs = max_subjobs
        self.output_patterns = None if output_patterns is None else list(output_patterns)
        self.backend_args = dict(backend_args or {})
        self.pre_collector = pre_collector
        self.settings = dict(settings or {})
        self.granularity = granularity
        self.files_to_iovs = dict(files_to_iovs or {})
        self.database_chain = list(database_chain)

    def build_record(self, name: str, calibration: str) -> CollectionRecord:
        """Give the checked record.

        :raises DefinitionError: if something written here cannot be.
        """
        where = f"collection {name!r} of calibration {calibration!r}"
        command, collector = None, None
        if isinstance(self.collector, (list, tuple)):
            command = _read_argv(self.collector, f"command of {where}")
        else:
            collector = build_reference(self.collector, f"collector of {where}")  # type: ignore[arg-type]
        return CollectionRecord(
            name=name,
            collector=collector,
            command=command,
            settings=self.settings,
            input_files=tuple(_read_path(path, where) for path in self.input_files),
            files_to_iovs={
                path: _read_iov(iov, f"files_to_iovs of {where}") for path, iov in self.files_to_iovs.items()
            },
            splitting=self._build_splitting(where),
            output_patterns=_read_output_patterns(self.output_patterns, command, where),
            granularity=self.granularity,
            database_chain=tuple(DatabaseEntry.from_json(entry) for entry in self.database_chain),
            backend_args=self.backend_args,
            pre_collector=_read_pre_collector(self.pre_collector, where),
        )

    def _build_splitting(self, where: str) -> Splitting:
        try:
            return Splitting(
                max_files_per_collector_job=self.max_files_per_collector_job,
                max_collector_jobs=self.max_collector_jobs,
                arguments=None if self.arguments is None else tuple(self.arguments),
                max_subjobs=self.max_subjobs,
            )
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error


class Algorithm:
    """One algorithm with the strategy that runs it over intervals of validity.

    :param algorithm: an `airflow_provider_caf.worker.Algorithm` subclass or its reference.
    :param strategy: the name of a built-in strategy, or a `Strategy` subclass of your own, or its reference.
    :param params: the strategy's parameters. One that it does not know is an error.
    :param settings: attributes set on the algorithm.
    :param name: its name in task ids and folders; the class name by default.
    :param prefix: the prefix of the collector whose objects it reads, where there are several.
    :param pre_algorithm: a function that runs once before the first execution.
    """

    def __init__(
        self,
        algorithm: CodeReference,
        strategy: CodeReference = "SingleIOV",
        params: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
        prefix: str | None = None,
        pre_algorithm: CodeReference | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.strategy = strategy
        self.params = dict(params or {})
        self.settings = dict(settings or {})
        self.name = name
        self.prefix = prefix
        self.pre_algorithm = pre_algorithm

    def build_record(self, calibration: str) -> AlgorithmRecord:
        """Give the checked record.

        :raises DefinitionError: if something written here cannot be.
        """
        where = f"calibration {calibration!r}"
        reference = build_reference(self.algorithm, f"algorithm of {where}")
        strategy = self.strategy
        if not isinstance(strategy, str) or ":" in strategy:
            strategy = build_reference(strategy, f"strategy of {where}")
        return AlgorithmRecord(
            name=self.name or reference.rpartition(":")[2].replace(".", "_"),
            algorithm=reference,
            strategy=strategy,
            params={name: _as_json(value) for name, value in self.params.items()},
            settings=self.settings,
            prefix=self.prefix,
            pre_algorithm=(
                None if self.pre_algorithm is None else build_reference(self.pre_algorithm, f"pre_algorithm of {where}")
            ),
        )


class Calibration:
    """One calibration: collections, then algorithms, repeated until the algorithms are content.

    :param name: letters, digits, `_` and `-`; it stands in task ids and folders.
    :param collector: the collector of a collection named `default`; with `input_files` the short form of `collections`.
    :param algorithms: in the order in which they run; a class or reference stands for `Algorithm(…)`.
    :param collections: name → collection.
    :param max_iterations: at most so many repetitions after the first pass; 0 for one pass only.
    :param ignored_runs: runs that no algorithm sees, as `(exp, run)` or `"exp.run"`.
    :param requested_iov: only runs inside it are calibrated.
    :param depends_on: calibrations, or their names, whose payloads this one needs.
    :param save_payloads: False where the payloads only serve other calibrations of this CAF.
    :param database_chain: `{"kind": "local", "value": folder}` or `{"kind": "global_tag", "value": name}`; the first
        that has a payload wins.
    :param backend_args: arguments of the batch system for all its collections, over those of the CAF.
    """

    def __init__(
        self,
        name: str,
        collector: CodeReference | Sequence[str] | None = None,
        algorithms: CodeReference | Algorithm | Iterable[CodeReference | Algorithm] = (),
        input_files: FilePath | Iterable[FilePath] = (),
        *,
        collections: Mapping[str, Collection] | None = None,
        max_iterations: int | None = None,
        ignored_runs: Iterable[Sequence[int] | str] = (),
        requested_iov: Sequence[int] | str | None = None,
        depends_on: Iterable[Calibration | str] = (),
        save_payloads: bool = True,
        database_chain: Iterable[Mapping[str, str]] = (),
        backend_args: Mapping[str, Any] | None = None,
        max_files_per_collector_job: int | None = None,
        max_collector_jobs: int | None = None,
        output_patterns: Iterable[str] | None = None,
        pre_collector: CodeReference | Sequence[str] | None = None,
    ) -> None:
        self.name = name
        self.collections: dict[str, Collection] = {}
        self.algorithms = _read_algorithms(algorithms)
        self.max_iterations = max_iterations
        self.ignored_runs = [_read_run(run, f"ignored_runs of calibration {name!r}") for run in ignored_runs]
        self.requested_iov = (
            None if requested_iov is None else _read_iov(requested_iov, f"requested_iov of calibration {name!r}")
        )
        self.dependencies = list(depends_on)
        self.save_payloads = save_payloads
        self.database_chain = list(database_chain)
        self.backend_args = dict(backend_args or {})
        short_form = {
            "input_files": input_files or None,
            "max_files_per_collector_job": max_files_per_collector_job,
            "max_collector_jobs": max_collector_jobs,
            "output_patterns": output_patterns,
            "pre_collector": pre_collector,
        }
        given = {word: value for word, value in short_form.items() if value is not None}
        if collector is not None:
            self.add_collection(DEFAULT_COLLECTION, Collection(collector, **given))  # type: ignore[arg-type]
        elif given:
            raise DefinitionError(
                f"Calibration {name!r} has {', '.join(sorted(given))} but no collector.",
                hint="Give `collector` too, or put them on the Collection objects in `collections`.",
            )
        if collections is not None and not isinstance(collections, Mapping):
            raise DefinitionError(
                f"The collections of calibration {name!r} are {collections!r}.",
                hint="Write a mapping of names to Collection objects, as in {'muons': Collection(…)}.",
            )
        for each, collection in (collections or {}).items():
            self.add_collection(each, collection)

    def add_collection(self, name: str, collection: Collection) -> None:
        """Add a named collection.

        :raises DefinitionError: if the name is taken.
        """
        if name in self.collections:
            raise DefinitionError(
                f"Calibration {self.name!r} has two collections named {name!r}.", hint="Rename one of them."
            )
        self.collections[name] = collection

    def depends_on(self, calibration: Calibration | str) -> None:
        """Say that this calibration needs the payloads of another."""
        self.dependencies.append(calibration)

    def build_record(self, default_max_iterations: int) -> CalibrationRecord:
        """Give the checked record.

        :raises DefinitionError: if something written here cannot be.
        """
        what = f"calibration {self.name!r}"
        collections = _build_all(
            (partial(each.build_record, name, self.name) for name, each in self.collections.items()), what
        )
        algorithms = _build_all((partial(each.build_record, self.name) for each in self.algorithms), what)
        return CalibrationRecord(
            name=self.name,
            collections=collections,
            algorithms=algorithms,
            max_iterations=default_max_iterations if self.max_iterations is None else self.max_iterations,
            ignored_runs=tuple(self.ignored_runs),
            requested_iov=self.requested_iov,
            depends_on=tuple(other.name if isinstance(other, Calibration) else other for other in self.dependencies),
            save_payloads=self.save_payloads,
            database_chain=tuple(DatabaseEntry.from_json(entry) for entry in self.database_chain),
            backend_args=self.backend_args,
        )


class CAF:
    """Several calibrations that run together as one DAG.

    :param name: the DAG's id.
    :param backend: `local`, `htcondor`, `slurm`, `pbs` or `lsf`.
    :param backend_args: arguments of the batch system for all calibrations.
    :param connection: an Airflow connection of type `caf_batch` whose arguments stand below those given here.
    :param max_iterations: the default of its calibrations.
    :param database_chain: the end of every calibration's database chain, first hit wins.
    """

    def __init__(
        self,
        name: str,
        calibrations: Calibration | Iterable[Calibration] = (),
        *,
        backend: str = "local",
        backend_args: Mapping[str, Any] | None = None,
        connection: str | None = None,
        max_iterations: int = 5,
        database_chain: Iterable[Mapping[str, str]] = (),
    ) -> None:
        self.name = name
        self.calibrations = [calibrations] if isinstance(calibrations, Calibration) else list(calibrations)
        self.backend = backend
        self.backend_args = dict(backend_args or {})
        self.connection = connection
        self.max_iterations = max_iterations
        self.database_chain = list(database_chain)

    def add_calibration(self, calibration: Calibration) -> None:
        """Add a calibration. Its name is checked against the others when the record is built."""
        self.calibrations.append(calibration)

    def build_record(self) -> CafRecord:
        """Give the checked record of the whole.

        :raises DefinitionError: with every mistake found.
        """
        record = CafRecord(
            name=self.name,
            calibrations=_build_all(
                (partial(each.build_record, self.max_iterations) for each in self.calibrations), f"CAF {self.name!r}"
            ),
            backend=self.backend,
            backend_args=self.backend_args,
            connection=self.connection,
            database_chain=tuple(DatabaseEntry.from_json(entry) for entry in self.database_chain),
        )
        check_caf(record)
        return record


def _build_all(builders: Iterable[Callable[[], _T]], what: str) -> tuple[_T, ...]:
    """Build every record, and refuse all that cannot be built at once.

    :raises DefinitionError: with every mistake found.
    """
    records: list[_T] = []
    mistakes: list[DefinitionError] = []
    for build in builders:
        try:
            records.append(build())
        except DefinitionError as error:
            mistakes += error.causes or (error,)
    if mistakes:
        raise join_definition_errors(mistakes, what)
    return tuple(records)


def _read_algorithms(
    given: CodeReference | Algorithm | Iterable[CodeReference | Algorithm],
) -> list[Algorithm]:
    several = [given] if isinstance(given, (str, type, Algorithm)) or callable(given) else list(given)
    return [each if isinstance(each, Algorithm) else Algorithm(each) for each in several]


def _read_argv(argv: Sequence[str], what: str) -> tuple[str, ...]:
    if not argv or not all(isinstance(word, str) and word for word in argv):
        raise DefinitionError(
            f"The {what} is {list(argv)!r}.",
            hint="Write a list of words, each a string that is not empty, as in ['python3', 'collect.py'].",
        )
    return tuple(argv)


def _read_run(value: Sequence[int] | str, where: str) -> ExpRun:
    try:
        return ExpRun.parse(value) if isinstance(value, str) else ExpRun.from_json(value)
    except DefinitionError as error:
        raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error


def _read_iov(value: Sequence[int] | str, where: str) -> IoV:
    try:
        return IoV.parse(value) if isinstance(value, str) else IoV.from_json(value)
    except DefinitionError as error:
        raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error


def _read_path(path: FilePath, where: str) -> str:
    path = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(path, str) or (not path.startswith(("/", "{{")) and "://" not in path):
        raise DefinitionError(
            f"The input file {path!r} of {where} is not absolute.",
            hint="Tasks run in folders of their own. Write a path that begins with '/', or a URI such as root://….",
        )
    return path


def _read_output_patterns(patterns: Sequence[str] | None, command: Sequence[str] | None, where: str) -> tuple[str, ...]:
    if patterns is None:
        return ("CollectorOutput.root",)
    for pattern in patterns:
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            raise DefinitionError(
                f"The output pattern {pattern!r} of {where} leaves the subjob's folder.",
                hint="Write a path or glob relative to the folder in which the collector runs.",
            )
    return tuple(patterns)


def _read_pre_collector(value: CodeReference | Sequence[str] | None, where: str) -> dict[str, Any] | None:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return {"command": list(_read_argv(value, f"pre_collector of {where}"))}
    return {"function": build_reference(value, f"pre_collector of {where}")}  # type: ignore[arg-type]


def _as_json(value: Any) -> Any:
    if isinstance(value, (ExpRun, IoV)):
        return value.to_json()
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return value
