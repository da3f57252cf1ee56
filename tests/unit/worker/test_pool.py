"""The pool's files and commands. That it runs subjobs and survives kills is shown in tests/contract."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_caf.worker.job import pool, pool_files
from airflow_provider_caf.worker.job.pool_files import PoolError, PoolFiles, is_here
from airflow_provider_caf.worker.job.processes import read_boot
from tests.unit.worker.array_records import write_array_record
from tests.waiting import is_running, wait_until

pytestmark = pytest.mark.slow


def make_array(folder: Path, elements: list[list[int]], scripts: dict[int, str], **resources: Any) -> Path:
    """Write job files that are shell scripts, and the array's record."""
    for name in ("in", "array"):
        (folder / name).mkdir(exist_ok=True)
    for subjob, script in scripts.items():
        job = {"command": ["sh", "-c", script], "output_patterns": [], "subjob": subjob}
        (folder / "in" / f"{subjob:05d}.json").write_text(json.dumps(job))
    return write_array_record(folder / "array" / "array.json", folder, elements, "/w/app.pyz", **resources)


def submit(path: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "airflow_provider_caf.worker", "pool", "submit", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def wait_for_end(files: PoolFiles) -> None:
    wait_until(lambda: not files.is_alive())


def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], action: str, *asked: Any) -> list[Any]:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    assert pool.main([action]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_several_subjobs_of_an_element_run_one_after_the_other(tmp_path: Path) -> None:
    scripts = {
        0: "echo 0 >> ../../../order; exit 3",
        1: "echo 1 >> ../../../order",
        3: "echo 3 >> ../../../order",
    }
    # The job file of subjob 2 is missing: recorded, and the next one follows.
    path = make_array(tmp_path, [[0, 1, 2, 3]], scripts, max_processes=4)
    assert submit(path).returncode == 0
    wait_for_end(PoolFiles(str(tmp_path / "array")))
    records = [json.loads((tmp_path / "out" / "status" / f"{n:05d}.0.json").read_text()) for n in range(4)]
    assert [record["exit_code"] for record in records] == [3, 0, 125, 0]
    assert (tmp_path / "order").read_text().split() == ["0", "1", "3"]
    journal = (tmp_path / "array" / "pool" / "journal").read_text().splitlines()
    assert [line.split()[0] for line in journal] == ["S", "S", "S", "E"]


def test_never_more_at_a_time_than_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    scripts = {n: f"echo + >> {log}; sleep 0.1; echo - >> {log}" for n in range(6)}
    path = make_array(tmp_path, [[n] for n in range(6)], scripts, max_processes=5, throttle=2)
    submit(path)
    wait_for_end(PoolFiles(str(tmp_path / "array")))
    running, most = 0, 0
    for sign in log.read_text().split():
        running += 1 if sign == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, 2)


def test_a_record_that_cannot_be_written_is_told_in_the_log(tmp_path: Path) -> None:
    path = make_array(tmp_path, [[0], [1]], {0: "true", 1: "true"}, max_processes=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "status").write_text("in the way")
    submit(path)
    files = PoolFiles(str(tmp_path / "array"))
    wait_for_end(files)
    assert "/out/status/00000.0.json could not be written: [Errno 20]" in Path(files.log_file).read_text()
    assert files.read_journal(2)[0] == ["E", "E"]


def test_a_journal_that_cannot_be_written_ends_everything(tmp_path: Path) -> None:
    """What cannot be recorded must not run on: it will be lost, and runs again."""
    pids = tmp_path / "pids"
    path = make_array(tmp_path, [[0], [1]], {n: f"echo $$ >> {pids}; exec sleep 600" for n in (0, 1)}, max_processes=2)
    (tmp_path / "array" / "pool").mkdir()
    (tmp_path / "array" / "pool" / "journal").symlink_to("/dev/full")
    submit(path)
    files = PoolFiles(str(tmp_path / "array"))
    wait_for_end(files)
    assert "No space left on device" in Path(files.log_file).read_text()
    started = pids.read_text().split() if pids.exists() else []
    wait_until(lambda: not any(is_running(int(pid)) for pid in started))


