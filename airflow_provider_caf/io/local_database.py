"""A local database on disk: a folder with `database.txt` and payload files, in the form that basf2 reads.

Why a kill at any moment leaves the old or the new state: a payload file is named by the MD5 of its bytes, so
it is never changed, only added; it is on disk before `database.txt` names it; and `database.txt` is replaced
in one step. A killed process may leave payload files that nothing names, which do no harm, and temporary
files, which the next commit removes. One lock per database, beside its folder, keeps writers apart. Readers
need none.

Source of the format: basf2, `framework/database/src/TestingPayloadStorage.cc`. `read` there skips comments
and empty lines and lets the last line win; `get` looks for `dbstore_<name>_rev_<revision>.root` beside the
text file; `store` takes at least six digits of the file's MD5 as revision, as many as are needed. We write
all 32, which it reads as well.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import tenacity

from airflow_provider_caf.core.atomic import NO_SPACE, sync, write_bytes
from airflow_provider_caf.core.errors import CafError, DatabaseError, explain_os_error
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import (
    GapReport,
    PayloadEntry,
    build_database,
    check_payload_name,
    explain_unreadable,
    find_gaps,
    merge_entries,
    parse_database,
)
from airflow_provider_caf.core.temporary import build_temporary_name

_SHOWN = 20
_LOCK_SECONDS = 600.0
_PAYLOAD_MODE = 0o444
"""Nothing may change a payload in place: its name is made from its bytes."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
_MD5_DIGITS = re.compile(r"[0-9a-f]{6,32}")

NewPayload = tuple[str, Path, IoV]
"""A payload to write: its name, the file that holds it, and the runs it is valid for."""


