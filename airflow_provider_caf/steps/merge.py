"""Merge what the subjobs of a collection collected."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_caf.batch.polling import decide_interval
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import CafError, InputError, JobFailed
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.tails import cut_tail
from airflow_provider_caf.io.layout import CalibrationLayout, TaskJobsLayout
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.steps.collect import CollectionRun, measure_inputs
from airflow_provider_caf.steps.manifest import CalibrationManifest, JobTarget
from airflow_provider_caf.steps.results import CalibrationResults
from airflow_provider_caf.steps.task_jobs import (
    OpenJobs,
    TaskJobs,
    TaskName,
    VerbJob,
    find_last_record,
    keep_prints,
    lay_out_verb,
    leave_target,
)

COLLECTOR_OUTPUT = "CollectorOutput.root"
_REFUSED = 1
"""Exit code of a merge that refuses its inputs, see `worker.__main__`."""


@record
class Merged:
    """What a merge made.

    :param file: the merged file, or the list of the outputs where they are left as they are.
    :param inputs: how many outputs went into it.
    :param runs: how many runs are in it; None where only the algorithm can tell.
    :param failed: how many subjobs failed, and the data of which are missing.
    :param warning: what to tell about them.
    """

    file: str
    inputs: int
    runs: int | None
    failed: int = 0
    warning: str | None = None


class Merge:
    """The merge of one collection in one pass. It is a job, where the first algorithm runs or else on this machine.

    So it goes on when the task that began it dies, and the next try of the task finds it.

    :param results: where the subjobs' use of time and memory is recorded.
    :param generation: a number that a clear of the task raises and a retry does not: a clear merges anew.
    """

    def __init__(
        self,
        layout: CalibrationLayout,
        iteration: int,
        collection: str,
        results: CalibrationResults,
        *,
        generation: int,
    ) -> None:
        self.calibration = layout
        self.place = layout.iteration(iteration).collection(collection)
        self.jobs = TaskJobsLayout(folder=self.place.merge_folder)
        self._iteration = iteration
        self._results = results
        self._generation = generation

    @property
    def title(self) -> str:
        """What it is, at the beginning of a sentence."""
        return f"Merging collection {self.place.name!r} of calibration {self.calibration.name!r}"

    def plan(self, run: CollectionRun) -> Merged:
        """Check the outputs of all done subjobs again and list them.

        One that was removed since makes its subjob fail, and with it this step, if the definition does not allow for
        it. Where the definition wants them as they are, an empty index says so to the algorithm, and all is done.

        :param run: the collection's subjobs.
        :returns: what there will be; `runs` is None, which is not known yet.
        :raises JobFailed: if too many subjobs are not done, or outputs of them are not there any more.
        :raises InputError: if one has nothing to merge.
        """
        place, observation = self.place, _observe_settled(run)
        attempts, resources = run.read_attempts(), run.manifest.resources
        self._results.add_subjobs(self._iteration, place.name, observation, attempts, resources)
        failed = run.check_done(observation, to_repeat="clear the task `wait` before this one")
        place.merged_file.parent.mkdir(parents=True, exist_ok=True)
        place.failed_file.unlink(missing_ok=True)
        done = [verdict for _, verdict in sorted(observation.verdicts.items()) if verdict.status is SubjobStatus.DONE]
        outputs = [str(path) for verdict in done for path in verdict.outputs]
        write_json(place.outputs_file, {"version": 1, "files": outputs})
        if failed:
            write_json(place.failed_file, {"version": 1, "failed": list(failed), "subjobs": len(observation.verdicts)})
        warning = run.describe_failed(observation) if failed else None
        words: dict[str, Any] = {"failed": len(failed), "warning": warning}
        if not run.manifest.collection.merge:
            write_json(place.merged_index, build_empty_index(place.name, run.manifest.granularity))
            return Merged(file=str(place.outputs_file), inputs=len(outputs), runs=None, **words)
        inputs = _find_inputs(run, observation)
        request = {
            "version": 1,
            "collection": place.name,
            "inputs": inputs,
            "output": str(place.merged_file),
            "index": str(place.merged_index),
            "granularity": run.manifest.granularity,
            "progress": str(place.merge_progress),
        }
        write_json(place.merge_request, request, mode=PRIVATE)
        return Merged(file=str(place.merged_file), inputs=len(inputs), runs=None, **words)

    def lay_out(self, run: CollectionRun, task: TaskName, open_jobs: OpenJobs) -> TaskJobs:
        """Write the job of a merge that is planned. Nothing is submitted.

        :param run: the collection's subjobs.
        :raises CafError: if an earlier job on another system cannot be ended.
        """
        manifest = CalibrationManifest.read(self.calibration)
        here = JobTarget(backend="local", connection=None, resources=run.manifest.resources.keep_environment())
        target = manifest.targets.get(manifest.calibration.algorithms[0].name, here)
        leave_target(self.jobs, (target.backend, target.connection), open_jobs)
        inputs = read_json(self.place.merge_request, "The request of the merge")["inputs"]
        made_of = {"generation": str(self._generation), "inputs": measure_inputs(inputs)}
        job = VerbJob(verb="merge", request=self.place.merge_request, made_of=made_of, app=self.calibration.app)
        return lay_out_verb(self.jobs, target, task, job, open_jobs)

    def conclude(self, run: TaskJobs) -> Merged:
        """Return what was merged, from what the job has left.

        :raises InputError: if that was removed since.
        """
        place = self.place
        self._keep_log(run)
        if not place.merged_file.exists():
            raise InputError(
                f"{self.title} is done, but {place.merged_file} is not there any more.",
                hint="Was it removed? Clear this task: it merges again.",
            )
        request = read_json(place.merge_request, "The request of the merge")
        index = read_json(place.merged_index, f"The index of collection {place.name!r}")
        failed = (
            read_json(place.failed_file, "The list of failed subjobs")["failed"] if place.failed_file.exists() else ()
        )
        runs = len({tuple(one[:2]) for prefix in index["prefixes"].values() for one in prefix["runs"]})
        return Merged(file=str(place.merged_file), inputs=len(request["inputs"]), runs=runs, failed=len(failed))

    def explain(self, error: JobFailed, run: TaskJobs) -> CafError:
        """Return the error of a job that has failed: that of the inputs, where the merge itself has refused them.

        What has killed a merge may not do so again: then a retry of the task merges anew.
        """
        printed, record = self._keep_log(run), find_last_record(run)
        if record is None or record.signal is not None:
            return CafError(error.what, hint="The next try of this task merges again. Was it out of memory?")
        if record.exit_code != _REFUSED:
            return error
        return InputError(
            f"{self.title} ended with exit code {record.exit_code}:\n{cut_tail(printed)}",
            hint=f"The whole output is in {self.place.merge_log}.",
        )

    def _keep_log(self, run: TaskJobs) -> str:
        """Put what the last try has printed where people look for it, and return it."""
        printed = keep_prints(find_last_record(run), self.place.merge_log)
        self.place.merge_progress.unlink(missing_ok=True)
        return printed

    def describe_progress(self) -> str | None:
        """Return how many files are merged; None: nothing is known."""
        try:
            done = int(self.place.merge_progress.read_text("ascii"))
        except (OSError, ValueError):
            return None
        total = len(read_json(self.place.merge_request, "The request of the merge")["inputs"])
        return f"{done} of {total} files"


def build_empty_index(collection: str, granularity: str) -> dict[str, object]:
    """Return the index of a collection whose outputs are not merged."""
    return {"version": 1, "collection": collection, "file": None, "granularity": granularity, "prefixes": {}}


def _observe_settled(run: CollectionRun) -> Observation:
    """Look until the grace time of subjobs that failed without a record is over: this process saw none of it."""
    began = time.monotonic()
    while (observation := run.observe()).is_settling:
        time.sleep(decide_interval(time.monotonic() - began, run.patience))
    return observation


def _find_inputs(run: CollectionRun, observation: Observation) -> list[str]:
    """Return what the collector wrote in every subjob that is done.

    :raises InputError: if one of them, by its output patterns, need not write it and did not.
    """
    found = {
        subjob: [str(path) for path in verdict.outputs if path.name == COLLECTOR_OUTPUT]
        for subjob, verdict in sorted(observation.verdicts.items())
        if verdict.status is SubjobStatus.DONE
    }
    without = [str(subjob) for subjob, paths in found.items() if not paths]
    if without:
        more = f" and {len(without) - 10} more" if len(without) > 10 else ""
        raise InputError(
            f"{len(without)} of {len(found)} subjobs of collection {run.layout.name!r} of calibration "
            f"{run.calibration.name!r} have no {COLLECTOR_OUTPUT} among their outputs: "
            f"{', '.join(without[:10])}{more}.",
            hint=f"Algorithms read {COLLECTOR_OUTPUT}: have the command write it, and add it to output_patterns.",
        )
    return [path for paths in found.values() for path in paths]