def test_a_pool_that_cannot_start_is_told(tmp_path: Path) -> None:
    path = make_array(tmp_path, [[0]], {0: "true"})
    (tmp_path / "array" / "pool").write_text("in the way")
    done = submit(path)
    assert done.returncode == 1
    assert "the pool of array caf_x could not be started: [Errno 17] File exists" in done.stderr


def test_a_pool_that_ends_at_once_is_told(tmp_path: Path) -> None:
    path = make_array(tmp_path, [[0]], {0: "true"}, max_processes="many")
    done = submit(path)
    assert done.returncode == 1
    log = tmp_path / "array" / "pool" / "pool.log"
    assert f"it ended at once; see {log}" in done.stderr
    assert "Traceback" in log.read_text()


def test_what_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["start"], ["submit"], ["query", "x"]):
        assert pool.main(words) == 2
        assert "usage: pool submit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resources", "slots"),
    [({"max_processes": 3}, 3), ({"max_processes": 3, "throttle": 2}, 2), ({"max_processes": 2, "throttle": 9}, 2)],
)
def test_slots(resources: dict[str, int], slots: int) -> None:
    assert pool.count_slots({"resources": resources}) == slots


def test_one_slot_for_each_core_by_default() -> None:
    assert pool.count_slots({"resources": {}}) == pool.count_slots({}) == len(os.sched_getaffinity(0))


def write_identity(files: PoolFiles, elements: int = 4, **changes: Any) -> dict[str, Any]:
    files.make()
    identity = files.write_identity({"name": "caf_x", "elements": [[n] for n in range(elements)]})
    if changes:
        identity = {**identity, **changes}
        Path(files.id_file).write_text(json.dumps(identity))
    return identity


def test_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = PoolFiles(str(tmp_path))
    asked = {"folder": str(tmp_path), "name": "caf_x"}
    assert ask(monkeypatch, capsys, "lookup", asked) == [{}]
    files.make()
    assert ask(monkeypatch, capsys, "lookup", asked) == [{}]
    identity = write_identity(files)
    assert ask(monkeypatch, capsys, "lookup", asked) == [{"id": identity["id"]}]
    (answer,) = ask(monkeypatch, capsys, "lookup", {**asked, "name": "caf_y"})
    assert "has the pool of 'caf_x', not of 'caf_y'" in answer["error"]


def test_a_lookup_waits_for_a_pool_that_is_starting(tmp_path: Path) -> None:
    files = PoolFiles(str(tmp_path))
    files.make()
    lock = files.take_lock()
    assert lock is not None
    with pytest.raises(PoolError, match=r"lock is held, but no pool has said its id in 0\.05 s"):
        files.wait_for_identity(0.05)
    write_identity(files)
    assert files.wait_for_identity(0.05) is not None
    os.close(lock)


def test_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = PoolFiles(str(tmp_path / "a"))
    asked = {"folder": str(tmp_path / "a"), "id": "x"}
    assert ask(monkeypatch, capsys, "query", asked) == [{"gone": True}]
    identity = write_identity(files)
    (answer,) = ask(monkeypatch, capsys, "query", asked)
    assert answer["error"] == f"the folder has pool {identity['id']}, not x"
    asked["id"] = identity["id"]
    journal = files.open_journal()
    for words in (("S", 0, 1, 1), ("S", 1, 2, 2), ("E", 1), ("C", 2)):
        files.append_journal(journal, *words)
    os.close(journal)
    lock = files.take_lock()
    assert lock is not None
    expected = {"id": identity["id"], "alive": True, "host": identity["host"], "states": "RECQ"}
    assert ask(monkeypatch, capsys, "query", asked) == [expected]
    os.close(lock)
    expected = {**expected, "alive": False, "states": "LECL"}
    assert ask(monkeypatch, capsys, "query", asked, asked) == [expected, expected]


def test_a_query_disturbs_no_other(tmp_path: Path) -> None:
    files = PoolFiles(str(tmp_path))
    files.make()
    first, second = files.take_lock(fcntl.LOCK_SH), files.take_lock(fcntl.LOCK_SH)
    assert first is not None
    assert second is not None
    assert files.take_lock() is None
    os.close(first)
    os.close(second)


