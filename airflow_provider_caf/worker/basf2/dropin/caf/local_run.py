"""Run the calibrations of a script without Airflow: `CAF().run()`. Its collectors run where the backend says.

::

    <output_dir>/caf_run.json
                 <calibration>/<iteration>/collector_input/<collection>/
                                           collector_output/<collection>/<subjob>/
                                           algorithm_output/outputdb/, <algorithm>_stdout
                                           results.json
                               outputdb/

One calibration after the other; the subjobs of all its collections at the same time. A script that was cut off or has
failed goes on when it runs again: its jobs are found, what was collected stays, and so does what the algorithms of an
iteration have made of it, as long as that is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing  # noqa: TID251 - a strategy gets a queue of it, and no other program is started
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.graph import find_ancestors, order_calibrations
from airflow_provider_caf.worker.basf2.backend_job import ATTEMPTS_FOLDER
from airflow_provider_caf.worker.basf2.dropin.caf.backends import Backend, Local
from airflow_provider_caf.worker.basf2.dropin.caf.job import Job, build_setup_lines
from airflow_provider_caf.worker.basf2.dropin.caf.utils import AlgResult, ExpRun, IoV
from airflow_provider_caf.worker.basf2.read_script import describe_chain
from airflow_provider_caf.worker.basf2.steering import write_job_files
from airflow_provider_caf.worker.basf2.strategy_results import StrategyResults

_HINT = (
    "running without Airflow. With it, calibrations run at the same time, with retries and a page: "
    "airflow caf import-script {script}"
)
_RUN_FILE = "caf_run.json"
_RESULTS_FILE = "results.json"


def run_locally(caf: Any, iov: IoV | None) -> None:
    """Run all calibrations of a CAF.

    :param iov: only runs in it are calibrated; None: all.
    :raises RuntimeError: if there is nothing to run, the output folder is of something else, or a calibration fails.
    :raises DefinitionError: if the calibrations depend on each other in a circle, or on one that is not there.
    :raises BackendError: if jobs cannot be submitted.
    """
    _tell(_HINT.format(script=sys.argv[0] or "SCRIPT"))
    if not caf.calibrations:
        raise RuntimeError("The CAF has no calibrations: use add_calibration.")
    depends = {
        name: [needed.name for needed in calibration.dependencies] for name, calibration in caf.calibrations.items()
    }
    caf.order = list(order_calibrations(depends))
    output = Path(caf.output_dir).absolute()
    _open_output(output)
    for name in caf.order:
        calibration = caf.calibrations[name]
        for word, value in caf.calibration_defaults.items():
            if getattr(calibration, word, None) is None:
                setattr(calibration, word, value)
        backend = calibration.backend or caf.backend or Local()
        if not isinstance(backend, Backend):
            raise RuntimeError(f"The backend of {name} is a {type(backend).__name__}, not a caf.backends.Backend.")
        _tell(f"the collectors of {name} run on {type(backend).__name__}, all else here")
        ancestors = [output / ancestor / "outputdb" for ancestor in find_ancestors(depends, name)]
        _CalibrationRun(calibration, output / name, ancestors, backend, iov, caf.heartbeat).run()


def _open_output(output: Path) -> None:
    """Make the output folder, or go on in it if it is of an earlier run.

    :raises RuntimeError: if something else lies there.
    """
    if output.exists() and not (output / _RUN_FILE).exists():
        raise RuntimeError(f"The folder {output} is there already, and no CAF.run made it: set another output_dir.")
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / _RUN_FILE, {"version": 1})


def _tell(line: str) -> None:
    sys.stderr.write(f"caf: {line}\n")
    sys.stderr.flush()


class _CalibrationRun:
    """One calibration.

    :param ancestors: the databases of the calibrations that it depends on, nearest first.
    :param heartbeat: seconds between two looks at the jobs, at least; the calibration has one of its own.
    """

    def __init__(
        self,
        calibration: Any,
        folder: Path,
        ancestors: Iterable[Path],
        backend: Backend,
        iov: IoV | None,
        heartbeat: float,
    ) -> None:
        self._calibration = calibration
        self._folder = folder
        self._ancestors = list(ancestors)
        self._backend = backend
        self._iov = iov
        self._heartbeat = max(heartbeat, calibration.heartbeat)

    def run(self) -> None:
        """Repeat collectors and algorithms until no algorithm asks for another iteration."""
        for iteration in range(self._calibration.max_iterations + 1):
            place = self._folder / str(iteration)
            jobs = [
                self._submit(name, collection, place, iteration)
                for name, collection in self._calibration.collections.items()
                if collection.is_valid()
            ]
            files = [path for job in jobs for path in self._wait_for(job)]
            results = self._calibrate_all(files, place, iteration)
            self._calibration.results[iteration] = results
            if AlgResult.iterate.value not in [code for _, code in results]:
                break
        if (self._folder / "outputdb").exists():
            shutil.rmtree(self._folder / "outputdb")
        shutil.copytree(place / "algorithm_output" / "outputdb", self._folder / "outputdb")
        self._calibration.state = self._calibration.end_state

    def _list_databases(self, iteration: int) -> list[Path]:
        """Return the databases that were made before, nearest first."""
        before = [self._folder / str(iteration - 1) / "algorithm_output" / "outputdb"] if iteration else []
        return [*before, *self._ancestors]

    def _submit(self, name: str, collection: Any, place: Path, iteration: int) -> Job:
        """Submit the collector jobs of a collection."""
        job = Job(f"{self._calibration.name}_{name}_Iteration_{iteration}")
        job.input_files = [path for path in collection.input_files if self._is_wanted(path, collection)]
        if not job.input_files:
            raise RuntimeError(
                f"The collection {name!r} of calibration {self._calibration.name} has no input files left."
            )
        job.cmd = list(collection.job_cmd)
        job.output_patterns = list(collection.output_patterns)
        job.working_dir = job.output_dir = place / "collector_output" / name
        job.splitter = collection.splitter
        job.backend_args = dict(collection.backend_args)
        if not isinstance(self._backend, Local) and "setup" not in {**self._backend.backend_args, **job.backend_args}:
            job.backend_args["setup"] = build_setup_lines()
        sources = place / "collector_input" / name
        where = f"calibration {self._calibration.name!r}"
        names = write_job_files(sources, [collection.collector], collection.pre_collector_path, where)
        job.input_sandbox_files = [sources / file for file in names]
        chain = [DatabaseEntry(kind="local", value=str(path)) for path in self._list_databases(iteration)]
        own = describe_chain(collection.database_chain)
        chain += [DatabaseEntry(kind=kind, value=value) for entry in own for kind, value in entry.items()]
        job.database_chain = tuple(chain)
        self._backend.submit(job)
        return job

    def _wait_for(self, job: Job) -> list[str]:
        """Wait for a job, and return its outputs."""
        longest = self._calibration.collector_full_update_interval
        if job.result.wait(self._heartbeat, longest, _tell) != "completed":
            raise RuntimeError(
                f"Collector jobs of calibration {self._calibration.name} failed. Mend the cause and run this again: "
                f"only they run again.\n{job.result.describe_failures()}"
            )
        found = [
            str(path)
            for part in job.subjobs.values() or (job,)
            for pattern in job.output_patterns
            for path in sorted(part.output_dir.glob(pattern))
            # There the same files have their first names.
            if path.relative_to(part.output_dir).parts[0] != ATTEMPTS_FOLDER
        ]
        if not found:
            raise RuntimeError(f"{job} has left no file that matches {', '.join(job.output_patterns)}.")
        return found

    def _is_wanted(self, path: str, collection: Any) -> bool:
        iov = collection.files_to_iovs.get(path)
        if iov is None:
            return True
        ignored = [ExpRun(*run).make_iov() for run in self._calibration.ignored_runs or ()]
        return iov not in ignored and (self._iov is None or bool(self._iov.overlaps(iov)))

    def _calibrate_all(self, files: list[str], place: Path, iteration: int) -> list[tuple[Any, int]]:
        """Run all algorithms, unless an earlier run of the script has done so with the same input."""
        record = place / _RESULTS_FILE
        made_of = self._describe_input(files, iteration)
        if record.exists():
            known = read_json(record, f"The results of iteration {iteration}")
            if known["made_of"] == made_of:
                _tell(f"the algorithms of {self._calibration.name} have done iteration {iteration} before")
                return [(tuple(iov), code) for iov, code in known["results"]]
            record.unlink()
        folder = place / "algorithm_output"
        if folder.exists():
            shutil.rmtree(folder)
        results = [
            result
            for algorithm in self._calibration.algorithms
            for result in self._calibrate(algorithm, files, folder, iteration)
        ]
        write_json(record, {"version": 1, "made_of": made_of, "results": results})
        return results

    def _describe_input(self, files: Iterable[str], iteration: int) -> str:
        """Return a digest of what the results of an iteration depend on, as far as it can be seen from outside."""
        states = [(path, Path(path).stat()) for path in files]
        databases = [(path / DATABASE_FILE).read_text("utf-8") for path in self._list_databases(iteration)]
        algorithms = [
            (algorithm.name, algorithm.strategy.__name__, repr(sorted(algorithm.params.items())))
            for algorithm in self._calibration.algorithms
        ]
        seen = (
            [(path, state.st_size, state.st_mtime_ns) for path, state in states],
            [databases, algorithms, describe_chain(self._calibration.database_chain)],
            [self._iov, self._calibration.ignored_runs],
        )
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def _calibrate(self, algorithm: Any, files: list[str], folder: Path, iteration: int) -> list[tuple[Any, int]]:
        """Run the strategy of an algorithm in a process of its own, and return its results."""
        folder.mkdir(parents=True, exist_ok=True)
        strategy = algorithm.strategy(algorithm)
        databases = reversed(self._list_databases(iteration))
        strategy.setup_from_dict(
            {
                "database_chain": self._calibration.database_chain,
                "dependent_databases": [(str(path / DATABASE_FILE), str(path)) for path in databases],
                "output_dir": str(folder),
                "output_database_dir": folder / "outputdb",
                "input_files": files,
                "ignored_runs": self._calibration.ignored_runs,
            }
        )
        # A fork: what a script has set on the algorithm, closures too, is there.
        context = multiprocessing.get_context("fork")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_run_strategy, args=(strategy, self._iov, iteration, writer))
        process.start()
        writer.close()
        results: list[tuple[Any, int]] = []
        state = None
        with contextlib.suppress(EOFError):  # it died, or raised
            results, state = reader.recv()
        process.join()
        if state != strategy.COMPLETED or process.exitcode:
            raise RuntimeError(
                f"Algorithm {algorithm.name} of calibration {self._calibration.name} failed in iteration {iteration}: "
                f"{state or f'exit code {process.exitcode}'}. Look in {folder}."
            )
        return results


def _run_strategy(strategy: Any, iov: IoV | None, iteration: int, writer: Any) -> None:
    queue = StrategyResults()
    strategy.run(iov, iteration, queue)
    sys.stdout.flush()
    writer.send((queue.results, queue.final_state))
