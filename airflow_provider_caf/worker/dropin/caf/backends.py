"""Jobs, how they are split, and where they run: the names that scripts know.

Submission is Airflow's affair here. Only `Local` runs something itself.
"""

from __future__ import annotations

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_caf.worker.dropin.caf.utils import grouper

_INPUT_FILE = "input_data_files.data"


class BackendError(Exception):
    """A backend cannot do what it was asked for."""


class JobError(Exception):
    """A job is not as it should be."""


class SplitterError(Exception):
    """A splitter was not set up."""


def get_input_data() -> list[str]:
    """Give the input files of the job in which this runs."""
    path = os.environ.get("CAF_JOB")
    if not path:
        raise JobError("There is no $CAF_JOB: this is no job.")
    return list(json.loads(Path(path).read_text("utf-8"))["input_files"])


class ArgumentsGenerator:
    """Make the arguments of one subjob after the other.

    :param generator_function: gives a generator.
    """

    def __init__(self, generator_function: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> None:
        self.generator_function = generator_function
        self.args = args
        self.kwargs = kwargs

    @property
    def generator(self) -> Iterator[Any]:
        """Give a generator that begins anew."""
        return self.generator_function(*self.args, **self.kwargs)


def range_arguments(start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int]]:
    """Give whole numbers, each in a tuple."""
    number = start
    while stop is None or (number < stop if step > 0 else number > stop):
        yield (number,)
        number += step


class SubjobSplitter(ABC):
    """Split a job into subjobs.

    :param arguments_generator: the arguments of each.
    """

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None) -> None:
        self.arguments_generator = arguments_generator

    @abstractmethod
    def create_subjobs(self, job: Job) -> None:
        """Make the subjobs of a job."""

    def assign_arguments(self, job: Job) -> None:
        """Give each subjob its arguments.

        :raises SplitterError: if there are fewer than subjobs.
        """
        if self.arguments_generator is None:
            return
        generator = self.arguments_generator.generator
        for subjob in sorted(job.subjobs.values(), key=lambda each: each.id):
            try:
                subjob.args = next(generator)
            except StopIteration as end:
                raise SplitterError(f"There are no arguments for the subjob {subjob.id}.") from end

    def _create(self, job: Job, groups: Iterator[tuple[str, ...]]) -> None:
        for number, files in enumerate(groups):
            job.create_subjob(number, input_files=list(files))
        self.assign_arguments(job)


