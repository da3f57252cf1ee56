"""The jobs of one task of any DAG: what is asked for becomes job files and a manifest, from which every try goes on.

`jobs.run` submits, watches and judges them. A job's file holds digests of all it was made of, so what is done counts
until the command, its input or the code that travels with it changes.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.batch.systems import load_system
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CheckpointError, DefinitionError, InputError
from airflow_provider_caf.core.file_names import JOBS_COLLECTION, RESULT_FILE, STDERR_FILE, STDOUT_FILE
from airflow_provider_caf.core.files import PRIVATE, write_json
from airflow_provider_caf.core.json_form import read_number
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.stored_record import StoredRecord
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.core.tolerance import Tolerance
from airflow_provider_caf.definitions.jobs import Job, Jobs
from airflow_provider_caf.io.inputs import resolve_input_files
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.mirror import Mirror
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.jobs.subjob_set import SubjobSet, build_job
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.steps.collect import measure_inputs
from airflow_provider_caf.steps.manifest import JobTarget

_log = logging.getLogger(__name__)

OpenJobs = Callable[[TaskJobsLayout], "TaskJobs"]
"""Return the jobs of a task with the way to their submit host."""


@record
class TaskJobsManifest(StoredRecord):
    """The jobs of a task, resolved.

    :param dag_id: the DAG of the task.
    :param run_id: its run.
    :param task: the task, with its map index where it has one.
    :param root: the work folder, which a remote one may mirror.
    :param backend: the batch system, by our name.
    :param connection: the Airflow connection to it; None: on this machine.
    :param app: the name of the job app.
    :param count: how many jobs there are.
    :param is_counted: whether the catalog, and so the page, has them.
    """

    version = 1
    version_error = CheckpointError
    version_hint = "It was written by another release. Clear the task that submits."

    dag_id: str
    run_id: str
    task: str
    root: str
    backend: str
    connection: str | None = None
    resources: Resources
    app: str
    count: int
    max_retries: int
    max_failed: Annotated[Tolerance, read_number]
    is_counted: bool = True

    @property
    def target(self) -> tuple[str, str | None]:
        """Where the jobs go: another target knows nothing of what this one has."""
        return self.backend, self.connection

    @classmethod
    def read(cls, layout: TaskJobsLayout) -> TaskJobsManifest:
        """Read what the task that submits has written.

        :raises InputError: if it is missing or cut off.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        return cls.read_file(layout.manifest, f"manifest of the jobs in {layout.folder}")


class TaskJobs(SubjobRun):
    """The jobs of one task.

    :param layout: their paths.
    :param manifest: where the caller has it already.
    :raises InputError: if nothing was submitted there.
    """

    to_repeat = "clear this task"

    def __init__(
        self,
        layout: TaskJobsLayout,
        *,
        manifest: TaskJobsManifest | None = None,
        patience: Patience | None = None,
        transport: Transport | None = None,
        mirror: Mirror | None = None,
    ) -> None:
        self.layout = layout
        self.manifest = manifest = manifest or TaskJobsManifest.read(layout)
        subjob_set = SubjobSet(
            labels=(manifest.dag_id, manifest.task),
            folders=layout.jobs,
            subjobs=tuple(range(manifest.count)),
            app=layout.folder / manifest.app,
            resources=manifest.resources,
            max_retries=manifest.max_retries,
            max_failed=manifest.max_failed,
            title=f"task {manifest.task!r} of DAG {manifest.dag_id!r}",
            identity=(manifest.dag_id, manifest.run_id, manifest.task),
        )
        client = BatchClient(load_system(manifest.backend), transport, patience=patience, mirror=mirror)
        super().__init__(subjob_set, client)

    @property
    def ignored(self) -> list[str]:
        """The arguments that have no effect on this system."""
        return sorted(self.client.system.ignored.intersection(self.manifest.resources.to_json()))

    def end_surplus(self) -> None:
        """End jobs of an earlier try that there are not any more, and remove their job files.

        :raises CafError: if they cannot be ended.
        """
        numbers = [int(path.stem) for path in self.folders.input_folder.glob("[0-9]*.json")]
        surplus = sorted(number for number in numbers if number >= self.manifest.count)
        if surplus:
            _log.info("Ending jobs %s of an earlier try: there are not so many any more.", surplus)
            self.cancel(surplus)
            for number in surplus:
                self.folders.job_file(number).unlink()

    def write_outputs(self, observation: Observation) -> Path:
        """Write the list of the files that the done jobs have left, and return its path.

        ::

            {"version": 1, "jobs": {"<number>": [<path>, …], …}}
        """
        done = {number: end for number, end in observation.verdicts.items() if end.status is SubjobStatus.DONE}
        files = {str(number): [str(path) for path in verdict.outputs] for number, verdict in sorted(done.items())}
        write_json(self.layout.outputs_file, {"version": 1, "jobs": files})
        return self.layout.outputs_file


