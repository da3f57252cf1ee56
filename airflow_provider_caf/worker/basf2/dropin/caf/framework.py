"""Calibrations, collections and algorithms, as scripts build them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from glob import glob
from pathlib import Path
from typing import Any

from airflow_provider_caf.worker.basf2.dropin.caf import backends, runners, strategies
from airflow_provider_caf.worker.basf2.dropin.caf.splitters import (
    MaxFilesSplitter,
    MaxSubjobsSplitter,
    SplitterLimit,
    SubjobSplitter,
)
from airflow_provider_caf.worker.basf2.dropin.caf.utils import (
    CentralDatabase,
    ExpRun,
    IoV,
    LocalDatabase,
    parse_file_uri,
)
from airflow_provider_caf.worker.basf2.dropin.warn import warn

__all__ = ["CAF", "Algorithm", "Calibration", "CalibrationBase", "Collection"]


class _HasDatabases:
    """An owner of a database chain; the entry that was added last counts first."""

    database_chain: list[Any]

    def _list_chains(self, apply_to_default_collection: bool) -> list[list[Any]]:
        return [self.database_chain]

    def reset_database(self, apply_to_default_collection: bool = True) -> None:
        """Forget the database chain."""
        for chain in self._list_chains(apply_to_default_collection):
            chain.clear()

    def use_central_database(self, global_tag: str, apply_to_default_collection: bool = True) -> None:
        """Look first at a global tag."""
        for chain in self._list_chains(apply_to_default_collection):
            chain.append(CentralDatabase(global_tag))

    def use_local_database(self, filename: str, directory: str = "", apply_to_default_collection: bool = True) -> None:
        """Look first at a local database.

        :param filename: its `database.txt`.
        :param directory: of its payloads, if not that of the file.
        """
        for chain in self._list_chains(apply_to_default_collection):
            chain.append(LocalDatabase(filename, directory))


def _build_default_chain() -> list[Any]:
    try:
        from basf2 import conditions
    except ImportError:
        return []
    return [CentralDatabase(tag) for tag in reversed(list(conditions.default_globaltags))]


class Collection(_HasDatabases):
    """A collector with its input files.

    :param collector: a module, or the name of one.
    :param input_files: paths, globs or URIs.
    :param pre_collector_path: the path before the collector.
    :param database_chain: None: the default global tags.
    :param output_patterns: globs of the files that the collector leaves.
    :param max_files_per_collector_job: files in a subjob, at most.
    :param max_collector_jobs: subjobs, at most. Not with the one before.
    :param backend_args: arguments of the batch system.
    :raises ValueError: if both limits are given.
    """

    default_max_collector_jobs = 1000
    job_config = "collector_job.json"

    def __init__(
        self,
        collector: Any = None,
        input_files: Any = None,
        pre_collector_path: Any = None,
        database_chain: Iterable[Any] | None = None,
        output_patterns: Iterable[str] | None = None,
        max_files_per_collector_job: int | None = None,
        max_collector_jobs: int | None = None,
        backend_args: Mapping[str, Any] | None = None,
    ) -> None:
        if max_files_per_collector_job and max_collector_jobs:
            raise ValueError("A collection has max_files_per_collector_job and max_collector_jobs: give one of them.")
        self._collector: Any = None
        self._input_files: list[str] = []
        self.collector = collector
        self.input_files = input_files or []
        self.files_to_iovs: dict[str, IoV] = {}
        self.pre_collector_path = pre_collector_path
        self.output_patterns = list(output_patterns or ["CollectorOutput.root"])
        self.splitter: SubjobSplitter | None = None
        if max_files_per_collector_job:
            self.max_files_per_collector_job = max_files_per_collector_job
        else:
            self.max_collector_jobs = max_collector_jobs or self.default_max_collector_jobs
        self.backend_args = dict(backend_args or {})
        self.database_chain = list(database_chain) if database_chain else _build_default_chain()
        self.job_script = Path("steering.py")
        self.job_cmd = ["basf2", "steering.py"]

    @staticmethod
    def uri_list_from_input_file(input_file: str) -> list[str]:
        """Return the files that a path or glob names, absolute; a URI stays as it is."""
        uri = parse_file_uri(input_file)
        if uri.scheme != "file":
            return [input_file]
        pattern = str(Path(uri.path).absolute())
        # As the reference does it; a name that matches nothing stays, and is an error when the job is prepared.
        return sorted(glob(pattern)) or [pattern]  # noqa: PTH207

    @property
    def input_files(self) -> list[str]:
        """The input files."""
        return self._input_files

    @input_files.setter
    def input_files(self, value: Any) -> None:
        if isinstance(value, Mapping) or not isinstance(value, (str, list, tuple)):
            raise TypeError(f"Input files are a list of texts, not a {type(value).__name__}.")
        names = [value] if isinstance(value, str) else list(value)
        self._input_files = [file for name in names for file in self.uri_list_from_input_file(name)]

    @property
    def collector(self) -> Any:
        """The collector module."""
        return self._collector

    @collector.setter
    def collector(self, collector: Any) -> None:
        if collector is not None:
            import basf2

            collector = basf2.register_module(collector) if isinstance(collector, str) else collector
            if not isinstance(collector, basf2.Module):
                raise TypeError(f"A collector is a module or the name of one, not a {type(collector).__name__}.")
        self._collector = collector

    def is_valid(self) -> bool:
        """Return whether it has a collector and input files."""
        return bool(self.collector and self.input_files)

    max_collector_jobs = SplitterLimit(MaxSubjobsSplitter, "max_subjobs", None)
    max_files_per_collector_job = SplitterLimit(MaxFilesSplitter, "max_files_per_subjob", None)


class CalibrationBase(ABC):
    """A calibration by its name, dependencies and payloads."""

    end_state = "completed"
    fail_state = "failed"
    input_files: Any
    files_to_iovs: Any

    def __init__(self, name: str, input_files: Any = None) -> None:
        self.name = name
        self.future_dependencies: list[CalibrationBase] = []
        self.dependencies: list[CalibrationBase] = []
        self.iov: IoV | None = None
        self.output_database_dir = ""
        self.save_payloads = True
        self.jobs_to_submit: list[Any] = []
        self.state = "init"
        # One with collections has them there.
        if not hasattr(self, "input_files"):
            self.input_files = input_files or []
            self.files_to_iovs = {}

    @abstractmethod
    def run(self) -> None:
        """Do the work."""

    @abstractmethod
    def is_valid(self) -> bool:
        """Return whether it can run."""

    def depends_on(self, calibration: CalibrationBase) -> None:
        """Add a calibration whose payloads are needed. One of the same name is left out, with a warning."""
        if self.name == calibration.name:
            warn(f"The calibration {self.name!r} cannot depend on one of the same name: this dependency is left out.")
            return
        if calibration not in self.dependencies:
            self.dependencies.append(calibration)
        if self not in calibration.future_dependencies:
            calibration.future_dependencies.append(self)

    def dependencies_met(self) -> bool:
        """Return whether all that it depends on have completed."""
        return all(needed.state == needed.end_state for needed in self.dependencies)

    def failed_dependencies(self) -> list[CalibrationBase]:
        """Return those that it depends on and that have failed."""
        return [needed for needed in self.dependencies if needed.state == needed.fail_state]

    def _apply_calibration_defaults(self, defaults: Mapping[str, Any]) -> None:
        """Set attributes that are None; one that it does not have is left out, with a warning."""
        for name, value in defaults.items():
            if not hasattr(self, name):
                warn(f"The calibration {self.name!r} has no attribute {name!r}: its default is left out.")
            elif getattr(self, name) is None:
                setattr(self, name, value)

    def __repr__(self) -> str:
        return self.name


class _Converted:
    """An attribute that is of one type, whatever is given.

    :param kind: makes it.
    """

    def __init__(self, kind: Callable[[Any], Any]) -> None:
        self._kind = kind

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = f"_{name}"

    def __get__(self, calibration: Any, owner: type | None = None) -> Any:
        return self if calibration is None else getattr(calibration, self._name)

    def __set__(self, calibration: Any, value: Any) -> None:
        setattr(calibration, self._name, self._kind(value))


class _OfDefaultCollection:
    """An attribute of a calibration that is its default collection's."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, calibration: Any, owner: type | None = None) -> Any:
        if calibration is None:
            return self
        return getattr(calibration.collections[Calibration.default_collection_name], self._name)

    def __set__(self, calibration: Any, value: Any) -> None:
        setattr(calibration.collections[Calibration.default_collection_name], self._name, value)


