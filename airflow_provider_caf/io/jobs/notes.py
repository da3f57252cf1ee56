"""Keep what we did to the subjobs of an array: the batch system may forget it, and this process may end.

`notes.json` in the array's folder says which subjobs we have cancelled, which we gave up because they were held, since
when one is held, and how often we have released it. Slurm has no record at all of an element that was cancelled while
it waited: without the note such a one would be LOST, and only after the grace time.

A note never speaks against the facts. An exit record counts whatever stands here, and what runs goes on. Two processes
that write at the same moment can lose a note of each other's; what depends on it is then found out by the grace time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.states import FINAL, JobState
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.files import read_json, write_json
from airflow_provider_caf.io.jobs.poll import SubjobState

NOTES_FILE = "notes.json"


@record
class Note(JsonRecord):
    """What we did to one subjob of one array.

    :param held_since: when it was first seen held in the present hold, in seconds since 1970.
    :param releases: how often we have released it.
    :param cancelled: we have cancelled it.
    :param given_up: why we have ended it although nobody wanted it cancelled: the reason of its hold.
    """

    noun = "note"

    held_since: float | None = None
    releases: int = 0
    cancelled: bool = False
    given_up: str | None = None


@record
class _Notes(JsonRecord):
    """What stands in the file."""

    version = 1

    subjobs: Mapping[str, Note]


def read_notes(folder: str) -> dict[int, Note]:
    """Give the notes of an array: subjob → note. Nothing was done to those that are not there.

    :raises InputError: if the file cannot be read.
    :raises DefinitionError: if it is something else.
    """
    file = Path(folder) / NOTES_FILE
    if not file.exists():
        return {}
    where = f"record of notes in {file}"
    found = _Notes.from_json(read_json(file, "The record of notes of an array"), where)
    return {_read_subjob(name, where): note for name, note in found.subjobs.items()}


def write_notes(folder: str, notes: Mapping[int, Note]) -> None:
    """Replace the notes of an array in one step.

    :raises CafError: if they cannot be written.
    """
    kept = {str(subjob): note for subjob, note in sorted(notes.items()) if note != Note()}
    write_json(Path(folder) / NOTES_FILE, _Notes(subjobs=kept).to_json())


def note_cancelled(array: SubmittedArray, subjobs: Iterable[int]) -> None:
    """Note that subjobs of an array are cancelled by us. One that was given up before stays so.

    :raises CafError: if it cannot be noted.
    """
    notes = read_notes(array.array.folder)
    for subjob in subjobs:
        note = notes.get(subjob, Note())
        if note.given_up is None:
            notes[subjob] = replace(note, cancelled=True)
    write_notes(array.array.folder, notes)


def apply_notes(states: Mapping[int, SubjobState], arrays: Iterable[SubmittedArray]) -> dict[int, SubjobState]:
    """Add to what the batch system says what it has forgotten or never knew.

    :param states: subjob → what the system says of its newest try, see `Snapshot.read`.
    :param arrays: the arrays that were asked for.
    :raises InputError: if a file of notes cannot be read.
    """
    applied = dict(states)
    for array in arrays:
        doubtful = [
            state
            for subjob in array.array.subjobs
            if (state := states.get(subjob)) is not None
            and state.attempt == array.array.attempt
            and (state.missing or state.state in FINAL)
        ]
        notes = read_notes(array.array.folder) if doubtful else {}
        applied.update(
            (state.subjob, _apply(state, notes[state.subjob])) for state in doubtful if state.subjob in notes
        )
    return applied


def _apply(state: SubjobState, note: Note) -> SubjobState:
    if note.given_up is not None:
        return replace(state, state=JobState.CANCELLED, missing=False, given_up=note.given_up)
    if note.cancelled and (state.missing or state.state is JobState.LOST):
        return replace(state, state=JobState.CANCELLED, missing=False, reason="it was cancelled from here")
    return state


def _read_subjob(name: str, where: str) -> int:
    if not name.isdecimal():
        raise DefinitionError(f"The {where} has the subjob {name!r}.", hint="Remove the file.")
    return int(name)
