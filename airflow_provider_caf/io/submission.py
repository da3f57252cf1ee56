"""Submit what is missing of a collection, and nothing else, however often it is asked.

The steps are the same for a first run, a retry of the task, a cleared task and the retry of failed subjobs:

1. read the arrays that were begun before; look up those whose submission was cut off;
2. poll, read the exit records, judge every subjob;
3. leave alone what is done or still goes on;
4. submit the rest as a new, smaller array, with more memory where memory was the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.naming import build_array_name
from airflow_provider_caf.batch.resubmit import Failure, RetryPolicy, decide_resubmission
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.client import BatchClient, read_intent, read_submitted
from airflow_provider_caf.io.layout import CollectionLayout
from airflow_provider_caf.io.subjobs import (
    StatusFolder,
    SubjobStatus,
    Verdict,
    judge_subjobs,
    read_job_digests,
)

_RUN_AGAIN = (SubjobStatus.FAILED, SubjobStatus.CANCELLED, SubjobStatus.LOST, SubjobStatus.MISSING)


@record
class CollectionJob:
    """A collection to be run on a batch system.

    :param dag: the DAG's id; with the next four it makes the arrays' names.
    :param layout: where its files are.
    :param subjobs: all subjobs; their job files are written.
    :param app: the job app.
    :param python: runs the app, on the machines that run the jobs.
    """

    dag: str
    run: str
    calibration: str
    iteration: int
    collection: str
    layout: CollectionLayout
    subjobs: tuple[int, ...]
    app: Path
    python: str
    resources: Resources = Resources()


@record
class Observation:
    """What is known of a collection.

    :param arrays: what was submitted for it, in this and earlier tries of the task.
    :param verdicts: subjob → what is true of it.
    :param problem: why the batch system could not be asked; None: it could.
    """

    arrays: tuple[SubmittedArray, ...]
    verdicts: Mapping[int, Verdict]
    problem: str | None = None


@record
class Submitted:
    """What a submission has done.

    :param arrays: all arrays to be watched: new ones, and earlier ones of which something still goes on.
    :param attempt: the number of the newest try.
    :param submitted: the subjobs that were submitted now.
    :param spent: the subjobs that have failed and have no try left.
    :param verdicts: what was true before.
    """

    arrays: tuple[SubmittedArray, ...]
    attempt: int
    submitted: tuple[int, ...]
    spent: tuple[int, ...]
    verdicts: Mapping[int, Verdict]


def submit_missing(
    client: BatchClient,
    job: CollectionJob,
    *,
    policy: RetryPolicy | None = None,
    first_attempt: int | None = None,
) -> Submitted:
    """Submit the subjobs that have no valid success and are not on their way.

    :param policy: how failed subjobs go again.
    :param first_attempt: tries before this one do not count against `policy.max_retries`; None: none
        counts, as in a task that a user has cleared.
    :raises SubmitError: if the batch system does not take them.
    :raises PollError: if nothing could be found out about earlier ones for too long. Before that, those that
        the system says nothing about count as on their way: no copy of them is submitted.
    """
    policy = policy or RetryPolicy()
    intents = read_intents(job.layout.arrays_folder)
    observed = observe(client, job, _recover(client, intents))
    missing = [verdict for verdict in observed.verdicts.values() if verdict.status in _RUN_AGAIN]
    tries = _count_tries(observed.arrays, first_attempt)
    asked = _read_memory(observed.arrays)
    decision = decide_resubmission((_build_failure(verdict, tries, asked) for verdict in missing), policy)
    newest = max((intent.attempt for intent in intents), default=-1)
    groups = [
        (part, replace(job.resources, memory=retry.memory or job.resources.memory))
        for retry in decision.retries
        for part in _cut(retry.subjobs, client.system.largest_array)
    ]
    again = {subjob for part, _ in groups for subjob in part}
    # Only where nothing is known of the end of an earlier try can something of it still run.
    lost = {verdict.subjob for verdict in missing if verdict.status is SubjobStatus.LOST} & again
    submitted = []
    for number, (part, resources) in enumerate(groups):
        array = build_array(client, job, part, attempt=newest + 1, part=number, resources=resources)
        earlier = [each for each in observed.arrays if lost & set(part) & set(each.array.subjobs)]
        submitted.append(client.submit(array, superseded=earlier))
    live = [verdict.subjob for verdict in observed.verdicts.values() if not verdict.status.is_over]
    return Submitted(
        arrays=(*select_newest(observed.arrays, live), *submitted),
        attempt=newest + 1 if groups else newest,
        submitted=tuple(sorted(again)),
        spent=decision.spent,
        verdicts=observed.verdicts,
    )


def observe(
    client: BatchClient,
    job: CollectionJob,
    arrays: Sequence[SubmittedArray] | None = None,
    *,
    status: StatusFolder | None = None,
    check_outputs: bool = True,
    read_logs: bool = True,
) -> Observation:
    """Judge every subjob of a collection now.

    :param arrays: what was submitted; None: read it from the collection's folder.
    :param status: keeps the records that were read before; give the same one at each call of a long wait.
    :param check_outputs: see `judge_subjobs`.
    :param read_logs: see `judge_subjobs`.
    :raises PollError: if nothing could be found out about an array for too long.
    """
    if arrays is None:
        arrays = read_arrays(job.layout.arrays_folder)
    status = status or StatusFolder(job.layout.status_folder)
    expected = read_job_digests(job.layout.input_folder, job.subjobs)
    done = judge_subjobs(expected, status.scan(), check_outputs=check_outputs)
    asked = select_newest(arrays, (each.subjob for each in done.values() if each.status is not SubjobStatus.DONE))
    if not asked:
        return Observation(arrays=tuple(arrays), verdicts=done)
    snapshot = client.poll(asked)
    # Read again: the record of a subjob that the poll saw ended is there by now.
    verdicts = judge_subjobs(
        expected, status.scan(), snapshot.read(asked), check_outputs=check_outputs, read_logs=read_logs
    )
    return Observation(arrays=tuple(arrays), verdicts=verdicts, problem=snapshot.describe_problems(asked))


def select_newest(arrays: Sequence[SubmittedArray], subjobs: Iterable[int]) -> tuple[SubmittedArray, ...]:
    """Give the arrays that hold the newest try of at least one of some subjobs."""
    newest: dict[int, SubmittedArray] = {}
    for array in arrays:
        for subjob in array.array.subjobs:
            if subjob not in newest or newest[subjob].array.attempt <= array.array.attempt:
                newest[subjob] = array
    wanted = {newest[subjob].array.name for subjob in subjobs if subjob in newest}
    return tuple(array for array in arrays if array.array.name in wanted)


def build_array(
    client: BatchClient,
    job: CollectionJob,
    subjobs: Sequence[int],
    *,
    attempt: int,
    part: int = 0,
    resources: Resources | None = None,
) -> ArraySpec:
    """Give the array that runs some subjobs of a collection, one in each element.

    :param part: the number of the piece, where one try is cut into several arrays.
    """
    folder = job.layout.array_folder(attempt)
    if part:
        folder = folder.with_name(f"{folder.name}.{part}")
    name = build_array_name(
        dag=job.dag,
        run=job.run,
        calibration=job.calibration,
        iteration=job.iteration,
        collection=job.collection,
        attempt=attempt,
        part=part,
        folder=str(folder),
        length=client.system.longest_name,
    )
    return ArraySpec(
        name=name,
        folder=str(folder),
        input_folder=str(job.layout.input_folder),
        output_folder=str(job.layout.output_folder),
        status_folder=str(job.layout.status_folder),
        elements=tuple((subjob,) for subjob in subjobs),
        attempt=attempt,
        app=str(job.app),
        python=job.python,
        resources=resources or job.resources,
    )


def read_intents(arrays_folder: Path) -> tuple[ArraySpec, ...]:
    """Give all arrays whose submission was begun, in the order of their tries.

    :raises InputError: if the folder or a record in it cannot be read.
    """
    try:
        folders = sorted(arrays_folder.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(
            f"The folder of submissions {arrays_folder} could not be read: {error.strerror or error}.",
            hint="Check that the work folder is mounted here and that you may read it.",
        ) from error
    intents = [intent for folder in folders if (intent := read_intent(folder)) is not None]
    return tuple(sorted(intents, key=lambda intent: (intent.attempt, intent.folder)))


def read_arrays(arrays_folder: Path) -> tuple[SubmittedArray, ...]:
    """Give all arrays of a collection that were submitted, in the order of their tries.

    :raises InputError: if the folder or a record in it cannot be read.
    """
    found = (read_submitted(Path(intent.folder)) for intent in read_intents(arrays_folder))
    return tuple(each for each in found if each is not None)


def _recover(client: BatchClient, intents: Iterable[ArraySpec]) -> tuple[SubmittedArray, ...]:
    """Give the arrays that were submitted; those whose submission was cut off are looked up by name."""
    found = (client.recover(intent) for intent in intents)
    return tuple(each for each in found if each is not None)


def _count_tries(arrays: Iterable[SubmittedArray], first_attempt: int | None) -> dict[int, int]:
    tries: dict[int, int] = {}
    if first_attempt is not None:
        for each in arrays:
            if each.array.attempt >= first_attempt:
                for subjob in each.array.subjobs:
                    tries[subjob] = tries.get(subjob, 0) + 1
    return tries


def _read_memory(arrays: Iterable[SubmittedArray]) -> dict[int, int | None]:
    """Give what was requested for the newest try of each subjob, in MB."""
    return {subjob: each.array.resources.memory for each in arrays for subjob in each.array.subjobs}


def _build_failure(verdict: Verdict, tries: Mapping[int, int], memory: Mapping[int, int | None]) -> Failure:
    record = verdict.record
    return Failure(
        subjob=verdict.subjob,
        tries=tries.get(verdict.subjob, 0),
        exit_code=None if record is None else record.exit_code,
        signal=None if record is None else record.signal,
        memory=memory.get(verdict.subjob),
        peak_memory=None if record is None else record.peak_memory_kb,
        text="\n".join(part for part in (verdict.native, verdict.reason, verdict.log_tail) if part),
    )


def _cut(subjobs: tuple[int, ...], largest: int | None) -> list[tuple[int, ...]]:
    size = largest or len(subjobs)
    return [subjobs[start : start + size] for start in range(0, len(subjobs), size)]
