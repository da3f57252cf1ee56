"""Submitting what is missing: cut into arrays, grouped by memory, and never a second copy."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.resubmit import RetryPolicy
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.states import JobState
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.io.exit_records import StatusFolder
from airflow_provider_caf.io.layout import RunLayout
from airflow_provider_caf.io.poll import Snapshot, SubjobState
from airflow_provider_caf.io.subjobs import SubjobStatus, read_job_digests
from airflow_provider_caf.io.submission import (
    CollectionJob,
    build_array,
    observe,
    read_arrays,
    read_intents,
    select_newest,
    submit_missing,
)


class Client:
    """Stand for `BatchClient`: it takes every array, and says of each subjob what the test wants."""

    largest_array: int | None = None
    longest_name = 64

    def __init__(self) -> None:
        self.system = self
        self.said: dict[int, JobState] = {}
        self.polled: list[tuple[str, ...]] = []
        self.submitted: list[tuple[ArraySpec, tuple[str, ...]]] = []
        self.known: set[str] = set()

    def submit(self, array: ArraySpec, *, superseded: Sequence[SubmittedArray] = ()) -> SubmittedArray:
        self.submitted.append((array, tuple(each.array.folder.rpartition("/")[2] for each in superseded)))
        folder = Path(array.folder)
        folder.mkdir(parents=True)
        submitted = SubmittedArray(array=array, ids=("1",), submitted="")
        (folder / "array.json").write_text(json.dumps(array.to_json()))
        (folder / "submitted.json").write_text(json.dumps(submitted.to_json()))
        self.known.add(array.name)
        return submitted

    def recover(self, array: ArraySpec) -> SubmittedArray | None:
        return SubmittedArray(array=array, ids=("1",), submitted="") if array.name in self.known else None

    def poll(self, arrays: Sequence[SubmittedArray]) -> Snapshot:
        self.polled.append(tuple(each.array.folder.rpartition("/")[2] for each in arrays))
        states = {
            each.array.name: {
                subjob: SubjobState(
                    subjob=subjob,
                    attempt=each.array.attempt,
                    state=self.said.get(subjob, JobState.EXITED),
                    settled=True,
                )
                for subjob in each.array.subjobs
            }
            for each in arrays
        }
        return Snapshot(states=states, problems={})


class Place:
    """A collection's files."""

    def __init__(self, folder: Path, count: int) -> None:
        layout = RunLayout(work_dir=folder, dag_id="d", run_id="r").calibration("c").iteration(0)
        self.layout = layout.collection("hits")
        self.layout.input_folder.mkdir(parents=True)
        self.layout.status_folder.mkdir(parents=True)
        for subjob in range(count):
            self.layout.job_file(subjob).write_text(f"job {subjob}")
        self.job = CollectionJob(
            dag="d",
            run="r",
            calibration="c",
            iteration=0,
            collection="hits",
            layout=self.layout,
            subjobs=tuple(range(count)),
            app=folder / "app.pyz",
            python="python3",
            resources=Resources(memory=1000, queue="short"),
        )

    def end(self, subjobs: Iterable[int], attempt: int = 0, **changes: Any) -> None:
        """Write exit records, of success if nothing else is said."""
        digests = read_job_digests(self.layout.input_folder, subjobs)
        for subjob, digest in digests.items():
            record = {
                "version": 1,
                "subjob": subjob,
                "attempt": attempt,
                "exit_code": 0,
                "signal": None,
                "host": "vm",
                "started": "",
                "ended": "",
                "cpu_seconds": 0,
                "peak_memory_kb": 1,
                "job_digest": digest,
                "outputs": [],
                "reason": None,
                **changes,
            }
            self.layout.exit_record(subjob, attempt).write_text(json.dumps(record))


@pytest.fixture
def client() -> Client:
    return Client()


def submit(client: Client, place: Place, **options: Any) -> Any:
    return submit_missing(client, place.job, **options)  # type: ignore[arg-type]


def folders(client: Client) -> Mapping[str, tuple[int, ...]]:
    return {array.folder.rpartition("/")[2]: array.subjobs for array, _ in client.submitted}


