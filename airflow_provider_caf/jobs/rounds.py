"""Plan what one call of `submit_missing` submits: which subjobs, with how much memory, packed how, on which hosts not.

Pure: everything it needs was read before. `batch.resubmit` and `batch.packing` decide.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.packing import Part, RunTimes, measure, plan_parts
from airflow_provider_caf.batch.resubmit import (
    Failure,
    HostTry,
    RetryPolicy,
    find_bad_hosts,
    plan_retries,
)
from airflow_provider_caf.batch.spec import Resources, SubmittedArray
from airflow_provider_caf.batch.systems.base import System
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict, find_places, list_tries
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.memory import read_memory, step_back
from airflow_provider_caf.jobs.observation import Observation

_log = logging.getLogger(__name__)


@record
class Round:
    """What one call of `submit_missing` has done.

    :param arrays: all arrays to be watched: new ones, and earlier ones of which something still goes on.
    :param attempt: the number of the newest attempt.
    :param submitted: the subjobs that were submitted now.
    :param spent: the subjobs that have failed and have no attempt left.
    :param verdicts: what was true before.
    """

    arrays: tuple[SubmittedArray, ...]
    attempt: int
    submitted: tuple[int, ...]
    spent: tuple[int, ...]
    verdicts: Mapping[int, Verdict]


@record
class RoundPlan:
    """What a round submits.

    :param parts: one array each.
    :param spent: the subjobs that have failed and have no attempt left.
    """

    parts: tuple[Part, ...]
    spent: tuple[int, ...]


def plan_round(
    observation: Observation,
    records: Sequence[ExitRecord],
    resources: Resources,
    system: System,
    policy: RetryPolicy,
    *,
    first_attempt: int | None = None,
    previous: Sequence[SubmittedArray] = (),
    times: RunTimes | None = None,
) -> RoundPlan:
    """Plan the arrays for all subjobs that are over and not done.

    :param records: all exit records.
    :param first_attempt: attempts before this one do not count against `policy.max_retries`; None: none counts.
    :param previous: the arrays of an earlier run of the same subjobs: each begins with the memory it needed there.
    :param times: run times of such subjobs, where they are known.
    """
    missing = [observation.verdicts[subjob] for subjob in observation.failed]
    if not missing:
        return RoundPlan(parts=(), spent=())
    counted = [
        array for array in observation.arrays if first_attempt is not None and array.array.attempt >= first_attempt
    ]
    tries = _count_tries(counted, missing, records)
    memory = read_memory(resources.memory, previous, observation.arrays)
    memory.update(step_back(missing, observation.arrays))
    is_packing = resources.subjobs_per_job not in (None, 1)
    retry_plan = plan_retries(
        [
            _build_failure(verdict, tries.get(verdict.subjob, 0), memory.get(verdict.subjob), is_packing)
            for verdict in missing
        ],
        policy,
    )
    if retry_plan.retries:
        bad_hosts = find_bad_hosts(_list_host_tries(records, observation.verdicts.values()), policy)
        resources = _exclude_hosts(resources, bad_hosts, system)
    limit = None if "array_limit" in system.ignored else resources.array_limit or system.largest_array
    parts = plan_parts(retry_plan.retries, resources, times=times, limit=limit)
    return RoundPlan(parts=tuple(parts), spent=retry_plan.spent)


def find_superseded(observation: Observation, subjobs: Iterable[int]) -> tuple[list[SubmittedArray], set[int]]:
    """Return the earlier arrays of which something may still run although it is lost, and what else may be ended there.

    Only where nothing is known of the end of an earlier attempt can something of it still run.

    :param subjobs: those that are submitted again.
    :returns: the arrays, and the subjobs that share elements with the lost ones and that nobody needs to go on.
    """
    verdicts = observation.verdicts
    lost = {subjob for subjob in subjobs if verdicts[subjob].status is SubjobStatus.LOST}
    arrays = [array for array in observation.arrays if lost.intersection(array.array.subjobs)]
    elements = (element for array in arrays for element in array.array.elements if lost.intersection(element))
    # Present subjobs only are judged; an array of an earlier definition may have had more.
    live = {subjob for subjob, verdict in verdicts.items() if not verdict.status.is_over}
    return arrays, {subjob for element in elements for subjob in element} - live


def measure_records(records: Iterable[ExitRecord]) -> RunTimes | None:
    """Return the run times of the subjobs that ended well: those that failed may have ended at once."""
    return measure([end.seconds for end in records if end.says_success])


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
    end = verdict.record
    ended_job = verdict.began and (end is None or end.was_told_to_end)
    return Failure(
        subjob=verdict.subjob,
        tries=tries,
        exit_code=None if end is None else end.exit_code,
        signal=None if end is None else end.signal,
        memory=memory,
        peak_memory=None if end is None else end.peak_memory_kb,
        # What ended the job is not the cause for a subjob that waited in it.
        out_of_memory=verdict.began and verdict.out_of_memory,
        broke_off=is_packing and ended_job and verdict.status in (SubjobStatus.FAILED, SubjobStatus.LOST),
    )


def _list_host_tries(records: Iterable[ExitRecord], verdicts: Iterable[Verdict]) -> list[HostTry]:
    """List what is known of hosts. Who was told to end from outside says nothing about the host."""
    verdicts = tuple(verdicts)
    over_memory = {(verdict.subjob, verdict.attempt) for verdict in verdicts if verdict.began and verdict.out_of_memory}
    tries = [
        HostTry(
            host=end.host,
            subjob=end.subjob,
            succeeded=end.says_success,
            out_of_memory=end.out_of_memory or (end.subjob, end.attempt) in over_memory,
        )
        for end in records
        if not end.was_told_to_end
    ]
    for verdict in verdicts:
        has_failed = verdict.status in (SubjobStatus.FAILED, SubjobStatus.LOST) and verdict.began
        if has_failed and verdict.record is None and verdict.host:
            tries.append(
                HostTry(
                    host=verdict.host,
                    subjob=verdict.subjob,
                    succeeded=False,
                    out_of_memory=verdict.out_of_memory,
                )
            )
    return tries


def _exclude_hosts(resources: Resources, bad_hosts: Sequence[str], system: System) -> Resources:
    """Return the resources without hosts on which too many subjobs failed."""
    if not bad_hosts:
        return resources
    names = ", ".join(bad_hosts)
    if "exclude_hosts" in system.ignored:
        _log.warning("Too many subjobs failed on %s, and %s cannot exclude hosts", names, system.name)
        return resources
    _log.warning("Too many subjobs failed on %s: no subjob is sent there again", names)
    hosts = dict.fromkeys((*(resources.exclude_hosts or ()), *bad_hosts))
    return replace(resources, exclude_hosts=tuple(hosts))
