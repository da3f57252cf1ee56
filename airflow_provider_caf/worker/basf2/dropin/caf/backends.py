"""Jobs, how they are split, and where they run: the names that scripts know.

Submission is Airflow's affair here. Only `Local` runs something itself.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from airflow_provider_caf.core.splitting import Splitting, plan_subjobs
from airflow_provider_caf.worker.programs import run_in_folder

_INPUT_FILE = "__BACKEND_INPUT_FILES__.json"
_LISTS = ("output_patterns", "cmd", "args", "input_files", "setup_cmds")
"""Attributes of a job that stand in its JSON form as lists."""


class BackendError(Exception):
    """A backend cannot do that."""


class JobError(Exception):
    """A job is not as it should be."""


class SplitterError(Exception):
    """A splitter was not set up."""


def get_input_data() -> list[str]:
    """Return the input files of the job in which this runs.

    :raises JobError: if this is no job.
    """
    path = os.environ.get("CAF_JOB")
    if path:
        return list(json.loads(Path(path).read_text("utf-8"))["input_files"])
    if not Path(_INPUT_FILE).exists():
        raise JobError(f"There is neither $CAF_JOB nor a file {_INPUT_FILE} in the current folder: this is no job.")
    return list(json.loads(Path(_INPUT_FILE).read_text("utf-8")))


class ArgumentsGenerator:
    """Make the arguments of one subjob after the other.

    :param generator_function: gives a generator that first yields None; then it is sent each subjob, and yields its
        arguments.
    """

    def __init__(self, generator_function: Callable[..., Generator[Any, Any, Any]], *args: Any, **kwargs: Any) -> None:
        self.generator_function = generator_function
        self.args = args
        self.kwargs = kwargs

    @property
    def generator(self) -> Generator[Any, Any, Any]:
        """Return a generator that begins anew, ready to be sent a subjob."""
        generator = self.generator_function(*self.args, **self.kwargs)
        next(generator)
        return generator


def range_arguments(start: int = 0, stop: int | None = None, step: int = 1) -> Generator[tuple[int] | None, Any, None]:
    """Yield whole numbers, each in a tuple."""
    yield None
    number = start
    while stop is None or number < stop:
        yield (number,)
        number += step


def monitor_jobs(args: Any, jobs: Iterable[Job]) -> None:
    """Wait until jobs have ended.

    :param args: has a `heartbeat` in seconds.
    """
    waiting = list(jobs)
    while waiting := [job for job in waiting if not job.ready()]:
        time.sleep(args.heartbeat)


class Result:
    """The end of a job; here the job itself knows it."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def ready(self) -> bool:
        """Tell whether it has ended."""
        return self.job.ready()

    def update_status(self) -> None:
        """Do nothing: nothing changes behind the back."""


class SubjobSplitter(ABC):
    """Split a job into subjobs.

    :param arguments_generator: the arguments of the subjobs.
    """

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None) -> None:
        self.arguments_generator = arguments_generator

    @abstractmethod
    def create_subjobs(self, job: Job) -> None:
        """Make the subjobs of a job."""

    def assign_arguments(self, job: Job) -> None:
        """Set the arguments of each subjob.

        :raises SplitterError: if there are fewer than subjobs.
        """
        if self.arguments_generator is None:
            return
        generator = self.arguments_generator.generator
        for subjob in sorted(job.subjobs.values(), key=lambda subjob: subjob.id):
            try:
                subjob.args = generator.send(subjob)
            except StopIteration as end:
                raise SplitterError(f"There are no arguments for the subjob {subjob.id}.") from end

    def _create(self, job: Job, splitting: Splitting) -> None:
        files = list(job.input_files)
        for plan in plan_subjobs(files, splitting) if files else ():
            job.create_subjob(plan.index, input_files=plan.files)
        self.assign_arguments(job)


class MaxFilesSplitter(SubjobSplitter):
    """At most so many files in a subjob."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_files_per_subjob: int = 1) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_files_per_subjob < 1:
            raise SplitterError(f"max_files_per_subjob is {max_files_per_subjob}: it has to be at least 1.")
        self.max_files_per_subjob = max_files_per_subjob

    def create_subjobs(self, job: Job) -> None:
        self._create(job, Splitting(max_files_per_collector_job=self.max_files_per_subjob))


class MaxSubjobsSplitter(SubjobSplitter):
    """At most so many subjobs, with nearly the same number of files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_subjobs: int = 1000) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_subjobs < 1:
            raise SplitterError(f"max_subjobs is {max_subjobs}: it has to be at least 1.")
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Job) -> None:
        self._create(job, Splitting(max_collector_jobs=self.max_subjobs))


