"""Run the calibrations of a script on this machine, without Airflow: `CAF().run()`.

::

    <output_dir>/<calibration>/<iteration>/collector_output/<collection>/<subjob>/
                              <iteration>/algorithm_output/outputdb/, <algorithm>_stdout
                              outputdb/

One calibration after the other; the subjobs of a collection at the same time, as many as the backend allows. Nothing is
taken up again after a failure: for that there is Airflow.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing  # noqa: TID251 - a strategy gets a queue of it, and no other program is started
import shutil
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import airflow_provider_caf
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.graph import find_ancestors, order_calibrations
from airflow_provider_caf.worker.basf2.dropin.caf.backends import Job, Local, SubJob
from airflow_provider_caf.worker.basf2.dropin.caf.utils import AlgResult, ExpRun, IoV
from airflow_provider_caf.worker.basf2.read_script import describe_chain
from airflow_provider_caf.worker.basf2.steering import STEERING_FILE, write_job_files
from airflow_provider_caf.worker.basf2.strategy_results import StrategyResults
from airflow_provider_caf.worker.programs import run_in_folder

_HINT = (
    "caf: running on this machine, without restart and without a batch system. With both: "
    "airflow caf import-script {script} --input-data input_data.json"
)


def run_locally(caf: Any, iov: IoV | None) -> None:
    """Run all calibrations of a CAF.

    :param iov: only runs in it are calibrated; None: all.
    :raises RuntimeError: if there is nothing to run, the output folder is there already, or a calibration fails.
    :raises DefinitionError: if the calibrations depend on each other in a circle, or on one that is not there.
    """
    sys.stderr.write(_HINT.format(script=sys.argv[0] or "SCRIPT") + "\n")
    if not caf.calibrations:
        raise RuntimeError("The CAF has no calibrations: use add_calibration.")
    output = Path(caf.output_dir).absolute()
    if output.exists():
        raise RuntimeError(f"The folder {output} is there already: remove it, or set output_dir.")
    depends = {
        name: [needed.name for needed in calibration.dependencies] for name, calibration in caf.calibrations.items()
    }
    caf.order = list(order_calibrations(depends))
    output.mkdir(parents=True)
    for name in caf.order:
        calibration = caf.calibrations[name]
        for word, value in caf.calibration_defaults.items():
            if getattr(calibration, word, None) is None:
                setattr(calibration, word, value)
        ancestors = [output / ancestor / "outputdb" for ancestor in find_ancestors(depends, name)]
        _CalibrationRun(calibration, output / name, ancestors, caf.backend or calibration.backend, iov).run()


class _CalibrationRun:
    """One calibration.

    :param ancestors: the databases of the calibrations that it depends on, nearest first.
    """

    def __init__(
        self, calibration: Any, folder: Path, ancestors: Iterable[Path], backend: Any, iov: IoV | None
    ) -> None:
        self._calibration = calibration
        self._folder = folder
        self._ancestors = list(ancestors)
        self._processes = backend.max_processes if isinstance(backend, Local) else 1
        self._iov = iov

    def run(self) -> None:
        """Repeat collectors and algorithms until no algorithm asks for another iteration."""
        for iteration in range(self._calibration.max_iterations + 1):
            place = self._folder / str(iteration)
            files = [
                path
                for name, collection in self._calibration.collections.items()
                if collection.is_valid()
                for path in self._collect(name, collection, place, iteration)
            ]
            results = [
                result
                for algorithm in self._calibration.algorithms
                for result in self._calibrate(algorithm, files, place / "algorithm_output", iteration)
            ]
            self._calibration.results[iteration] = results
            if AlgResult.iterate.value not in [code for _, code in results]:
                break
        shutil.copytree(place / "algorithm_output" / "outputdb", self._folder / "outputdb")
        self._calibration.state = self._calibration.end_state

    def _list_databases(self, iteration: int) -> list[Path]:
        """Return the databases that were made before, nearest first."""
        before = [self._folder / str(iteration - 1) / "algorithm_output" / "outputdb"] if iteration else []
        return [*before, *self._ancestors]

    def _collect(self, name: str, collection: Any, place: Path, iteration: int) -> list[str]:
        job = Job(f"{self._calibration.name}_{name}_Iteration_{iteration}")
        job.input_files = [path for path in collection.input_files if self._is_wanted(path, collection)]
        if not job.input_files:
            raise RuntimeError(
                f"The collection {name!r} of calibration {self._calibration.name} has no input files left."
            )
        job.output_patterns = list(collection.output_patterns)
        job.working_dir = place / "collector_output" / name
        if collection.splitter is None:
            job.create_subjob(0, input_files=job.input_files)
        else:
            collection.splitter.create_subjobs(job)
        entries = [DatabaseEntry(kind="local", value=str(path)) for path in self._list_databases(iteration)]
        entries += [
            DatabaseEntry(kind=kind, value=value)
            for entry in describe_chain(collection.database_chain)
            for kind, value in entry.items()
        ]
        subjobs = list(job.subjobs.values())
        for subjob in subjobs:
            self._write_job(subjob, collection, entries)
        with ThreadPoolExecutor(self._processes) as pool:
            list(pool.map(_run_subjob, subjobs))
        return [path for subjob in subjobs for path in self._find_outputs(subjob, job.output_patterns)]

    def _find_outputs(self, subjob: SubJob, patterns: Iterable[str]) -> list[str]:
        found = [str(path) for pattern in patterns for path in sorted(subjob.working_dir.glob(pattern))]
        if not found:
            raise RuntimeError(
                f"The collector job {subjob.name} has left no file that matches {', '.join(patterns)}. "
                f"Look in {subjob.working_dir}."
            )
        return found

    def _is_wanted(self, path: str, collection: Any) -> bool:
        iov = collection.files_to_iovs.get(path)
        if iov is None:
            return True
        ignored = [ExpRun(*run).make_iov() for run in self._calibration.ignored_runs or ()]
        return iov not in ignored and (self._iov is None or bool(self._iov.overlaps(iov)))

    def _write_job(self, subjob: SubJob, collection: Any, chain: Iterable[DatabaseEntry]) -> None:
        folder = subjob.working_dir
        where = f"calibration {self._calibration.name!r}"
        write_job_files(folder, [collection.collector], collection.pre_collector_path, where)
        value = {
            "version": 1,
            "command": ["basf2", STEERING_FILE],
            "input_files": subjob.input_files,
            "database_chain": [entry.to_job_json() for entry in chain],
        }
        (folder / "job.json").write_text(json.dumps(value), encoding="utf-8")

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


def _run_subjob(subjob: SubJob) -> None:
    folder = subjob.working_dir
    archive = getattr(getattr(airflow_provider_caf, "__loader__", None), "archive", None)
    app = str(archive or Path(airflow_provider_caf.__file__).parent.parent)
    variables = {"CAF_JOB": str(folder / "job.json"), "CAF_APP": app}
    code = run_in_folder(["basf2", STEERING_FILE], folder, variables)
    if code:
        raise RuntimeError(f"The collector job {subjob.name} ended with exit code {code}. Look at {folder / 'stderr'}.")
