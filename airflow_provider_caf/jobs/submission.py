"""Submit what is missing of a collection, and nothing else, however often it is asked.

The steps are the same for a first run, a retry of the task, a cleared task and the retry of failed subjobs:

1. read the arrays that were begun before; look up those whose submission was cut off;
2. poll, read the exit records, judge every subjob;
3. leave alone what is done or still goes on;
4. submit the rest as a new, smaller array, with more memory where memory was the cause, and not to hosts that failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.arguments import AUTO
from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.naming import build_array_name
from airflow_provider_caf.batch.packing import Part, RunTimes, measure, plan_parts
from airflow_provider_caf.batch.resubmit import (
    Failure,
    HostTry,
    Resubmission,
    RetryPolicy,
    decide_resubmission,
    find_bad_hosts,
)
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.systems.base import Submission, System
from airflow_provider_caf.batch.verdicts import (
    SubjobStatus,
    Verdict,
    doubt_end,
    find_places,
    list_tries,
)
from airflow_provider_caf.core.chain import LOCAL
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import read_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.inputs import is_uri
from airflow_provider_caf.io.layout import CollectionLayout
from airflow_provider_caf.jobs.client import BatchClient, read_intent, read_submitted
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.memory import read_memory, step_back, submit_modestly
from airflow_provider_caf.jobs.notes import add_told, apply_notes
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.subjobs import judge_on_disk, read_job_digests

_log = logging.getLogger(__name__)


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

    @property
    def is_settling(self) -> bool:
        """Whether nothing is waited for but the grace time of subjobs that have ended or are nowhere.

        Whoever leaves then and comes back with an empty memory waits for all of it again.
        """
        live = [verdict for verdict in self.verdicts.values() if not verdict.status.is_over]
        return bool(live) and self.problem is None and all(verdict.settling for verdict in live)


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
    previous: Sequence[SubmittedArray] = (),
    find_times: Callable[[], RunTimes | None] | None = None,
) -> Submitted:
    """Submit the subjobs that have no valid success and are not on their way.

    :param policy: how failed subjobs go again.
    :param first_attempt: tries before this one do not count against `policy.max_retries`; None: none
        counts, as in a task that a user has cleared.
    :param previous: the arrays of the same subjobs in the pass before: each begins with the memory it needed there.
    :param find_times: gives the run times of such subjobs where `subjobs_per_job` is `auto` and none of these has
        succeeded yet.
    :raises SubmitError: if the batch system does not take them.
    :raises PollError: if nothing could be found out about earlier ones for too long. Before that, those that
        the system says nothing about count as on their way: no copy of them is submitted.
    """
    policy = policy or RetryPolicy()
    intents = read_intents(job.layout.arrays_folder)
    status = client.open_status_folder(job.layout.status_folder)
    observed = observe(client, job, _recover(client, intents), status=status)
    records = status.scan()
    missing = [verdict for verdict in observed.verdicts.values() if verdict.status.runs_again]
    tries = _count_tries(_select_counted(observed.arrays, first_attempt), missing, records)
    memory = read_memory(job.resources.memory, previous, observed.arrays)
    memory.update(step_back(missing, observed.arrays))
    decision = decide_resubmission(_build_failures(job, missing, tries, memory), policy)
    newest = max((intent.attempt for intent in intents), default=-1)
    bad_hosts = find_bad_hosts(_list_host_tries(records, observed.verdicts.values()), policy) if missing else ()
    parts = _plan_parts(job, client.system, decision, bad_hosts, _find_times(job, records, find_times))
    again = {subjob for part in parts for element in part.elements for subjob in element}
    # Only where nothing is known of the end of an earlier try can something of it still run.
    lost = {verdict.subjob for verdict in missing if verdict.status is SubjobStatus.LOST} & again

    def submit(part: Part, number: int) -> SubmittedArray:
        array = build_array(client, job, part.elements, attempt=newest + 1, part=number, resources=part.resources)
        earlier = [each for each in observed.arrays if lost & set(array.subjobs) & set(each.array.subjobs)]
        over = _find_sharers(earlier, lost & set(array.subjobs), observed.verdicts) if earlier else set()
        return client.submit(array, superseded=earlier, over=over)

    submitted = [submit_modestly(submit, part, number) for number, part in enumerate(parts)]
    live = [verdict.subjob for verdict in observed.verdicts.values() if not verdict.status.is_over]
    return Submitted(
        arrays=(*select_newest(observed.arrays, live), *submitted),
        attempt=newest + 1 if parts else newest,
        submitted=tuple(sorted(again)),
        spent=decision.spent,
        verdicts=observed.verdicts,
    )


def preview(client: BatchClient, job: CollectionJob) -> list[tuple[ArraySpec, Submission]]:
    """Give the arrays that a first submission would make, and how. Nothing is submitted.

    :raises DefinitionError: if the system cannot do what the resources ask for.
    """
    observed = observe(client, job, (), status=client.open_status_folder(job.layout.status_folder))
    decision = decide_resubmission(_build_failures(job, observed.verdicts.values(), {}, {}), RetryPolicy())
    arrays = [
        build_array(client, job, part.elements, attempt=0, part=number, resources=part.resources)
        for number, part in enumerate(_plan_parts(job, client.system, decision, (), None))
    ]
    return [(array, client.system.build_submit(array)) for array in arrays]


@record
class Question:
    """What has to be asked of the batch system to judge a collection.

    :param arrays: all that was submitted for it.
    :param asked: the arrays to poll: those that hold the newest try of a subjob that is not done. None: no need to ask.
    :param expected: subjob → digest of its present job file.
    :param done: the verdicts by the exit records alone.
    """

    arrays: tuple[SubmittedArray, ...]
    asked: tuple[SubmittedArray, ...]
    expected: Mapping[int, str]
    done: Mapping[int, Verdict]


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
    :param check_outputs: see `judge_on_disk`.
    :param read_logs: see `judge_on_disk`.
    :raises PollError: if nothing could be found out about an array for too long.
    """
    status = status or client.open_status_folder(job.layout.status_folder)
    question = find_question(job, arrays, status=status, check_outputs=check_outputs)
    snapshot = client.poll(question.asked) if question.asked else None
    return judge(question, snapshot, status=status, check_outputs=check_outputs, read_logs=read_logs)


