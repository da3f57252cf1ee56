"""Submit arrays to a batch system, ask after them and end them, over a transport.

A submission is safe against a kill at any moment, and is never made twice. In the array's folder

* `array.json` is written before the submit command: the intent. Whoever finds it without `submitted.json`
  looks the array's name up first, and submits only when the system says that there is none. A system that does not
  remember what is over cannot say so: then what the jobs have left in their folders decides, and where there is
  nothing, nobody submits until a person has looked. A refusal withdraws the intent;
* `submission.json` is written before that: the command and the files, as they are submitted;
* `submitted.json` holds the ids;
* `submit.lock` is held during all that, and by the submit command itself: when our process is killed, a
  second one waits until the orphaned command has come to its end, and only then looks the name up. No lock of ours
  travels to another host: there the submit command and the look-up take `remote.lock`, one after the other.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.batch.polling import Patience
from airflow_provider_caf.batch.spec import ArraySpec, Command, SubmittedArray, select_elements
from airflow_provider_caf.batch.systems.base import Done, System, find_prober
from airflow_provider_caf.core.errors import (
    MOUNT_ADVICE,
    CafError,
    CheckpointError,
    CommandMissing,
    InputError,
    PollError,
    SubmitError,
    SubmitRefused,
    SubmitUnknown,
    TransportError,
    explain_os_error,
)
from airflow_provider_caf.core.file_names import ARRAY_FILE, name_attempt, name_subjob
from airflow_provider_caf.jobs.arrays import (
    read_intent,
    read_submitted,
    write_intent,
    write_submission,
    write_submitted,
)
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.mirror import Mirror, MirroredStatusFolder
from airflow_provider_caf.jobs.notes import note_cancelled
from airflow_provider_caf.jobs.poll import Poller, Snapshot
from airflow_provider_caf.jobs.remote import RemoteSystem
from airflow_provider_caf.jobs.transport.base import Transport
from airflow_provider_caf.jobs.transport.local import LocalTransport

LOCK_FILE = "submit.lock"
REMOTE_LOCK_FILE = "remote.lock"
_LOCK_LIMIT = 900.0
"""Seconds to wait for another process that submits the same array; longer than any submit command takes."""
_LOCK_INTERVAL = 0.05

_log = logging.getLogger(__name__)


class BatchClient:
    """Work with one batch system on one host.

    `poll` keeps what it has seen, so one client should serve many polls. All methods may be called from any
    thread; polls wait for one another.

    :param transport: reaches the submit host; None: it is this machine.
    :param patience: how often to look and how long to wait.
    :param mirror: carries the files where the host does not see ours.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        system: System,
        transport: Transport | None = None,
        *,
        patience: Patience | None = None,
        mirror: Mirror | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.system = system if mirror is None else RemoteSystem(system, mirror.find_remote)
        self.transport = transport or LocalTransport()
        self.patience = patience or Patience()
        self.mirror = mirror
        self.clock = clock
        self._prober = find_prober(system)
        self._poller = Poller(self.system, self.transport, self.patience, clock)
        self._mutex = threading.Lock()

    def submit(
        self, array: ArraySpec, *, superseded: Sequence[SubmittedArray] = (), over: Collection[int] = ()
    ) -> SubmittedArray:
        """Submit an array, once: however often and from wherever it is called, the ids are the same.

        :param superseded: earlier arrays whose copies of the same subjobs are ended first, so that what a
            dead pool or a lost node has left running does not go on beside the new ones.
        :param over: subjobs that share elements with those, and that nobody needs to go on.
        :raises SubmitRefused: if the system says that it does not take it.
        :raises SubmitError: if it is not known whether it was submitted, or if there are two of that name.
        :raises CheckpointError: if the folder belongs to another array.
        :raises DefinitionError: if the system cannot do what the resources ask for.
        """
        folder = Path(array.folder)
        _make_folder(folder)
        with _hold_lock(folder) as lock:
            submitted = self._find_submitted(array)
            if submitted is not None:
                return submitted
            self.cancel(superseded, {*array.subjobs, *over})
            array = self._probe(array)
            submission = self.system.build_submit(array)
            write_submission(folder, submission)
            write_intent(array)
            if self.mirror is not None:
                self.mirror.upload_array(array)
            for file in submission.files:
                self.transport.write_file(file)
            try:
                command = self._lock_remotely(array, submission.command)
                ids = self.system.parse_submit(array, self.transport.run(command, hold=lock))
            except CommandMissing as error:
                # Nothing has run, so there is nothing to look for.
                Path(array.array_file).unlink()
                raise SubmitError(f"{error.what} So nothing was submitted.", hint=error.hint) from error
            except (TransportError, SubmitError) as error:
                # A failed or timed-out submit command may have submitted all the same.
                ids = self._look_up_after(error, array)
            return write_submitted(array, ids)

    def open_status_folder(self, path: Path) -> StatusFolder:
        """Return the reader of the exit records of a collection, wherever its jobs run."""
        if self.mirror is None:
            return StatusFolder(path)
        return MirroredStatusFolder(path, self.mirror, deadline=self.patience.deadline)

    def recover(self, array: ArraySpec) -> SubmittedArray | None:
        """Find out whether an array whose intent was recorded was submitted, and record its ids then.

        :returns: None: it was not, and never will be by that intent.
        :raises SubmitError: if the system does not say.
        """
        with _hold_lock(Path(array.folder)):
            return self._find_submitted(array)

    def poll(self, arrays: Sequence[SubmittedArray]) -> Snapshot:
        """Ask once after all arrays: a query of each one would be too much for the batch system's server.

        A query that fails is noted in the snapshot; reading that raises once it has failed for too long.
        """
        with self._mutex:
            return self._poller.poll(arrays)

    def cancel(self, arrays: Sequence[SubmittedArray], subjobs: Collection[int] | None = None) -> None:
        """End subjobs by recorded ids, never by a pattern of names, and note it. Those that are over are no error.

        All arrays are tried, also when one of them fails.

        :param subjobs: only these; None: all.
        :raises CafError: the first failure.
        """
        failures: list[CafError] = []
        for array in arrays:
            elements = select_elements(array.array, None if subjobs is None else tuple(subjobs))
            # One without ids is over.
            if elements and array.ids:
                failures += self._cancel_elements(array, elements)
        if failures:
            raise failures[0]

    def release(self, array: SubmittedArray, subjobs: Collection[int]) -> None:
        """Let held subjobs go on. Those that are not held any more are no error.

        :raises CafError: the first failure; all commands are tried.
        """
        commands = self.system.build_release(array, select_elements(array.array, tuple(subjobs)))
        failures = self._run_all(array, commands, "released")
        if failures:
            raise failures[0]

    def _cancel_elements(self, array: SubmittedArray, elements: Sequence[int]) -> list[CafError]:
        """End some elements and return what went wrong."""
        failures: list[CafError] = []
        try:
            # Before the command: a note without effect does no harm, a cancelled job without note is LOST.
            note_cancelled(array, [subjob for index in elements for subjob in array.array.elements[index]])
        except CafError as error:
            failures.append(error)
        everything = len(elements) == len(array.array.elements)
        commands = self.system.build_cancel(array, None if everything else elements)
        return failures + self._run_all(array, commands, "cancelled")

    def _run_all(self, array: SubmittedArray, commands: Iterable[Command], done: Done) -> list[CafError]:
        """Run all commands, also when one of them fails, and return what went wrong."""
        failures: list[CafError] = []
        for command in commands:
            try:
                self.system.parse_action(array, self.transport.run(command), done)
            except (TransportError, PollError) as error:
                failures.append(error)
        return failures

    def _probe(self, array: ArraySpec) -> ArraySpec:
        """Return the array with what only the site can tell."""
        command = None if self._prober is None else self._prober.build_probe(array)
        if self._prober is None or command is None:
            return array
        return self._prober.parse_probe(array, self.transport.run(command))

    def _find_submitted(self, array: ArraySpec) -> SubmittedArray | None:
        """Return an array by its record, or by what the system knows by its name."""
        intent = read_intent(Path(array.folder))
        if intent is None:
            return None
        if (intent.name, intent.elements) != (array.name, array.elements):
            raise CheckpointError(
                f"{array.folder} belongs to array {intent.name} with {len(intent.subjobs)} subjobs, not to "
                f"{array.name} with {len(array.subjobs)}.",
                hint="Give each submission a folder of its own, or remove this one when nothing in it runs.",
            )
        submitted = read_submitted(Path(array.folder))
        if submitted is not None:
            return submitted
        found = self._look_up(intent)
        return None if found is None else write_submitted(intent, found)

    def _look_up(self, array: ArraySpec) -> tuple[str, ...] | None:
        """Return the ids of the one array of that name, none if it is over and forgotten, or None: there was none."""
        try:
            result = self.transport.run(self._lock_remotely(array, self.system.build_lookup(array)))
        except TransportError as error:
            raise SubmitError(
                f"It is not known whether array {array.name} was submitted: {error.what}",
                hint="Run the task again; it looks first, and submits only if there is none.",
            ) from error
        try:
            found = self.system.parse_lookup(array, result)
        except SubmitUnknown as error:
            if self._has_left_traces(array):
                return ()
            if _measure_age(Path(array.folder)) < error.remembers:
                return None
            raise
        if len(found) > 1:
            raise SubmitError(
                f"There are {len(found)} arrays named {array.name} on {self.transport.host}: "
                f"{', '.join(' '.join(ids) for ids in found)}.",
                hint="Remove all but one by hand, or all of them, and run the task again.",
            )
        return found[0] if found else None

    def _has_left_traces(self, array: ArraySpec) -> bool:
        """Return whether anything of an array has begun: it has a record, a work folder, or a log."""
        subjobs = set(array.subjobs)
        records = self.open_status_folder(Path(array.status_folder)).scan()
        if any(end.attempt == array.attempt and end.subjob in subjobs for end in records):
            return True
        output = Path(array.output_folder)
        folders = (output / name_subjob(subjob) / name_attempt(array.attempt) for subjob in array.subjobs)
        logs = (Path(array.element_log(index)) for index in range(len(array.elements)))
        return any(path.exists() for path in (*folders, *logs))

    def _lock_remotely(self, array: ArraySpec, command: Command) -> Command:
        folder = array.folder
        if self.mirror is not None:
            # A submission that was cut off early has left no folder there, and the lock has to lie somewhere.
            self.mirror.make_folder(folder)
            folder = self.mirror.find_remote(folder)
        return replace(command, lock=f"{folder}/{REMOTE_LOCK_FILE}")

    def _look_up_after(self, error: CafError, array: ArraySpec) -> tuple[str, ...]:
        """Return the ids of an array whose submit command has failed, or raise what it failed with."""
        refused = isinstance(error, SubmitRefused)
        try:
            ids = self._look_up(array)
        except SubmitError as second:
            if not (refused and isinstance(second, SubmitUnknown)):
                raise SubmitError(f"{error.what}\nAnd then: {second.what}", hint=second.hint) from error
            # It said no, and a moment later there is nothing in the queue and no trace of it.
            ids = None
        if ids is None:
            if refused:
                Path(array.array_file).unlink(missing_ok=True)
            raise (SubmitRefused if refused else SubmitError)(error.what, hint=error.hint) from error
        _log.warning("The submit command failed, but array %s is there: %s", array.name, error.what)
        return ids


