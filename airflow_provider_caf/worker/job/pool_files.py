"""The files of a local pool, in `pool/` in its array's folder.

======== ========================================================================================================
lock     held (flock) by the pool while it lives. Who can take it knows that the pool is dead: no process number
         has to be trusted, and one array never has two pools.
id.json  who the pool is; written once, by the pool, before it starts anything.
journal  one line for each event: `S element pid start-time` started, `E element` ended, with an exit record,
         `C element` cancelled. Lines are appended in one write each.
cancel   one JSON line for each request to cancel; read by the pool on SIGUSR1, and at each beat.
beat     touched by the pool at each beat, for those on other hosts, where the lock may say nothing.
doubt    touched by the first who finds the beat of a pool on another host old.
given_up written by the first who takes a pool of another host for dead, and by a pool that ends before all is done.
         From then on all take it for dead, and a pool that is there after all ends everything at its next beat.
pool.log what the pool itself prints.
======== ========================================================================================================

How old a beat is, the file server alone says: the clocks of hosts differ.

None of them is forced to disk. After a crash of the machine the pool is dead and its subjobs are lost or
have an exit record, whatever the journal says.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import time

# ruff: noqa: PTH103, PTH105, PTH123 - pathlib is slow to import
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.worker.job.processes import read_boot, read_start

TYPE_CHECKING = False  # importing typing is slow too
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

MARK = "CAF_POOL"
"""The environment variable that marks everything a pool starts; its value is the pool's id."""

BEAT = 10.0
"""Seconds between two beats of a pool."""

SILENT_BEATS = 30
"""So many beats have to be missing until a pool of another host is in doubt, and so many more until it is given up.

While a file server was away, nobody could beat. Linux then waits up to five minutes between two tries to connect to it
again (XS_TCP_MAX_REEST_TO in net/sunrpc/xprtsock.c), so the pool may come back so much later than who asks."""

_START_LIMIT = 20.0
"""Seconds that a pool may take from its lock to its id. It does nothing in between but fork."""

_INTERVAL = 0.01
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class PoolError(Exception):
    """Something about a pool is not as it has to be; the message says what."""


