"""Return a job of a script to a batch system, by the room `jobs`. No other module of `worker` knows that room.

It is there where the whole package is: not inside jobs, and not where Airflow describes a script::

    <working_dir>/                     of the job; its subjobs have <working_dir>/<id>/
        stdout, stderr, submit.sh, …   of the attempt that counts, once it is over, with its outputs
        .backend/<name>/
            owner.json                 which job this is, and to which system it was given
            app-<digest>.pyz           travels with the jobs: our own part, and the input sandbox
            jobs/, output/             see `core.job_folders`; the attempts work in `output`
            brought/<id>.json          what of the last attempt lies in <working_dir> and <output_dir>
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.batch.arguments import CAF_NAMES
from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.polling import Patience, decide_interval
from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.systems.base import System
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.chain import LOCAL, DatabaseEntry
from airflow_provider_caf.core.errors import CafError
from airflow_provider_caf.core.file_names import DATABASE_FILE, STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.core.files import measure_file, read_json, write_json, write_text
from airflow_provider_caf.core.job_app import build_own_entries, pack_entries
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.core.names import build_slug
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.jobs.arrays import read_intents
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.jobs.subjob_set import SubjobSet, build_job
from airflow_provider_caf.jobs.subjobs import build_failure_table
from airflow_provider_caf.worker.basf2.backend_job import ATTEMPTS_FOLDER, PREPARE, SANDBOX_FILE, pack_sandbox
from airflow_provider_caf.worker.basf2.dropin.caf.job_checks import BackendError
from airflow_provider_caf.worker.user_code import FILES_ENTRY

_LOGS = {STDOUT_FILE: "stdout", STDERR_FILE: "stderr"}
"""A log as we name it → as scripts know it."""

_WORDS = {
    SubjobStatus.DONE: "completed",
    SubjobStatus.RUNNING: "running",
    SubjobStatus.QUEUED: "submitted",
    SubjobStatus.HELD: "submitted",
}
"""Status → the word of scripts. Every other is `failed`."""

_log = logging.getLogger(__name__)


class Submission:
    """A job, or its subjobs, on a batch system. Nothing is written or asked before `submit`.

    :param job: a `Job` that has passed `job_checks`, with its subjobs.
    :param backend: the `Backend` to which it is given.
    :raises BackendError: if the arguments of the backend or the job are wrong.
    """

    def __init__(self, job: Any, backend: Any) -> None:
        self.job = job
        self.parts: dict[int, Any] = {**job.subjobs} or {0: job}
        self.folder = Path(job.working_dir, ATTEMPTS_FOLDER, build_slug(job.name))
        self.progress = ""
        """How far it is, for people, by the last look."""
        self._backend = backend
        self._began, self._looked = time.monotonic(), -math.inf
        self._observation: Observation | None = None
        with _telling(job):
            system = load_system(backend.system)
            self._client = BatchClient(system)
            self._resources = backend.adapt_resources(_build_resources(job, backend, system), len(self.parts))
        self._run = self._open(self.parts, self.folder / "app.pyz")

    @property
    def live(self) -> int:
        """How many of its parts are not known to be over."""
        if self._observation is None:
            return len(self.parts)
        return sum(not verdict.status.is_over for verdict in self._observation.verdicts.values())

    def submit(self) -> None:
        """Submit what is neither done nor under way.

        :raises BackendError: if the batch system does not take them, or something else still runs in the folder.
        """
        with _telling(self.job):
            files = self.job.input_sandbox_files
            sandbox = pack_sandbox(map(Path, files)) if files else None
            jobs = [self._build_job(number, part, sandbox) for number, part in self.parts.items()]
            self._run = self._open(self.parts, self._write_app(sandbox))
            self._claim()
            self._make_way(jobs)
            self._run.write_job_files(jobs)
            self._check_command()
            for number in self._run.submit_missing().submitted:
                _take_back(self._brought_file(number))
        for part in self.parts.values():
            part.status = "submitted"

    def look(self, *, at_once: bool = False) -> None:
        """Ask the batch system, and give each part its status. What is over gets its logs and outputs.

        :param at_once: else it asks only after some time, which is longer the longer the job has been on its way.
        :raises BackendError: if the batch system has not answered for too long.
        """
        now = time.monotonic()
        if not self.live or not (at_once or now - self._looked >= decide_interval(now - self._began, Patience())):
            return
        self._looked = now
        with _telling(self.job):
            self._observation = self._run.observe()
            self.progress = self._run.attend(self._observation)
            for number, verdict in self._observation.verdicts.items():
                part, word = self.parts[number], _WORDS.get(verdict.status, "failed")
                if word != part.status and verdict.record is not None and verdict.status.is_over:
                    self._bring(number, part, verdict.record, is_done=verdict.status is SubjobStatus.DONE)
                part.status = word

    def wait(self, shortest: float, longest: float, tell: Callable[[str], object]) -> None:
        """Look until all is over.

        :param shortest: seconds between two looks at first.
        :param longest: and later.
        :param tell: gets the line of progress whenever it has changed.
        :raises BackendError: as `look`.
        """
        patience, told = Patience(shortest=shortest, longest=max(shortest, longest)), ""
        while self.live:
            self.look(at_once=True)
            if self.progress != told:
                told = self.progress
                tell(f"{self.job.name}: {told}")
            if self.live:
                time.sleep(decide_interval(time.monotonic() - self._began, patience))

    def cancel(self) -> None:
        """End all that is submitted and not over.

        :raises BackendError: if the batch system does not take the command.
        """
        with _telling(self.job):
            self._recover()
            self._run.cancel()

    def describe_failures(self) -> str:
        """Return a table of what did not end well, with the ends of the logs; empty if nothing has failed."""
        seen = self._observation
        return build_failure_table(seen.verdicts) if seen is not None and seen.failed else ""

    def _open(self, numbers: Iterable[int], app: Path) -> SubjobRun:
        subjob_set = SubjobSet(
            labels=(build_slug(self.job.name),),
            folders=JobFolders(input_folder=self.folder / "jobs", output_folder=self.folder / "output"),
            subjobs=tuple(numbers),
            app=app,
            resources=self._resources,
            title=f"job {self.job.name!r}",
        )
        return SubjobRun(subjob_set, self._client)

    def _write_app(self, sandbox: bytes | None) -> Path:
        """Write the job app. Its name tells what is in it: one that runs already is never replaced by another."""
        entries = {**build_own_entries(), FILES_ENTRY: b"{}"}
        if sandbox is not None:
            entries[f"files/{build_slug(self.job.name)}/{SANDBOX_FILE}"] = sandbox
        data = pack_entries(entries)
        app = self.folder / f"app-{hashlib.sha256(data).hexdigest()[:12]}.pyz"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not app.exists():
            write_bytes(app, data, "job app")
        return app

    def _build_job(self, number: int, part: Any, sandbox: bytes | None) -> dict[str, Any]:
        script = "\n".join(["#!/bin/bash", *map(str, self.job.setup_cmds), part.full_command, ""])
        # No job reads `made_of`, but it changes the file's digest: what was made of other inputs does not count.
        made_of = {
            "sandbox": sandbox and hashlib.sha256(sandbox).hexdigest(),
            "inputs": [measure_file(path) for path in part.input_files],
            "constants": [measure_file(f"{entry.value}/{DATABASE_FILE}") for entry in self._list_local_databases()],
        }
        content = build_job(
            number,
            ["/bin/bash", "{script_file}"],
            input_files=part.input_files,
            outputs=self.job.output_patterns,
            arguments={"script": script, "script_file": self._backend.submit_script},
        )
        return {
            **content,
            "collection": build_slug(self.job.name),
            "pre_collector": {"function": PREPARE},
            "job_files": [] if sandbox is None else [SANDBOX_FILE],
            "database_chain": [entry.to_job_json() for entry in self.job.database_chain],
            "made_of": made_of,
        }

    def _list_local_databases(self) -> list[DatabaseEntry]:
        return [entry for entry in self.job.database_chain if entry.kind == LOCAL]

    def _claim(self) -> None:
        """Refuse a folder of another job, or from which the job was given to another system.

        That system alone knows what became of it.
        """
        file = self.folder / "owner.json"
        owner = {"version": 1, "job": self.job.name, "system": self._client.system.name}
        if not file.exists():
            write_json(file, owner)
        known = read_json(file, f"The record of job {self.job.name!r}")
        if known["job"] != owner["job"]:
            raise BackendError(
                f"{self.folder} belongs to a job {known['job']!r}: give {self.job} another name or working_dir."
            )
        if known["system"] != owner["system"]:
            raise BackendError(
                f"{self.job} was submitted to {known['system']} from {self.job.working_dir}: submit it there again, or "
                f"give it another working_dir for {owner['system']}."
            )

    def _recover(self) -> None:
        for intent in read_intents(self._run.folders.arrays_folder):
            self._client.recover(intent)

    def _make_way(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Remove job files that nobody wants any more, if nothing runs with them.

        :raises BackendError: if something runs that another job has submitted, or this one as it was before.
        """
        wanted = {job["subjob"]: json.loads(json.dumps(job)) for job in jobs}
        present = {int(file.stem): file for file in self._run.folders.input_folder.glob("[0-9]*.json")}
        changed = [number for number, file in present.items() if read_json(file, "A job file") != wanted.get(number)]
        if not changed:
            return
        self._recover()
        verdicts = self._open(changed, self._run.subjob_set.app).observe(check_outputs=False).verdicts
        live = [number for number in changed if not verdicts[number].status.is_over]
        if live:
            raise BackendError(
                f"{len(live)} subjobs of {self.job} in {self.job.working_dir} still run, and were submitted with "
                "another command, other inputs or other files. Wait until they are over, end them with the backend's "
                "cancel(job), or give this job another name or working_dir."
            )
        for number in set(changed) - set(wanted):
            _take_back(self._brought_file(number))
            present[number].unlink()

    def _check_command(self) -> None:
        """Refuse a system that is not here. Where all is done, it is not needed."""
        verdicts = self._run.find_question().verdicts.values()
        if all(verdict.status is SubjobStatus.DONE for verdict in verdicts):
            return
        # It also refuses what the system cannot do.
        (_, submission), *_ = self._run.preview()
        program = submission.command.argv[0]
        if shutil.which(program) is None:
            raise BackendError(
                f"There is no command {program!r} on PATH, so {self.job} cannot be submitted to "
                f"{self._client.system.name}: run this on a machine that submits to it."
            )

    def _brought_file(self, number: int) -> Path:
        return self.folder / "brought" / f"{number}.json"

    def _bring(self, number: int, part: Any, end: ExitRecord, *, is_done: bool) -> None:
        """Bring logs and exit code of an attempt to where a script looks for them, and the outputs if it ended well."""
        work, results = Path(part.working_dir), Path(part.output_dir)
        files = {work / name: end.folder / log for log, name in _LOGS.items()}
        files[work / self._backend.submit_script] = end.folder / self._backend.submit_script
        if is_done:
            files.update({folder / path: end.folder / path for path in end.outputs for folder in (work, results)})
        code = work / self._backend.exit_code_file
        there = {target: source for target, source in files.items() if source.exists()}
        for target, source in there.items():
            _put(source, target)
        write_text(code, f"{end.exit_code if end.signal is None else 128 + end.signal}\n", durable=False)
        record = self._brought_file(number)
        record.parent.mkdir(exist_ok=True)
        write_json(record, {str(path): measure_file(str(path)) for path in [*there, code]}, durable=False)