class _SplitterLimit:
    """An attribute that is the limit of its owner's `splitter`; to set it sets the splitter.

    :param splitter: the class that has this limit.
    :param limit: the name that the limit has there.
    :param default: for an owner whose splitter has no such limit; without one that is an `AttributeError`.
    """

    def __init__(self, splitter: Callable[..., SubjobSplitter], limit: str, *default: None) -> None:
        self._splitter = splitter
        self._limit = limit
        self._default = default

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else getattr(owner.splitter, self._limit, *self._default)

    def __set__(self, owner: Any, value: int | None) -> None:
        owner.splitter = None if value is None else self._splitter(**{self._limit: value})


class ArgumentsSplitter(SubjobSplitter):
    """A subjob for each of the arguments, with all files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator, max_subjobs: int | None = None) -> None:
        super().__init__(arguments_generator=arguments_generator)
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Job) -> None:
        assert self.arguments_generator is not None
        generator = self.arguments_generator.generator
        for number in count():
            subjob = SubJob(job, number, list(job.input_files))
            try:
                subjob.args = generator.send(subjob)
            except StopIteration:
                return
            if self.max_subjobs is not None and number >= self.max_subjobs:
                raise SplitterError(f"The arguments make more than {self.max_subjobs} subjobs.")
            job.subjobs[number] = subjob


class Job:
    """A command with its input files.

    :param name: for people.
    :param job_dict: what `job_dict` of another one gave.
    """

    statuses: ClassVar[dict[str, int]] = {"init": 0, "submitted": 1, "running": 2, "failed": 3, "completed": 4}
    exit_statuses: ClassVar[list[str]] = ["failed", "completed"]

    def __init__(self, name: str, job_dict: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.splitter: Any = None
        self.input_sandbox_files: list[Any] = []
        self.working_dir: Any = Path()
        self.output_dir: Any = Path()
        self.output_patterns: list[str] = []
        self.cmd: list[Any] = []
        self.args: Any = []
        self.input_files: list[str] = []
        self.setup_cmds: list[str] = []
        self.backend_args: dict[str, Any] = {}
        self.subjobs: dict[int, SubJob] = {}
        self.result: Any = None
        self._status = "init"
        if job_dict is not None:
            self._read(job_dict)

    def _read(self, value: Mapping[str, Any]) -> None:
        for name in _LISTS:
            setattr(self, name, list(value[name]))
        self.input_sandbox_files = [Path(path) for path in value["input_sandbox_files"]]
        self.working_dir, self.output_dir = Path(value["working_dir"]), Path(value["output_dir"])
        self.backend_args = dict(value["backend_args"])
        for subjob in value["subjobs"]:
            self.create_subjob(subjob["id"], input_files=subjob["input_files"], args=subjob["args"])

    def create_subjob(self, i: int, input_files: Iterable[str] | None = None, args: Any = None) -> SubJob:
        """Add a subjob.

        :raises JobError: if there is one of that number.
        """
        if i in self.subjobs:
            raise JobError(f"The job {self.name!r} has a subjob {i} already.")
        self.subjobs[i] = SubJob(self, i, input_files)
        self.subjobs[i].args = args or []
        return self.subjobs[i]

    @property
    def status(self) -> str:
        """The status; of a job with subjobs, that of the one that is least far."""
        return min(
            (subjob.status for subjob in self.subjobs.values()), key=self.statuses.__getitem__, default=self._status
        )

    @status.setter
    def status(self, status: str) -> None:
        self._status = status

    def ready(self) -> bool:
        """Tell whether it, or all its subjobs, have ended."""
        return all(job.status in self.exit_statuses for job in self.subjobs.values() or (self,))

    def update_status(self) -> str:
        """Return the status: nothing changes behind the back."""
        return self.status

    max_subjobs = _SplitterLimit(MaxSubjobsSplitter, "max_subjobs")
    max_files_per_subjob = _SplitterLimit(MaxFilesSplitter, "max_files_per_subjob")

    @property
    def full_command(self) -> str:
        """The command with its arguments, for a shell."""
        return " ".join(map(str, [*self.cmd, *self.args]))

    def copy_input_sandbox_files_to_working_dir(self) -> None:
        """Copy the files that the command needs beside it."""
        for path in map(Path, self.input_sandbox_files):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, Path(self.working_dir, path.name))

    def dump_input_data(self) -> None:
        """Write the input files where `get_input_data` looks for them."""
        Path(self.working_dir, _INPUT_FILE).write_text(json.dumps(list(self.input_files)), encoding="utf-8")

    @property
    def job_dict(self) -> dict[str, Any]:
        """The form that JSON has."""
        return {
            "name": self.name,
            "input_sandbox_files": [str(Path(path).absolute()) for path in self.input_sandbox_files],
            "working_dir": str(Path(self.working_dir).absolute()),
            "output_dir": str(Path(self.output_dir).absolute()),
            **{name: list(getattr(self, name)) for name in _LISTS},
            "backend_args": self.backend_args,
            "subjobs": [subjob.job_dict for subjob in self.subjobs.values()],
        }

    def dump_to_json(self, file_path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        Path(file_path).write_text(json.dumps(self.job_dict, indent=2), encoding="utf-8")

    @classmethod
    def from_json(cls, file_path: str | os.PathLike[str]) -> Job:
        """Read what `dump_to_json` wrote."""
        value = json.loads(Path(file_path).read_text("utf-8"))
        return cls(value["name"], value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"


class SubJob(Job):
    """A part of a job; what it does not say itself is the job's."""

    def __init__(self, job: Job, subjob_id: int, input_files: Iterable[str] | None = None) -> None:
        super().__init__(f"{job.name}_{subjob_id}")
        self.id = subjob_id
        self.parent = job
        self.input_files = list(input_files or ())
        for word in _OF_PARENT:
            # They are looked up when they are used: the job may be changed until then.
            delattr(self, word)

    @property
    def job_dict(self) -> dict[str, Any]:
        return {"id": self.id, "input_files": list(self.input_files), "args": list(self.args)}

    def __getattr__(self, name: str) -> Any:
        if name in ("working_dir", "output_dir"):
            return Path(getattr(self.parent, name), str(self.id))
        if name in _OF_PARENT:
            return getattr(self.parent, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


_OF_PARENT = (
    "backend_args",
    "cmd",
    "input_sandbox_files",
    "output_dir",
    "output_patterns",
    "setup_cmds",
    "working_dir",
)


class Backend(ABC):
    """Where jobs run.

    :param backend_args: arguments of all jobs.
    """

    submit_script = "submit.sh"
    exit_code_file = "__BACKEND_CMD_EXIT_STATUS__"
    default_backend_args: Mapping[str, Any] = {}

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None) -> None:
        self.backend_args = {**self.default_backend_args, **(backend_args or {})}

    @abstractmethod
    def submit(self, job: Any) -> None:
        """Run a job, or its subjobs."""

    def get_submit_script_path(self, job: Job) -> Path:
        """Return the path of the shell script of a job."""
        return Path(job.working_dir, self.submit_script)