@record
class JobContent:
    """What travels with each job beside its command.

    :param files: name in the folder of the job → path.
    :param references: classes and functions of the user whose modules travel.
    :param function: what the jobs call instead of a command, for the job file.
    """

    files: Mapping[str, Path]
    references: Sequence[str] = ()
    function: Mapping[str, Any] | None = None


def find_jobs(words: Jobs, where: str) -> tuple[Job, ...]:
    """Return the jobs that a task asks for, with their input files found.

    :param where: whose they are, for messages.
    :raises InputError: if files that are asked for are not there.
    """
    patterns = words.input_files or []
    return words.plan(resolve_input_files(patterns, where) if patterns else ())


def check_program(jobs: Iterable[Job], backend: str, resources: Resources) -> None:
    """Refuse a program that is not there, where the jobs run here and nothing changes what is found.

    :raises DefinitionError: with its name.
    """
    if backend != "local" or resources.setup or resources.container:
        return
    path = (resources.environment or {}).get("PATH", os.environ.get("PATH"))
    for program in {job.command[0] for job in jobs}:
        # One with a folder in its name may be a file that travels, or be made by the job before.
        if "{" not in program and "/" not in program and shutil.which(program, path=path) is None:
            raise DefinitionError(
                f"The program {program!r} is not on PATH ({path}).",
                hint="Correct its name, or give the path of it, or set PATH in 'environment'.",
            )
        if program.startswith("/") and not Path(program).exists():
            raise DefinitionError(f"There is no program {program}.", hint="Correct its path.")


def write_app(layout: TaskJobsLayout, content: JobContent) -> tuple[str, str]:
    """Write the job app, and return its name and the digest of what of the user's is in it.

    :raises DefinitionError: if a file or module is not there or cannot travel.
    """
    layout.folder.mkdir(parents=True, exist_ok=True)
    new = layout.folder / build_temporary_name("app")
    files = {f"{JOBS_COLLECTION}/{name}": path for name, path in content.files.items()}
    digest = build_job_app(new, content.references, files=files)
    app = layout.app(digest)
    new.replace(app)
    return app.name, digest if content.files or content.references else ""


def build_jobs(jobs: Sequence[Job], words: Jobs, content: JobContent, digest: str) -> list[dict[str, Any]]:
    """Return the content of the job files.

    :param digest: of what travels with the jobs.
    :raises InputError: if an input file is not there any more.
    """
    made_of = {"content": digest} if digest else {}
    call: dict[str, Any] = {}
    outputs = words.outputs
    if content.function is not None:
        call = {"command": None, "function": dict(content.function)}
        outputs = [RESULT_FILE, *outputs]
    return [
        {
            **build_job(number, job.command, input_files=job.input_files, outputs=outputs, arguments=job.arguments),
            **call,
            "collection": JOBS_COLLECTION,
            "job_files": sorted(content.files),
            "made_of": {**made_of, "inputs": measure_inputs(job.input_files)},
        }
        for number, job in enumerate(jobs)
    ]


def leave_target(layout: TaskJobsLayout, target: tuple[str, str | None], open_jobs: OpenJobs) -> None:
    """End the jobs of an earlier try that went to another system, and put its folder aside.

    :raises CafError: if they cannot be ended.
    """
    if not layout.manifest.exists():
        return
    before = TaskJobsManifest.read(layout)
    if before.target == target:
        return
    open_jobs(layout).cancel()
    number = 1
    while (aside := layout.folder.with_name(f"{layout.folder.name}.before.{number}")).exists():
        number += 1
    layout.folder.rename(aside)
    _log.warning(
        "The jobs went to %s before. What ran there is ended, and its folder is %s now.", before.backend, aside
    )


def lay_out_jobs(
    layout: TaskJobsLayout, manifest: TaskJobsManifest, jobs: Sequence[dict[str, Any]], open_jobs: OpenJobs
) -> TaskJobs:
    """Write what is to be run, and end what an earlier try has left that is not to be run any more.

    :param jobs: the content of the job files.
    :raises CafError: if something cannot be ended.
    """
    manifest.write(layout.manifest)
    run = open_jobs(layout)
    if run.ignored:
        _log.warning("%s has no use for the backend_args %s.", manifest.backend, ", ".join(run.ignored))
    run.end_surplus()
    run.write_job_files(jobs)
    return run