class PoolFiles:
    """Read and write the files of one pool.

    :param array_folder: the folder of the array.
    """

    def __init__(self, array_folder: str) -> None:
        self.folder = f"{array_folder}/pool"
        self.journal_file = f"{self.folder}/journal"
        self.cancel_file = f"{self.folder}/cancel"
        self.log_file = f"{self.folder}/pool.log"
        self.beat_file = f"{self.folder}/beat"
        self.doubt_file = f"{self.folder}/doubt"
        self.given_up_file = f"{self.folder}/given_up"
        self.id_file = f"{self.folder}/id.json"

    def make(self) -> None:
        """Make the folder."""
        os.makedirs(self.folder, exist_ok=True)

    def take_lock(self, mode: int = fcntl.LOCK_EX) -> int | None:
        """Take the lock and return its file descriptor, or None while another process has it.

        :param mode: `LOCK_SH` to see whether the pool lives: those who only look do not disturb one another.
        """
        try:
            descriptor = os.open(f"{self.folder}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            raise PoolError(f"there is no folder {self.folder}") from None
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise PoolError(f"the file system of {self.folder} cannot lock files: {error}") from error
        return descriptor

    def is_alive(self) -> bool:
        """Return whether the pool lives."""
        descriptor = self.take_lock(fcntl.LOCK_SH)
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def read_identity(self) -> dict[str, Any] | None:
        """Return the pool's identity, or None while there never was a pool."""
        try:
            with open(self.id_file, "rb") as file:
                identity = json.loads(file.read())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise PoolError(f"{self.id_file} could not be read: {error}") from error
        kinds = {"id": str, "elements": int, "pid": int}
        if not isinstance(identity, dict) or not all(isinstance(identity.get(key), kinds[key]) for key in kinds):
            raise PoolError(f"{self.id_file} is not the identity of a pool")
        return identity

    def wait_for_identity(self, limit: float = _START_LIMIT) -> dict[str, Any] | None:
        """Return the pool's identity, or None where there never was a pool.

        :param limit: seconds to wait for one that is starting.
        :raises PoolError: if it takes longer.
        """
        deadline = time.monotonic() + limit
        while True:
            identity = self.read_identity()
            if identity is not None:
                return identity
            alive = self.is_alive()
            # Looked for after the lock: a pool that was starting has written it before it could end.
            identity = self.read_identity()
            if identity is not None or not alive:
                return identity
            if time.monotonic() > deadline:
                raise PoolError(f"{self.folder}/lock is held, but no pool has said its id in {limit:g} s")
            time.sleep(_INTERVAL)

    def write_identity(self, array: Mapping[str, Any]) -> dict[str, Any]:
        """Write the identity of this process as the pool of an array."""
        host, pid, start = os.uname().nodename, os.getpid(), read_start(os.getpid())
        identity = {
            "version": 1,
            "id": f"{host}.{pid}.{time.time_ns():x}",
            "name": array["name"],
            "elements": len(array["elements"]),
            "host": host,
            "boot": read_boot(),
            "beat": BEAT,
            "pid": pid,
            "start": start,
        }
        self.beat()
        self._write(self.id_file, json.dumps(identity))
        return identity

    def _write(self, path: str, text: str) -> None:
        temporary = f"{self.folder}/{build_temporary_name()}"
        with open(temporary, "w") as file:
            file.write(text)
        os.replace(temporary, path)

    def beat(self) -> None:
        """Say to those on other hosts that the pool lives.

        :raises OSError: if that cannot be said.
        """
        _touch(self.beat_file)

    def is_silent(self, beat: float) -> bool:
        """Return whether the pool is silent for too long, and has been in doubt for as long again.

        :param beat: seconds between two of its beats.
        """
        probe = f"{self.folder}/{build_temporary_name()}"
        now = _touch(probe)
        os.unlink(probe)  # noqa: PTH108
        limit = SILENT_BEATS * beat
        last = _read_time(self.beat_file)
        if now - last <= limit:
            return False
        doubted = _read_time(self.doubt_file)
        if doubted <= last:
            _touch(self.doubt_file)
            return False
        return now - doubted > limit

    def give_up(self, reason: str) -> None:
        """Take the pool for dead, for good."""
        self._write(self.given_up_file, reason)

    def read_given_up(self) -> str | None:
        """Return why the pool is taken for dead; None where it is not."""
        try:
            with open(self.given_up_file, errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def append_journal(self, descriptor: int, letter: str, *numbers: int) -> None:
        """Add one line to the journal.

        :raises OSError: if the disk is full.
        """
        line = f"{letter} {' '.join(map(str, numbers))}\n".encode()
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.journal_file)

    def open_journal(self) -> int:
        """Return a file descriptor that appends to the journal."""
        return os.open(self.journal_file, _APPEND, 0o666)

    def read_journal(self, elements: int) -> tuple[list[str], dict[int, int]]:
        """Return the last letter of each element, and the processes that were started.

        A line that was cut off by a full disk, or names an element that there is not, is passed over.

        :param elements: how many elements the array has; those not in the journal have the letter Q.
        """
        letters = ["Q"] * elements
        leaders: dict[int, int] = {}
        for line in _read_lines(self.journal_file):
            words = line.split()
            if len(words) not in (2, 4) or not all(word.isdigit() for word in words[1:]):
                continue
            element = int(words[1])
            if element >= elements or words[0] not in (b"S", b"E", b"C"):
                continue
            if len(words) == 4:
                leaders[int(words[2])] = int(words[3])
            letters[element] = "R" if words[0] == b"S" else words[0].decode()
        return letters, leaders

    def append_cancel(self, elements: Sequence[int] | None) -> None:
        """Add a request to cancel elements; None: all.

        :raises OSError: if the disk is full.
        """
        # Behind what another who asked could not end.
        line = f"\n{json.dumps(None if elements is None else list(elements))}\n".encode()
        descriptor = os.open(self.cancel_file, _APPEND, 0o666)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.cancel_file)
        finally:
            os.close(descriptor)

    def read_cancels(self, elements: int) -> set[int]:
        """Return all elements whose cancellation was requested so far. What is no request is passed over."""
        wanted: set[int] = set()
        for line in _read_lines(self.cancel_file):
            try:
                request = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if request is None:
                return set(range(elements))
            if isinstance(request, list):
                wanted.update(element for element in request if isinstance(element, int))
        return wanted


def _read_lines(path: str) -> list[bytes]:
    """Return the whole lines of a file, none where it is not there; the last one may be cut off by a full disk."""
    try:
        with open(path, "rb") as file:
            return file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _touch(path: str) -> float:
    """Let the file server write its time to a file, which is made where it is not there, and return that."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
    os.utime(path)
    return os.stat(path).st_mtime  # noqa: PTH116


def _read_time(path: str) -> float:
    """Return when a file was touched last; that is never for one that is not there."""
    try:
        # Opened, since a network file system answers from memory else.
        with open(path, "rb") as file:
            return os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return -math.inf


def is_of_this_boot(identity: Mapping[str, Any]) -> bool:
    """Return whether the machine runs since the pool was started. One that does not say so is no other either."""
    boot = read_boot()
    return bool(boot) and identity.get("boot") == boot


def is_here(identity: Mapping[str, Any]) -> bool:
    """Return whether a lock says something here about the pool.

    Locks are the kernel's, and not every network file system tells them to other machines. No host name is looked at:
    containers on several machines may all have the same, and one that was started again has another.

    Pools of earlier versions have no beat: of them the host name is all that is known.

    :raises PoolError: if such a pool belongs to another machine.
    """
    if is_of_this_boot(identity):
        return True
    if not isinstance(identity.get("beat"), (int, float)):
        if identity.get("host") == os.uname().nodename:
            return True
        raise PoolError(f"pool {identity['id']} of host {identity.get('host')} has no beat; ask it there")
    return False
