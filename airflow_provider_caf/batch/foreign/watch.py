"""What the looks at jobs of somebody else have shown so far: which native jobs there are, and how each one goes.

A look has four steps: `begin` says after which targets to ask the queue, `plan_history` after which the history,
`take` takes in each answer, and `finish` what no answer has shown. A target is closed, and not asked after any more,
once all of it is over and no answer can bring more of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.foreign.base import ForeignSystem, Glimpse, Target, Told, judge_job, make_target
from airflow_provider_caf.batch.ranges import join_ranges, read_ranges
from airflow_provider_caf.batch.verdicts import Sighting, SubjobStatus, Track, miss, see
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

_Key = tuple[str, "int | None"]
"""Job and index."""

_NUMBER = re.compile(r"\d+", re.ASCII)
_MOST_ELEMENTS = 10_000_000


@record
class ForeignJob:
    """What is true of one native job that somebody else submitted.

    :param id: as the system writes it, such as `4242_7`.
    :param status: the word for it, as for jobs of our own.
    :param state: its state.
    :param native: the system's own word for the state.
    :param exit_code: as the system says; 128 + n: ended by the signal n. None: it did not say.
    :param reason: why it is held, waits or has failed.
    :param host: where it runs or ran.
    :param is_hopeless: it is held, or waits, for what will not come by itself.
    :param is_missing: neither queue nor history showed it when they were last asked, and its grace time still runs.
    """

    id: str
    status: SubjobStatus
    state: JobState
    native: str
    exit_code: int | None = None
    reason: str | None = None
    host: str | None = None
    is_hopeless: bool = False
    is_missing: bool = False


@record
class SeenJobs(JsonRecord):
    """Plain jobs, or the same elements of arrays, that were last seen alike.

    :param jobs: their ids.
    :param elements: such as `0-3,7`; None: they are plain jobs.
    """

    noun = "group of seen jobs"

    jobs: tuple[str, ...]
    elements: str | None
    state: str
    native: str
    exit_code: int | None


@record
class ForeignMemory(JsonRecord):
    """What a watch has seen, small enough to be handed on: reasons and hosts are left out.

    :param ids: what was asked for, or found by name.
    """

    noun = "memory of jobs of somebody else"

    ids: tuple[str, ...]
    seen: tuple[SeenJobs, ...]


class ForeignWatch:
    """The sightings of all native jobs of some targets. It asks nobody.

    :param read_state: native code → state.
    :param grace: seconds for which a job may be missing from queue and history before it is lost.
    """

    def __init__(
        self, system: ForeignSystem, targets: Iterable[Target], read_state: Callable[[str], JobState], grace: float
    ) -> None:
        self._system = system
        self._read_state = read_state
        self._grace = grace
        self._members: dict[Target, set[_Key]] = {target: set() for target in targets}
        self._by_place: dict[tuple[str, int | None], set[Target]] = {}
        for target in self._members:
            self._by_place.setdefault(_find_place(target), set()).add(target)
        self._sightings: dict[_Key, Sighting] = {}
        self._arrays: set[str] = set()
        self._counted: set[str] = set()
        self._searched: set[Target] = set()
        self._closed: set[Target] = set()
        self._shown: set[_Key] = set()

    @property
    def targets(self) -> tuple[Target, ...]:
        """All targets. One that was named by another id of an element is that element, once it was seen."""
        return tuple(self._members)

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return len(self._closed) == len(self._members)

    def begin(self) -> tuple[Target, ...]:
        """Begin a look, and return the targets after which to ask the queue."""
        self._shown.clear()
        return tuple(target for target in self._members if target not in self._closed)

    def take(self, told: Told, now: float) -> None:
        """Take in what an answer shows. What an earlier answer of the same look has shown stays."""
        for glimpse in told.glimpses:
            key = (glimpse.job, glimpse.index)
            if key in self._shown or not self._join(glimpse):
                continue
            self._shown.add(key)
            native = glimpse.native
            self._sightings[key] = see(self._sightings[key], native, self._read_state(native.code), now)
        for job, count in told.counts.items():
            self._count(job, count)

    def plan_history(self, doubtful: Iterable[Target]) -> tuple[Target, ...]:
        """Return the targets after which to ask the history: what is not in the queue, and what nobody has counted.

        :param doubtful: those of which the queue did not tell.
        """
        left: dict[Target, None] = {}
        for target in self._find_open(doubtful):
            keys = self._members[target]
            missing = [key for key in keys if self._is_missing(key)]
            left.update((make_target(self._system, *key), None) for key in sorted(missing, key=_sort_key))
            # Some of it may have left the queue before anybody looked, or between two looks.
            is_live = any(key in self._shown and not self._sightings[key].is_over for key in keys)
            if not keys or (self._is_open_ended(target) and not (target in self._searched and is_live)):
                left[target] = None
        return tuple(left)

    def finish(self, searched: Iterable[Target], doubtful: Iterable[Target], now: float) -> tuple[Target, ...]:
        """End a look, and return the targets of which nothing was ever seen, though all have answered.

        :param searched: what `plan_history` has returned.
        :param doubtful: the targets of which queue or history did not tell.
        """
        unknown = []
        asked = set(searched)
        for target in self._find_open(doubtful):
            keys = self._members[target]
            if target in asked:
                self._searched.add(target)
            for key in keys:
                if self._is_missing(key):
                    self._sightings[key] = miss(self._sightings[key], now, self._grace)
            if not keys:
                unknown.append(target)
            elif (target in asked or not self._is_open_ended(target)) and all(
                self._sightings[key].is_over for key in keys
            ):
                self._closed.add(target)
        return tuple(unknown)

    def find_targets(self, doubtful: Iterable[Target]) -> set[Target]:
        """Return the targets to which others belong, say elements that were asked for singly."""
        numbers = {_read_number(target.job) for target in doubtful}
        return {target for target in self._members if _read_number(target.job) in numbers}

    def list_uncounted(self) -> tuple[str, ...]:
        """Return the arrays of which nobody has said how many elements they have."""
        open_ended = (target for target in self._members if self._is_open_ended(target))
        jobs = (job for target in open_ended for job, _ in self._members[target] if job in self._arrays)
        return tuple(dict.fromkeys(jobs))

    def list_jobs(self) -> tuple[ForeignJob, ...]:
        """Return what is true of each native job, in the order of jobs and elements."""
        return tuple(self._judge(key) for key in sorted(self._sightings, key=_sort_key))

    def remember(self) -> ForeignMemory:
        """Return what was seen, for a watch in another process."""
        alike: dict[tuple[str, str, str, int | None], list[int | None]] = {}
        for job, index in sorted(self._sightings, key=_sort_key):
            sighting = self._sightings[job, index]
            native = sighting.native
            alike.setdefault((job, sighting.track.state.value, native.code, native.exit_code), []).append(index)
        groups: dict[tuple[str | None, str, str, int | None], list[str]] = {}
        for (job, state, code, exit_code), indices in alike.items():
            elements = join_ranges([index for index in indices if index is not None]) or None
            groups.setdefault((elements, state, code, exit_code), []).append(job)
        return ForeignMemory(
            ids=tuple(target.text for target in self._members),
            seen=tuple(
                SeenJobs(jobs=tuple(jobs), elements=elements, state=state, native=code, exit_code=exit_code)
                for (elements, state, code, exit_code), jobs in groups.items()
            ),
        )

    def recall(self, memory: ForeignMemory) -> None:
        """Take in what another watch of the same targets has seen.

        :raises DefinitionError: if the memory holds a state that does not exist.
        """
        for group in memory.seen:
            try:
                state = JobState(group.state)
            except ValueError as error:
                raise DefinitionError(
                    f"The memory of the jobs {' '.join(memory.ids)[:300]} has the state {group.state!r}.",
                    hint="It was written by another version of this package: wait for the jobs anew.",
                ) from error
            sighting = Sighting(track=Track(state=state), native=Native(code=group.native, exit_code=group.exit_code))
            indices = (None,) if group.elements is None else read_ranges(group.elements, _MOST_ELEMENTS)
            keys = [(job, index) for index in indices for job in group.jobs]
            for job, index in keys:
                if self._join(Glimpse(id="", job=job, index=index, native=sighting.native)):
                    self._sightings[job, index] = sighting

    def _find_open(self, doubtful: Iterable[Target]) -> list[Target]:
        left_out = set(doubtful) | self._closed
        return [target for target in self._members if target not in left_out]

    def _is_missing(self, key: _Key) -> bool:
        return key not in self._shown and not self._sightings[key].is_over

    def _is_open_ended(self, target: Target) -> bool:
        """Return whether nobody has said how much belongs to a target."""
        return target.index is None and target.job not in self._counted

    def _join(self, glimpse: Glimpse) -> bool:
        """Put a native job where it belongs, and tell whether it belongs anywhere.

        An array may show itself as a plain job, until its elements are known (`sacct` of a fresh one).
        """
        key = (glimpse.job, glimpse.index)
        if glimpse.index is None and glimpse.job in self._arrays:
            return False
        number = _read_number(glimpse.job)
        places = {(number, None), (number, glimpse.index), (_read_number(glimpse.number), None)}
        near = [target for place in places for target in self._by_place.get(place, ())]
        found = [target for target in near if self._system.covers(target, *key, glimpse.number)]
        for target in found:
            is_own = _read_number(target.job) == number
            self._members[target if is_own else self._rename(target, key)].add(key)
            self._sightings.setdefault(key, Sighting())
        if found and glimpse.index is not None:
            self._arrays.add(glimpse.job)
            self._sightings.pop((glimpse.job, None), None)
            for target in self._by_place.get((number, None), ()):
                self._members[target].discard((glimpse.job, None))
        return bool(found)

    def _rename(self, target: Target, key: _Key) -> Target:
        """Let an element that was named by its own number stand under the id that it has in its array."""
        element = make_target(self._system, *key)
        self._by_place[_find_place(target)].remove(target)
        self._members.setdefault(element, set()).update(self._members.pop(target))
        self._by_place.setdefault(_find_place(element), set()).add(element)
        return element

    def _count(self, job: str, count: int) -> None:
        if job in self._counted:
            return
        self._counted.add(job)
        for target in self._by_place.get((_read_number(job), None), ()):
            if self._system.covers(target, job, None, ""):
                for index in range(count):
                    self._members[target].add((job, index))
                    self._sightings.setdefault((job, index), Sighting())

    def _judge(self, key: _Key) -> ForeignJob:
        sighting = self._sightings[key]
        status, reason = judge_job(sighting, self._system.good)
        native = sighting.native
        return ForeignJob(
            id=self._system.name_element(*key),
            status=status,
            state=sighting.track.state,
            native=native.code,
            exit_code=native.exit_code,
            reason=reason,
            host=native.host,
            is_hopeless=native.is_hopeless and not sighting.is_over,
            is_missing=sighting.missing_since is not None and not sighting.is_over,
        )


def _read_number(job: str) -> str:
    """Return the number with which an id begins: equal ids have equal ones."""
    match = _NUMBER.match(job)
    return match[0] if match else ""


def _find_place(target: Target) -> tuple[str, int | None]:
    return _read_number(target.job), target.index


def _sort_key(key: _Key) -> tuple[int, str, int]:
    job, index = key
    return int(_read_number(job) or 0), job, -1 if index is None else index
