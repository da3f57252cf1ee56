"""What is kept of our own deeds, and what it changes in what a batch system says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState, Note
from airflow_provider_caf.batch.verdicts import SubjobState
from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.jobs.notes import NOTES_FILE, apply_notes, note_cancelled, read_notes, write_notes
from tests.unit.batch.arrays import make_array, submit


def make_submitted(folder: Path, elements: tuple[tuple[int, ...], ...] = ((0,), (1,)), attempt: int = 0) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return submit(make_array(f"caf_{folder.name}", elements, folder=str(folder), attempt=attempt))


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    notes = {3: Note(held_since=1.5, releases=2), 10: Note(cancelled=True), 2: Note(given_up='no "file"\n')}
    write_notes(str(tmp_path), {**notes, 5: Note()})
    assert read_notes(str(tmp_path)) == notes
    assert [path.name for path in tmp_path.iterdir()] == [NOTES_FILE]


def test_no_file_is_no_notes(tmp_path: Path) -> None:
    assert read_notes(str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("{", InputError, "The record of notes of an array in .* is not JSON, or is cut off"),
        ("[]", DefinitionError, "record of notes in .* is \\[\\], not an object"),
        ('{"version": 2, "subjobs": {}}', DefinitionError, "has version 2, this program knows 1"),
        ('{"version": 1, "subjobs": {"x": {}}}', DefinitionError, "has the subjob 'x'"),
        ('{"version": 1, "subjobs": {"1": {"releases": true}}}', DefinitionError, "'releases' of the note is True"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, error: type[Exception], said: str) -> None:
    (tmp_path / NOTES_FILE).write_text(text)
    with pytest.raises(error, match=said):
        read_notes(str(tmp_path))


def test_what_was_given_up_is_not_cancelled_too(tmp_path: Path) -> None:
    array = make_submitted(tmp_path / "a")
    write_notes(array.array.folder, {1: Note(given_up="no disk")})
    note_cancelled(array, [0, 1])
    assert read_notes(array.array.folder) == {0: Note(cancelled=True), 1: Note(given_up="no disk")}


CANCELLED, GIVEN_UP = Note(cancelled=True), Note(given_up="no such file")


@pytest.mark.parametrize(
    ("note", "state", "missing", "after", "given_up"),
    [
        # Slurm forgets what was cancelled while it waited: no grace time, and not LOST.
        (CANCELLED, JobState.UNKNOWN, True, JobState.CANCELLED, None),
        (CANCELLED, JobState.QUEUED, True, JobState.CANCELLED, None),
        (CANCELLED, JobState.LOST, False, JobState.CANCELLED, None),
        # What the system says counts.
        (CANCELLED, JobState.RUNNING, False, JobState.RUNNING, None),
        (CANCELLED, JobState.UNKNOWN, False, JobState.UNKNOWN, None),
        # Whatever word it has for "over": PBS without a history has but one.
        (CANCELLED, JobState.EXITED, False, JobState.CANCELLED, None),
        (CANCELLED, JobState.CANCELLED, False, JobState.CANCELLED, None),
        (GIVEN_UP, JobState.HELD, False, JobState.HELD, None),
        (GIVEN_UP, JobState.RUNNING, False, JobState.RUNNING, None),
        (GIVEN_UP, JobState.HELD, True, JobState.CANCELLED, "no such file"),
        (GIVEN_UP, JobState.CANCELLED, False, JobState.CANCELLED, "no such file"),
        (GIVEN_UP, JobState.LOST, False, JobState.CANCELLED, "no such file"),
        (Note(releases=2), JobState.LOST, False, JobState.LOST, None),
    ],
)
def test_what_a_note_changes(
    tmp_path: Path, note: Note, state: JobState, missing: bool, after: JobState, given_up: str | None
) -> None:
    array = make_submitted(tmp_path / "a")
    write_notes(array.array.folder, {1: note})
    states = {
        0: SubjobState(subjob=0, attempt=0, state=JobState.LOST),
        1: SubjobState(subjob=1, attempt=0, state=state, missing=missing),
    }
    applied = apply_notes(states, [array])
    assert applied[0] == states[0]
    assert (applied[1].state, applied[1].given_up) == (after, given_up)
    if (after, given_up) == (state, None):
        assert applied[1] == states[1]


def test_a_note_is_about_one_try_only(tmp_path: Path) -> None:
    old, new = make_submitted(tmp_path / "old"), make_submitted(tmp_path / "new", attempt=1)
    write_notes(old.array.folder, {0: CANCELLED, 1: CANCELLED})
    states = {subjob: SubjobState(subjob=subjob, attempt=1, state=JobState.LOST) for subjob in (0, 1)}
    assert apply_notes(states, [old, new]) == states
