"""Submitting what is missing: cut into arrays, grouped by memory, and never a second copy."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.batch.evidence import JobState
from airflow_provider_caf.batch.spec import ArraySpec, Resources, SubmittedArray
from airflow_provider_caf.batch.verdicts import SubjobState, SubjobStatus
from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.files import write_json
from airflow_provider_caf.core.job_folders import JobFolders
from airflow_provider_caf.jobs.arrays import read_arrays, read_intents, select_newest
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.notes import NOTES_FILE
from airflow_provider_caf.jobs.poll import Snapshot
from airflow_provider_caf.jobs.run import SubjobRun
from airflow_provider_caf.jobs.subjob_set import SubjobSet
from airflow_provider_caf.jobs.subjobs import read_job_digests


class Client:
    """Stand for `BatchClient`: it takes every array, and says of each subjob what the test wants."""

    name = "fake"
    largest_array: int | None = None
    longest_name = 64
    ignored: frozenset[str] = frozenset()

    mirror = None

    def __init__(self) -> None:
        self.system = self
        self.said: dict[int, JobState] = {}
        self.out_of_memory = False
        self.host: str | None = None
        self.polled: list[tuple[str, ...]] = []
        self.submitted: list[tuple[ArraySpec, tuple[str, ...]]] = []
        self.known: set[str] = set()
        self.over: set[int] = set()

    def submit(
        self, array: ArraySpec, *, superseded: Sequence[SubmittedArray] = (), over: Collection[int] = ()
    ) -> SubmittedArray:
        self.over = set(over)
        self.submitted.append((array, tuple(each.array.folder.rpartition("/")[2] for each in superseded)))
        folder = Path(array.folder)
        folder.mkdir(parents=True)
        submitted = SubmittedArray(array=array, ids=("1",), submitted="")
        (folder / "array.json").write_text(json.dumps(array.to_json()))
        (folder / "submitted.json").write_text(json.dumps(submitted.to_json()))
        self.known.add(array.name)
        return submitted

    def open_status_folder(self, path: Path) -> StatusFolder:
        return StatusFolder(path)

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
                    out_of_memory=self.out_of_memory,
                    host=self.host,
                    settled=True,
                )
                for subjob in each.array.subjobs
            }
            for each in arrays
        }
        return Snapshot(states=states, problems={})


class Place:
    """Subjobs with their folders and job files."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folders = JobFolders(input_folder=folder / "in", output_folder=folder / "out")
        self.folders.make()
        for subjob in range(count):
            self.folders.job_file(subjob).write_text(f"job {subjob}")
        self.job = SubjobSet(
            labels=("c", "hits", "i0"),
            folders=self.folders,
            subjobs=tuple(range(count)),
            app=folder / "app.pyz",
            resources=Resources(memory=1000, queue="short"),
        )

    def end(self, subjobs: Iterable[int], attempt: int = 0, seconds: int = 0, **changes: Any) -> None:
        """Write exit records, of success if nothing else is said."""
        digests = read_job_digests(self.folders.input_folder, subjobs)
        for subjob, digest in digests.items():
            record = {
                "version": 1,
                "subjob": subjob,
                "attempt": attempt,
                "exit_code": 0,
                "signal": None,
                "host": "vm",
                "started": "2026-01-01T00:00:00.000Z",
                "ended": f"2026-01-01T00:00:{seconds:02d}.000Z",
                "cpu_seconds": 0,
                "peak_memory_kb": 1,
                "job_digest": digest,
                "outputs": [],
                "reason": None,
                **changes,
            }
            self.folders.exit_record(subjob, attempt).write_text(json.dumps(record))


@pytest.fixture
def client() -> Client:
    return Client()


def run_on(client: Client, place: Place) -> SubjobRun:
    return SubjobRun(place.job, client)  # type: ignore[arg-type]


def submit(client: Client, place: Place, **options: Any) -> Any:
    return run_on(client, place).submit_missing(**options)


def folders(client: Client) -> Mapping[str, tuple[int, ...]]:
    return {array.folder.rpartition("/")[2]: array.subjobs for array, _ in client.submitted}


