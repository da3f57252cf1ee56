"""Operators that run any commands as jobs of a batch system, in any DAG."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator, Context, XComArg

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.resubmit import DEFAULT_MAX_RETRIES
from airflow_provider_caf.definitions.jobs import Jobs
from airflow_provider_caf.hooks.batch import choose_target, open_jobs
from airflow_provider_caf.io.layout import RunLayout, TaskJobsLayout
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.operators.base import CafTask, failing_for_good
from airflow_provider_caf.operators.links import JOBS_LINKS
from airflow_provider_caf.operators.waiting import WaitingTask, read_patience
from airflow_provider_caf.site.metrics import count
from airflow_provider_caf.site.places import find_work_dir
from airflow_provider_caf.steps.task_jobs import (
    JobContent,
    TaskJobs,
    TaskJobsManifest,
    build_jobs,
    check_program,
    describe_end,
    describe_handle,
    find_jobs,
    lay_out_jobs,
    leave_target,
    write_app,
)
from airflow_provider_caf.steps.waiting import LiveCounts
from airflow_provider_caf.triggers.batch import TaskJobsTrigger, open_counts

WORDS = tuple(Jobs.model_fields)
"""The arguments that say what runs where."""


class JobsOperator(CafTask, BaseOperator):
    """Submit commands as jobs of a batch system: the base of `BatchSubmitOperator` and `BatchJobOperator`.

    What is done stays done: a retry, or a clear of the task, submits only the jobs that have failed, and none twice.
    When the command of a job, its input or the files that travel with it have changed, that job runs again.

    All arguments but `deferrable` and `cancel_on_kill` are templated. Give `command`, or `commands`.

    :param command: argv list of one command; no shell sees it. `{input_files}` alone in a word becomes one word for
        each file; `{subjob}` (the number of the job), `{job}` (the path of the job file) and the names of `arguments`
        are filled in.
    :param commands: a list of argv lists: one job for each.
    :param arguments: a list of mappings: one job with `command` for each.
    :param input_files: absolute paths, globs or URIs: one job for each file, or as the next two say.
    :param max_files_per_job: at most so many files in a job.
    :param max_jobs: at most so many jobs, with the files spread evenly.
    :param outputs: globs relative to the folder in which a job runs; each has to match a file that is not empty.
    :param job_files: name in the folder of a job → path of a file here that travels with the jobs.
    :param environment: variables of the jobs.
    :param backend: `local`, `htcondor`, `slurm`, `pbs`, `torque` or `lsf`; None: as the connection says, else `local`.
    :param conn_id: an Airflow connection of type `caf_batch`.
    :param backend_args: arguments of the batch system, such as `queue`, `memory` and `walltime`.
    :param work_dir: the folder in which the folder of the jobs is made; None: `[caf] work_dir`.
    :param max_retries: tries of one job after its first; None: 3.
    :param max_failed: how many jobs may fail for good, as a count or a share; None: none.
    :param submitted: for Airflow, which shows in it how the jobs were submitted; not to be given.
    """

    template_fields: Sequence[str] = (*WORDS, "work_dir", "submitted")
    template_fields_renderers = {"submitted": "json", "commands": "json", "arguments": "json", "backend_args": "json"}  # noqa: RUF012
    overwrite_rtif_after_execution = True
    operator_extra_links = JOBS_LINKS
    ui_color = "#e8f0fb"

    def __init__(
        self,
        *,
        command: Sequence[str] | None = None,
        commands: Sequence[Sequence[str]] | None = None,
        arguments: Sequence[Mapping[str, Any]] | None = None,
        input_files: Sequence[str] | str | None = None,
        max_files_per_job: int | None = None,
        max_jobs: int | None = None,
        outputs: Sequence[str] = (),
        job_files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        backend: str | None = None,
        conn_id: str | None = None,
        backend_args: Mapping[str, Any] | None = None,
        work_dir: str | None = None,
        max_retries: int | None = None,
        max_failed: float | str | None = None,
        submitted: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.command = command
        self.commands = commands
        self.arguments = arguments
        self.input_files = input_files
        self.max_files_per_job = max_files_per_job
        self.max_jobs = max_jobs
        self.outputs = outputs
        self.job_files = job_files or {}
        self.environment = environment or {}
        self.backend = backend
        self.conn_id = conn_id
        self.backend_args = backend_args or {}
        self.work_dir = work_dir
        self.max_retries = max_retries
        self.max_failed = max_failed
        self.submitted = submitted
        self._check_early()

    def _check_early(self) -> None:
        """Refuse what is wrong in the DAG file already, if all of it is written there.

        :raises DefinitionError: with every mistake found.
        """
        words = {word: getattr(self, word) for word in WORDS}
        if not any(True for _ in XComArg.iter_xcom_references(words)):
            self.read_words(templates=True)

    def read_words(self, *, templates: bool = False) -> Jobs:
        """Return the arguments, checked.

        :param templates: whether some may not be filled in yet.
        :raises DefinitionError: with every mistake found.
        """
        values = {word: getattr(self, word) for word in WORDS}
        return Jobs.from_json({word: value for word, value in values.items() if value is not None}, templates=templates)

    def build_content(self, words: Jobs, folder: Path) -> JobContent:
        """Return what travels with each job beside its command.

        :param folder: of the jobs.
        """
        return JobContent(files={name: Path(path) for name, path in words.job_files.items()})

    def find_folder(self, context: Context) -> TaskJobsLayout:
        """Return the paths of the jobs.

        :raises DefinitionError: if `work_dir` cannot be a folder.
        """
        ti = context["ti"]
        run = RunLayout(work_dir=find_work_dir(self.work_dir), dag_id=ti.dag_id, run_id=ti.run_id)
        return run.task_jobs(ti.task_id, find_map_index(context))

    def prepare(self, context: Context) -> TaskJobs:
        """Write what is to be run, and end what an earlier try has left that is not to be run any more.

        :raises DefinitionError: if the arguments cannot be used.
        :raises InputError: if input files are not there.
        """
        words = self.read_words()
        ti, map_index, layout = context["ti"], find_map_index(context), self.find_folder(context)
        where = f"task {ti.task_id!r}"
        jobs = find_jobs(words, where)
        target = choose_target(words.backend, words.conn_id, where)
        resources = target.merge({where: words.arguments_of_batch})
        content = self.build_content(words, layout.folder)
        if content.function is None:
            check_program(jobs, target.backend, resources)
        leave_target(layout, (target.backend, target.connection), open_jobs)
        app, digest = write_app(layout, content)
        manifest = TaskJobsManifest(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task=ti.task_id if map_index < 0 else f"{ti.task_id}[{map_index}]",
            root=str(find_work_dir(self.work_dir)),
            backend=target.backend,
            connection=target.connection,
            resources=resources,
            app=app,
            count=len(jobs),
            max_retries=DEFAULT_MAX_RETRIES if words.max_retries is None else int(words.max_retries),
            max_failed=0 if words.max_failed is None else words.max_failed,
        )
        patient = partial(open_jobs, patience=read_patience())
        return lay_out_jobs(layout, manifest, build_jobs(jobs, words, content, digest), patient)

    def tell_submitted(self, context: Context, run: TaskJobs, submitted: Sequence[int]) -> None:
        """Show what was submitted: in the log, the rendered templates, the metrics and the task's state."""
        self.submitted = run.describe_submissions()
        tags = {"dag_id": context["ti"].dag_id, "system": run.client.system.name}
        count("subjobs.submitted", len(submitted), **tags)
        context["task_state_store"].set("array_ids", [*run.list_array_ids()])
        self.log.info(
            "Submitted %d of %d jobs to %s; arrays: %s; folder: %s",
            len(submitted),
            run.manifest.count,
            run.manifest.backend,
            run.list_array_ids(),
            run.layout.folder,
        )


