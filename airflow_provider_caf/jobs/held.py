"""Deal with the jobs of a collection that the batch system holds (law 8); `batch.held` decides.

Since when a job is held, and how often it was released, stands in the array's notes: it counts on after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.evidence import Note
from airflow_provider_caf.batch.held import HeldAction, HeldPolicy, decide_held
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobStatus, Verdict
from airflow_provider_caf.core.record import record
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.notes import read_notes, write_notes
from airflow_provider_caf.jobs.observation import Observation
from airflow_provider_caf.jobs.subjobs import clean_line

_MOST_REASONS = 3
_MOST_SUBJOBS = 5


@record
class HeldTreatment:
    """What was done to held jobs at one look.

    :param released: the subjobs that were released.
    :param ended: the subjobs that were ended: they count as failed.
    """

    released: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()

    def describe(self) -> str:
        """Give a line for the task's log, empty if nothing was done."""
        parts = [
            f"{done} {_list_subjobs(subjobs)}"
            for done, subjobs in (("released", self.released), ("ended, as held jobs,", self.ended))
            if subjobs
        ]
        return "; ".join(parts)


def find_held(verdicts: Mapping[int, Verdict]) -> tuple[Verdict, ...]:
    """Give the subjobs that are held, or that wait for what will not come by itself."""
    return tuple(
        verdict
        for _, verdict in sorted(verdicts.items())
        if verdict.status is SubjobStatus.HELD or (verdict.hopeless and not verdict.status.is_over)
    )


def describe_holds(verdicts: Mapping[int, Verdict]) -> str:
    """Give a line such as `held: subjobs 4, 7 (no such file)`, empty if nothing is held."""
    reasons: dict[str, list[int]] = {}
    for verdict in find_held(verdicts):
        reasons.setdefault(clean_line(verdict.reason or "the batch system gives no reason"), []).append(verdict.subjob)
    parts = [f"{_list_subjobs(subjobs)} ({reason})" for reason, subjobs in [*reasons.items()][:_MOST_REASONS]]
    if len(reasons) > _MOST_REASONS:
        parts.append(f"and {len(reasons) - _MOST_REASONS} more reasons")
    return "held: " + "; ".join(parts) if parts else ""


def treat_held(
    client: BatchClient, observation: Observation, policy: HeldPolicy, clock: Callable[[], float] = time.time
) -> HeldTreatment:
    """Release or end the held jobs of a collection whose time has come.

    :param clock: seconds since 1970.
    :raises CafError: if the batch system does not take a command, or if a note cannot be written.
    """
    held = {verdict.subjob: verdict for verdict in find_held(observation.verdicts)}
    released: list[int] = []
    ended: list[int] = []
    for array in observation.arrays:
        done = _treat_array(client, array, held, policy, clock())
        released += done.released
        ended += done.ended
    return HeldTreatment(released=tuple(sorted(released)), ended=tuple(sorted(ended)))


def _treat_array(
    client: BatchClient, array: SubmittedArray, held: Mapping[int, Verdict], policy: HeldPolicy, now: float
) -> HeldTreatment:
    attempt = array.array.attempt
    # What holds one subjob of an element holds all of them.
    elements = {
        element: verdict
        for element in array.array.elements
        for verdict in [next((held[one] for one in element if one in held and held[one].attempt == attempt), None)]
        if verdict is not None
    }
    before = read_notes(array.array.folder)
    if not elements and not any(note.held_since is not None for note in before.values()):
        return HeldTreatment()
    notes = _forget_others(before, elements)
    actions: dict[HeldAction, list[int]] = {action: [] for action in HeldAction}
    for element, verdict in elements.items():
        note = notes.get(element[0], Note())
        since = now if note.held_since is None else note.held_since
        action = decide_held(policy, hopeless=verdict.hopeless, since=since, now=now, releases=note.releases)
        actions[action] += element
        for subjob in element:
            notes[subjob] = _write_down(notes.get(subjob, Note()), action, verdict, since)
    if notes != before:
        write_notes(array.array.folder, notes)
    released, ended = actions[HeldAction.RELEASE], actions[HeldAction.FAIL]
    if released:
        client.release(array, released)
    if ended:
        client.cancel([array], ended)
    return HeldTreatment(released=tuple(released), ended=tuple(ended))


def _forget_others(notes: Mapping[int, Note], elements: Mapping[tuple[int, ...], Verdict]) -> dict[int, Note]:
    """Give the notes without the begin of holds that are over: the next one counts from its own begin."""
    still = {subjob for element in elements for subjob in element}
    return {subjob: note if subjob in still else replace(note, held_since=None) for subjob, note in notes.items()}


def _write_down(note: Note, action: HeldAction, verdict: Verdict, since: float) -> Note:
    if action is HeldAction.RELEASE:
        return replace(note, held_since=None, releases=note.releases + 1)
    if action is HeldAction.FAIL:
        return replace(note, held_since=since, given_up=verdict.reason or "the batch system gives no reason")
    return replace(note, held_since=since)


def _list_subjobs(subjobs: Sequence[int]) -> str:
    listed = ", ".join(map(str, subjobs[:_MOST_SUBJOBS]))
    more = f" and {len(subjobs) - _MOST_SUBJOBS} more" if len(subjobs) > _MOST_SUBJOBS else ""
    return f"subjob{'' if len(subjobs) == 1 else 's'} {listed}{more}"
