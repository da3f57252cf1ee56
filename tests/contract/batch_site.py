"""A batch system, real or faked, a work folder on it, and the ways to put subjobs there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import engine
from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import ArraySpec, Resources, merge_resources
from airflow_provider_caf.batch.systems.base import System
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.io.jobs.client import BatchClient
from airflow_provider_caf.io.jobs.submission import CollectionJob, Observation, observe, read_intents
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.io.transport.base import Transport
from airflow_provider_caf.io.transport.local import LocalTransport

# What is lost to the system may still run.
ENDED = (JobState.EXITED, JobState.CANCELLED)


class Clock:
    """A clock that can be set forward: nobody waits for a grace time of a minute."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def jump(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._ahead += seconds


class Site:
    """One batch system and a work folder.

    :param folder: is seen by the jobs, and has a harmless name; `work` in it has not.
    :param resources: what the site needs in every job.
    :param limit: seconds after which a test that waits has failed.
    """

    def __init__(
        self,
        system: System,
        folder: Path,
        app: Path,
        python: str,
        *,
        is_real: bool,
        has_plain_paths: bool,
        resources: Resources,
    ) -> None:
        self.system = system
        self.folder = folder
        # Everything lies below a folder whose name a shell would read in its own way.
        self.work = folder / ("work" if has_plain_paths else 'it\'s $(touch broken) "a"; `b` & <c> *')
        self.work.mkdir()
        self.app = app
        self.python = python
        self.resources = resources
        self.is_faked = not is_real
        self.is_slow = is_real and system.name != "local"
        self.limit = 180.0 if self.is_slow else 60.0
        self.clock = Clock()
        self.client = self.make_client()
        self.made: list[CollectionJob] = []

    def make_client(self, transport: Transport | None = None) -> BatchClient:
        """Give a client that has seen nothing yet."""
        patience = Patience(shortest=0.05)
        return BatchClient(self.system, transport or LocalTransport(), patience=patience, clock=self.clock)

    def make_job(
        self,
        commands: Sequence[Sequence[str]],
        *,
        outputs: Sequence[str] = (),
        resources: Resources | None = None,
        name: str = "hits",
    ) -> CollectionJob:
        """Write the job files of a collection whose subjobs are commands."""
        layout = RunLayout(work_dir=self.work, dag_id="contract", run_id=self.folder.name).calibration("cal")
        collection = layout.iteration(0).collection(name)
        collection.input_folder.mkdir(parents=True)
        for subjob, command in enumerate(commands):
            job = {
                "version": 1,
                "calibration": "cal",
                "collection": name,
                "iteration": 0,
                "subjob": subjob,
                "command": list(command),
                "collector": None,
                "settings": {},
                "granularity": "run",
                "input_files": [],
                "output_patterns": list(outputs),
                "database_chain": [],
                "arguments": {},
                "pre_collector": None,
            }
            collection.job_file(subjob).write_text(json.dumps(job))
        job_of_collection = CollectionJob(
            dag="contract",
            run=self.folder.name,
            calibration="cal",
            iteration=0,
            collection=name,
            layout=collection,
            subjobs=tuple(range(len(commands))),
            app=self.app,
            python=self.python,
            resources=merge_resources(self.resources, Resources(max_processes=4), resources or Resources()),
        )
        self.made.append(job_of_collection)
        return job_of_collection

    def wait(self, job: CollectionJob, until: Callable[[Observation], bool] | None = None) -> Observation:
        """Observe a collection until all its subjobs are over, or something else is so."""

        def is_over(observed: Observation) -> bool:
            return all(verdict.status.is_over for verdict in observed.verdicts.values())

        deadline = time.monotonic() + self.limit
        while True:
            observed = observe(self.client, job)
            if (until or is_over)(observed):
                return observed
            assert time.monotonic() < deadline, observed
            time.sleep(0.5 if self.is_slow else 0.05)

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + self.limit
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.5 if self.is_slow else 0.02)

    def statuses(self, observed: Observation) -> list[SubjobStatus]:
        """Give the statuses in the order of the subjobs."""
        return [verdict.status for _, verdict in sorted(observed.verdicts.items())]

    def started(self, job: CollectionJob) -> list[str]:
        """Give the work folders of all tries of all subjobs."""
        folders = job.layout.output_folder.glob("[0-9]*/attempt_*")
        return sorted(f"{folder.parent.name}/{folder.name}" for folder in folders)

    def look_up(self, array: ArraySpec) -> tuple[tuple[str, ...], ...]:
        """Give the ids of every submission of an array that the system knows."""
        return self.system.parse_lookup(array, LocalTransport().run(self.system.build_lookup(array)))

    def end(self) -> list[str]:
        """End what was left running, and give what did not end: command lines of processes."""
        if self.is_faked:
            engine.set_faults()
        arrays = []
        for intent in (intent for job in self.made for intent in read_intents(job.layout.arrays_folder)):
            # A test may have broken its array's folder; then its processes are found below.
            with contextlib.suppress(CafError):
                arrays.append(self.client.recover(intent))
        submitted = [array for array in arrays if array is not None]
        states = self.make_client().poll(submitted).states
        live = [
            array for array in submitted if any(each.state not in ENDED for each in states[array.array.name].values())
        ]
        with contextlib.suppress(CafError):
            self.client.cancel(live)
        deadline = time.monotonic() + 15
        while left := self._find_processes():
            if time.monotonic() > deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.1)
        return sorted(left.values())

    def _find_processes(self) -> dict[int, str]:
        """Give the processes here that belong to this site, jobs and what runs them: number → command line."""
        mark = os.fsencode(self.folder) + b"/"
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes()
                    if mark in words or b"CAF_JOB=" + mark in (entry / "environ").read_bytes():
                        found[int(entry.name)] = words.replace(b"\0", b" ").decode("utf-8", "replace")
        return found | (engine.find_processes() if self.is_faked else {})
