"""What the steps of a calibration do where no task of Airflow does: its collectors, then its algorithms."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.graph import find_ancestors
from airflow_provider_caf.worker.basf2.backend_job import ATTEMPTS_FOLDER
from airflow_provider_caf.worker.basf2.dropin.caf import runners
from airflow_provider_caf.worker.basf2.dropin.caf.backends import Local
from airflow_provider_caf.worker.basf2.dropin.caf.job import Job, build_setup_lines
from airflow_provider_caf.worker.basf2.dropin.caf.utils import AlgResult, ExpRun
from airflow_provider_caf.worker.basf2.read_script import describe_chain
from airflow_provider_caf.worker.basf2.steering import write_job_files

OUTPUT_DATABASE = "outputdb"
_RESULTS_FILE = "results.json"


def tell(line: str) -> None:
    """Print a line for who runs a script."""
    sys.stderr.write(f"caf: {line}\n")
    sys.stderr.flush()


def list_dependencies(calibrations: Iterable[Any]) -> dict[str, list[str]]:
    """Return calibration → those that it depends on."""
    return {calibration.name: [needed.name for needed in calibration.dependencies] for calibration in calibrations}


class CalibrationSteps:
    """What the steps of a calibration's machine do.

    :param machine: a `CalibrationMachine`; it says of which iteration.
    """

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._calibration = machine.calibration
        self._jobs: list[Job] = []

    @property
    def _folder(self) -> Path:
        return Path(self._machine.root_dir)

    @property
    def _place(self) -> Path:
        return self._folder / str(self._machine.iteration)

    @property
    def jobs(self) -> list[Job]:
        """The collector jobs of this iteration. What has been submitted before, by any program, is found again."""
        if not self._jobs:
            self.submit()
        return self._jobs

    def submit(self) -> None:
        """Submit the collector jobs of an iteration."""
        if self._machine.collector_backend is None:
            self._machine.collector_backend = self._calibration.backend or Local()
        self._jobs = [
            self._submit(name, collection)
            for name, collection in self._calibration.collections.items()
            if collection.is_valid()
        ]

    def wait(self, heartbeat: float) -> str:
        """Wait for the collector jobs, and return why they failed; empty if they have not.

        :param heartbeat: seconds between two looks, at first.
        """
        longest = self._calibration.collector_full_update_interval
        failed = [job for job in self.jobs if job.result.wait(heartbeat, longest, tell) != "completed"]
        if not failed:
            return ""
        tables = "\n".join(job.result.describe_failures() for job in failed)
        return (
            f"Collector jobs of calibration {self._calibration.name} failed. Mend the cause and run this again: "
            f"only they run again.\n{tables}"
        )

    def run_algorithms(self) -> str:
        """Run the algorithms of an iteration, and return why one of them failed; empty if none has."""
        failure = "" if self._jobs else self.wait(self._calibration.heartbeat)
        if failure:
            return failure
        files = [path for job in self.jobs for path in _list_outputs(job)]
        iteration = self._machine.iteration
        record = self._place / _RESULTS_FILE
        made_of = self._describe_input(files, iteration)
        results = _read_results(record, made_of)
        if results is None:
            runner = self._open_runner(files)
            try:
                runner.run(self._machine.iov_to_calibrate, iteration)
                state = runner.final_state
            except runners.RunnerError as error:
                state = str(error)
            if state != runner.COMPLETED:
                # It ends with the one that fails.
                who = f"Algorithm {list(runner.results)[-1]}" if runner.results else "The runner"
                return (
                    f"{who} of calibration {self._calibration.name} failed in iteration "
                    f"{iteration}: {state}. Look in {runner.output_dir}."
                )
            # One of the script's own may have IoVs and codes of C++ in them.
            results = [(tuple(map(int, iov)), int(code)) for found in runner.results.values() for iov, code in found]
            write_json(record, {"version": 1, "made_of": made_of, "results": results})
        else:
            tell(f"the algorithms of {self._calibration.name} have done iteration {iteration} before")
        self._calibration.results[iteration] = results
        return ""

    def asks_for_iteration(self) -> bool:
        """Return whether an algorithm asks for another iteration."""
        codes = [code for _, code in self._calibration.results[self._machine.iteration]]
        return AlgResult.iterate.value in codes

    def finish(self) -> None:
        """Copy the database of the last iteration to where others look for it."""
        target = self._folder / OUTPUT_DATABASE
        if target.exists():
            shutil.rmtree(target)
        shutil.copytree(self._place / self._calibration.alg_output_dir / OUTPUT_DATABASE, target)

    def _list_databases(self, iteration: int) -> list[Path]:
        """Return the databases that were made before, nearest first."""
        own = self._folder / str(iteration - 1) / self._calibration.alg_output_dir / OUTPUT_DATABASE
        ancestors = [self._folder.parent / name / OUTPUT_DATABASE for name in _list_ancestors(self._calibration)]
        return [*([own] if iteration else []), *ancestors]

    def _submit(self, name: str, collection: Any) -> Job:
        """Submit the collector jobs of a collection."""
        iteration = self._machine.iteration
        backend = self._machine.collector_backend
        job = Job(f"{self._calibration.name}_{name}_Iteration_{iteration}")
        job.input_files = [path for path in collection.input_files if self._is_wanted(path, collection)]
        if not job.input_files:
            raise RuntimeError(
                f"The collection {name!r} of calibration {self._calibration.name} has no input files left."
            )
        job.cmd = list(collection.job_cmd)
        job.output_patterns = list(collection.output_patterns)
        job.working_dir = job.output_dir = self._place / self._machine.collector_output_dir / name
        job.splitter = collection.splitter
        job.backend_args = dict(collection.backend_args)
        if not isinstance(backend, Local) and "setup" not in {**backend.backend_args, **job.backend_args}:
            job.backend_args["setup"] = build_setup_lines()
        sources = self._place / self._machine.collector_input_dir / name
        where = f"calibration {self._calibration.name!r}"
        names = write_job_files(sources, [collection.collector], collection.pre_collector_path, where)
        job.input_sandbox_files = [sources / file for file in names]
        chain = [DatabaseEntry(kind="local", value=str(path)) for path in self._list_databases(iteration)]
        own = describe_chain(collection.database_chain)
        chain += [DatabaseEntry(kind=kind, value=value) for entry in own for kind, value in entry.items()]
        job.database_chain = tuple(chain)
        backend.submit(job)
        return job

    def _is_wanted(self, path: str, collection: Any) -> bool:
        iov = collection.files_to_iovs.get(path)
        if iov is None:
            return True
        wanted = self._machine.iov_to_calibrate
        ignored = [ExpRun(*run).make_iov() for run in self._calibration.ignored_runs or ()]
        return iov not in ignored and (wanted is None or bool(wanted.overlaps(iov)))

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
            [self._machine.iov_to_calibrate, self._calibration.ignored_runs],
        )
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()

    def _open_runner(self, files: list[str]) -> Any:
        """Return what runs the algorithms, set up; nothing of an earlier try is left."""
        folder = self._place / self._calibration.alg_output_dir
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        runner = self._calibration.algorithms_runner(name=self._calibration.name)
        runner.algorithms = self._calibration.algorithms
        runner.input_files = files
        runner.database_chain = self._calibration.database_chain
        databases = reversed(self._list_databases(self._machine.iteration))
        runner.dependent_databases = [(str(path / DATABASE_FILE), str(path)) for path in databases]
        runner.output_dir = folder
        runner.output_database_dir = folder / OUTPUT_DATABASE
        runner.ignored_runs = self._calibration.ignored_runs
        return runner


def _list_outputs(job: Job) -> list[str]:
    """Return the outputs of a job that has completed.

    :raises RuntimeError: if there are none.
    """
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


def _read_results(record: Path, made_of: str) -> list[Any] | None:
    """Return the results of an iteration that an earlier run of the script has done, if of the same input."""
    if not record.exists():
        return None
    known = read_json(record, f"The results in {record.parent}")
    if known["made_of"] == made_of:
        return [(tuple(iov), code) for iov, code in known["results"]]
    record.unlink()
    return None


def _list_ancestors(calibration: Any) -> list[str]:
    """Return all calibrations that one depends on, nearest first."""
    found = {calibration.name: calibration}
    waiting = [calibration]
    while waiting:
        for needed in waiting.pop().dependencies:
            if needed.name not in found:
                found[needed.name] = needed
                waiting.append(needed)
    return list(find_ancestors(list_dependencies(found.values()), calibration.name))