class LocalDatabase:
    """Read and write the local database in a folder.

    :param folder: the folder of `database.txt`; made at the first commit.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        # Committing thousands of payloads one by one must not parse thousands of lines each time.
        self._known: tuple[bytes, tuple[PayloadEntry, ...]] = (b"", ())
        self._is_clean = False
        self._shown_as = self.folder

    def __repr__(self) -> str:
        return f"LocalDatabase({str(self.folder)!r})"

    @property
    def text_file(self) -> Path:
        """The file that names the payloads."""
        return self.folder / DATABASE_FILE

    def exists(self) -> bool:
        """Return whether the database was made; it may still be without payloads."""
        return os.path.isfile(self.text_file)  # noqa: PTH113 - False, not an error, where no entry is allowed

    def get_file(self, entry: PayloadEntry) -> Path:
        """Return the file of a payload."""
        return self.folder / entry.file_name

    def entries(self) -> tuple[PayloadEntry, ...]:
        """Read all lines, in the order of the file: where several hold a run, the last one wins.

        :raises DatabaseError: if the database does not exist, cannot be read, or has a wrong line.
        """
        with explain_unreadable(self.folder):
            text = self.text_file.read_bytes()
            if text != self._known[0]:
                self._known = (text, parse_database(text.decode("utf-8"), str(self.text_file)))
        return self._known[1]

    def create(self) -> None:
        """Make the database, without payloads, where it does not exist."""
        with self._lock():
            if not self.exists():
                self._write((), ())

    def commit(self, payloads: Sequence[NewPayload]) -> tuple[PayloadEntry, ...]:
        """Write payloads, all or none. What is there already, and wins already, is left as it is.

        A line with the name and the IoV of a new one is replaced, since it could never win again.

        :param payloads: in order: where IoVs of one name overlap, the later one wins.
        :return: the lines of these payloads.
        :raises DefinitionError: if a name or an IoV is not possible.
        :raises DatabaseError: if a file is missing, empty or not what its name says, or if writing fails, say
            because the disk is full. The database is then as it was.
        """
        for name, _, iov in payloads:
            check_payload_name(name)
            IoV.from_json(list(iov))
        with self._lock():
            return self._write(self.entries() if self.exists() else (), payloads)

    def merge(self, sources: Iterable[LocalDatabase]) -> tuple[PayloadEntry, ...]:
        """Add all payloads of other databases in one step; a later database wins over an earlier one.

        :return: the lines that were added.
        :raises DatabaseError: as `commit`, and if a source does not exist.
        """
        return self.commit(_list_payloads(sources))

    def replace_with(self, sources: Iterable[LocalDatabase]) -> tuple[PayloadEntry, ...]:
        """Make this database hold the payloads of others and nothing else, in one step.

        A new database appears as a whole, by renaming its folder. An older one changes from the old to the
        new state by its `database.txt`; the files that it does not name any more are removed then.

        :param sources: a later database wins over an earlier one. They are asked for while the lock is held, so that
            of two writers the later one knows what the earlier one knew.
        :raises DatabaseError: as `merge`. The database is then as it was.
        """
        with self._lock():
            payloads = _list_payloads(sources)
            if self.folder.exists():
                old = self.entries() if self.exists() else ()
                self._write((), payloads)
                self._remove_files({entry.file_name for entry in old})
            else:
                self._appear_with(payloads)
        return self.entries()

    def rewrite(self, payloads: Sequence[NewPayload]) -> None:
        """Make this database hold these payloads and nothing else, in one step. Their files may be its own.

        :raises DatabaseError: as `commit`. The database is then as it was.
        """
        with self._lock():
            self._write((), payloads)

    def copy_to(self, folder: str | os.PathLike[str]) -> LocalDatabase:
        """Make a copy that holds exactly the payloads of this database, see `replace_with`.

        :raises DatabaseError: as `merge`. An older copy is then as it was.
        """
        target = LocalDatabase(folder)
        target.replace_with([self])
        return target

    def check_gaps(self, runs: Iterable[ExpRun]) -> dict[str, GapReport]:
        """Find what the payloads leave open.

        :param runs: the runs that every payload should cover.
        :return: by payload name, sorted, only those that leave something open.
        """
        entries = self.entries()
        wanted = tuple(runs)
        reports = {name: find_gaps(entries, name, wanted) for name in sorted({entry.name for entry in entries})}
        return {name: report for name, report in reports.items() if not report.is_empty}

    def find_overlaps(self) -> Iterator[tuple[PayloadEntry, PayloadEntry]]:
        """Yield each two lines of one name that share a run, the earlier line first."""
        for lines in _group_by_name(self.entries()).values():
            yield from _find_overlapping_pairs(lines)

    def verify(self) -> int:
        """Check that every line has its file and that the file is what its revision says.

        A revision that is no beginning of an MD5, as in databases of old, says nothing about the file.

        :return: how many files were read.
        :raises DatabaseError: with the first 20 faults.
        """
        files = {self.get_file(entry): entry for entry in self.entries()}
        faults = []
        for path, entry in files.items():
            try:
                _read_payload(entry.name, path)
            except DatabaseError as error:
                faults.append(error.what)
        if faults:
            more = f"\n  … and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            listed = "".join(f"\n  {fault}" for fault in faults[:_SHOWN])
            raise DatabaseError(
                f"{len(faults)} of {len(files)} payloads of {self.folder} are damaged:{listed}{more}",
                hint="Run the tasks that made them again, or take the database out of the chain.",
            )
        return len(files)

    def _write(self, old: tuple[PayloadEntry, ...], payloads: Sequence[NewPayload]) -> tuple[PayloadEntry, ...]:
        """Add payloads to the lines `old`. The lock is held."""
        made: set[str] = set()
        try:
            with self._explaining(f"The local database {self._shown_as} could not be written"):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._remove_leftovers()
                new = tuple(self._add_file(payload, made) for payload in payloads)
                entries = _add_entries(old, new)
                if not self.exists() or entries != self.entries():
                    self._sync(new)
                    text = build_database(entries)
                    write_text(self.text_file, text)
                    self._known = (text.encode(), entries)
        except BaseException:
            # Not what the text names: its writing may have failed after the very last step.
            with suppress(OSError, DatabaseError):
                self._remove_files(made)
            raise
        return new

    def _add_file(self, payload: NewPayload, made: set[str]) -> PayloadEntry:
        """Put a payload file into the folder. It counts once the text names it."""
        name, source, iov = payload
        data, digest = _read_payload(name, source)
        entry = PayloadEntry(name=name, revision=digest, iov=iov)
        path = self.get_file(entry)
        if path.exists():
            if path.read_bytes() == data:
                return entry
        else:
            made.add(entry.file_name)
        size = f"{len(data)} bytes"
        with self._explaining(f"The payload {name!r} ({size}) could not be written to {self._shown_as}"):
            # Not durable one by one: they are put on disk together, which costs the disk much less.
            write_bytes(path, data, durable=False, mode=_PAYLOAD_MODE)
        return entry

    def _sync(self, entries: Iterable[PayloadEntry]) -> None:
        """Put the files of these lines, and their names, on disk."""
        for path in (*{self.get_file(entry) for entry in entries}, self.folder, self.folder.parent):
            sync(path)

    def _appear_with(self, payloads: Sequence[NewPayload]) -> None:
        """Make the folder with these payloads, so that no reader sees a part of it. The lock is held."""
        parent = self.folder.parent
        for stale in parent.glob(f".{glob.escape(self.folder.name)}.*.tmp"):
            shutil.rmtree(stale)
        unseen = LocalDatabase(parent / build_temporary_name(self.folder.name))
        unseen._shown_as = self.folder
        try:
            unseen._write((), payloads)
            with self._explaining(f"The local database {self.folder} could not be made"):
                unseen.folder.rename(self.folder)
                self._sync(())
        finally:
            shutil.rmtree(unseen.folder, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove temporary files of a process that was killed: no other process writes while we hold the lock."""
        if not self._is_clean:
            for path in self.folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()
            self._is_clean = True

    def _remove_files(self, names: set[str]) -> None:
        """Remove those of these payload files that the text does not name."""
        named = {entry.file_name for entry in self.entries()} if self.exists() else set()
        for name in names - named:
            (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        # Beside the folder, not in it: the folder of a copy is renamed.
        path = self.folder.parent / f".{self.folder.name}.lock"
        with self._explaining(f"The local database {self.folder} could not be locked"):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            self._wait_for(descriptor, path)
            yield
        finally:
            # Closing gives the lock back; the file stays: removing it would let two writers in.
            os.close(descriptor)

    def _wait_for(self, descriptor: int, path: Path) -> None:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(BlockingIOError),
            wait=tenacity.wait_random(0.005, 0.05),
            stop=tenacity.stop_after_delay(_LOCK_SECONDS),
            reraise=True,
        )
        with self._explaining(f"The local database {self.folder} could not be locked"):
            try:
                waiting(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DatabaseError(
                    f"The local database {self.folder} was locked by another process for {_LOCK_SECONDS:g} s.",
                    hint=f"Find who holds {path} (lslocks, fuser), end it, then clear the task.",
                ) from error

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        """Turn an error of the system into one that says what to do."""
        try:
            yield
        except DatabaseError:
            raise
        except (OSError, CafError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError):
                raise
            place = self._shown_as
            if cause.errno in NO_SPACE:
                hint = (
                    f"Free space for {place} (disk, quota or file size limit), then clear the task. "
                    f"Nothing was lost: what was committed before is untouched."
                )
            else:
                hint = f"Check that {place} is mounted and that you may write there, then clear the task."
            raise DatabaseError(f"{what}: {_describe(cause)}.", hint=hint) from error


def _list_payloads(sources: Iterable[LocalDatabase]) -> list[NewPayload]:
    return [(entry.name, source.get_file(entry), entry.iov) for source in sources for entry in source.entries()]


def _read_payload(name: str, path: Path) -> tuple[bytes, str]:
    """Return the bytes of a payload file and their MD5, and refuse a file that is not what its name says."""
    hint = "Run the task that made it again."
    with explain_os_error(DatabaseError, f"The file {path} of payload {name!r} could not be read", hint):
        data = path.read_bytes()
    if not data:
        raise DatabaseError(f"The file {path} of payload {name!r} is empty.", hint=hint)
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    revision = path.name.removeprefix(f"dbstore_{name}_rev_").removesuffix(".root")
    if _MD5_DIGITS.fullmatch(revision) and not digest.startswith(revision):
        raise DatabaseError(
            f"The file {path} of payload {name!r} was changed or cut off: its MD5 is {digest}.",
            hint="Run the task that made it again.",
        )
    return data, digest


def _add_entries(old: Sequence[PayloadEntry], new: Sequence[PayloadEntry]) -> tuple[PayloadEntry, ...]:
    """Put new lines behind the old ones, so that each new one wins, unless they win already."""
    wanted = merge_entries(new)
    ours, theirs = _group_by_name(old), _group_by_name(wanted)
    if all(_win_already(ours[name], lines) for name, lines in theirs.items()):
        return tuple(old)
    return merge_entries(old, wanted)


def _win_already(old: list[PayloadEntry], new: list[PayloadEntry]) -> bool:
    """Return whether lines stand in the text so that putting them behind it would change no run's payload.

    They do if all of them are there, and no line behind one of them has a run of it, but for new lines that come after
    it in `new` as well.

    :param old: the lines of one name.
    :param new: lines of the same name, each once.
    """
    if old[-len(new) :] == new:
        return True
    order = {entry: number for number, entry in enumerate(new)}
    return order.keys() <= set(old) and all(
        order.get(later, -1) > order[earlier] for earlier, later in _find_overlapping_pairs(old) if earlier in order
    )


def _find_overlapping_pairs(entries: list[PayloadEntry]) -> Iterator[tuple[PayloadEntry, PayloadEntry]]:
    """Yield each two lines that share a run, the earlier line first.

    The lines are gone through by their first run, so that thousands that share nothing are quick.
    """
    open_ones: list[tuple[int, PayloadEntry]] = []
    for index, entry in sorted(enumerate(entries), key=lambda pair: pair[1].iov.low):
        open_ones = [pair for pair in open_ones if pair[1].iov.end >= entry.iov.low]
        for other_index, other in open_ones:
            yield (other, entry) if other_index < index else (entry, other)
        open_ones.append((index, entry))


def _group_by_name(entries: Iterable[PayloadEntry]) -> dict[str, list[PayloadEntry]]:
    groups: defaultdict[str, list[PayloadEntry]] = defaultdict(list)
    for entry in entries:
        groups[entry.name].append(entry)
    return groups


def _describe(error: OSError) -> str:
    return error.strerror or str(error)
