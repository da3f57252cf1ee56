"""The records in the folders of arrays: what was begun, how it was submitted, and by which ids the system knows it.

`array.json` is the intent, `submission.json` the command and the files as they are submitted, `submitted.json` has the
ids; `jobs.client` writes them in this order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from airflow_provider_caf.batch.spec import ArraySpec, Command, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems.base import Submission
from airflow_provider_caf.core.errors import MOUNT_ADVICE, InputError, explain_os_error
from airflow_provider_caf.core.file_names import ARRAY_FILE, SUBMITTED_FILE
from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.stored_record import StoredRecord

SUBMISSION_FILE = "submission.json"


def write_intent(array: ArraySpec) -> None:
    """Record that the submission of an array begins.

    :raises OSError: if it cannot be written.
    """
    write_json(array.array_file, array.to_json(), mode=PRIVATE)


def read_intent(folder: Path) -> ArraySpec | None:
    """Return the array whose submission was begun in a folder, or None.

    :raises InputError: if its record is unreadable.
    """
    file = folder / ARRAY_FILE
    if not file.exists():
        return None
    return ArraySpec.from_json(read_json(file, "The record of an array"), f"record of an array in {file}")


def read_intents(arrays_folder: Path) -> tuple[ArraySpec, ...]:
    """Return all arrays whose submission was begun, in the order of their attempts.

    :raises InputError: if the folder or a record in it cannot be read.
    """
    with explain_os_error(InputError, f"The folder of submissions {arrays_folder} could not be read", MOUNT_ADVICE):
        try:
            folders = sorted(arrays_folder.iterdir())
        except FileNotFoundError:
            return ()
    intents = [intent for folder in folders if (intent := read_intent(folder)) is not None]
    return tuple(sorted(intents, key=lambda intent: (intent.attempt, intent.folder)))


def write_submitted(array: ArraySpec, ids: tuple[str, ...]) -> SubmittedArray:
    """Record the ids of an array that the system has taken.

    :raises OSError: if they cannot be written.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    submitted = SubmittedArray(array=array, ids=ids, submitted=now)
    write_json(Path(array.folder) / SUBMITTED_FILE, submitted.to_json())
    return submitted


def read_submitted(folder: Path) -> SubmittedArray | None:
    """Return the array that was submitted from a folder, or None. A trigger needs to carry the folder only.

    :raises InputError: if a record is unreadable.
    """
    array = read_intent(folder)
    file = folder / SUBMITTED_FILE
    if array is None or not file.exists():
        return None
    value = read_json(file, f"The record of the submission of array {array.name}")
    return SubmittedArray.from_json(array, value, f"record of the submission in {file}")


def read_arrays(arrays_folder: Path) -> tuple[SubmittedArray, ...]:
    """Return all arrays that were submitted, in the order of their attempts.

    :raises InputError: if the folder or a record in it cannot be read.
    """
    found = (read_submitted(Path(intent.folder)) for intent in read_intents(arrays_folder))
    return tuple(array for array in found if array is not None)


def select_newest(arrays: Sequence[SubmittedArray], subjobs: Iterable[int]) -> tuple[SubmittedArray, ...]:
    """Return the arrays that hold the newest attempt of at least one of some subjobs."""
    newest: dict[int, SubmittedArray] = {}
    for array in arrays:
        for subjob in array.array.subjobs:
            if subjob not in newest or newest[subjob].array.attempt <= array.array.attempt:
                newest[subjob] = array
    wanted = {newest[subjob].array.name for subjob in subjobs if subjob in newest}
    return tuple(array for array in arrays if array.array.name in wanted)


@record
class _Text(JsonRecord):
    """A file of a submission, as it is kept."""

    noun = "file"

    path: str
    text: str


@record
class _Kept(StoredRecord):
    """The content of `submission.json`."""

    version = 1

    command: tuple[str, ...]
    stdin: str | None
    files: tuple[_Text, ...]


def write_submission(folder: Path, submission: Submission) -> None:
    """Keep how an array is submitted.

    :raises OSError: if it cannot be written.
    """
    files = tuple(_Text(path=file.path, text=file.text) for file in submission.files)
    kept = _Kept(command=submission.command.argv, stdin=submission.command.stdin, files=files)
    kept.write(folder / SUBMISSION_FILE)


def read_submission(folder: Path) -> Submission | None:
    """Return how the array in a folder was submitted, as it was kept then; None: by a release that did not keep it.

    To build it again from the record of the array would not do: what has travelled with the jobs is not in that, and
    the rules of the present release may be others.

    :raises InputError: if the record is unreadable.
    """
    file = folder / SUBMISSION_FILE
    if not file.exists():
        return None
    kept = _Kept.read_file(file, f"record of the submission in {file}")
    files = tuple(TextFile(path=text.path, text=text.text) for text in kept.files)
    return Submission(command=Command(argv=kept.command, stdin=kept.stdin), files=files)
