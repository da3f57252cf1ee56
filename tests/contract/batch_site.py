"""A batch system, real or faked, a work folder on it, and the ways to put subjobs there."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import copyfile
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow.sdk.exceptions import AirflowFailException

import engine
from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import ArraySpec, Resources, merge_resources
from airflow_provider_caf.batch.systems.base import System
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.errors import CafError, JobFailed
from airflow_provider_caf.core.splitting import SubjobPlan
from airflow_provider_caf.definitions.collection import Collection
from airflow_provider_caf.hooks.batch import open_collection
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.jobs.arrays import SUBMISSION_FILE, read_arrays, read_intents
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.rounds import Round
from airflow_provider_caf.jobs.subjob_set import SubjobSet
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport
from airflow_provider_caf.operators.submit import CollectorSubmitOperator
from airflow_provider_caf.sensors.collector import CollectorJobSensor
from airflow_provider_caf.steps import collect
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.manifest import CollectionManifest
from tests.unit.store import Store

# What is lost to the system may still run.
ENDED = (JobState.EXITED, JobState.CANCELLED)


DAG, CALIBRATION = "contract", "cal"


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
        self.run = RunLayout(work_dir=self.work, dag_id=DAG, run_id=folder.name)
        self.app = app
        self.python = python
        self.resources = resources
        self.is_faked = not is_real
        self.is_slow = is_real and system.name != "local"
        # To look is to start a command, and a fake one costs more than what it asks for.
        self.pause = 0.5 if self.is_slow else 0.2 if self.is_faked else 0.05
        self.limit = 180.0
        self.clock = Clock()
        self.client = self.make_client()
        self.made: list[SubjobSet] = []

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
        files: Sequence[Sequence[Path | str]] = (),
        databases: Sequence[DatabaseEntry] = (),
    ) -> SubjobSet:
        """Leave what `prepare` leaves of a collection whose subjobs are commands, and give it as a task sees it.

        :param files: the input files of each subjob.
        """
        layout = self.run.calibration(CALIBRATION)
        if not layout.app.exists():
            layout.folder.mkdir(parents=True)
            copyfile(self.app, layout.app)
        command, arguments = build_command(commands)
        CollectionManifest(
            calibration=CALIBRATION,
            collection=Collection(
                command, output_patterns=list(outputs), max_subjob_retries=3, max_failed_subjobs=0
            ).rename(name),
            prefix="",
            granularity="run",
            subjobs=tuple(
                SubjobPlan(index=index, files=tuple(map(str, files[index] if files else ())), arguments=each)
                for index, each in enumerate(arguments)
            ),
            database_chain=tuple(databases),
            backend=self.system.name,
            resources=merge_resources(
                Resources(python=self.python), self.resources, Resources(max_processes=4), resources or Resources()
            ),
        ).write(layout.iteration(0).collection(name).manifest)
        with self.serving(self.client):
            run = open_collection(layout, 0, name)
            run.write_jobs()
        job = run.subjob_set
        self.made.append(job)
        return job

    @contextlib.contextmanager
    def serving(self, client: BatchClient) -> Iterator[None]:
        """Let what a task opens speak to the batch system through a client of the test: its clock, its faults."""
        with patch.object(collect, "BatchClient", lambda *_, **__: client):
            yield

    def make_context(self, **store: Any) -> Any:
        """Give a task's context: of the run and the store that tasks keep."""
        ti = SimpleNamespace(dag_id=DAG, run_id=self.run.run_id, try_number=1, max_tries=0)
        return {"ti": ti, "task_state_store": Store(store), "task_reschedule_count": 1}

    def submit(self, job: SubjobSet, client: BatchClient | None = None) -> Round:
        """Run the task `submit` of a collection, and give what it has done. What it shows is what was submitted."""
        operator = CollectorSubmitOperator(
            task_id="submit", calibration=CALIBRATION, iteration=0, collection=job.labels[1]
        )
        context = self.make_context()
        with self.serving(client or self.client), recording("submit_missing") as answers:
            said = operator.execute(context)
        submitted: Round = answers[-1]
        assert said["submitted"] == len(submitted.submitted)
        assert said["array_ids"] == context["task_state_store"]["array_ids"]
        self._check_shown(job, operator.submitted or [])
        return submitted

    def _check_shown(self, job: SubjobSet, shown: list[dict[str, Any]]) -> None:
        arrays = read_arrays(job.folders.arrays_folder)
        assert [each["name"] for each in reversed(shown)] == [each.array.name for each in arrays][-len(shown) :]
        for each, array in zip(shown, reversed(arrays), strict=False):
            # Some tests submit by hand.
            assert ("command" in each) == (Path(array.array.folder) / SUBMISSION_FILE).exists()
            for path, text in each.get("files", {}).items():
                assert Path(path).read_text("utf-8", "surrogateescape").startswith(text), "not what was submitted"

    def resubmit(self, job: SubjobSet, first_attempt: int, max_retries: int | None = None) -> Round:
        """Submit again what failed, as the sensor does while it waits."""
        with self.serving(self.client):
            return self._open(job).submit_missing(first_attempt, max_retries=max_retries)

    def look(self, job: SubjobSet, client: BatchClient | None = None) -> Observation:
        """Look once, as a task does."""
        with self.serving(client or self.client):
            return self._open(job).observe()

    def _open(self, job: SubjobSet) -> CollectionRun:
        return open_collection(self.run.calibration(CALIBRATION), 0, job.labels[1])

    def wait(self, job: SubjobSet, until: Callable[[Observation], bool] | None = None) -> Observation:
        """Wait until all subjobs of a collection are over, as its sensor does, or until something else is so."""
        if until is None:
            return self._sense(job)
        deadline = time.monotonic() + self.limit
        pause = self.pause
        with self.serving(self.client):
            run = self._open(job)
        while True:
            observed = run.observe()
            if until(observed):
                return observed
            assert time.monotonic() < deadline, observed
            time.sleep(pause)
            pause = min(pause * 1.3, 0.5)

    def _sense(self, job: SubjobSet) -> Observation:
        """Run the sensor of a collection, which gives its subjobs no further try, and give what it has seen last."""
        newest = max((each.attempt for each in read_intents(job.folders.arrays_folder)), default=0)
        sensor = CollectorJobSensor(
            task_id="wait",
            calibration=CALIBRATION,
            iteration=0,
            collection=job.labels[1],
            max_subjob_retries=0,
            timeout=self.limit,
        )
        with self.serving(self.client), recording("observe") as seen:
            try:
                # As after a reschedule: what has failed before it looked gets no further try either.
                said = sensor.execute(self.make_context(first_attempt=newest))
            except AirflowFailException as error:
                if not isinstance(error.__cause__, JobFailed):
                    raise
                failed = seen[-1].failed
                told = f"{len(failed)} of {len(job.subjobs)} subjobs of collection {job.labels[1]!r}"
                if not failed or told not in str(error):
                    raise
            else:
                assert said["subjobs"] == len(job.subjobs)
                assert self.statuses(seen[-1]) == [SubjobStatus.DONE] * len(job.subjobs)
        observed: Observation = seen[-1]
        return observed

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + self.limit
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.5 if self.is_slow else 0.02)

    def statuses(self, observed: Observation) -> list[SubjobStatus]:
        """Give the statuses in the order of the subjobs."""
        return [verdict.status for _, verdict in sorted(observed.verdicts.items())]

    def started(self, job: SubjobSet) -> list[str]:
        """Give the work folders of all tries of all subjobs."""
        folders = job.folders.output_folder.glob("[0-9]*/attempt_*")
        return sorted(f"{folder.parent.name}/{folder.name}" for folder in folders)

    def look_up(self, array: ArraySpec) -> tuple[tuple[str, ...], ...]:
        """Give the ids of every submission of an array that the system knows."""
        return self.system.parse_lookup(array, LocalTransport().run(self.system.build_lookup(array)))

    def end(self) -> list[str]:
        """End what was left running, and give what did not end: command lines of processes."""
        if self.is_faked:
            engine.set_faults()
        arrays = []
        for intent in (intent for job in self.made for intent in read_intents(job.folders.arrays_folder)):
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
        deadline = time.monotonic() + 60
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


def build_command(commands: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Give the command of a collection whose subjobs are these, and the arguments of each subjob.

    A collection has one command. Where its subjobs differ, a shell becomes what each of them is.
    """
    first = tuple(commands[0])
    if all(tuple(each) == first for each in commands):
        return first, [{} for _ in commands]
    return ("sh", "-c", "{script}"), [{"script": f"exec {shlex.join(each)}"} for each in commands]


@contextlib.contextmanager
def recording(method: str) -> Iterator[list[Any]]:
    """Record what a method of `CollectionRun` gives, in the order of the calls."""
    answers: list[Any] = []
    real = getattr(CollectionRun, method)

    def call(*words: Any, **more: Any) -> Any:
        answers.append(real(*words, **more))
        return answers[-1]

    with patch.object(CollectionRun, method, call):
        yield answers
