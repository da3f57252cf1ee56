"""Submitting once, whatever happens; cancelling by recorded ids only."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import Note
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, Resources, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems.base import Submission
from airflow_provider_caf.core.errors import (
    CheckpointError,
    DefinitionError,
    InputError,
    PollError,
    SubmitError,
    TransportError,
)
from airflow_provider_caf.jobs import client as module
from airflow_provider_caf.jobs.arrays import read_intent, read_submitted
from airflow_provider_caf.jobs.client import BatchClient
from airflow_provider_caf.jobs.notes import NOTES_FILE, read_notes
from tests.unit.batch import arrays
from tests.waiting import wait_until


class Cluster:
    """A batch system and its transport. What was really submitted is in `jobs`: name → ids."""

    name = "fake"
    host = "submit.example.org"

    def __init__(self) -> None:
        self.jobs: dict[str, list[str]] = {}
        self.commands: list[tuple[str, ...]] = []
        self.cancelled: list[tuple[str, tuple[int, ...] | None]] = []
        self.released: list[tuple[str, tuple[int, ...]]] = []
        self.files: list[str] = []
        self.after_submit: Callable[[], None] = lambda: None
        self.refuses = False
        self.loses_answers = False
        self.lookup_fails: str | None = None

    def build_submit(self, array: ArraySpec) -> Submission:
        if array.resources.container is not None:
            raise DefinitionError("no containers here")
        return Submission(
            command=Command(argv=("submit", array.name)), files=(TextFile(path=array.script_file, text="x"),)
        )

    def build_lookup(self, array: ArraySpec) -> Command:
        return Command(argv=("lookup", array.name))

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        self.cancelled.append((array.ids[0], None if elements is None else tuple(elements)))
        return (Command(argv=("cancel", array.ids[0])),)

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        action, name = command.argv
        self.commands.append(command.argv)
        if action == "submit":
            assert hold is not None
            if not self.refuses:
                number = str(len(self.jobs))
                self.jobs.setdefault(name, []).append(number)
            self.after_submit()
            if self.loses_answers:
                raise TransportError("'submit' gave no answer in 60 s")
        if action == "lookup" and self.lookup_fails is not None:
            raise TransportError(self.lookup_fails)
        return CommandResult(argv=command.argv, exit_code=0)

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        if self.refuses:
            raise SubmitError("Queue 'x' does not exist.", hint="Ask for another.")
        return (self.jobs[array.name][-1],)

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        return tuple((each,) for each in self.jobs.get(array.name, []))

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        self.released.append((array.ids[0], tuple(elements)))
        return (Command(argv=("release", array.ids[0])),)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: str) -> None:
        if array.ids == ("bad",):
            raise PollError(f"cannot be {done}")

    def write_file(self, file: TextFile) -> None:
        self.files.append(file.path)

    grace = 0.0

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"not needed: {name}")


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def client(cluster: Cluster) -> BatchClient:
    return BatchClient(cluster, cluster)


def make_array(folder: Path, name: str = "caf_a", **changes: Any) -> ArraySpec:
    values = {"elements": ((0,), (1, 2)), "folder": str(folder / "arrays" / "0")}
    return arrays.make_array(name, **{**values, **changes})


def submits(cluster: Cluster) -> int:
    return sum(1 for command in cluster.commands if command[0] == "submit")


def test_a_submission_is_recorded(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    submitted = client.submit(array)
    assert (submitted.array, submitted.ids) == (array, ("0",))
    assert submitted.submitted.endswith("Z")
    assert cluster.commands == [("submit", "caf_a")]
    assert cluster.files == [array.script_file]
    folder = Path(array.folder)
    assert read_intent(folder) == array
    assert read_submitted(folder) == submitted
    assert client.submit(array) == submitted == client.recover(array)
    assert submits(cluster) == 1


def test_the_intent_comes_before_the_submit_command(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    seen: list[object] = []
    cluster.after_submit = lambda: seen.append(
        (read_intent(Path(array.folder)), read_submitted(Path(array.folder)), Path(array.script_file) in seen)
    )
    client.submit(array)
    assert seen == [(array, None, False)]


def test_an_intent_without_ids_is_looked_up(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    first = client.submit(array)
    (Path(array.folder) / "submitted.json").unlink()
    again = client.submit(array)
    assert (again.ids, submits(cluster)) == (first.ids, 1)
    (Path(array.folder) / "submitted.json").unlink()
    assert client.recover(array) is not None
    assert read_submitted(Path(array.folder)) is not None


def test_an_intent_that_came_to_nothing_is_submitted(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    client.submit(array)
    (Path(array.folder) / "submitted.json").unlink()
    cluster.jobs.clear()
    assert client.recover(array) is None
    # The resources of the second try count.
    changed = make_array(tmp_path, resources=Resources(memory=7))
    assert client.submit(changed).array == changed == read_intent(Path(array.folder))
    assert submits(cluster) == 2


def test_two_of_one_name_are_an_error_and_not_a_choice(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    client.submit(array)
    (Path(array.folder) / "submitted.json").unlink()
    cluster.jobs["caf_a"] = ["5", "7"]
    with pytest.raises(
        SubmitError, match=r"There are 2 arrays named caf_a on submit\.example\.org: 5, 7\.\n.*Remove all"
    ):
        client.submit(array)


def test_not_knowing_is_no_reason_to_submit(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = make_array(tmp_path)
    client.submit(array)
    (Path(array.folder) / "submitted.json").unlink()
    cluster.lookup_fails = "the server does not answer"
    with pytest.raises(SubmitError, match=r"not known whether array caf_a was submitted: the server does not answer"):
        client.submit(array)
    assert submits(cluster) == 1


def test_a_submit_command_that_timed_out_may_have_worked(
    client: BatchClient, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.loses_answers = True
    array = make_array(tmp_path)
    assert client.submit(array).ids == ("0",)
    assert "The submit command failed, but array caf_a is there: 'submit' gave no answer" in caplog.text
    assert client.submit(array).ids == ("0",)
    assert submits(cluster) == 1


def test_a_refusal_is_told_and_tried_again(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    cluster.refuses = True
    array = make_array(tmp_path)
    with pytest.raises(SubmitError, match=r"Queue 'x' does not exist\.\n.*Ask for another"):
        client.submit(array)
    assert [command[0] for command in cluster.commands] == ["submit", "lookup"]
    assert read_submitted(Path(array.folder)) is None
    cluster.refuses = False
    assert client.submit(array).ids == ("0",)


def test_a_failure_after_which_nothing_is_known(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    cluster.loses_answers = True
    cluster.lookup_fails = "the server is frozen"
    with pytest.raises(
        SubmitError, match=r"gave no answer in 60 s\nAnd then: It is not known .* frozen\n.*looks first"
    ):
        client.submit(make_array(tmp_path))


def test_a_folder_of_another_array_is_refused(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    client.submit(make_array(tmp_path))
    for other in (make_array(tmp_path, name="caf_b"), make_array(tmp_path, elements=((0,),))):
        with pytest.raises(CheckpointError, match=r"belongs to array caf_a with 3 subjobs, not to caf_"):
            client.submit(other)
    assert submits(cluster) == 1


def test_what_the_system_cannot_do_leaves_no_intent(client: BatchClient, tmp_path: Path) -> None:
    array = make_array(tmp_path, resources=Resources(container="x.sif"))
    with pytest.raises(DefinitionError, match="no containers here"):
        client.submit(array)
    assert read_intent(Path(array.folder)) is None


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("array.json", "{", InputError, r"The record of an array in .* is not JSON, or is cut off"),
        ("array.json", "{}", DefinitionError, r"record of an array in .* has no 'version'"),
        ("submitted.json", "", InputError, r"The record of the submission of array caf_a in .* is not JSON"),
        (
            "submitted.json",
            '{"version": 1, "name": "x", "ids": [], "submitted": ""}',
            DefinitionError,
            r"is of array 'x', not of 'caf_a'",
        ),
    ],
)
def test_records_that_are_none(
    client: BatchClient, tmp_path: Path, name: str, content: str, error: type[Exception], said: str
) -> None:
    array = make_array(tmp_path)
    client.submit(array)
    (Path(array.folder) / name).write_text(content)
    with pytest.raises(error, match=said):
        client.submit(array)


def test_earlier_copies_are_ended_first(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    old = SubmittedArray(array=make_array(tmp_path / "old", name="caf_old"), ids=("9",), submitted="")
    Path(old.array.folder).mkdir(parents=True)
    new = make_array(tmp_path, name="caf_new", elements=((1,), (2,)))
    cluster.after_submit = lambda: cluster.cancelled.append(("submitted", None))
    client.submit(new, superseded=[old])
    assert cluster.cancelled == [("9", (1,)), ("submitted", None)]
    # Not again by a second call: the array is there already.
    client.submit(new, superseded=[old])
    assert len(cluster.cancelled) == 2


def test_cancel_chooses_whole_elements(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = client.submit(make_array(tmp_path))
    for subjobs in (None, [0], [1], [2, 1], [0, 1, 2], [], [7]):
        client.cancel([array], subjobs)
    # An element of two subjobs is left alone when only one of them is meant.
    assert cluster.cancelled == [("0", None), ("0", (0,)), ("0", (1,)), ("0", None)]


def test_cancel_tries_all_and_tells_the_first_failure(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    arrays = [SubmittedArray(array=make_array(tmp_path), ids=(one,), submitted="") for one in ("1", "bad", "3")]
    Path(arrays[0].array.folder).mkdir(parents=True)
    with pytest.raises(PollError, match="cannot be cancelled"):
        client.cancel(arrays)
    assert [one for one, _ in cluster.cancelled] == ["1", "bad", "3"]


def test_what_is_cancelled_is_noted_before(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = client.submit(make_array(tmp_path))
    client.cancel([array], [1, 2])
    assert read_notes(array.array.folder) == {1: Note(cancelled=True), 2: Note(cancelled=True)}
    client.cancel([array], [1])
    assert set(read_notes(array.array.folder)) == {1, 2}
    bad = replace(array, ids=("bad",))
    with pytest.raises(PollError, match="cannot be cancelled"):
        client.cancel([bad])
    assert set(read_notes(array.array.folder)) == {0, 1, 2}


def test_a_note_that_cannot_be_written_stops_no_cancelling(
    client: BatchClient, cluster: Cluster, tmp_path: Path
) -> None:
    array = client.submit(make_array(tmp_path))
    (Path(array.array.folder) / NOTES_FILE).mkdir()
    with pytest.raises(InputError, match="The record of notes of an array could not be read from"):
        client.cancel([array])
    assert cluster.cancelled == [("0", None)]


def test_release_goes_by_whole_elements(client: BatchClient, cluster: Cluster, tmp_path: Path) -> None:
    array = client.submit(make_array(tmp_path))
    client.release(array, [1, 2])
    client.release(array, [0, 1])
    assert cluster.released == [("0", (1,)), ("0", (0,))]
    with pytest.raises(PollError, match="cannot be released"):
        client.release(replace(array, ids=("bad",)), [0])


def test_a_second_submitter_waits_for_the_first(
    client: BatchClient, cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    array = make_array(tmp_path)
    folder = Path(array.folder)
    folder.mkdir(parents=True)
    lock = os.open(folder / "submit.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    found: list[SubmittedArray] = []
    caplog.set_level("INFO")
    thread = threading.Thread(target=lambda: found.append(client.submit(array)))
    thread.start()
    wait_until(lambda: "Waiting for another submission from" in caplog.text)
    assert (found, cluster.commands) == ([], [])
    # The first one comes to its end meanwhile.
    Path(array.array_file).write_text(json.dumps(array.to_json()))
    cluster.jobs["caf_a"] = ["77"]
    os.close(lock)
    thread.join()
    assert [each.ids for each in found] == [("77",)]
    assert submits(cluster) == 0


def test_it_does_not_wait_for_ever(client: BatchClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_LIMIT", 0.1)
    array = make_array(tmp_path)
    folder = Path(array.folder)
    folder.mkdir(parents=True)
    lock = os.open(folder / "submit.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(SubmitError, match=r"Somebody has been submitting from .* for 0\.1 s\.\n.*fuser"):
        client.submit(array)
    os.close(lock)


def test_a_file_system_without_locks_is_told(
    client: BatchClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _mode: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(SubmitError, match=r"cannot lock files: No locks available\.\n.*choose another one"):
        client.submit(make_array(tmp_path))


def test_folders_that_cannot_be_used(client: BatchClient, tmp_path: Path) -> None:
    (tmp_path / "arrays").write_text("in the way")
    array = make_array(tmp_path)
    with pytest.raises(SubmitError, match=r"arrays/0 could not be made: (Not a directory|File exists)"):
        client.submit(array)
    with pytest.raises(InputError, match=r"submit\.lock could not be opened: Not a directory"):
        client.recover(array)


def test_polls_from_threads_wait_for_one_another(tmp_path: Path) -> None:
    assert BatchClient(Cluster(), Cluster()).poll([]).states == {}
