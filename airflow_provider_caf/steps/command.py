"""A step that is a command: it runs as a job, of this machine or of a batch system."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_caf.batch.spec import Resources, merge_resources, parse_resources
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import JobFailed
from airflow_provider_caf.core.files import PRIVATE, write_json
from airflow_provider_caf.core.signals import name_signal
from airflow_provider_caf.core.tails import cut_tail
from airflow_provider_caf.definitions.calibration import ExternalCommand
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout
from airflow_provider_caf.io.local_database import LocalDatabase
from airflow_provider_caf.steps.manifest import JobTarget, Target, write_step
from airflow_provider_caf.steps.members import StepRun
from airflow_provider_caf.steps.task_jobs import (
    JobContent,
    OpenJobs,
    TaskJobs,
    TaskName,
    VerbJob,
    find_last_record,
    keep_prints,
    lay_out_verb,
    leave_target,
    write_app,
)


def find_command_jobs(layout: CalibrationLayout) -> TaskJobsLayout:
    """Return the paths of the job of a step."""
    return TaskJobsLayout(folder=layout.command_folder)


class CommandRun(StepRun):
    """The command of a step in one run.

    :param step: its definition, filled in.
    """

    step: ExternalCommand

    @property
    def title(self) -> str:
        """What it is, at the beginning of a sentence."""
        return f"The command of step {self.step.name!r}"

    def lay_out(
        self, target: Target, args: Resources, generation: int, task: TaskName, open_jobs: OpenJobs
    ) -> TaskJobs:
        """Write the job. Nothing is submitted. What an earlier try left in the database is gone, unless it still runs.

        :param args: the arguments of the batch system that stand below the step's own.
        :param generation: a number that a clear of the task raises and a retry does not: a clear runs it again.
        :raises DefinitionError: if the job cannot do what the arguments ask for.
        """
        step, layout, jobs = self.step, self.layout, find_command_jobs(self.layout)
        write_step(step, layout)
        write_json(layout.seen_databases, [entry.to_job_json() for entry in self.chain])
        places = {
            "folder": str(layout.folder),
            "database": str(layout.made_database),
            "database_chain": str(layout.seen_databases),
        }
        argv = [_fill(word, places) for word in step.command]
        request = {"version": 1, "argv": argv, "folder": str(layout.folder)}
        write_json(layout.command_request, request, mode=PRIVATE)
        given = {
            **{f"CAF_STEP_{name.upper()}": path for name, path in places.items()},
            "CAF_RUN_ID": self.run_id,
            **{name: str(value) for name, value in step.environment.items()},
        }
        where = f"step {step.name!r}"
        own = merge_resources(args, parse_resources(step.backend_args, where))
        resources = merge_resources(own, Resources(environment={**(own.environment or {}), **given}))
        chosen = JobTarget.choose(target, resources, where)
        leave_target(jobs, (chosen.backend, chosen.connection), open_jobs)
        app, _ = write_app(jobs, JobContent(files={}))
        made_of = {"generation": generation, "argv": argv}
        job = VerbJob(verb="command", request=layout.command_request, made_of=made_of, app=jobs.folder / app)
        run = lay_out_verb(jobs, chosen, task, job, open_jobs)
        verdict = run.observe().verdicts[0]
        if verdict.status is SubjobStatus.MISSING or verdict.status.runs_again:
            self.begin_database()
            self.say(f"Runs {argv}; it prints to {run.folders.subjob_folder(0)}")
        return run

    def conclude(self, run: TaskJobs) -> LocalDatabase:
        """Take over what the command has left, and return the step's final database.

        :raises DatabaseError: if the database is damaged.
        """
        self._show_prints(run)
        self.take_over(LocalDatabase(self.layout.made_database))
        return self.end()

    def explain(self, error: JobFailed, run: TaskJobs) -> JobFailed:
        """Return the error of a command that has failed."""
        tail, record = self._show_prints(run), find_last_record(run)
        if record is None:
            return error
        if record.signal is not None:
            how = f"ended by signal {name_signal(record.signal).removeprefix('signal ')}"
        else:
            how = record.reason or f"exit code {record.exit_code}"
        return JobFailed(
            f"{self.title} failed: {how}.",
            hint="Mend the cause and clear this task: it runs again from its beginning.",
            log=str(self.layout.command_log),
            log_tail=tail,
        )

    def _show_prints(self, run: TaskJobs) -> str:
        """Put what the last try has printed where people look for it, show its end, and return that."""
        tail = cut_tail(keep_prints(find_last_record(run), self.layout.command_log))
        for line in tail.splitlines():
            self.say(f"| {line}")
        return tail


def _fill(word: str, places: Mapping[str, str]) -> str:
    for name, path in places.items():
        word = word.replace(f"{{{name}}}", path)
    return word
