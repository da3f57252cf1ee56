"""Keep what a submission needs on a host that does not see the work folder, and bring back what its jobs leave.

Both sides have the same tree below their work folders. Up go the job app, the job files, the array's record and the
local databases of the chain, nothing of Airflow. Back come the exit records with the outputs and logs of their subjobs:
the record last, so that whoever finds it here finds all it speaks of. So everything that judges subjobs reads the same
files as on a shared file system. Input data does not travel: jobs open it by the paths of the definition.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import re
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from airflow_provider_caf.batch.evidence import ExitRecord
from airflow_provider_caf.batch.polling import decide_over
from airflow_provider_caf.batch.spec import ArraySpec
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import MOUNT_ADVICE, InputError, PollError, TransportError, explain_os_error
from airflow_provider_caf.core.file_names import STDERR_FILE, STDOUT_FILE, name_exit_record, name_job_file, name_subjob
from airflow_provider_caf.core.files import PRIVATE
from airflow_provider_caf.jobs.exit_records import StatusFolder
from airflow_provider_caf.jobs.remote import rebase_array

LARGEST_LOG = 1_000_000
"""Bytes of a log that come back: its end, where errors stand."""

_LARGEST_RECORD = 1_000_000
_RECORD = re.compile(r"\d{5,9}\.[0-9_r]{1,30}\.json", re.ASCII)
_ATTEMPT = re.compile(r"attempt_[0-9_r]{1,30}", re.ASCII)
_LOGS = (STDOUT_FILE, STDERR_FILE)
_ELSEWHERE = "elsewhere"

_T = TypeVar("_T")


class Files(Protocol):
    """The files of a host, see `transport.sftp.RemoteFiles`."""

    def list(self, folder: str) -> frozenset[str]:
        """Return the names in a folder."""

    def measure(self, path: str) -> int | None:
        """Return the size of a regular file, or None."""

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Replace a file's content in one step."""

    def upload(self, source: Path, path: str) -> None:
        """Copy a file there, unless it is there."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file from there."""

    def read_tail(self, path: str, most: int) -> bytes:
        """Return the last bytes of a file."""

    def make_folder(self, folder: str) -> None:
        """Make a folder and those above it."""


class FileHost(Protocol):
    """A host whose files can be reached, see `transport.ssh.SshTransport`."""

    def use_files(self, action: Callable[[Any], _T]) -> _T:
        """Do something with the files; it may be done twice."""


