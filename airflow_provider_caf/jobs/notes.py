"""Keep what we did to the subjobs of an array: the batch system may forget it, and this process may end.

`notes.json` in the array's folder says which subjobs we have cancelled, which we gave up because they were held, since
when one is held, how often we have released it, and what else there is to tell of one. Slurm has no record at all of an
element that was cancelled while it waited: without the note it would be LOST, and only after the grace time.

A note never speaks against the facts. An exit record counts whatever stands here, and what runs goes on. But what is
over without a record, and was cancelled by us, is cancelled, whatever the system's word for its end. Two processes
that write at the same moment can lose a note of each other's; what depends on it is then found out by the grace time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.evidence import Note
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import (
    SubjobState,
    SubjobStatus,
    Verdict,
    apply_note,
    may_need_note,
)
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.files import read_json, write_json
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

NOTES_FILE = "notes.json"


@record
class _Notes(JsonRecord):
    """The content of the file."""

    version = 1

    subjobs: Mapping[str, Note]


def read_notes(folder: str) -> dict[int, Note]:
    """Return the notes of an array: subjob → note. Nothing was done to those that are not there.

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


def note_remark(array: SubmittedArray, remark: str) -> None:
    """Note a remark on all subjobs of an array.

    :raises CafError: if it cannot be noted.
    """
    notes = read_notes(array.array.folder)
    for subjob in array.array.subjobs:
        notes[subjob] = replace(notes.get(subjob, Note()), told=remark)
    write_notes(array.array.folder, notes)


def add_remarks(verdicts: Mapping[int, Verdict], arrays: Iterable[SubmittedArray]) -> dict[int, Verdict]:
    """Return the verdicts with our remarks added to the reasons of attempts that have not ended well.

    :raises InputError: if a file of notes cannot be read.
    """
    added = dict(verdicts)
    for array in arrays:
        for subjob, note in read_notes(array.array.folder).items():
            verdict = added.get(subjob)
            if note.told is None or verdict is None or verdict.status is SubjobStatus.DONE:
                continue
            if verdict.attempt == array.array.attempt:
                reason = note.told if verdict.reason is None else f"{verdict.reason}; {note.told}"
                added[subjob] = replace(verdict, reason=reason)
    return added


def apply_notes(states: Mapping[int, SubjobState], arrays: Iterable[SubmittedArray]) -> dict[int, SubjobState]:
    """Return the states with what the batch system has forgotten or never knew.

    :param states: subjob → what the system says of its newest try, see `Snapshot.read`.
    :param arrays: the arrays that were polled.
    :raises InputError: if a file of notes cannot be read.
    """
    applied = dict(states)
    for array in arrays:
        own = [states[subjob] for subjob in array.array.subjobs if subjob in states]
        own = [state for state in own if state.attempt == array.array.attempt and may_need_note(state)]
        notes = read_notes(array.array.folder) if own else {}
        applied.update((state.subjob, apply_note(state, notes[state.subjob])) for state in own if state.subjob in notes)
    return applied


def _read_subjob(name: str, where: str) -> int:
    if not name.isdecimal():
        raise DefinitionError(f"The {where} has the subjob {name!r}.", hint="Remove the file.")
    return int(name)
