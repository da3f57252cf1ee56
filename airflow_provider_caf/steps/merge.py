"""Merge what the subjobs of a collection collected."""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_caf.batch.polling import decide_interval
from airflow_provider_caf.batch.verdicts import SubjobStatus
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.layout import CalibrationLayout, CollectionLayout
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.steps.app_run import AppFiles, run_app
from airflow_provider_caf.steps.collect import CollectionRun
from airflow_provider_caf.steps.progress import Progress, following
from airflow_provider_caf.steps.results import CalibrationResults

COLLECTOR_OUTPUT = "CollectorOutput.root"
_TIMEOUT = 24 * 3600.0


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


def merge_collection(
    layout: CalibrationLayout,
    iteration: int,
    collection: str,
    results: CalibrationResults,
    *,
    open_run: Callable[[CalibrationLayout, int, str], CollectionRun] = CollectionRun,
) -> Merged:
    """Merge the outputs of all done subjobs into one file with an index, in a process of the job's environment.

    Where the definition wants them as they are, an empty index says so to the algorithm.

    Outputs are checked again first: one that was removed since makes its subjob fail, and with it this step, if the
    definition does not allow for it.

    :param results: where the subjobs' use of time and memory is recorded.
    :param open_run: gives the collection's subjobs, with the way to their submit host.
    :raises JobFailed: if too many subjobs are not done, or outputs of them are not there any more.
    :raises InputError: if the outputs cannot be merged.
    """
    run = open_run(layout, iteration, collection)
    observation = _observe_settled(run)
    results.add_subjobs(iteration, collection, observation, run.read_attempts(), run.manifest.resources)
    failed = run.check_done(observation, to_repeat="clear the task `wait` before this one")
    place = run.layout
    place.merged_file.parent.mkdir(parents=True, exist_ok=True)
    place.failed_file.unlink(missing_ok=True)
    done = [verdict for _, verdict in sorted(observation.verdicts.items()) if verdict.status is SubjobStatus.DONE]
    outputs = [str(path) for verdict in done for path in verdict.outputs]
    write_json(place.outputs_file, {"version": 1, "files": outputs})
    if failed:
        write_json(place.failed_file, {"version": 1, "failed": list(failed), "subjobs": len(observation.verdicts)})
    warning = run.describe_failed(observation) if failed else None
    if not run.manifest.collection.merge:
        write_json(place.merged_index, build_empty_index(collection, run.manifest.granularity))
        return Merged(file=str(place.outputs_file), inputs=len(outputs), runs=None, failed=len(failed), warning=warning)
    inputs = _find_inputs(run, observation)
    runs = _merge_files(run, place, inputs)
    return Merged(file=str(place.merged_file), inputs=len(inputs), runs=runs, failed=len(failed), warning=warning)


def build_empty_index(collection: str, granularity: str) -> dict[str, object]:
    """Return the index of a collection whose outputs are not merged."""
    return {"version": 1, "collection": collection, "file": None, "granularity": granularity, "prefixes": {}}


def _merge_files(run: CollectionRun, place: CollectionLayout, inputs: list[str]) -> int:
    """Merge, and return how many runs are in the merged file."""
    title = f"Merging collection {place.name!r} of"
    with following(place.merge_progress, Progress(f"{title} {run.calibration.name!r}", len(inputs), "files")):
        run_app(
            "merge",
            {
                "collection": place.name,
                "inputs": inputs,
                "output": str(place.merged_file),
                "index": str(place.merged_index),
                "granularity": run.manifest.granularity,
                "progress": str(place.merge_progress),
            },
            run.calibration.app,
            run.manifest.resources,
            what=f"{title} calibration {run.calibration.name!r}",
            timeout=_TIMEOUT,
            hint=f"The whole output is in {place.merge_log}.",
            error=InputError,
            files=AppFiles(request=place.merge_request, answer=None, log=place.merge_log),
        )
    index = read_json(place.merged_index, f"The index of collection {place.name!r}")
    return len({tuple(one[:2]) for prefix in index["prefixes"].values() for one in prefix["runs"]})


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