def _measure_age(folder: Path) -> float:
    """Return the seconds since an intent was recorded, by the clock of its file system alone."""
    lock = folder / LOCK_FILE
    lock.touch()
    return lock.stat().st_mtime - (folder / ARRAY_FILE).stat().st_mtime


def _make_folder(folder: Path) -> None:
    with explain_os_error(SubmitError, f"The folder {folder} could not be made", MOUNT_ADVICE):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _hold_lock(folder: Path) -> Iterator[int]:
    """Hold the lock of a submission, and yield its file descriptor."""
    path = folder / LOCK_FILE
    with explain_os_error(InputError, f"{path} could not be opened", MOUNT_ADVICE):
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _take_lock(lock, path)
        yield lock
    finally:
        os.close(lock)


def _take_lock(lock: int, path: Path) -> None:
    deadline = time.monotonic() + _LOCK_LIMIT
    is_logged = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise SubmitError(
                    f"Somebody has been submitting from {path.parent} for {_LOCK_LIMIT:g} s.",
                    hint=f"Find out who holds {path} (fuser), and end that submit command.",
                ) from None
            if not is_logged:
                _log.info("Waiting for another submission from %s", path.parent)
                is_logged = True
            time.sleep(_LOCK_INTERVAL)
        except OSError as error:
            raise SubmitError(
                f"The file system of {path} cannot lock files: {error.strerror or error}.",
                hint="Mount the work folder with file locking, or choose another one.",
            ) from error
        else:
            return