def test_the_first_submission(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    result = submit(client, place)
    assert (result.submitted, result.spent, result.attempt) == ((0, 1, 2), (), 0)
    ((array, superseded),) = client.submitted
    assert array == place.job.build_array(client, [(0,), (1,), (2,)], attempt=0)  # type: ignore[arg-type]
    assert array.elements == ((0,), (1,), (2,))
    assert array.folder == str(place.folders.array_folder(0))
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
    (place.folders.array_folder(0) / "submitted.json").unlink()
    client.said = {0: JobState.RUNNING, 1: JobState.QUEUED}
    result = submit(client, place)
    assert result.submitted == ()
    assert [each.array.attempt for each in result.arrays] == [0]


def test_an_intent_that_came_to_nothing_leaves_its_number(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    client.known.clear()
    (place.folders.array_folder(0) / "submitted.json").unlink()
    result = submit(client, place)
    assert (result.submitted, result.attempt) == ((0, 1), 1)


def test_memory_grows_only_where_it_was_the_cause(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    submit(client, place)
    place.end([0, 2], exit_code=1)
    place.end([1], exit_code=None, signal=9, peak_memory_kb=990 * 1024)
    repack(place, memory_factor=2.0, memory_ceiling=3000)
    submit(client, place, first_attempt=0)
    wanted = {array.subjobs: array.resources.memory for array, _ in client.submitted[1:]}
    assert wanted == {(0, 2): 1000, (1,): 2000}
    assert {array.resources.queue for array, _ in client.submitted} == {"short"}
    assert set(folders(client)) == {"0", "1", "1.1"}
    place.end([0, 2], attempt=1)
    place.end([1], attempt=1, exit_code=1, reason="std::bad_alloc")
    submit(client, place, first_attempt=0)
    assert client.submitted[-1][0].resources.memory == 3000


def test_tries_before_the_first_do_not_count(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 1)
    for attempt in range(2):
        assert submit(client, place, max_retries=1, first_attempt=0).attempt == attempt
        place.end([0], attempt, exit_code=1)
    spent = submit(client, place, max_retries=1, first_attempt=0)
    assert (spent.submitted, spent.spent, spent.attempt) == ((), (0,), 1)
    again = submit(client, place, max_retries=1, first_attempt=2)
    assert (again.submitted, again.attempt) == ((0,), 2)
    place.end([0], 2, exit_code=1)
    assert submit(client, place, max_retries=1).submitted == (0,)


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
    seen = run_on(client, place).observe()
    assert client.polled == [("1",)]
    assert seen.verdicts[1].status is SubjobStatus.RUNNING
    assert len(seen.arrays) == 2


def test_newest_arrays(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    arrays = [
        SubmittedArray(
            array=place.job.build_array(client, [subjobs], attempt=attempt, part=part),  # type: ignore[arg-type]
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
    assert read_intents(place.folders.arrays_folder) == ()
    for attempt in (10, 2, 0):
        client.submit(place.job.build_array(client, [(0,)], attempt=attempt))  # type: ignore[arg-type]
    (place.folders.arrays_folder / "foreign").mkdir()
    (place.folders.arrays_folder / "README").write_text("x")
    (place.folders.array_folder(2) / "submitted.json").unlink()
    assert [each.attempt for each in read_intents(place.folders.arrays_folder)] == [0, 2, 10]
    assert [each.array.attempt for each in read_arrays(place.folders.arrays_folder)] == [0, 10]


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "arrays").write_text("in the way")
    with pytest.raises(InputError, match=r"folder of submissions .*/arrays could not be read: Not a directory"):
        read_intents(tmp_path / "arrays")


def test_a_long_wait_reads_each_record_once(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    place.end([0])
    client.said = {1: JobState.RUNNING}
    run = run_on(client, place)
    first, second = run.observe(), run.observe()
    assert second.verdicts[0].record is first.verdicts[0].record
    assert second.problem is None


def name_last(client: Client) -> str:
    return client.submitted[-1][0].folder.rpartition("/")[2]


def repack(place: Place, **resources: Any) -> None:
    place.job = replace(place.job, resources=replace(place.job.resources, **resources))


def test_several_subjobs_in_each_element(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 5)
    repack(place, subjobs_per_job=2)
    submit(client, place)
    assert client.submitted[0][0].elements == ((0, 1), (2, 3), (4,))
    # Those that failed by themselves are packed again.
    place.end([0, 3])
    place.end([1, 2, 4], exit_code=1)
    submit(client, place)
    assert client.submitted[1][0].elements == ((1, 2), (4,))


def test_the_own_limit_of_a_site_counts_elements(client: Client, tmp_path: Path) -> None:
    client.largest_array = 1
    place = Place(tmp_path, 5)
    repack(place, subjobs_per_job=2, array_limit=2, throttle=3)
    submit(client, place)
    assert [(array.elements, array.resources.throttle) for array, _ in client.submitted] == [
        (((0, 1), (2, 3)), 2),
        (((4,),), 1),
    ]
    client.ignored = frozenset({"array_limit"})
    place.end(range(5), exit_code=1)
    submit(client, place)
    assert len(client.submitted) == 3


def test_who_ended_its_element_goes_alone_and_who_waited_loses_no_try(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 4)
    repack(place, subjobs_per_job=4)
    submit(client, place, max_retries=0, first_attempt=0)
    place.end([0])
    # The element was killed with subjob 1: the words about that are not about 2 and 3, which waited.
    client.out_of_memory = True
    result = submit(client, place, max_retries=0, first_attempt=0)
    assert (result.submitted, result.spent) == ((2, 3), (1,))
    array = client.submitted[1][0]
    assert (array.elements, array.resources.memory) == (((2, 3),), 1000)


def test_a_new_chance_for_all_after_an_element_was_killed(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 4)
    repack(place, subjobs_per_job=4)
    submit(client, place)
    place.end([0])
    client.out_of_memory = True
    submit(client, place)
    parts = {array.elements: array.resources.memory for array, _ in client.submitted[1:]}
    assert parts == {((1,),): 1500, ((2, 3),): 1000}


def test_an_element_told_to_end_is_taken_apart(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 3)
    repack(place, subjobs_per_job=3)
    submit(client, place)
    place.end([0], exit_code=1)
    place.end([1], exit_code=None, signal=15, reason="the batch system sent SIGTERM to the job")
    submit(client, place)
    assert [array.elements for array, _ in client.submitted[1:]] == [((0, 2),), ((1,),)]


def test_a_lost_element_is_ended_although_others_in_it_are_done(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 9)
    repack(place, subjobs_per_job=3)
    submit(client, place)
    place.end([0, 3, 4, 5, 6])
    client.said = {1: JobState.LOST, 2: JobState.LOST, 7: JobState.RUNNING, 8: JobState.RUNNING}
    assert submit(client, place).submitted == (1, 2)
    assert client.submitted[-1][1] == ("0",)
    # Nothing of the other elements: a done one needs no command, and in the last one something runs.
    assert client.over == {0, 1, 2}


def test_auto_packs_by_the_run_times_of_those_that_ended_well(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 200)
    repack(place, subjobs_per_job="auto")
    submit(client, place)
    assert {len(element) for element in client.submitted[0][0].elements} == {1}
    place.end([0], seconds=1)
    place.end(range(1, 100), seconds=50, exit_code=1)
    place.end(range(100, 200), exit_code=1)
    submit(client, place)
    assert {len(element) for element in client.submitted[1][0].elements} <= {5, 6}


@pytest.mark.parametrize(("asked", "known", "size"), [("auto", 1.0, 4), ("auto", None, 1), (2, None, 2)])
def test_run_times_from_elsewhere(client: Client, tmp_path: Path, asked: Any, known: float | None, size: int) -> None:
    place = Place(tmp_path, 100)
    repack(place, subjobs_per_job=asked)
    called = []

    def find_seconds() -> float | None:
        called.append(True)
        return known

    submit(client, place, find_seconds=find_seconds)
    assert max(len(element) for element in client.submitted[0][0].elements) == size
    # The catalog is not asked for nothing.
    assert bool(called) == (asked == "auto")


def test_retries_keep_away_from_bad_hosts(client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = Place(tmp_path, 6)
    repack(place, exclude_hosts=("old",), max_failures_per_host=2)
    submit(client, place)
    place.end([0], host="good")
    place.end([1], host="good", exit_code=1)
    place.end([2, 3], host="bad", exit_code=1)
    place.end([4, 5], host="told", exit_code=1, reason="the batch system sent SIGTERM to the job")
    submit(client, place)
    assert [array.resources.exclude_hosts for array, _ in client.submitted] == [("old",), ("old", "bad")]
    assert caplog.messages == ["Too many subjobs failed on bad: no subjob is sent there again"]
    caplog.clear()
    client.ignored = frozenset({"exclude_hosts"})
    place.end([1, 2, 3, 4, 5], attempt=1, host="bad", exit_code=1)
    submit(client, place)
    assert client.submitted[-1][0].resources.exclude_hosts == ("old",)
    assert caplog.messages == ["Too many subjobs failed on bad, and fake cannot exclude hosts"]


def test_hosts_of_jobs_that_left_no_record(client: Client, tmp_path: Path) -> None:
    place = Place(tmp_path, 2)
    client.host = "bad"
    repack(place, max_failures_per_host=2)
    submit(client, place)
    submit(client, place)
    assert client.submitted[1][0].resources.exclude_hosts == ("bad",)


@pytest.mark.parametrize(("out_of_memory", "excluded"), [(True, None), (False, ("bad",))])
def test_a_lack_of_memory_says_nothing_about_the_host(
    client: Client, tmp_path: Path, out_of_memory: bool, excluded: tuple[str, ...] | None
) -> None:
    place = Place(tmp_path, 2)
    client.out_of_memory = out_of_memory
    repack(place, max_failures_per_host=2)
    submit(client, place)
    # The records have but a signal; the batch system tells the reason.
    place.end([0, 1], host="bad", exit_code=None, signal=9)
    submit(client, place)
    assert client.submitted[1][0].resources.exclude_hosts == excluded


@pytest.mark.parametrize(
    "note",
    [
        {"given_up": "memory over request (hold code 3)", "out_of_memory": True},
        # As it was written by releases in which only the reason said it.
        {"given_up": "OUT_OF_MEMORY: memory over request (hold code 3)"},
    ],
)
def test_a_job_that_was_given_up_for_its_memory_goes_again_with_more(
    client: Client, tmp_path: Path, note: dict[str, Any]
) -> None:
    place = Place(tmp_path, 2)
    submit(client, place)
    client.said = dict.fromkeys(range(2), JobState.CANCELLED)
    notes = {"version": 1, "subjobs": {"0": {"held_since": 1.0, "releases": 0, "cancelled": False, **note}}}
    write_json(place.folders.array_folder(0) / NOTES_FILE, notes)
    submit(client, place, first_attempt=0)
    assert {array.subjobs: array.resources.memory for array, _ in client.submitted[1:]} == {(0,): 1500, (1,): 1000}