@record
class TaskName:
    """Whose jobs they are.

    :param work_dir: the folder of all runs.
    """

    dag_id: str
    run_id: str
    task_id: str
    work_dir: Path


@record
class VerbJob:
    """One job that puts a request to a verb of its app, see `worker.__main__`.

    :param made_of: what makes it another job when it changes.
    :param app: the path of the job app.
    :param is_work_of_task: it is what the task itself would do: people see it as the task, unless it waits in a queue.
    """

    verb: str
    request: Path
    made_of: Mapping[str, Any]
    app: Path
    max_retries: int = 0
    is_work_of_task: bool = True


def lay_out_verb(
    layout: TaskJobsLayout, target: JobTarget, task: TaskName, job: VerbJob, open_jobs: OpenJobs
) -> TaskJobs:
    """Write what is to be run for a verb. A job of an earlier try on another system has been left before.

    :raises CafError: if something cannot be ended.
    """
    manifest = TaskJobsManifest(
        dag_id=task.dag_id,
        run_id=task.run_id,
        task=task.task_id,
        root=str(task.work_dir),
        backend=target.backend,
        connection=target.connection,
        resources=target.resources,
        app=str(job.app),
        count=1,
        max_retries=job.max_retries,
        max_failed=0,
        is_counted=not job.is_work_of_task or target.backend != "local",
    )
    content = {
        **build_job(0, ()),
        "command": None,
        "verb": job.verb,
        "request": str(job.request),
        "collection": JOBS_COLLECTION,
        "job_files": [],
        "made_of": dict(job.made_of),
    }
    return lay_out_jobs(layout, manifest, [content], open_jobs)


def find_last_record(run: TaskJobs) -> ExitRecord | None:
    """Return how the last try of the only job of a task ended; None: it has left no record."""
    records = [record for record in run.read_attempts() if record.attempt == run.newest_attempt]
    return max(records, key=lambda record: record.restart, default=None)


def keep_prints(record: ExitRecord | None, log: Path) -> str:
    """Put all that a try of a job has printed, its errors last, where people look for it, and return it.

    :param record: of the try; None: it has left none, and nothing is known of what it printed.
    """
    paths = [] if record is None else [record.folder / name for name in (STDOUT_FILE, STDERR_FILE)]
    printed = "".join(path.read_text("utf-8", "replace") for path in paths if path.exists())
    write_bytes(log, printed.encode("utf-8", "replace"), durable=False, mode=PRIVATE)
    return printed


def describe_handle(run: TaskJobs) -> dict[str, Any]:
    """Return the handle of the jobs, by which another task waits for them."""
    manifest = run.manifest
    return {
        "folder": str(run.layout.folder),
        "backend": manifest.backend,
        "jobs": manifest.count,
        "array_ids": run.list_array_ids(),
    }


def describe_end(run: TaskJobs, seen: Observation) -> dict[str, Any]:
    """Return the handle of jobs that are over, with what has become of them."""
    outputs_file = str(run.write_outputs(seen))
    return {**describe_handle(run), "failed": len(seen.failed), "outputs_file": outputs_file}


def read_handle(handle: Any, work_dir: Path) -> TaskJobsLayout:
    """Return the paths of the jobs of a handle.

    :param handle: what `describe_handle` gave, or the folder alone.
    :param work_dir: the folder of all runs; only what lies in it is ours.
    :raises DefinitionError: if it is no handle, or of another work folder.
    :raises InputError: if nothing was submitted there.
    """
    folder = handle.get("folder") if isinstance(handle, Mapping) else handle
    if not isinstance(folder, str) or not folder.startswith("/") or "\0" in folder:
        raise DefinitionError(
            f"{handle!r} is no handle of jobs.", hint="Give what a BatchSubmitOperator has returned: `submit.output`."
        )
    path = Path(os.path.normpath(folder))
    if work_dir not in path.parents:
        raise DefinitionError(
            f"The jobs in {folder} belong to another work folder than {work_dir}.",
            hint="Submit and wait with the same [caf] work_dir, or give both tasks the same work_dir.",
        )
    layout = TaskJobsLayout(folder=path)
    if not layout.manifest.is_file():
        raise InputError(f"No jobs were submitted from {folder}.", hint="Run the task that submits them first.")
    return layout