def test_cancel_of_a_dead_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = PoolFiles(str(tmp_path))
    asked = {"folder": str(tmp_path), "id": "x", "elements": [1, 2]}
    assert ask(monkeypatch, capsys, "cancel", asked) == [{"gone": True}]
    asked["id"] = write_identity(files)["id"]
    journal = files.open_journal()
    files.append_journal(journal, "E", 1)
    os.close(journal)
    assert ask(monkeypatch, capsys, "cancel", asked) == [{"id": asked["id"], "alive": False}]
    assert files.read_journal(4)[0] == ["Q", "E", "C", "Q"]
    assert ask(monkeypatch, capsys, "cancel", {**asked, "elements": None}) == [{"id": asked["id"], "alive": False}]
    assert files.read_journal(4)[0] == ["C", "E", "C", "C"]


def test_a_pool_in_another_container_of_this_machine_finds_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = PoolFiles(str(tmp_path))
    # Its number is another process's here, which must get no signal.
    identity = write_identity(files, start=1)
    monkeypatch.setattr(os, "kill", pytest.fail)
    lock = files.take_lock()
    assert lock is not None
    asked = {"folder": str(tmp_path), "id": identity["id"], "elements": None}
    assert ask(monkeypatch, capsys, "cancel", asked) == [{"id": identity["id"], "alive": True}]
    assert files.read_cancels(4) == {0, 1, 2, 3}
    os.close(lock)


def test_lines_that_are_cut_off_are_passed_over(tmp_path: Path) -> None:
    files = PoolFiles(str(tmp_path))
    files.make()
    Path(files.journal_file).write_bytes(b"S 0 11 22\nS 1 1E 1\nE 1 x\nX 1\nE 9\nE\n\n\xff\xff 1\nC 2\nS 3 12 33\nE 3")
    assert files.read_journal(4) == (["R", "Q", "C", "R"], {11: 22, 12: 33})
    assert PoolFiles(str(tmp_path / "none")).read_journal(2) == (["Q", "Q"], {})


def test_cancels_add_up(tmp_path: Path) -> None:
    files = PoolFiles(str(tmp_path))
    files.make()
    assert files.read_cancels(3) == set()
    files.append_cancel([1])
    files.append_cancel([])
    assert files.read_cancels(3) == {1}
    files.append_cancel(None)
    assert files.read_cancels(3) == {0, 1, 2}
    # One that is being written counts when it is whole.
    with Path(files.cancel_file).open("a") as file:
        file.write("[7")
    assert files.read_cancels(3) == {0, 1, 2}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 3}', '{"id": "p", "pid": 3}', "[" * 100_000])
def test_an_identity_that_is_none(tmp_path: Path, content: str) -> None:
    files = PoolFiles(str(tmp_path))
    files.make()
    Path(files.id_file).write_text(content)
    with pytest.raises(PoolError, match=r"id\.json (could not be read|is not the identity)"):
        files.read_identity()


def test_a_lock_speaks_for_its_own_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # A container that was started again: another name, the same kernel.
    assert is_here({"id": "p", "host": "0a1b2c", "boot": read_boot(), "beat": 10.0})
    # Containers on two machines, of the same name.
    assert not is_here({"id": "p", "host": os.uname().nodename, "boot": "another", "beat": 10.0})
    with pytest.raises(PoolError, match="pool p of host far has no beat; ask it there"):
        is_here({"id": "p", "host": "far", "boot": "another"})
    # One of an earlier version, whose machine runs or was booted again.
    assert is_here({"id": "p", "host": os.uname().nodename, "boot": "another"})
    monkeypatch.setattr(pool_files, "read_boot", lambda: "")
    assert not is_here({"id": "p", "host": os.uname().nodename, "boot": "", "beat": 10.0})


def test_without_its_folder_there_is_no_lock(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="there is no folder"):
        PoolFiles(str(tmp_path / "none")).take_lock()