class _OfAlgorithms:
    """An attribute of all algorithms of a calibration, as a list; set one value for all, or a list.

    :param attribute: its name in an algorithm.
    """

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, calibration: Any, owner: type | None = None) -> Any:
        if calibration is None:
            return self
        return [getattr(algorithm, self._attribute) for algorithm in calibration.algorithms]

    def __set__(self, calibration: Any, value: Any) -> None:
        count = len(calibration.algorithms)
        items = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if not value or len(items) != count:
            raise ValueError(f"{self._name} of {calibration.name!r}: give one for all {count} algorithms, or one each.")
        for algorithm, item in zip(calibration.algorithms, items):
            setattr(algorithm, self._attribute, item)


class Calibration(CalibrationBase, _HasDatabases):
    """Collections, then algorithms.

    :param name: has to be unique.
    :param collector: that of the default collection.
    :param algorithms: one C++ algorithm, or a list of them.
    :param values: the other arguments of the default collection, in the order of `Collection`; also by name.
    """

    moves = ("submit_collector", "complete", "run_algorithms", "iterate", "fail_fully")
    alg_output_dir = "algorithm_output"
    checkpoint_states = ("init", "collector_completed", "completed")
    default_collection_name = "default"

    # The reference keeps both in a database.
    state = _Converted(str)
    iteration = _Converted(int)

    collector = _OfDefaultCollection()
    input_files = _OfDefaultCollection()
    files_to_iovs = _OfDefaultCollection()
    pre_collector_path = _OfDefaultCollection()
    output_patterns = _OfDefaultCollection()
    max_files_per_collector_job = _OfDefaultCollection()
    max_collector_jobs = _OfDefaultCollection()
    backend_args = _OfDefaultCollection()

    def __init__(self, name: str, collector: Any = None, algorithms: Any = None, *values: Any, **options: Any) -> None:
        default = Collection(collector, *values, **options)
        self.collections: dict[str, Collection] = {self.default_collection_name: default}
        self._algorithms: list[Algorithm] = []
        super().__init__(name)
        if algorithms:
            self.algorithms = algorithms
        self.results: dict[int, Any] = {}
        self.max_iterations: int | None = None
        self.ignored_runs: list[ExpRun] | None = None
        self.database_chain = list(default.database_chain)
        self.algorithms_runner: Any = runners.SeqAlgorithmsRunner
        self.backend: Any = None
        self.collector_full_update_interval = 30
        self.heartbeat = 3
        self.machine: Any = None
        self.iteration = 0

    def add_collection(self, name: str, collection: Collection) -> None:
        """Add a named collection.

        :raises ValueError: if the name is taken.
        """
        if name in self.collections:
            raise ValueError(f"The calibration {self.name!r} has a collection {name!r} already.")
        self.collections[name] = collection

    def is_valid(self) -> bool:
        """Return whether it has an algorithm and a collection that fit together."""
        return self.find_fault() is None

    def find_fault(self) -> str | None:
        """Return why it cannot run, or None."""
        if not self.algorithms:
            return "it has no algorithm"
        valid = [collection for collection in self.collections.values() if collection.is_valid()]
        if not valid:
            return "it has no collection with a collector and input files"
        found = {
            param.values
            for collection in valid
            for param in collection.collector.available_params()
            if param.name == "granularity"
        }
        if len(found) > 1:
            return "its collectors differ in granularity"
        for algorithm in self.algorithms:
            if found - set(algorithm.strategy.allowed_granularities):
                return f"the strategy of {algorithm.name} cannot work on the granularity {found.pop()!r}"
        return None

    def _list_chains(self, apply_to_default_collection: bool) -> list[list[Any]]:
        default = self.collections[self.default_collection_name]
        return [self.database_chain, *([default.database_chain] if apply_to_default_collection else [])]

    @property
    def algorithms(self) -> list[Algorithm]:
        """The algorithms, wrapped; set them as C++ objects."""
        return self._algorithms

    @algorithms.setter
    def algorithms(self, value: Any) -> None:
        import ROOT

        items = list(value) if isinstance(value, (list, tuple)) else [value]
        for item in items:
            if not isinstance(item, ROOT.Belle2.CalibrationAlgorithm):
                raise TypeError(f"An algorithm is a Belle2::CalibrationAlgorithm, not a {type(item).__name__}.")
        self._algorithms = [Algorithm(item) for item in items]

    pre_algorithms = _OfAlgorithms("pre_algorithm")
    """The functions before each algorithm; set one for all, or a list."""

    strategies = _OfAlgorithms("strategy")
    """The strategy of each algorithm; set one class for all, or a list."""

    def run(self) -> None:
        """Not possible alone: `CAF.run` does it, or Airflow."""
        raise NotImplementedError("Add it to a CAF, or import the script into Airflow.")