def test_the_first_submission(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    result = submit(client, place)
    assert (result.submitted, result.spent, result.attempt) == ((0, 1, 2), (), 0)
    ((array, superseded),) = client.submitted
    assert array == build_array(client, place.job, (0, 1, 2), attempt=0)  # type: ignore[arg-type]
    assert array.elements == ((0,), (1,), (2,))
    assert array.folder == str(place.layout.array_folder(0))
    assert array.resources == place.job.resources
    assert superseded == ()
    # Nothing was there to be asked after.
    assert client.polled == []


def test_arrays_are_cut_where_the_site_has_a_limit(client: Client, tmp_path: Path) -> None:
    client.largest_array = 2
    place = Place(tmp_path, 5)
    result = submit(client, place)
    assert folders(client) == {"0": (0, 1), "0.1": (2, 3), "0.2": (4,)}
    assert {array.attempt for array, _ in client.submitted} == {0}
    assert len({array.name for array, _ in client.submitted}) == 3
    assert len(result.arrays) == 3
    place.end([0, 1, 2])
    place.end([3, 4], exit_code=1)
    assert submit(client, place).attempt == 1
    assert folders(client)["1"] == (3, 4)


def test_only_what_is_missing_and_not_on_its_way(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 6)
    submit(client, place)
    place.end([0])
    place.end([1], exit_code=1)
    client.said = {
        2: JobState.RUNNING,
        3: JobState.LOST,
        4: JobState.CANCELLED,
        5: JobState.UNKNOWN,
    }
    result = submit(client, place)
    assert result.submitted == (1, 3, 4)
    assert [array.attempt for array in (each.array for each in result.arrays)] == [0, 1]
    # Only the lost one may have left something running.
    assert client.submitted[1][1] == ("0",)
    assert {subjob: verdict.status for subjob, verdict in result.verdicts.items()} == {
        0: SubjobStatus.DONE,
        1: SubjobStatus.FAILED,
        2: SubjobStatus.RUNNING,
        3: SubjobStatus.LOST,
        4: SubjobStatus.CANCELLED,
        5: SubjobStatus.QUEUED,
    }


def test_failures_need_no_cancelling(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    place.end([0, 1], exit_code=1)
    submit(client, place)
    assert client.submitted[1][1] == ()


def test_a_job_never_submitted_twice_after_a_crash(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    (place.layout.array_folder(0) / "submitted.json").unlink()
    client.said = {0: JobState.RUNNING, 1: JobState.QUEUED}
    result = submit(client, place)
    assert result.submitted == ()
    assert [each.array.attempt for each in result.arrays] == [0]


def test_an_intent_that_came_to_nothing_leaves_its_number(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    client.known.clear()
    (place.layout.array_folder(0) / "submitted.json").unlink()
    result = submit(client, place)
    assert (result.submitted, result.attempt) == ((0, 1), 1)


def test_memory_grows_only_where_it_was_the_cause(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    submit(client, place)
    place.end([0, 2], exit_code=1)
    place.end([1], exit_code=None, signal=9, peak_memory_kb=990 * 1024)
    submit(client, place, policy=RetryPolicy(memory_factor=2.0, memory_ceiling=3000), first_attempt=0)
    wanted = {array.subjobs: array.resources.memory for array, _ in client.submitted[1:]}
    assert wanted == {(0, 2): 1000, (1,): 2000}
    assert {array.resources.queue for array, _ in client.submitted} == {"short"}
    assert set(folders(client)) == {"0", "1", "1.1"}
    place.end([0, 2], attempt=1)
    place.end([1], attempt=1, exit_code=1, reason="std::bad_alloc")
    submit(client, place, policy=RetryPolicy(memory_factor=2.0, memory_ceiling=3000), first_attempt=0)
    assert client.submitted[-1][0].resources.memory == 3000


def test_tries_before_the_first_do_not_count(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 1)
    policy = RetryPolicy(max_retries=1)
    for attempt in range(2):
        assert submit(client, place, policy=policy, first_attempt=0).attempt == attempt
        place.end([0], attempt, exit_code=1)
    spent = submit(client, place, policy=policy, first_attempt=0)
    assert (spent.submitted, spent.spent, spent.attempt) == ((), (0,), 1)
    again = submit(client, place, policy=policy, first_attempt=2)
    assert (again.submitted, again.attempt) == ((0,), 2)
    place.end([0], 2, exit_code=1)
    assert submit(client, place, policy=policy).submitted == (0,)


def test_nothing_is_asked_when_all_is_done(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    place.end([0, 1])
    result = submit(client, place)
    assert (result.submitted, result.arrays, result.attempt) == ((), (), 0)
    assert client.polled == []


def test_only_the_newest_tries_are_asked_after(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    submit(client, place)
    place.end([0])
    place.end([1], exit_code=1)
    client.said = {2: JobState.RUNNING}
    submit(client, place)
    client.polled.clear()
    client.said = {1: JobState.RUNNING}
    place.end([2])
    seen = observe(client, place.job)  # type: ignore[arg-type]
    assert client.polled == [("1",)]
    assert seen.verdicts[1].status is SubjobStatus.RUNNING
    assert len(seen.arrays) == 2


def test_newest_arrays(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    arrays = [
        SubmittedArray(
            array=build_array(client, place.job, subjobs, attempt=attempt, part=part),  # type: ignore[arg-type]
            ids=("1",),
            submitted="",
        )
        for subjobs, attempt, part in [((0, 1), 0, 0), ((2,), 0, 1), ((1,), 1, 0)]
    ]
    assert select_newest(arrays, [0]) == (arrays[0],)
    assert select_newest(arrays, [1]) == (arrays[2],)
    assert select_newest(arrays, [1, 2, 0]) == tuple(arrays)
    assert select_newest(arrays, [9]) == ()
    assert select_newest([], [0]) == ()


def test_arrays_are_read_in_the_order_of_their_tries(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 1)
    assert read_intents(place.layout.arrays_folder) == ()
    for attempt in (10, 2, 0):
        client.submit(build_array(client, place.job, [0], attempt=attempt))  # type: ignore[arg-type]
    (place.layout.arrays_folder / "foreign").mkdir()
    (place.layout.arrays_folder / "README").write_text("x")
    (place.layout.array_folder(2) / "submitted.json").unlink()
    assert [each.attempt for each in read_intents(place.layout.arrays_folder)] == [0, 2, 10]
    assert [each.array.attempt for each in read_arrays(place.layout.arrays_folder)] == [0, 10]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "arrays").write_text("in the way")
    with pytest.raises(InputError, match=r"folder of submissions .*/arrays could not be read: Not a directory"):
        read_intents(tmp_path / "arrays")


def test_a_long_wait_reads_each_record_once(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    place.end([0])
    client.said = {1: JobState.RUNNING}
    status = StatusFolder(place.layout.status_folder)
    first = observe(client, place.job, status=status)  # type: ignore[arg-type]
    second = observe(client, place.job, first.arrays, status=status)  # type: ignore[arg-type]
    assert second.verdicts[0].record is first.verdicts[0].record
    assert second.problem is None