def find_map_index(context: Context) -> int:
    """Return the number of a mapped task; -1: it is none."""
    number = context["ti"].map_index
    return -1 if number is None else number


class BatchSubmitOperator(JobsOperator):
    """Submit commands as jobs, and return a handle at once. `BatchJobSensor(handle=submit.output)` waits for them.

    The arguments are those of `JobsOperator`.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Submit every job that is neither done nor under way.

        :returns: the handle: `folder`, `backend`, `jobs` (how many), `array_ids`.
        :raises AirflowFailException: for arguments that cannot be used, or input that is not there.
        """
        with failing_for_good(context):
            run = self.prepare(context)
            self.tell_submitted(context, run, run.submit_missing().submitted)
            return describe_handle(run)


class TaskJobsWait(WaitingTask[TaskJobs]):
    """Wait for the jobs of a task: of the own one, or of another."""

    def open_counts(self, context: Context, run: TaskJobs) -> LiveCounts:
        """Return what keeps the catalog up to date."""
        return open_counts(run)

    def build_trigger(self, context: Context, run: TaskJobs, wait: Mapping[str, Any]) -> TaskJobsTrigger:
        """Return the trigger that goes on with the wait."""
        return TaskJobsTrigger(folder=str(run.layout.folder), **wait)

    def build_result(self, run: TaskJobs, seen: Observation) -> Any:
        """Return the handle with what has become of the jobs."""
        return describe_end(run, seen)


class BatchJobOperator(TaskJobsWait, JobsOperator):
    """Run commands as jobs, and wait for them: in the worker for a while, then in the triggerer.

    Failed jobs are submitted again, and only those. When their retries are spent the task fails with a table of them
    and the ends of their logs. When the task fails for good, or somebody kills it, what still runs is ended.

    The arguments are those of `JobsOperator`, and these.

    :param deferrable: whether to wait in the triggerer; False: in the worker.
    :param cancel_on_kill: whether the jobs end when somebody kills the task.
    :param timeout: seconds until it gives up and ends what still runs.
    """

    soft_fail = False

    def __init__(
        self, *, deferrable: bool = True, cancel_on_kill: bool = True, timeout: float = 7 * 86400.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.cancel_on_kill = cancel_on_kill
        self.timeout = timeout

    def execute(self, context: Context) -> Any:
        """Submit every job that is neither done nor under way, and wait.

        :returns: `folder`, `backend`, `jobs`, `array_ids`, `failed` (how many), and `outputs_file`, the path of a JSON
            file with the outputs of each job.
        :raises AirflowFailException: for arguments that cannot be used, or when the retries of a job are spent.
        """
        with self.ending_jobs_with_the_task(context):
            run = self.prepare(context)
            self.adopt(context, run)
            first_attempt = self.begin(context, run)
            return self.wait(context, run, first_attempt, time.time() + self.timeout)

    def begin(self, context: Context, run: TaskJobs) -> int:
        """Submit what is neither done nor under way, and return the first try that counts from now on."""
        submitted = run.submit_missing()
        self.tell_submitted(context, run, submitted.submitted)
        return max(0, submitted.attempt)

    def open_run(self, context: Context, patience: Patience) -> TaskJobs:
        """Return the jobs of this task."""
        return open_jobs(self.find_folder(context), patience=patience)
