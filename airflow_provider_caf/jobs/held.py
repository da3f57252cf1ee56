"""Deal with the jobs that the batch system holds; `batch.held` decides.

Since when a job is held, and how often it was released, stands in the array's notes: it counts on after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.evidence import Note
from airflow_provider_caf.batch.held import HeldAction, HeldPolicy, decide_held
from airflow_provider_caf.batch.spec import ArraySpec, SubmittedArray
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
    """What one look has done to held jobs.

    :param released: the subjobs that were released.
    :param ended: the subjobs that were ended: they count as failed.
    """

    released: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()

    def describe(self) -> str:
        """Return a line for the task's log, empty if nothing was done."""
        parts = [
            f"{action} {_list_subjobs(subjobs)}"
            for action, subjobs in (("released", self.released), ("ended, as held jobs,", self.ended))
            if subjobs
        ]
        return "; ".join(parts)


def find_held(verdicts: Mapping[int, Verdict]) -> tuple[Verdict, ...]:
    """Return the subjobs that are held, or that wait for what will not come by itself."""
    return tuple(
        verdict
        for _, verdict in sorted(verdicts.items())
        if verdict.status is SubjobStatus.HELD or (verdict.hopeless and not verdict.status.is_over)
    )


def describe_holds(verdicts: Mapping[int, Verdict]) -> str:
    """Return a line such as `held: subjobs 4, 7 (no such file)`, empty if nothing is held."""
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
    """Release or end the held jobs whose time has come.

    :param clock: seconds since 1970.
    :raises CafError: if the batch system does not take a command, or if a note cannot be written.
    """
    held = {verdict.subjob: verdict for verdict in find_held(observation.verdicts)}
    released: list[int] = []
    ended: list[int] = []
    for array in observation.arrays:
        treatment = _treat_array(client, array, held, policy, clock())
        released += treatment.released
        ended += treatment.ended
    return HeldTreatment(released=tuple(sorted(released)), ended=tuple(sorted(ended)))


def _treat_array(
    client: BatchClient, array: SubmittedArray, held: Mapping[int, Verdict], policy: HeldPolicy, now: float
) -> HeldTreatment:
    elements = _find_held_elements(array.array, held)
    before = read_notes(array.array.folder)
    held_subjobs = {subjob for element in elements for subjob in element}
    # A hold that is over is forgotten: the next one counts from its own begin.
    notes = {
        subjob: note if subjob in held_subjobs else replace(note, held_since=None) for subjob, note in before.items()
    }
    released: list[int] = []
    ended: list[int] = []
    for element, verdict in elements.items():
        first = notes.get(element[0], Note())
        since = now if first.held_since is None else first.held_since
        action = decide_held(policy, hopeless=verdict.hopeless, since=since, now=now, releases=first.releases)
        if action is HeldAction.RELEASE:
            released += element
        elif action is HeldAction.FAIL:
            ended += element
        for subjob in element:
            notes[subjob] = _note_action(notes.get(subjob, Note()), action, verdict, since)
    # Before the commands: a note without effect does no harm, and an action without a note would not count.
    if notes != before:
        write_notes(array.array.folder, notes)
    if released:
        client.release(array, released)
    if ended:
        client.cancel([array], ended)
    return HeldTreatment(released=tuple(released), ended=tuple(ended))


def _find_held_elements(array: ArraySpec, held: Mapping[int, Verdict]) -> dict[tuple[int, ...], Verdict]:
    """Return the held elements of an array. What holds one subjob of an element holds all of them."""
    found = {}
    for element in array.elements:
        for subjob in element:
            if subjob in held and held[subjob].attempt == array.attempt:
                found[element] = held[subjob]
                break
    return found


def _note_action(note: Note, action: HeldAction, verdict: Verdict, since: float) -> Note:
    if action is HeldAction.RELEASE:
        return replace(note, held_since=None, releases=note.releases + 1)
    if action is HeldAction.FAIL:
        reason = verdict.reason or "the batch system gives no reason"
        return replace(note, held_since=since, given_up=reason, out_of_memory=verdict.out_of_memory)
    return replace(note, held_since=since)


def _list_subjobs(subjobs: Sequence[int]) -> str:
    listed = ", ".join(map(str, subjobs[:_MOST_SUBJOBS]))
    more = f" and {len(subjobs) - _MOST_SUBJOBS} more" if len(subjobs) > _MOST_SUBJOBS else ""
    return f"subjob{'' if len(subjobs) == 1 else 's'} {listed}{more}"
