"""Reading exit records: whole ones, and everything else that may lie in a status folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.core.errors import InputError
from airflow_provider_caf.core.file_names import ENDED_BY
from airflow_provider_caf.jobs.exit_records import StatusFolder, read_exit_records

GOOD: dict[str, Any] = {
    "version": 1,
    "subjob": 3,
    "attempt": 0,
    "exit_code": 0,
    "signal": None,
    "host": "vm",
    "started": "2026-01-01T00:00:00.000Z",
    "ended": "2026-01-01T00:00:01.000Z",
    "cpu_seconds": 1.25,
    "peak_memory_kb": 200000,
    "job_digest": "abc",
    "folder": "/somewhere/else",
    "outputs": [{"path": "CollectorOutput.root", "size": 123}],
    "reason": None,
}


@pytest.fixture
def status(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / "status"
    folder.mkdir(parents=True)
    return folder


def write(status: Path, name: str = "00003.0.json", **changes: Any) -> None:
    (status / name).write_text(json.dumps({**GOOD, **changes}))


def test_a_record(status: Path) -> None:
    write(status)
    (record,) = read_exit_records(status)
    assert (record.subjob, record.attempt, record.restart, record.label) == (3, 0, 0, "0")
    # By its name, not by what it says: the job may have run where the folder has another path.
    assert record.folder == status.parent / "00003" / "attempt_0"
    assert record.outputs == {"CollectorOutput.root": 123}
    assert (record.cpu_seconds, record.peak_memory_kb, record.host) == (1.25, 200000, "vm")
    assert record.says_success


@pytest.mark.parametrize("change", [{"exit_code": 1}, {"exit_code": None}, {"signal": 9}, {"reason": "no output"}])
def test_records_of_failures(status: Path, change: dict[str, Any]) -> None:
    write(status, **change)
    assert not read_exit_records(status)[0].says_success


def test_the_wall_time(status: Path) -> None:
    write(status)
    assert read_exit_records(status)[0].seconds == 1.0
    # The clock was set back meanwhile.
    write(status, ended="2025-12-31T23:59:00Z")
    assert read_exit_records(status)[0].seconds == 0.0


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (None, False),
        ("the declared output 'x' is missing", False),
        ("it was not cancelled", False),
        ("cancelled", True),
        ("the batch system sent SIGTERM to the job", True),
        ("the local pool was ended by SIGHUP", True),
    ],
)
def test_who_was_told_to_end_by_a_record_without_the_word(status: Path, reason: str | None, told: bool) -> None:
    write(status, reason=reason)
    assert read_exit_records(status)[0].was_told_to_end is told


@pytest.mark.parametrize("word", [None, *ENDED_BY])
def test_who_ended_the_job(status: Path, word: str | None) -> None:
    write(status, reason="cancelled", ended_by=word)
    read = read_exit_records(status)[0]
    assert (read.ended_by, read.was_told_to_end) == (word, word is not None)


def test_an_unknown_word_for_who_ended_the_job_is_no_record(status: Path) -> None:
    write(status, ended_by="somebody")
    folder = StatusFolder(status)
    assert folder.scan() == ()
    assert "'ended_by' is 'somebody'" in next(iter(folder.ignored.values()))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"out_of_memory": True, "reason": "any"}, True),
        ({"out_of_memory": False, "reason": "'x' could not be started in /w: Cannot allocate memory"}, False),
        # Without the field, as records were before.
        ({"reason": "'x' could not be started in /w: Cannot allocate memory"}, True),
        ({"reason": "'x' could not be started in /w: Permission denied"}, False),
        ({}, False),
    ],
)
def test_whether_there_was_no_memory_to_start_it(status: Path, words: dict[str, Any], expected: bool) -> None:
    write(status, **words)
    assert read_exit_records(status)[0].out_of_memory is expected


def test_an_unknown_word_about_the_memory_is_no_record(status: Path) -> None:
    write(status, out_of_memory="yes")
    folder = StatusFolder(status)
    assert folder.scan() == ()
    assert "'out_of_memory' is 'yes'" in next(iter(folder.ignored.values()))


def test_the_order_is_of_subjob_try_and_restart(status: Path) -> None:
    for name, attempt in [
        ("00003.10.json", 10),
        ("00003.2.json", 2),
        ("00003.2_r1.json", "2_r1"),
        ("00003.2_r10.json", "2_r10"),
    ]:
        write(status, name, attempt=attempt)
    write(status, "100000.0.json", subjob=100000)
    write(status, "00001.0.json", subjob=1)
    found = [(record.subjob, record.label) for record in read_exit_records(status)]
    assert found == [(1, "0"), (3, "2"), (3, "2_r1"), (3, "2_r10"), (3, "10"), (100000, "0")]
    assert read_exit_records(status)[2].folder.name == "attempt_2_r1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"started": "yesterday"}, "its 'started' is not a time with a time zone"),
        ({"ended": "2026-01-01T00:00:01"}, "its 'ended' is not a time with a time zone"),
        ({"ended": 5}, "its 'ended' is not a text"),
        ({"version": 2}, "not an exit record of version 1"),
        ({"subjob": 4}, "about another subjob or attempt"),
        ({"attempt": 1}, "about another subjob or attempt"),
        ({"attempt": None}, "about another subjob or attempt"),
        ({"exit_code": "0"}, "'exit_code' is not a whole number"),
        ({"exit_code": True}, "'exit_code' is not a whole number"),
        ({"signal": 1.5}, "'signal' is not a whole number"),
        ({"host": None}, "'host' is not a text"),
        ({"reason": 3}, "'reason' is not a text"),
        ({"job_digest": 3}, "'job_digest' is not a text"),
        ({"cpu_seconds": "1"}, "'cpu_seconds' is not a number"),
        ({"cpu_seconds": float("nan")}, "'cpu_seconds' is not a number"),
        ({"peak_memory_kb": None}, "'peak_memory_kb' is not a number"),
        ({"outputs": None}, "'outputs' are not a list"),
        ({"outputs": ["x"]}, "not a path with a size"),
        ({"outputs": [{"path": "x"}]}, "not a path with a size"),
        ({"outputs": [{"path": "x", "size": True}]}, "not a path with a size"),
        ({"outputs": [{"path": "../../x", "size": 1}]}, "leaves the work folder"),
        ({"outputs": [{"path": "/etc/passwd", "size": 1}]}, "leaves the work folder"),
        ({"outputs": [{"path": "", "size": 1}]}, "leaves the work folder"),
        ({"outputs": [{"path": "a\0b", "size": 1}]}, "leaves the work folder"),
    ],
)
def test_what_is_no_record_is_passed_over_and_told(status: Path, change: dict[str, Any], said: str) -> None:
    write(status, **change)
    write(status, "00004.0.json", subjob=4)
    folder = StatusFolder(status)
    assert [record.subjob for record in folder.scan()] == [4]
    assert list(folder.ignored) == ["00003.0.json"]
    assert said in folder.ignored["00003.0.json"]


@pytest.mark.parametrize("content", [b"", b'{"version": 1, "subj', b"\xff\xfe", b"[]", b"null", b"[" * 2000])
def test_half_written_and_foreign_content(status: Path, content: bytes) -> None:
    (status / "00003.0.json").write_bytes(content)
    folder = StatusFolder(status)
    assert folder.scan() == ()
    assert list(folder.ignored) == ["00003.0.json"]


def test_foreign_names(status: Path) -> None:
    for name in ("README", "3.0.json", "00003.json", "00003.0.json~", "00003.x.json", "00003.0_r.json", "٣٣٣٣٣.0.json"):
        write(status, name)
    (status / "00005.0.json").mkdir()
    (status / "00006.0.json").symlink_to(status / "README")
    (status / "00007.0.json").write_text(" " * 1_000_001)
    write(status, ".00003.0.json.tmp")
    folder = StatusFolder(status)
    assert folder.scan() == ()
    assert len(folder.ignored) == 10
    assert ".00003.0.json.tmp" not in folder.ignored


def test_each_record_is_read_once(status: Path) -> None:
    write(status)
    folder = StatusFolder(status)
    first = folder.scan()
    write(status, "00004.0.json", subjob=4)
    second = folder.scan()
    assert second[0] is first[0]
    assert [record.subjob for record in second] == [3, 4]
    # One that was removed, say to run its subjob again, is gone here too.
    (status / "00003.0.json").unlink()
    assert [record.subjob for record in folder.scan()] == [4]
    # One that was broken is looked at again.
    (status / "00005.0.json").write_text("{")
    assert len(folder.scan()) == 1
    write(status, "00005.0.json", subjob=5)
    assert len(folder.scan()) == 2
    assert folder.ignored == {}


def test_before_the_first_record_there_is_no_folder(tmp_path: Path) -> None:
    assert read_exit_records(tmp_path / "none") == ()


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("in the way")
    with pytest.raises(InputError, match=r"status could not be read: Not a directory.*\n.*mounted here"):
        read_exit_records(tmp_path / "status")
