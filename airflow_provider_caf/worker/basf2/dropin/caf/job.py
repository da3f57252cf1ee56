"""A job, its subjobs, and what becomes of them, as scripts know it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.worker.basf2.backend_job import EXIT_CODE_FILE, INPUT_FILE
from airflow_provider_caf.worker.basf2.dropin.caf.job_checks import BackendError, JobError, find_existing_files
from airflow_provider_caf.worker.basf2.dropin.caf.splitters import MaxFilesSplitter, MaxSubjobsSplitter, SplitterLimit

if TYPE_CHECKING:
    from airflow_provider_caf.worker.basf2.dropin.caf.submission import Submission

_LISTS = ("output_patterns", "cmd", "args", "input_files", "setup_cmds")
"""Attributes of a job that stand in its JSON form as lists."""


def get_input_data() -> list[str]:
    """Return the input files of the job in which this runs.

    :raises JobError: if this is no job.
    """
    path = os.environ.get("CAF_JOB")
    if path:
        return list(json.loads(Path(path).read_text("utf-8"))["input_files"])
    if not Path(INPUT_FILE).exists():
        raise JobError(f"There is neither $CAF_JOB nor a file {INPUT_FILE} in the current folder: this is no job.")
    return list(json.loads(Path(INPUT_FILE).read_text("utf-8")))


class Result:
    """What becomes of a job, or of a subjob, that a backend has taken.

    :param job: it.
    :param submission: how it was submitted; None: whoever runs it sets its status.
    """

    def __init__(self, job: Job, submission: Submission | None = None) -> None:
        self.job = job
        self.submission = submission

    def ready(self) -> bool:
        """Look whether it has ended."""
        return self.job.ready()

    def update_status(self) -> None:
        """Ask the batch system, if some time has passed since it was asked last, and set the status of all subjobs.

        :raises BackendError: if it has not answered for too long.
        """
        if self.submission is not None:
            self.submission.look()

    def wait(
        self, shortest: float = 1.0, longest: float = 60.0, tell: Callable[[str], object] = lambda line: None
    ) -> str:
        """Wait until it is over, and return its status.

        :param shortest: seconds between two looks at first.
        :param longest: and later.
        :param tell: gets a line of progress, such as `job: 3 done, 1 running`, whenever that has changed.
        :raises BackendError: if the batch system has not answered for too long.
        """
        if self.submission is not None:
            self.submission.wait(shortest, longest, tell)
        while not self.job.ready():
            time.sleep(shortest)
        return self.job.status

    def get_exit_code_from_file(self) -> int:
        """Return the exit code of the command; that of one that a signal ended is 128 and the signal's number.

        :raises FileNotFoundError: if it is not over, or nobody knows how it ended.
        """
        return int(Path(self.job.working_dir, EXIT_CODE_FILE).read_text("utf-8"))

    def describe_failures(self) -> str:
        """Return a table of the subjobs that failed, with the ends of their logs; empty if none has."""
        return "" if self.submission is None else self.submission.describe_failures()


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
        self.input_sandbox_files = []
        self.working_dir = self.output_dir = Path()
        self.output_patterns: list[str] = []
        self.cmd: list[Any] = []
        self.args: Any = []
        self.input_files: list[str] = []
        self.setup_cmds: list[str] = []
        self.backend_args: dict[str, Any] = {}
        self.subjobs: dict[int, SubJob] = {}
        self.database_chain: tuple[DatabaseEntry, ...] = ()
        self.result: Any = None
        self._status = "init"
        if job_dict is not None:
            self._read(job_dict)

    def _read(self, value: Mapping[str, Any]) -> None:
        for name in _LISTS:
            setattr(self, name, list(value[name]))
        self.input_sandbox_files = value["input_sandbox_files"]
        self.working_dir, self.output_dir = value["working_dir"], value["output_dir"]
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

    @property
    def working_dir(self) -> Path:
        """Where its logs and outputs are; absolute."""
        return self._working_dir

    @working_dir.setter
    def working_dir(self, path: str | os.PathLike[str]) -> None:
        self._working_dir = Path(path).absolute()

    @property
    def output_dir(self) -> Path:
        """Where its outputs are, too; absolute."""
        return self._output_dir

    @output_dir.setter
    def output_dir(self, path: str | os.PathLike[str]) -> None:
        self._output_dir = Path(path).absolute()

    @property
    def input_sandbox_files(self) -> list[Path]:
        """The files and folders that the command needs beside it; absolute."""
        return self._input_sandbox_files

    @input_sandbox_files.setter
    def input_sandbox_files(self, paths: Iterable[str | os.PathLike[str]]) -> None:
        self._input_sandbox_files = [Path(path).absolute() for path in paths]

    def ready(self) -> bool:
        """Look whether it, or all its subjobs, have ended. The batch system is not asked at each call.

        :raises BackendError: if it has not answered for too long.
        """
        self.update_status()
        return all(job.status in self.exit_statuses for job in self.subjobs.values() or (self,))

    def update_status(self) -> str:
        """Look how far it is, and return the status. The batch system is not asked at each call.

        :raises BackendError: if it has not answered for too long.
        """
        if self.result is not None:
            self.result.update_status()
        return self.status

    max_subjobs = SplitterLimit(MaxSubjobsSplitter, "max_subjobs")
    max_files_per_subjob = SplitterLimit(MaxFilesSplitter, "max_files_per_subjob")

    @property
    def full_command(self) -> str:
        """The command with its arguments, for a shell."""
        return " ".join(map(str, [*self.cmd, *self.args]))

    def copy_input_sandbox_files_to_working_dir(self) -> None:
        """Copy the files that the command needs beside it."""
        for path in map(Path, self.input_sandbox_files):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, Path(self.working_dir, path.name))

    def check_input_data_files(self) -> None:
        """Make the paths of input files absolute, and leave out what is named twice.

        :raises JobError: if one is not there.
        """
        self.input_files = find_existing_files(self)

    def append_current_basf2_setup_cmds(self) -> None:
        """Add the lines that set up the release in which this runs.

        :raises BackendError: if this is no release.
        """
        self.setup_cmds.extend(build_setup_lines())

    def dump_input_data(self) -> None:
        """Write the input files where `get_input_data` looks for them."""
        Path(self.working_dir, INPUT_FILE).write_text(json.dumps(list(self.input_files)), encoding="utf-8")

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
        # What is not set here is looked up when it is used: the job may be changed until then.
        self.id = subjob_id
        self.parent = job
        self.input_files = list(input_files or ())
        self.args = []
        self.result = None
        self._status = "init"

    @property
    def name(self) -> str:  # type: ignore[override]  # of a job it can be set
        """The name of the job, and its number."""
        return f"{self.parent.name}_{self.id}"

    @property
    def subjobs(self) -> dict[int, SubJob]:  # type: ignore[override]  # a job gets some
        """None."""
        return {}

    def create_subjob(self, i: int, input_files: Iterable[str] | None = None, args: Any = None) -> SubJob:
        """Refuse: a subjob is not split.

        :raises JobError: always.
        """
        raise JobError(f"{self} is a subjob: it cannot have subjobs.")

    @property
    def job_dict(self) -> dict[str, Any]:
        return {"id": self.id, "input_files": list(self.input_files), "args": list(self.args)}

    @property
    def working_dir(self) -> Path:
        """The folder of its number in that of the job."""
        return Path(self.parent.working_dir, str(self.id))

    @working_dir.setter
    def working_dir(self, path: str | os.PathLike[str]) -> None:
        raise AttributeError("The folder of a subjob lies in that of its job: set that one.")

    @property
    def output_dir(self) -> Path:
        """The folder of its number in that of the job."""
        return Path(self.parent.output_dir, str(self.id))

    @output_dir.setter
    def output_dir(self, path: str | os.PathLike[str]) -> None:
        raise AttributeError("The folder of a subjob lies in that of its job: set that one.")

    def __getattr__(self, name: str) -> Any:
        if name == "parent":  # an object that is being copied has none yet
            raise AttributeError(name)
        return getattr(self.parent, name)


def build_setup_lines() -> list[str]:
    """Return the shell lines that set up the release in which this runs: one of the experiment, or a local one.

    The variables are those that the tools of basf2 set.

    :raises BackendError: if this is neither.
    """
    tools = os.environ.get("BELLE2_TOOLS")
    if tools is None:
        raise BackendError("There is no $BELLE2_TOOLS: set up a release before, or say in `setup` what jobs need.")
    source = f"source {quote(tools + '/b2setup')}"
    release, local = os.environ.get("BELLE2_RELEASE"), os.environ.get("BELLE2_LOCAL_DIR")
    if release is not None:
        return [f"{source} {quote(release)}"]
    if local is None:
        return [source]
    option = os.environ.get("BELLE2_OPTION")
    return [
        "export BELLE2_NO_TOOLS_CHECK=TRUE",
        f"pushd {quote(local)} > /dev/null",
        source,
        *([f"b2code-option {quote(option)}"] if option else []),
        "popd > /dev/null",
    ]