def find_question(
    job: CollectionJob,
    arrays: Sequence[SubmittedArray] | None = None,
    *,
    status: StatusFolder,
    expected: Mapping[int, str] | None = None,
    check_outputs: bool = True,
) -> Question:
    """Read what the subjobs have left, and find out after which arrays to ask. See `observe`.

    :param expected: the digests that an earlier question has read; None: read the job files.
    """
    if arrays is None:
        arrays = read_arrays(job.layout.arrays_folder)
    if expected is None:
        expected = read_job_digests(job.layout.input_folder, job.subjobs)
    check_outputs = check_outputs or _may_be_half_there(arrays)
    done = judge_on_disk(expected, status.scan(), check_outputs=check_outputs)
    asked = select_newest(arrays, (each.subjob for each in done.values() if each.status is not SubjobStatus.DONE))
    return Question(arrays=tuple(arrays), asked=asked, expected=expected, done=done)


def judge(
    question: Question,
    snapshot: Snapshot | None,
    *,
    status: StatusFolder,
    check_outputs: bool = True,
    read_logs: bool = True,
) -> Observation:
    """Judge every subjob by a poll that was made after the question. See `observe`.

    :param snapshot: None: there was no array to ask after.
    :raises PollError: if nothing could be found out about an array for too long.
    """
    if snapshot is None:
        return Observation(arrays=question.arrays, verdicts=question.done)
    # Read again: the record of a subjob that the poll saw ended is there by now.
    records = status.scan()
    states = apply_notes(snapshot.read(question.asked), question.asked)
    verdicts = judge_on_disk(
        question.expected,
        records,
        states if status.problem is None else {subjob: doubt_end(state) for subjob, state in states.items()},
        arrays=question.asked,
        check_outputs=check_outputs or _may_be_half_there(question.arrays),
        read_logs=read_logs,
    )
    verdicts = add_told(verdicts, question.asked)
    problems = (status.problem, snapshot.describe_problems(question.asked))
    problem = "; ".join(each for each in problems if each is not None) or None
    return Observation(arrays=question.arrays, verdicts=verdicts, problem=problem)


