"""An algorithm whose strategy runs as a job: what is submitted, what is seen of it, and what is made of it at the end.

`execution.job` says what the job leaves. Of what a job writes nothing is removed before the next one has begun: an
earlier one may live still, and the lock that both take is beside what they write.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.resubmit import DEFAULT_MAX_RETRIES
from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.algorithm_requests import StrategyRequest
from airflow_provider_caf.core.errors import CafError, CheckpointError
from airflow_provider_caf.core.file_names import JOBS_COLLECTION
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.execution.checkpoint import KEEP_KEY
from airflow_provider_caf.execution.drive import begin_strategy
from airflow_provider_caf.execution.job import (
    EXIT_TRY_AGAIN,
    FileState,
    LiveExecutions,
    RecordedPool,
    StrategyEnd,
    open_checkpoint,
)
from airflow_provider_caf.io.layout import TaskJobsLayout
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.steps.manifest import JobTarget
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.strategy import StrategyResult, StrategyRun
from airflow_provider_caf.steps.task_jobs import (
    JobContent,
    OpenJobs,
    TaskJobs,
    TaskJobsManifest,
    TaskName,
    VerbJob,
    find_last_record,
    lay_out_verb,
    leave_target,
    write_app,
)
from airflow_provider_caf.steps.waiting import LiveCounts

_log = logging.getLogger(__name__)

_NOTE_KEY = "job_checkpoint"
"""In the task's store: where the job's checkpoint is, whose executions are in it, and whether a clear keeps them."""


def find_jobs_folder(layout: AlgorithmLayout) -> TaskJobsLayout:
    """Return the paths of the job of an algorithm."""
    return TaskJobsLayout(folder=layout.jobs_folder)


def leave_job(layout: AlgorithmLayout, open_jobs: OpenJobs) -> None:
    """End a job of an earlier try: the algorithm runs in the worker now.

    :raises CafError: if it cannot be ended.
    """
    leave_target(find_jobs_folder(layout), ("worker", None), open_jobs)


def lay_out_strategy(run: StrategyRun, target: JobTarget, task: TaskName, open_jobs: OpenJobs) -> TaskJobs:
    """Write what the job has to do. Nothing is submitted.

    :raises CafError: if an earlier job on another system cannot be ended.
    """
    layout, request = find_jobs_folder(run.layout), run.build_request()
    leave_target(layout, (target.backend, target.connection), open_jobs)
    app, code = _choose_code(run, layout, request)
    _hand_on_choice(run, request)
    identity = _identify(request)
    run.clear_results()
    replace(request, job=identity, app=app).write(run.layout.job_request)
    made_of = {"code": code, "request": identity}
    max_retries = run.definition.max_retries
    job = VerbJob(
        verb="strategy",
        request=run.layout.job_request,
        made_of=made_of,
        app=layout.folder / app,
        max_retries=DEFAULT_MAX_RETRIES if max_retries is None else max_retries,
        is_work_of_task=False,
    )
    return lay_out_verb(layout, target, task, job, open_jobs)


def _identify(request: StrategyRequest) -> str:
    """Return what tells a request from others."""
    return hashlib.sha256(json.dumps(request.to_json(), sort_keys=True).encode()).hexdigest()


def _hand_on_choice(run: StrategyRun, request: StrategyRequest) -> None:
    """Put into the job's checkpoint what a person has chosen for the next fresh run, and note where the checkpoint is.

    The choice is for one clear. The job may begin much later, so a retry of the task has to know it still.
    """
    noted = run.state.get(_NOTE_KEY)
    if not isinstance(noted, dict) or noted.get("generation") != request.generation or KEEP_KEY not in noted:
        keep = run.state.get(KEEP_KEY, request.keep_executions)
        noted = {"folder": str(run.layout.checkpoint_folder), "generation": request.generation, KEEP_KEY: keep}
        run.state.set(_NOTE_KEY, noted)
    FileState(run.layout.checkpoint_folder).set(KEEP_KEY, noted[KEEP_KEY])
    run.state.set(KEEP_KEY, request.keep_executions)


def _choose_code(run: StrategyRun, layout: TaskJobsLayout, request: StrategyRequest) -> tuple[str, str]:
    """Return the job app and the digest of what is in it.

    Who corrects an algorithm clears its task. A retry that has finished executions goes on with the code of these.
    """
    checkpoint = open_checkpoint(run.layout)
    job_file = layout.jobs.job_file(0)
    if (
        checkpoint.belongs_to(request.generation, request.made_of)
        and checkpoint.count()
        and layout.manifest.exists()
        and job_file.exists()
    ):
        code = read_json(job_file, "The job file of the algorithm")["made_of"]["code"]
        return Path(TaskJobsManifest.read(layout).app).name, str(code)
    references = run.list_references()
    if ":" in run.definition.strategy:
        references.append(run.definition.strategy)
    return write_app(layout, JobContent(files={}, references=references))


def has_told_its_end(run: TaskJobs) -> bool:
    """Return whether the last try of the job that has failed says more exactly why than its exit code does."""
    record = find_last_record(run)
    return record is not None and record.exit_code == EXIT_TRY_AGAIN


def _read_end(run: StrategyRun, request: StrategyRequest) -> StrategyEnd | None:
    """Return how the job ended that did what is to be done now; None: it has not said."""
    path = run.layout.job_end
    if not path.exists():
        return None
    end = StrategyEnd.read_file(path, f"end of the job of algorithm {run.layout.name!r}")
    return end if end.job == _identify(request) else None


def count_finished(run: StrategyRun) -> int:
    """Return how many executions the job has finished of what is to be done now."""
    request, checkpoint = run.build_request(), open_checkpoint(run.layout)
    return checkpoint.count() if checkpoint.belongs_to(request.generation, request.made_of) else 0


def conclude_strategy(run: StrategyRun) -> StrategyResult:
    """Go through the plan with what the job has left, and commit.

    :raises CheckpointError: if the job has left nothing, or did something else than is to be done now.
    :raises CafError: as `StrategyRun.run` does.
    """
    request, checkpoint = run.build_request(), open_checkpoint(run.layout)
    end = _read_end(run, request)
    if end is None or not checkpoint.belongs_to(request.generation, request.made_of):
        raise CheckpointError(
            f"The job of {request.title} has ended, but what it left does not belong to this run of the task.",
            hint="The collected data or the definition changed meanwhile. Clear the task.",
        )
    begin_strategy(request, checkpoint)
    checkpoint.accept()
    if checkpoint.damaged:
        raise CheckpointError(
            f"The job of {request.title} has ended, and of {checkpoint.damaged} of its executions the payloads in "
            f"{run.layout.staging_folder} or the records in {run.layout.checkpoint_folder} are gone or cut off.",
            hint="Were they removed? Clear the task: it executes them again.",
        )
    return run.carry_out(replace(request, workers=1), RecordedPool(end), checkpoint, end)


def read_live(layout: AlgorithmLayout) -> LiveExecutions | None:
    """Return how far the job is; None: it has not begun, or is just writing for the first time."""
    if not layout.job_live.exists():
        return None
    return LiveExecutions.read_file(layout.job_live, f"progress of algorithm {layout.name!r}")


class LiveStrategy(LiveCounts):
    """Keep the catalog's counts of the job, and the executions that it has finished, as they are.

    :param results: of the jobs of the task.
    :param calibration: the results of the calibration.
    """

    def __init__(
        self,
        run: TaskJobs,
        results: CalibrationResults,
        calibration: CalibrationResults,
        iteration: int,
        layout: AlgorithmLayout,
    ) -> None:
        super().__init__(run, results, 0, JOBS_COLLECTION)
        self._calibration = calibration
        self._pass = iteration
        self._algorithm = layout
        self._seen: tuple[int, int] = (-1, 0)

    def update(self, observation: Observation, *, is_last: bool = False) -> None:
        """Write what has changed. It reads one small file.

        :raises DatabaseError: only for the counts, if it is the last.
        """
        super().update(observation, is_last=is_last)
        try:
            self._add_executions()
        except (CafError, OSError) as error:
            # They are all written again at the end. A file that cannot be read says nothing about the job.
            _log.warning("The finished executions could not be written: %s", error)

    def _add_executions(self) -> None:
        live = read_live(self._algorithm)
        if live is None:
            return
        generation, count = self._seen
        if live.generation != generation or live.count < count:
            self._calibration.begin_algorithm(self._pass, self._algorithm.name)
            count = 0
        fresh = live.last[-(live.count - count) :] if live.count > count else ()
        if fresh:
            self._calibration.add_executions(self._pass, self._algorithm.name, fresh, self._algorithm.staging_folder)
        self._seen = (live.generation, live.count)
