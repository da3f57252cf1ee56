"""Full disks, kills and second writers: what a local database survives."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import CafError, DatabaseError
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.io import local_database
from airflow_provider_caf.io.local_database import LocalDatabase
from tests.unit.io.databases import WIDE, A, find_fault, find_md5, list_names, snapshot, write_source

pytestmark = pytest.mark.slow


class TestFailedWrites:
    def test_a_full_disk_is_told_and_nothing_is_lost(
        self, database: LocalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:

        def fill_up(path: Path, data: bytes, **options: bool) -> None:
            if b"big" in data:
                raise CafError("disk full") from OSError(errno.ENOSPC, "No space left on device")
            write_bytes(path, data, durable=False)

        monkeypatch.setattr(local_database, "write_bytes", fill_up)
        before = snapshot(database.folder)
        with pytest.raises(DatabaseError) as caught:
            database.commit([("Small", write_source(tmp_path, "x"), A), ("Big", write_source(tmp_path, "big"), A)])
        text = str(caught.value)
        assert text == (
            f"The payload 'Big' (3 bytes) could not be written to {database.folder}: "
            f"No space left on device.\n"
            f"  hint: Free space for {database.folder} (disk, quota or file size limit), then clear the "
            "task. "
            "Nothing was lost: what was committed before is untouched."
        )
        assert snapshot(database.folder) == before

    def test_a_full_disk_at_the_first_copy(
        self, database: LocalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fill_up(path: Path, data: bytes, **options: bool) -> None:
            raise CafError("disk full") from OSError(errno.EDQUOT, "Disk quota exceeded")

        monkeypatch.setattr(local_database, "write_bytes", fill_up)
        message = rf"could not be written to {tmp_path}/copy: Disk quota exceeded"
        with pytest.raises(DatabaseError, match=message):
            database.copy_to(tmp_path / "copy")
        assert list_names(tmp_path) == {"run", ".copy.lock", write_source(tmp_path, "old").name}

    @pytest.mark.parametrize("after", [False, True])
    def test_a_failure_at_the_text_leaves_the_old_or_the_new_state(
        self, database: LocalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
    ) -> None:

        def fail(path: Path, text: str) -> None:
            if after:
                write_text(path, text)
            raise CafError("failed") from OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(local_database, "write_text", fail)
        message = r"outputdb could not be written: Input/output error[^$]*hint: Check that"
        with pytest.raises(DatabaseError, match=message):
            database.commit([("X", write_source(tmp_path, "x"), A)])
        fresh = LocalDatabase(database.folder)
        assert fresh.verify() == (2 if after else 1)
        assert len(list_names(database.folder)) == fresh.verify() + 1

    def test_an_error_that_is_none_of_the_system_stays_as_it_is(
        self, database: LocalDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: Path, data: bytes, **options: bool) -> None:
            raise CafError("something else")

        monkeypatch.setattr(local_database, "write_bytes", fail)
        with pytest.raises(CafError, match=r"^something else$"):
            database.commit([("X", write_source(tmp_path, "x"), A)])


def run_child(script: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a Python process that has `LocalDatabase`, `A`, `B` and `WIDE`."""
    head = """
        import errno, os, random, resource, signal, sys, time
        from pathlib import Path
        from airflow_provider_caf.core.errors import DatabaseError
        from airflow_provider_caf.core.iov import IoV
        from airflow_provider_caf.io.local_database import LocalDatabase
        A, B, WIDE = IoV(1, 0, 1, 9), IoV(1, 10, 1, -1), IoV(0, 0, -1, -1)
    """
    text = textwrap.dedent(head) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def finish_child(child: subprocess.Popen[str]) -> str:
    output, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    return output


class TestFileSizeLimit:
    """The kernel itself stops a write at a given byte: with an error as on a full disk, or by killing."""

    SCRIPT = """
        folder, sources = Path(sys.argv[1]), Path(sys.argv[2])
        count, limit = int(sys.argv[3]), int(sys.argv[4])
        payloads = [("P%d" % n, sources / ("%d" % n), A) for n in range(count)]
        child = os.fork()
        if child == 0:
            if sys.argv[5] == "kill":
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            try:
                LocalDatabase(folder).commit(payloads)
            except DatabaseError as error:
                os.write(1, str(error).encode())
            os._exit(0)
        print(os.waitpid(child, 0)[1])
    """
    CASES = pytest.mark.parametrize(
        ("count", "size", "limit", "message"),
        [
            (2, 90_000, 50_000, "The payload 'P0' (90000 bytes) could not be written to {}: File too large."),
            (40, 10, 1_000, "The local database {} could not be written: File too large."),
        ],
        ids=["payload", "text"],
    )

    def commit_in_child(
        self, database: LocalDatabase, folder: Path, count: int, size: int, limit: int, ending: str
    ) -> str:
        """Commit files of a size in a process with a limit for files, and return what it printed."""
        sources = folder / "sources"
        sources.mkdir()
        for number in range(count):
            (sources / str(number)).write_bytes(b"%d" % (number % 10) * size)
        return finish_child(run_child(self.SCRIPT, database.folder, sources, str(count), str(limit), ending))

    @CASES
    def test_nothing_half_written_stays(
        self, database: LocalDatabase, tmp_path: Path, count: int, size: int, limit: int, message: str
    ) -> None:
        before = snapshot(database.folder)
        text = self.commit_in_child(database, tmp_path, count, size, limit, "error")
        assert text.startswith(message.format(database.folder))
        assert f"hint: Free space for {database.folder} (disk, quota or file size limit)" in text
        assert snapshot(database.folder) == before
        assert database.verify() == 1

    @CASES
    def test_killed_within_a_write(
        self, database: LocalDatabase, tmp_path: Path, count: int, size: int, limit: int, message: str
    ) -> None:
        before = snapshot(database.folder)
        assert int(self.commit_in_child(database, tmp_path, count, size, limit, "kill")) & 0x7F == signal.SIGXFSZ
        after = snapshot(database.folder)
        assert after["database.txt"] == before["database.txt"]
        assert not [name for name, data in after.items() if name.endswith(".root") and find_fault(name, data)]
        assert any(name.endswith(".tmp") for name in after)
        LocalDatabase(database.folder).commit([(f"P{n}", tmp_path / "sources" / str(n), A) for n in range(count)])
        assert database.verify() == count + 1
        assert len(list_names(database.folder)) == count + 2