class Local(Backend):
    """This machine.

    :param max_processes: at most so many at once.
    """

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None, max_processes: int = 1) -> None:
        super().__init__(backend_args=backend_args)
        self.max_processes = max_processes

    def submit(self, job: Any) -> None:
        """Run a job, or its subjobs, or a list of jobs, to the end.

        :raises BackendError: if a working folder cannot be made ready.
        """
        if isinstance(job, (list, tuple)):
            for single in job:
                self.submit(single)
            return
        if job.splitter is not None and not job.subjobs:
            job.splitter.create_subjobs(job)
        job.result = Result(job)
        with ThreadPoolExecutor(self.max_processes) as pool:
            list(pool.map(self._run, [*job.subjobs.values()] or [job]))

    def join(self) -> None:
        """Do nothing: nothing runs behind the back."""

    def _run(self, job: Job) -> None:
        folder = Path(job.working_dir)
        script = self.get_submit_script_path(job)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            job.copy_input_sandbox_files_to_working_dir()
            job.dump_input_data()
            script.write_text("\n".join(["#!/bin/bash", *job.setup_cmds, job.full_command, ""]), encoding="utf-8")
        except OSError as error:
            raise BackendError(f"The folder {folder} of {job} cannot be made ready: {error}.") from error
        job.result, job.status = Result(job), "running"
        code = run_in_folder(["/bin/bash", str(script.absolute())], folder)
        (folder / self.exit_code_file).write_text(f"{code}\n", encoding="utf-8")
        job.status = "failed" if code else "completed"


class Batch(Backend):
    """A batch system: Airflow submits to it."""

    default_global_job_limit = 1000
    default_sleep_between_submission_checks = 30

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None) -> None:
        super().__init__(backend_args=backend_args)
        # Scripts set them; how much is submitted at once Airflow's pools say.
        self.global_job_limit = self.default_global_job_limit
        self.sleep_between_submission_checks = self.default_sleep_between_submission_checks

    def submit(self, job: Any) -> None:
        """Not possible here.

        :raises BackendError: always.
        """
        raise BackendError(
            f"{type(self).__name__} is Airflow's affair: airflow caf import-script SCRIPT --backend "
            f"{type(self).__name__.lower()}."
        )


class LSF(Batch):
    """LSF."""

    default_global_job_limit = 15000
    default_backend_args: Mapping[str, Any] = {"queue": "s"}


class PBS(Batch):
    """PBS."""

    default_global_job_limit = 5000
    default_backend_args: Mapping[str, Any] = {"queue": "short"}


class HTCondor(Batch):
    """HTCondor."""

    default_global_job_limit = 10000
    default_backend_args: Mapping[str, Any] = {
        "universe": "vanilla",
        "getenv": "false",
        "request_memory": "4 GB",
        "path_prefix": "",
        "extra_lines": [],
    }


class DIRAC(Batch):
    """The grid, which the reference does not reach either."""