class Algorithm:
    """A C++ algorithm with what is set for it.

    :param algorithm: the C++ object.
    :param data_input: gets the list of collected files; None: `CollectorOutput.root` files are set.
    :param pre_algorithm: gets the C++ object and the number of the iteration.
    """

    def __init__(
        self,
        algorithm: Any,
        data_input: Callable[[list[str]], object] | None = None,
        pre_algorithm: Callable[[Any, int], object] | None = None,
    ) -> None:
        self.algorithm = algorithm
        # The two are of older and newer releases of ROOT.
        cpp_name = getattr(type(algorithm), "__cpp_name__", None) or getattr(algorithm, "__cppname__", "")
        self.name = str(cpp_name or type(algorithm).__name__).rpartition("::")[2]
        self.data_input = data_input or self.default_inputdata_setup
        self.pre_algorithm = pre_algorithm
        self.strategy: Any = strategies.SingleIOV
        self.params: dict[str, Any] = {}

    def default_inputdata_setup(self, input_file_paths: Iterable[str]) -> None:
        """Let the algorithm read the collector outputs among the files."""
        self.algorithm.setInputFileNames(
            [path for path in input_file_paths if Path(path).name == "CollectorOutput.root"]
        )


class CAF:
    """Hold calibrations, and run them.

    :param calibration_defaults: attributes of all calibrations that do not set them, such as `max_iterations`.
    :param backend: where the collectors of those calibrations run that have no backend of their own; None: here.
    """

    default_calibration_config: Mapping[str, Any] = {"max_iterations": 5, "ignored_runs": []}

    def __init__(self, calibration_defaults: Mapping[str, Any] | None = None, *, backend: Any = None) -> None:
        self.calibrations: dict[str, Calibration] = {}
        self.future_dependencies: dict[str, list[str]] = {}
        self.dependencies: dict[str, list[str]] = {}
        self.output_dir = "calibration_results"
        self.order: Mapping[str, list[str]] | None = None
        """Calibration → all that depend on it, in an order in which they can run; known when they run."""
        self.heartbeat = 5
        self.calibration_defaults = {**self.default_calibration_config, **(calibration_defaults or {})}
        self._backend: Any = None
        if backend is not None:
            self.backend = backend

    def add_calibration(self, calibration: Calibration) -> None:
        """Add a calibration.

        :raises ValueError: if it cannot run, or its name is taken.
        """
        fault = calibration.find_fault()
        if fault is not None:
            raise ValueError(f"The calibration {calibration.name!r} cannot run: {fault}.")
        if calibration.name in self.calibrations:
            raise ValueError(f"There are two calibrations named {calibration.name!r}.")
        self.calibrations[calibration.name] = calibration

    @property
    def backend(self) -> Any:
        """Where the collectors of calibrations without a backend of their own run; None: on this machine."""
        return self._backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        if not isinstance(backend, backends.Backend):
            raise TypeError(f"A backend is a caf.backends.Backend, not a {type(backend).__name__}.")
        self._backend = backend

    def _make_output_dir(self) -> str:
        from airflow_provider_caf.worker.basf2.dropin.caf.local_run import open_output

        folder = Path(self.output_dir).resolve()
        open_output(folder)
        return str(folder)

    def run(self, iov: IoV | None = None) -> None:
        """Run all calibrations, one after the other: collectors where the backend says, algorithms on this machine.

        In the output folder of an earlier run it goes on where that ended.

        :param iov: only runs in it are calibrated.
        :raises RuntimeError: if one fails; the message names the log.
        :raises BackendError: if jobs cannot be submitted, or the batch system has not answered for too long.
        """
        from airflow_provider_caf.worker.basf2.dropin.caf.local_run import run_locally

        run_locally(self, iov)