class TestKill:
    """SIGKILL at any moment: the state is the old one or the new one, and the next commit goes through."""

    SWEEP = """
        base = Path(sys.argv[1])
        sources = [base / "one", base / "two"]
        new = [("X", sources[0], A), ("Old", sources[1], WIDE)]
        copied = LocalDatabase(base / "copied")
        copied.commit(new)
        step = 0
        while True:
            database = LocalDatabase(base / sys.argv[2] / str(step) / "db")
            if sys.argv[2] != "appear":
                database.commit([("Old", base / "old", WIDE), ("Gone", base / "old", WIDE)])
            child = os.fork()
            if child == 0:
                left = step
                def count(event, arguments):
                    global left
                    if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "fcntl.flock"):
                        left -= 1
                        if left < 0:
                            os.kill(os.getpid(), signal.SIGKILL)
                sys.addaudithook(count)
                if sys.argv[2] == "commit":
                    LocalDatabase(database.folder).commit(new)
                else:
                    copied.copy_to(database.folder)
                os._exit(0)
            if os.waitpid(child, 0)[1] == 0:
                print(step)
                break
            step += 1
    """

    @pytest.mark.parametrize("what", ["commit", "replace", "appear"])
    def test_killed_at_each_step(self, tmp_path: Path, what: str) -> None:
        for name in ["one", "two", "old"]:
            (tmp_path / name).write_text(name * 5000)
        steps = int(finish_child(run_child(self.SWEEP, tmp_path, what)))
        assert steps > 10
        one, two, old = (find_md5(name * 5000) for name in ["one", "two", "old"])
        old_state = [("Old", old, WIDE), ("Gone", old, WIDE)]
        new_state = [("X", one, A), ("Old", two, WIDE)]
        choices: dict[str, list[list[tuple[str, str, IoV]] | None]] = {
            "commit": [old_state, [("Gone", old, WIDE), *new_state]],
            "replace": [old_state, new_state],
            "appear": [None, new_state],
        }
        states = choices[what]
        seen = []
        for step in range(steps + 1):
            database = LocalDatabase(tmp_path / what / str(step) / "db")
            if database.folder.exists():
                database.verify()
                state = [(entry.name, entry.revision, entry.iov) for entry in database.entries()]
            else:
                state = None
            seen.append(states.index(state))
            source = LocalDatabase(tmp_path / "copied")
            if what == "commit":
                database.merge([source])
            else:
                source.copy_to(database.folder)
            assert [(entry.name, entry.revision, entry.iov) for entry in database.entries()] == states[1]
            assert not list(database.folder.parent.rglob("*.tmp"))
        assert seen == sorted(seen)
        assert set(seen) == {0, 1}

    RANDOM = """
        base, source = Path(sys.argv[1]), Path(sys.argv[2])
        random.seed(7)
        for trial in range(25):
            folder = base / str(trial)
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                database = LocalDatabase(folder)
                for number in range(10_000):
                    database.commit([(name, source, IoV(1, number, 1, number)) for name in "XYZ"])
                    os.write(writing, b".")
                os._exit(1)
            begin = time.monotonic()
            told = trial % 5
            for _ in range(told):
                os.read(reading, 1)
            # Within one of the next commits, however long they take here.
            time.sleep(random.uniform(0, 2 * (time.monotonic() - begin) / max(told, 1)))
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL
            os.close(writing)
            os.close(reading)
            print(told)
    """

    def test_killed_at_random_moments(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(os.urandom(50_000))
        told = [int(word) for word in finish_child(run_child(self.RANDOM, tmp_path / "dbs", source)).split()]
        assert len(told) == 25
        for trial, commits in enumerate(told):
            database = LocalDatabase(tmp_path / "dbs" / str(trial))
            entries = database.entries() if database.exists() else ()
            # What a commit has told as done is there.
            assert len(entries) >= 3 * commits
            assert [(entry.name, entry.iov.run_low) for entry in entries] == [
                (name, number) for number in range(len(entries) // 3) for name in "XYZ"
            ]
            if entries:
                database.verify()
            database.commit([("X", source, WIDE)])
            assert len(database.entries()) == len(entries) + 1
            assert not list(database.folder.glob(".*"))


class TestManyWriters:
    SCRIPT = """
        database = LocalDatabase(sys.argv[1])
        for number in range(15):
            name = "P%s_%d" % (sys.argv[2], number)
            source = Path(sys.argv[3]) / name
            source.write_text(name)
            database.commit([(name, source, A), ("Last", source, A)])
    """

    def test_no_commit_is_lost(self, tmp_path: Path) -> None:
        children = [run_child(self.SCRIPT, tmp_path / "db", str(number), tmp_path) for number in range(4)]
        for child in children:
            finish_child(child)
        database = LocalDatabase(tmp_path / "db")
        names = sorted(entry.name for entry in database.entries())
        assert names == sorted([f"P{child}_{number}" for child in range(4) for number in range(15)] + ["Last"])
        assert database.verify() == 61
