"""How many subjobs run one after the other in one element of an array, and how many elements an array has.

Theory
------
A batch system starts r elements a second, however short they are. N subjobs of t seconds each, s of them in an element,
take, where there are enough free machines, about

    W(s) = N / (s r) + s t,

the time to start all elements and the time of one of them. It is least for s = √(N / (t r)); then an element lasts as
long as it takes to start them all. More elements would wait for their start, fewer leave machines idle. Where fewer
machines are free, elements of that length still keep them busy, so a throttle changes nothing. For long subjobs s is
below 1, and nothing is packed.

Two bounds stand over that: an element does not last much longer than `LONGEST`, because all that it has not finished is
lost with it, and it fits into the wall time that was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.arguments import AUTO
from airflow_provider_caf.batch.resubmit import Retry
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.record import record

START_RATE = 5.0
"""Elements per second. Systems start from 3 to 13."""
LONGEST = 600.0
"""Seconds of an element of several subjobs. Long against the cost of a job's start, and little work to lose."""
_OVERHEAD = 0.05
"""Seconds that a subjob of no work takes: its folder, its process, its exit record."""
_MARGIN = 1.5
"""Run times differ from machine to machine: so much is kept free below the wall time."""


@record
class RunTimes:
    """How long subjobs ran, in seconds."""

    mean: float
    longest: float


def measure(seconds: Sequence[float]) -> RunTimes | None:
    """Return the run times of some subjobs; None if there are none."""
    if not seconds:
        return None
    return RunTimes(mean=math.fsum(seconds) / len(seconds), longest=max(seconds))


def decide_size(per_job: int | str | None, count: int, seen: RunTimes | None, walltime: int | None = None) -> int:
    """Decide how many subjobs one element runs.

    :param per_job: the argument `subjobs_per_job`: a number, `AUTO`, or None for one.
    :param count: how many subjobs are submitted together.
    :param seen: run times of the same collection; None: nothing is known, and `AUTO` does not pack.
    :param walltime: the limit of an element in seconds.
    """
    if isinstance(per_job, int):
        return per_job
    if per_job != AUTO or seen is None:
        return 1
    mean = max(seen.mean, _OVERHEAD)
    longest = max(seen.longest, mean)
    most = min(count, int(LONGEST / mean))
    if walltime is not None:
        most = min(most, int(walltime / (longest * _MARGIN)))
    best = int(math.sqrt(count / (mean * START_RATE)))
    candidates = {max(1, min(size, most)) for size in (1, best, best + 1)}
    return min(sorted(candidates), key=lambda size: _predict(count, mean, size))


def _predict(count: int, mean: float, size: int) -> float:
    """Return the seconds until all subjobs are over, see the theory."""
    elements = math.ceil(count / size)
    return elements / START_RATE + math.ceil(count / max(elements, 1)) * mean


def pack(subjobs: Sequence[int], size: int) -> tuple[tuple[int, ...], ...]:
    """Return the elements: as few as the size allows, and as even as can be."""
    if not subjobs:
        return ()
    elements = math.ceil(len(subjobs) / size)
    least, longer = divmod(len(subjobs), elements)
    packed = []
    start = 0
    for number in range(elements):
        end = start + least + (number < longer)
        packed.append(tuple(subjobs[start:end]))
        start = end
    return tuple(packed)


@record
class Part:
    """One array of a submission.

    :param elements: the subjobs of each element.
    :param modest: what to ask for where the site refuses the memory, as it had grown; None: it had not.
    """

    elements: tuple[tuple[int, ...], ...]
    resources: Resources
    modest: Resources | None = None


def plan_parts(
    retries: Iterable[Retry], resources: Resources, *, times: RunTimes | None, limit: int | None
) -> list[Part]:
    """Return the arrays for subjobs that ask for different things, none larger than the site allows.

    :param times: run times of the same collection, where they are known.
    :param limit: the most elements of one array; None: there is no limit.
    """
    parts = []
    for retry in retries:
        per_job = 1 if retry.alone else resources.subjobs_per_job
        elements = pack(retry.subjobs, decide_size(per_job, len(retry.subjobs), times, resources.walltime))
        own = replace(resources, memory=retry.memory or resources.memory)
        modest = None if retry.before is None else replace(resources, memory=retry.before or resources.memory)
        size = limit or len(elements)
        parts += [
            Part(elements=elements[at : at + size], resources=own, modest=modest)
            for at in range(0, len(elements), size)
        ]
    return _share_throttle(parts, resources.throttle)


def _share_throttle(parts: list[Part], throttle: int | None) -> list[Part]:
    """Divide the limit of elements that run at once: batch systems know it for each array only.

    With more arrays than that, one element of each runs.
    """
    if throttle is None or len(parts) < 2:
        return parts
    least, more = divmod(throttle, len(parts))
    shared = []
    for number, part in enumerate(parts):
        own = max(1, least + (number < more))
        modest = None if part.modest is None else replace(part.modest, throttle=own)
        shared.append(replace(part, resources=replace(part.resources, throttle=own), modest=modest))
    return shared