def _may_be_half_there(arrays: Iterable[SubmittedArray]) -> bool:
    """Tell whether a record can be there before the outputs of which it tells: files that travel come one by one."""
    return any(array.array.resources.transfer_files for array in arrays)


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
    elements: Sequence[Sequence[int]],
    *,
    attempt: int,
    part: int = 0,
    resources: Resources | None = None,
) -> ArraySpec:
    """Give the array that runs some subjobs of a collection.

    :param elements: the subjobs of each element.
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
        elements=tuple(map(tuple, elements)),
        attempt=attempt,
        app=str(job.app),
        python=job.python,
        resources=resources or job.resources,
        inputs=_list_inputs(job.layout, elements) if job.resources.transfer_files else (),
    )


def _list_inputs(layout: CollectionLayout, elements: Iterable[Iterable[int]]) -> tuple[tuple[str, ...], ...]:
    """Give what has to travel with each element: its job files, and the local files and databases they name."""
    return tuple(
        tuple(dict.fromkeys(path for subjob in element for path in _list_files(layout.job_file(subjob))))
        for element in elements
    )


def _list_files(job_file: Path) -> Iterator[str]:
    job = read_json(job_file, "A job file")
    yield str(job_file)
    yield from (path for path in job["input_files"] if not is_uri(path))
    yield from (entry["path"] for entry in job["database_chain"] if entry["kind"] == LOCAL)


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


def _find_sharers(arrays: Iterable[SubmittedArray], lost: set[int], verdicts: Mapping[int, Verdict]) -> set[int]:
    """Give what is over in the elements of lost subjobs: it need not keep them from being ended."""
    elements = (element for each in arrays for element in each.array.elements if not lost.isdisjoint(element))
    # A definition that has fewer subjobs now does not know all of them.
    live = {subjob for subjob, verdict in verdicts.items() if not verdict.status.is_over}
    return {subjob for element in elements for subjob in element} - live


def _build_failures(
    job: CollectionJob, missing: Iterable[Verdict], tries: Mapping[int, int], memory: Mapping[int, int | None]
) -> list[Failure]:
    is_packing = job.resources.subjobs_per_job not in (None, 1)
    return [
        _build_failure(verdict, tries.get(verdict.subjob, 0), memory.get(verdict.subjob), is_packing)
        for verdict in missing
    ]


def _select_counted(arrays: Iterable[SubmittedArray], first_attempt: int | None) -> list[SubmittedArray]:
    return [each for each in arrays if first_attempt is not None and each.array.attempt >= first_attempt]


def _count_tries(
    arrays: Iterable[SubmittedArray], missing: Iterable[Verdict], records: Iterable[ExitRecord]
) -> dict[int, int]:
    """Count how often some subjobs were tried. To wait in an element that ended before is no try."""
    subjobs = {verdict.subjob for verdict in missing}
    recorded = list_tries(records)
    tries: dict[int, int] = {}
    for (subjob, _), place in find_places(arrays).items():
        if subjob in subjobs and (len(place.subjobs) == 1 or place.had_turn(recorded)):
            tries[subjob] = tries.get(subjob, 0) + 1
    return tries


def _build_failure(verdict: Verdict, tries: int, memory: int | None, is_packing: bool) -> Failure:
    record = verdict.record
    # What is said of the end of a job is no matter of a subjob that waited in it.
    said = (verdict.native, verdict.reason, verdict.log_tail) if verdict.began else ()
    ended_job = verdict.began and (record is None or record.was_told_to_end)
    return Failure(
        subjob=verdict.subjob,
        tries=tries,
        exit_code=None if record is None else record.exit_code,
        signal=None if record is None else record.signal,
        memory=memory,
        peak_memory=None if record is None else record.peak_memory_kb,
        text="\n".join(part for part in said if part),
        broke_off=is_packing and ended_job and verdict.status in (SubjobStatus.FAILED, SubjobStatus.LOST),
    )


def _list_host_tries(records: Iterable[ExitRecord], verdicts: Iterable[Verdict]) -> list[HostTry]:
    """Give what is known of hosts. Who was told to end from outside says nothing about the host."""
    tries = [
        HostTry(host=each.host, subjob=each.subjob, succeeded=each.says_success, reason=each.reason or "")
        for each in records
        if not each.was_told_to_end
    ]
    tries += [
        HostTry(host=each.host, subjob=each.subjob, succeeded=False, reason=each.reason or "")
        for each in verdicts
        if each.status in (SubjobStatus.FAILED, SubjobStatus.LOST) and each.record is None and each.host and each.began
    ]
    return tries


def _find_times(
    job: CollectionJob, records: Iterable[ExitRecord], find_times: Callable[[], RunTimes | None] | None
) -> RunTimes | None:
    if job.resources.subjobs_per_job != AUTO:
        return None
    return measure_records(records) or (find_times() if find_times is not None else None)


def measure_records(records: Iterable[ExitRecord]) -> RunTimes | None:
    """Give the run times of the subjobs that ended well: those that failed may have ended at once."""
    return measure([each.seconds for each in records if each.says_success])


def _plan_parts(
    job: CollectionJob, system: System, decision: Resubmission, bad_hosts: Sequence[str], times: RunTimes | None
) -> list[Part]:
    resources = job.resources
    if bad_hosts and "exclude_hosts" in system.ignored:
        _log.warning("Too many subjobs failed on %s, and %s cannot exclude hosts", ", ".join(bad_hosts), system.name)
    elif bad_hosts and decision.retries:
        _log.warning("Too many subjobs failed on %s: no subjob is sent there again", ", ".join(bad_hosts))
        hosts = dict.fromkeys((*(resources.exclude_hosts or ()), *bad_hosts))
        resources = replace(resources, exclude_hosts=tuple(hosts))
    limit = None if "array_limit" in system.ignored else resources.array_limit or system.largest_array
    return plan_parts(decision.retries, resources, times=times, limit=limit)