class MaxFilesSplitter(SubjobSplitter):
    """At most so many files in a subjob."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_files_per_subjob: int = 1) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_files_per_subjob < 1:
            raise SplitterError(f"max_files_per_subjob is {max_files_per_subjob}: it has to be at least 1.")
        self.max_files_per_subjob = max_files_per_subjob

    def create_subjobs(self, job: Job) -> None:
        """Make the subjobs of a job."""
        self._create(job, grouper(self.max_files_per_subjob, job.input_files))


class MaxSubjobsSplitter(SubjobSplitter):
    """At most so many subjobs, with nearly the same number of files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator | None = None, max_subjobs: int = 1000) -> None:
        super().__init__(arguments_generator=arguments_generator)
        if max_subjobs < 1:
            raise SplitterError(f"max_subjobs is {max_subjobs}: it has to be at least 1.")
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Job) -> None:
        """Make the subjobs of a job."""
        files = list(job.input_files)
        count = min(self.max_subjobs, len(files))
        bounds = [number * len(files) // count for number in range(count + 1)] if count else [0]
        self._create(job, (tuple(files[first:last]) for first, last in zip(bounds, bounds[1:])))


class ArgumentsSplitter(SubjobSplitter):
    """A subjob for each of the arguments, with all files."""

    def __init__(self, *, arguments_generator: ArgumentsGenerator, max_subjobs: int | None = None) -> None:
        super().__init__(arguments_generator=arguments_generator)
        self.max_subjobs = max_subjobs

    def create_subjobs(self, job: Job) -> None:
        """Make the subjobs of a job."""
        assert self.arguments_generator is not None
        for number, arguments in enumerate(self.arguments_generator.generator):
            if self.max_subjobs is not None and number >= self.max_subjobs:
                return
            job.create_subjob(number, input_files=list(job.input_files), args=arguments)


class Job:
    """A command with its input files.

    :param name: for people.
    :param job_dict: what `job_dict` of another one gave.
    """

    statuses: Mapping[str, int] = {"init": 0, "submitted": 1, "running": 2, "failed": 3, "completed": 4}
    exit_statuses = ("failed", "completed")

    def __init__(self, name: str, job_dict: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self.splitter: SubjobSplitter | None = None
        self.input_sandbox_files: list[Any] = []
        self.working_dir = Path()
        self.output_dir = Path()
        self.output_patterns: list[str] = []
        self.cmd: list[str] = []
        self.args: list[Any] = []
        self.input_files: list[str] = []
        self.setup_cmds: list[str] = []
        self.backend_args: dict[str, Any] = {}
        self.subjobs: dict[int, SubJob] = {}
        self.status = "init"
        if job_dict is not None:
            self._read(job_dict)

    def _read(self, value: Mapping[str, Any]) -> None:
        for word in ("input_sandbox_files", "output_patterns", "cmd", "args", "input_files", "setup_cmds"):
            setattr(self, word, list(value[word]))
        self.working_dir, self.output_dir = Path(value["working_dir"]), Path(value["output_dir"])
        self.backend_args = dict(value["backend_args"])
        for each in value["subjobs"]:
            self.create_subjob(each["id"], input_files=each["input_files"], args=each["args"])

    def create_subjob(self, i: int, input_files: list[str] | None = None, args: Any = None) -> SubJob:
        """Add a subjob.

        :raises JobError: if there is one of that number.
        """
        if i in self.subjobs:
            raise JobError(f"The job {self.name!r} has a subjob {i} already.")
        self.subjobs[i] = SubJob(self, i, input_files)
        self.subjobs[i].args = args or []
        return self.subjobs[i]

    @property
    def full_command(self) -> list[str]:
        """The command with its arguments."""
        return [*self.cmd, *(str(each) for each in self.args)]

    def ready(self) -> bool:
        """Tell whether it, or all its subjobs, have ended."""
        parts: list[Any] = list(self.subjobs.values()) or [self]
        return all(each.status in self.exit_statuses for each in parts)

    @property
    def job_dict(self) -> dict[str, Any]:
        """The form that JSON has."""
        return {
            "name": self.name,
            "input_sandbox_files": [str(each) for each in self.input_sandbox_files],
            "working_dir": str(self.working_dir),
            "output_dir": str(self.output_dir),
            "output_patterns": self.output_patterns,
            "cmd": self.cmd,
            "args": self.args,
            "input_files": self.input_files,
            "setup_cmds": self.setup_cmds,
            "backend_args": self.backend_args,
            "subjobs": [each.job_dict for each in self.subjobs.values()],
        }

    def dump_to_json(self, file_path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        Path(file_path).write_text(json.dumps(self.job_dict, indent=2), encoding="utf-8")

    @classmethod
    def from_json(cls, file_path: str | os.PathLike[str]) -> Job:
        """Read what `dump_to_json` wrote."""
        value = json.loads(Path(file_path).read_text("utf-8"))
        return cls(value["name"], value)


class SubJob(Job):
    """A part of a job; what it does not say itself is the job's."""

    def __init__(self, job: Job, subjob_id: int, input_files: list[str] | None = None) -> None:
        self.id = subjob_id
        self.parent = job
        self.input_files = input_files or []
        self.args = []
        self.status = "init"

    @property
    def name(self) -> str:  # type: ignore[override]
        """The job's name, and its number."""
        return f"{self.parent.name}_{self.id}"

    @property
    def output_dir(self) -> Path:  # type: ignore[override]
        """A folder in the job's."""
        return Path(self.parent.output_dir, str(self.id))

    @property
    def working_dir(self) -> Path:  # type: ignore[override]
        """A folder in the job's."""
        return Path(self.parent.working_dir, str(self.id))

    @property
    def subjobs(self) -> dict[int, SubJob]:  # type: ignore[override]
        """None."""
        return {}

    @property
    def job_dict(self) -> dict[str, Any]:
        """The form that JSON has."""
        return {"id": self.id, "input_files": self.input_files, "args": self.args}

    def __getattr__(self, name: str) -> Any:
        if name == "parent":
            raise AttributeError(name)
        return getattr(self.parent, name)


class Backend(ABC):
    """Where jobs run.

    :param backend_args: arguments of all jobs.
    """

    default_backend_args: Mapping[str, Any] = {}

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None) -> None:
        self.backend_args = {**self.default_backend_args, **(backend_args or {})}

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Run a job, or its subjobs."""


class Local(Backend):
    """This machine.

    :param max_processes: at most so many at once.
    """

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None, max_processes: int = 1) -> None:
        super().__init__(backend_args=backend_args)
        self.max_processes = max_processes

    def submit(self, job: Job) -> None:
        """Run a job to its end, or its subjobs one after the other.

        :raises BackendError: if the command cannot be started.
        """
        if job.splitter is not None and not job.subjobs:
            job.splitter.create_subjobs(job)
        parts: list[Job] = [*job.subjobs.values()] or [job]
        for each in parts:
            each.working_dir.mkdir(parents=True, exist_ok=True)
            with (each.working_dir / "stdout").open("wb") as out, (each.working_dir / "stderr").open("wb") as err:
                try:
                    code = subprocess.run(each.full_command, cwd=each.working_dir, stdout=out, stderr=err, check=False)
                except OSError as error:
                    raise BackendError(f"{each.full_command[0]!r} cannot be started: {error.strerror}.") from error
            each.status = "completed" if code.returncode == 0 else "failed"

    def join(self) -> None:
        """Do nothing: nothing runs behind the back."""


class Batch(Backend):
    """A batch system: Airflow submits to it."""

    default_global_job_limit = 1000
    default_sleep_between_submission_checks = 30

    def submit(self, job: Job) -> None:
        """Not possible here.

        :raises BackendError: always.
        """
        raise BackendError(
            f"{type(self).__name__} is Airflow's affair: airflow caf import-script SCRIPT --backend "
            f"{type(self).__name__.lower()}."
        )


class LSF(Batch):
    """LSF."""

    default_backend_args: Mapping[str, Any] = {"queue": "s"}


class PBS(Batch):
    """PBS."""

    default_backend_args: Mapping[str, Any] = {"queue": "short"}


class HTCondor(Batch):
    """HTCondor."""

    default_backend_args: Mapping[str, Any] = {
        "universe": "vanilla",
        "getenv": "false",
        "request_memory": "4 GB",
        "path_prefix": "",
        "extra_lines": [],
    }


class DIRAC(Batch):
    """The grid, which the reference does not reach either."""