@contextlib.contextmanager
def _telling(job: Any) -> Iterator[None]:
    try:
        yield
    except (CafError, OSError) as error:
        raise BackendError(f"{job}: {error}") from error


def _build_resources(job: Any, backend: Any, system: System) -> Resources:
    """Merge the arguments of a backend and of a job; those of the job win, and None takes one away.

    :raises DefinitionError: if one is unknown, or has a value that it cannot have.
    """
    where = f"backend {type(backend).__name__}"
    defaults = backend.default_backend_args
    # By layers, as a default may be said by another name: `request_memory` and `memory` are one.
    own = {name: value for name, value in backend.backend_args.items() if defaults.get(name, ...) != value}
    given = merge_resources(
        parse_resources(_leave_out(own, job.backend_args), where), parse_resources(job.backend_args, f"{job}")
    )
    without_effect = sorted(system.ignored.intersection(given.to_json()))
    if without_effect:
        _log.warning("%s: %s has no use for the backend_args %s", job, system.name, ", ".join(without_effect))
    return merge_resources(parse_resources(_leave_out(_leave_out(defaults, own), job.backend_args), where), given)


def _leave_out(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments without those that others give as None."""
    none = {CAF_NAMES.get(name, name) for name, value in others.items() if value is None}
    return {name: value for name, value in values.items() if CAF_NAMES.get(name, name) not in none}


def _put(source: Path, target: Path) -> None:
    """Return a file a second name, or copy it where that cannot be. It stays where it was made: its record says so."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / build_temporary_name(target.name)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    temporary.replace(target)


def _take_back(brought: Path) -> None:
    """Remove what an earlier attempt has brought, as far as nobody has changed it: a new one runs."""
    if not brought.exists():
        return
    for path, measured in read_json(brought, "A record of brought files").items():
        if Path(path).exists() and measure_file(path) == measured:
            Path(path).unlink()
    brought.unlink()