class Mirror:
    """The same tree here and on the host.

    :param host: reaches the other side.
    :param local_root: the work folder here.
    :param remote_root: the work folder there.
    """

    def __init__(self, host: FileHost, *, local_root: Path, remote_root: str) -> None:
        self._host = host
        self._local_root = str(local_root)
        self._remote_root = remote_root.rstrip("/")

    def find_remote(self, path: str) -> str:
        """Return the path there of a file here. What lies outside the work folder has a place of its own."""
        if path == self._local_root or path.startswith(f"{self._local_root}/"):
            return self._remote_root + path[len(self._local_root) :]
        digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        return f"{self._remote_root}/{_ELSEWHERE}/{digest}/{posixpath.basename(path)}"

    def make_folder(self, folder: str) -> None:
        """Make the counterpart of a folder.

        :raises TransportError: if the host refuses.
        """
        self._host.use_files(lambda files: files.make_folder(self.find_remote(folder)))

    def upload_array(self, array: ArraySpec) -> None:
        """Bring there what an array needs: its record in the host's paths, the job files, the job app.

        :raises TransportError: if the host refuses.
        """
        self._host.use_files(lambda files: self._upload_array(files, array))

    def upload_folder(self, folder: Path) -> None:
        """Bring the files of a folder there, such as those of a local database.

        :raises TransportError: if the host refuses.
        """
        self._host.use_files(lambda files: self._upload_folder(files, folder))

    def fetch_records(self, status_folder: Path) -> None:
        """Bring back the records that are not here yet, each after its outputs and logs.

        :raises TransportError: if the host refuses.
        """
        self._host.use_files(lambda files: self._fetch_records(files, status_folder))

    def fetch_logs(self, array: ArraySpec, subjobs: Collection[int]) -> None:
        """Bring back the logs of subjobs that left no record, and of their elements, which say more of such a death.

        :raises TransportError: if the host refuses.
        """
        self._host.use_files(lambda files: self._fetch_logs(files, array, subjobs))

    def rebase(self, array: ArraySpec) -> ArraySpec:
        """Return an array as the host sees it."""
        return rebase_array(array, self.find_remote)

    def _upload_array(self, files: Files, array: ArraySpec) -> None:
        remote = self.rebase(array)
        files.make_folder(remote.output_folder)
        files.make_folder(remote.status_folder)
        files.write(remote.app, Path(array.app).read_bytes())
        for subjob in array.subjobs:
            name = name_job_file(subjob)
            files.write(f"{remote.input_folder}/{name}", (Path(array.input_folder) / name).read_bytes())
        files.write(remote.array_file, json.dumps(remote.to_json(), indent=1).encode())

    def _upload_folder(self, files: Files, folder: Path) -> None:
        # The text last: it names the others.
        for path in sorted(folder.iterdir(), key=lambda path: (path.suffix == ".txt", path.name)):
            if not path.is_file():
                continue
            remote = f"{self.find_remote(str(folder))}/{path.name}"
            if path.suffix == ".txt":
                files.write(remote, path.read_bytes())
            else:
                files.upload(path, remote)

    def _fetch_records(self, files: Files, status_folder: Path) -> None:
        there = {name for name in files.list(self.find_remote(str(status_folder))) if _RECORD.fullmatch(name)}
        new = sorted(there - set(_list(status_folder)))
        if not new:
            return
        status_folder.mkdir(parents=True, exist_ok=True)
        # Beside the status folder: what a record says of its work folder follows from where it lies.
        with tempfile.TemporaryDirectory(prefix=".incoming_", dir=status_folder.parent) as name:
            incoming = Path(name)
            for file in new:
                path = self.find_remote(str(status_folder / file))
                if (size := files.measure(path)) is not None and size <= _LARGEST_RECORD:
                    files.download(path, incoming / file)
            for record in StatusFolder(incoming).scan():
                if not self._fetch_work(files, record):
                    # Over there, too, a file system may show a file late. The next look brings both.
                    (incoming / name_exit_record(record.subjob, record.label)).unlink()
            for whole in sorted(incoming.iterdir()):
                whole.replace(status_folder / whole.name)

    def _fetch_work(self, files: Files, record: ExitRecord) -> bool:
        """Bring what a record speaks of, and tell whether all of it was there."""
        remote = self.find_remote(str(record.folder))
        outputs = record.outputs if record.says_success else {}
        for name, size in outputs.items():
            if files.measure(f"{remote}/{name}") != size:
                return False
            files.download(f"{remote}/{name}", record.folder / name)
        for name in _LOGS:
            if name not in outputs:
                self._fetch_log(files, f"{remote}/{name}", record.folder / name)
        return True

    def _fetch_logs(self, files: Files, array: ArraySpec, subjobs: Collection[int]) -> None:
        for index, element in enumerate(array.elements):
            silent = set(element).intersection(subjobs)
            if silent:
                log = array.element_log(index)
                self._fetch_log(files, self.find_remote(log), Path(log))
            for subjob in silent:
                folder = Path(array.output_folder) / name_subjob(subjob)
                for attempt in sorted(filter(_ATTEMPT.fullmatch, files.list(self.find_remote(str(folder))))):
                    for name in _LOGS:
                        target = folder / attempt / name
                        self._fetch_log(files, self.find_remote(str(target)), target)

    def _fetch_log(self, files: Files, remote: str, target: Path) -> None:
        text = files.read_tail(remote, LARGEST_LOG)
        if text:
            target.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(target, text, durable=False, mode=PRIVATE)


class MirroredStatusFolder(StatusFolder):
    """The exit records of subjobs that run on the other side: new ones are brought here before each look.

    :param deadline: seconds for which that may fail.
    :param clock: monotonic seconds.
    """

    def __init__(
        self, path: Path, mirror: Mirror, *, deadline: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(path)
        self._mirror = mirror
        self._deadline = deadline
        self._clock = clock
        self._failing_since: float | None = None

    def scan(self) -> tuple[ExitRecord, ...]:
        """Bring the new records here, and return all. See `StatusFolder.scan`.

        Where they cannot be brought, those that are here are given, and `problem` says why.

        :raises PollError: if it has failed for too long.
        """
        try:
            self._mirror.fetch_records(self.path)
        except TransportError as error:
            self.problem = error.what
            now = self._clock()
            if self._failing_since is None:
                self._failing_since = now
            if decide_over(self._failing_since, now, self._deadline):
                raise PollError(
                    f"The exit records could not be fetched for {self._deadline:g} s: {error.what}", hint=error.hint
                ) from error
        else:
            self.problem = self._failing_since = None
        return super().scan()


def _list(folder: Path) -> list[str]:
    with explain_os_error(InputError, f"The status folder {folder} could not be read", MOUNT_ADVICE):
        try:
            return os.listdir(folder)  # noqa: PTH208 - names are what is asked for
        except FileNotFoundError:
            return []
