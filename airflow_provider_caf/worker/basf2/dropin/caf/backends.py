"""Jobs and where they run: the names that scripts know.

`submission` gives a job to a batch system, or to this machine, when it is submitted and not before.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_caf.worker.basf2.backend_job import EXIT_CODE_FILE
from airflow_provider_caf.worker.basf2.dropin.caf.job import Job, Result, SubJob, get_input_data
from airflow_provider_caf.worker.basf2.dropin.caf.job_checks import (
    BackendError,
    JobError,
    check_job,
    check_program,
    check_subjobs,
)
from airflow_provider_caf.worker.basf2.dropin.caf.splitters import (
    ArgumentsGenerator,
    ArgumentsSplitter,
    MaxFilesSplitter,
    MaxSubjobsSplitter,
    SplitterError,
    SubjobSplitter,
    range_arguments,
)

if TYPE_CHECKING:
    from airflow_provider_caf.worker.basf2.dropin.caf.submission import Submission

__all__ = [
    "DIRAC",
    "LSF",
    "PBS",
    "ArgumentsGenerator",
    "ArgumentsSplitter",
    "Backend",
    "BackendError",
    "Batch",
    "HTCondor",
    "Job",
    "JobError",
    "Local",
    "MaxFilesSplitter",
    "MaxSubjobsSplitter",
    "Result",
    "Slurm",
    "SplitterError",
    "SubJob",
    "SubjobSplitter",
    "Torque",
    "get_input_data",
    "monitor_jobs",
    "range_arguments",
]


def monitor_jobs(args: Any, jobs: Iterable[Job]) -> None:
    """Wait until jobs have ended.

    :param args: has a `heartbeat` in seconds.
    """
    waiting = list(jobs)
    while waiting := [job for job in waiting if not job.ready()]:
        time.sleep(args.heartbeat)


class Backend(ABC):
    """Where jobs run.

    :param backend_args: arguments of all jobs; those of a job win.
    """

    submit_script = "submit.sh"
    exit_code_file = EXIT_CODE_FILE
    default_backend_args: Mapping[str, Any] = {}
    system: ClassVar[str] = ""
    """The batch system, by the name that definitions give it."""

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None) -> None:
        self.backend_args = {**self.default_backend_args, **(backend_args or {})}
        self._submissions: list[Submission] = []

    @abstractmethod
    def submit(self, job: Any) -> Any:
        """Submit a job, or its subjobs, as one array; or each of a list of jobs. Return its result, or a list of them.

        What is done, or under way from an earlier call of any program, is found and not submitted again. What has
        failed runs again.

        :raises JobError: if the job is not as it should be.
        :raises SplitterError: if it cannot be split.
        :raises BackendError: if it cannot be submitted from here.
        """

    def can_submit(self, njobs: int = 1) -> bool:
        """Return whether there is room for so many more, beside what this object has submitted and is not over."""
        limit = self._limit
        if limit is None:
            return True
        busy = sum(min(earlier.live, limit) for earlier in self._submissions)
        return not busy or busy + min(njobs, limit) <= limit

    @property
    def _limit(self) -> int | None:
        """So many jobs at once; None: it has no limit."""
        return None

    def adapt_resources(self, resources: Any, subjobs: int) -> Any:
        """Return what a job of so many subjobs asks for."""
        return resources

    def cancel(self, job: Job) -> None:
        """End all that is submitted of a job, by this program or an earlier one.

        :raises BackendError: if the batch system does not take the command.
        """
        result = job.result
        submission = result and result.submission
        (submission or _load_submission()(job, self)).cancel()

    def get_submit_script_path(self, job: Job) -> Path:
        """Return the path of the shell script of a job. It is there when the job is over."""
        return Path(job.working_dir, self.submit_script)

    def _check(self, job: Job) -> None:
        check_job(job)

    def _submit(self, job: Any, pause: float) -> Any:
        """Submit a job, or each of a list, when there is room for it.

        :param pause: seconds between two looks whether there is.
        """
        if isinstance(job, (list, tuple)):
            return [self.submit(single) for single in job]
        if isinstance(job, SubJob) or not isinstance(job, Job):
            raise BackendError(f"A backend takes a Job, or a list of them, not a {type(job).__name__}.")
        self._check(job)
        if job.splitter is not None and not job.subjobs:
            job.splitter.create_subjobs(job)
            check_subjobs(job)
        submission = _load_submission()(job, self)
        self._submissions = [
            earlier for earlier in self._submissions if earlier.live and earlier.folder != submission.folder
        ]
        while not self.can_submit(submission.live):
            time.sleep(pause)
            for earlier in self._submissions:
                earlier.look(at_once=True)
        submission.submit()
        self._submissions.append(submission)
        for part in (job, *job.subjobs.values()):
            part.result = Result(part, submission)
        return job.result


def _load_submission() -> type[Submission]:
    try:
        from airflow_provider_caf.worker.basf2.dropin.caf.submission import Submission
    except ModuleNotFoundError as error:
        raise BackendError(
            f"Jobs cannot be submitted from here: {error}. Here is only the part of the package that travels with "
            "jobs: run the script where the whole package is."
        ) from error
    return Submission


class Local(Backend):
    """This machine: processes that outlive this program.

    :param max_processes: at most so many at once, of all jobs that this object has submitted.
    """

    system = "local"

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None, max_processes: int = 1) -> None:
        super().__init__(backend_args=backend_args)
        self.max_processes = max_processes

    def submit(self, job: Any) -> Any:
        """Begin to run a job, or its subjobs, or a list of jobs; wait first while all processes are busy.

        :raises JobError: if the job is not as it should be, or its program is not here.
        :raises SplitterError: if it cannot be split.
        :raises BackendError: if it cannot be begun.
        """
        return self._submit(job, pause=1.0)

    def _check(self, job: Job) -> None:
        super()._check(job)
        if "setup" not in {**self.backend_args, **job.backend_args}:
            check_program(job)

    @property
    def _limit(self) -> int:
        return self.max_processes

    def adapt_resources(self, resources: Any, subjobs: int) -> Any:
        """Return what a job asks for, with the number of processes.

        :raises BackendError: if that is no count, or `backend_args` say it, too.
        """
        if resources.max_processes is not None:
            raise BackendError("Say max_processes as Local(max_processes=…), not in backend_args.")
        if isinstance(self.max_processes, bool) or not isinstance(self.max_processes, int) or self.max_processes < 1:
            raise BackendError(f"max_processes is {self.max_processes!r}: it has to be a whole number of at least 1.")
        return replace(resources, max_processes=self.max_processes)

    def join(self) -> None:
        """Wait until all that was submitted is over."""
        for earlier in self._submissions:
            earlier.job.result.wait()


class Batch(Backend):
    """A batch system. Use one of those below."""

    default_global_job_limit = 1000
    default_sleep_between_submission_checks = 30

    def __init__(self, *, backend_args: Mapping[str, Any] | None = None) -> None:
        super().__init__(backend_args=backend_args)
        self.global_job_limit = self.default_global_job_limit
        self.sleep_between_submission_checks = self.default_sleep_between_submission_checks

    def submit(self, job: Any) -> Any:
        """Submit a job, or its subjobs, as one array; or each of a list of jobs. Return its result, or a list of them.

        It waits while more than `global_job_limit` would be in the system. A job with more subjobs than that has
        several of them in one batch job.
        """
        if not self.system:
            raise BackendError(f"{type(self).__name__} is no batch system: use LSF, PBS, Torque, HTCondor or Slurm.")
        return self._submit(job, pause=self.sleep_between_submission_checks)

    @property
    def _limit(self) -> int:
        return self.global_job_limit

    def adapt_resources(self, resources: Any, subjobs: int) -> Any:
        """Return what a job asks for, with so many subjobs in one batch job that the limit holds.

        :raises BackendError: if the limit is no count.
        """
        if self.global_job_limit < 1:
            raise BackendError(f"global_job_limit is {self.global_job_limit!r}: it has to be at least 1.")
        if subjobs <= self.global_job_limit:
            return resources
        return replace(resources, subjobs_per_job=-(-subjobs // self.global_job_limit))


class LSF(Batch):
    """LSF."""

    system = "lsf"
    default_global_job_limit = 15000
    default_backend_args: Mapping[str, Any] = {"queue": "s"}


class PBS(Batch):
    """PBS Pro and OpenPBS."""

    system = "pbs"
    default_global_job_limit = 5000
    default_backend_args: Mapping[str, Any] = {"queue": "short"}


class Torque(Batch):
    """Torque. The reference calls it PBS, too."""

    system = "torque"
    default_global_job_limit = 5000
    default_backend_args: Mapping[str, Any] = {"queue": "short"}


class HTCondor(Batch):
    """HTCondor."""

    system = "htcondor"
    default_global_job_limit = 10000
    default_backend_args: Mapping[str, Any] = {
        "universe": "vanilla",
        "getenv": "false",
        "request_memory": "4 GB",
        "path_prefix": "",
        "extra_lines": [],
    }


class Slurm(Batch):
    """Slurm, which the reference does not have."""

    system = "slurm"


class DIRAC(Backend):
    """The grid, which the reference does not reach either."""
