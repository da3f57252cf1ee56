"""The files of another host, over sftp. Every file gets its name only when it is whole."""

from __future__ import annotations

import contextlib
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_caf.core.temporary import build_temporary_name

if TYPE_CHECKING:
    import paramiko


class RemoteFiles:
    """Read and write files of another host. Not for several threads at once.

    Every method raises an `OSError` where the host refuses, and one of paramiko's errors where the connection breaks.
    """

    def __init__(self, client: paramiko.SFTPClient) -> None:
        self._client = client
        self._made: set[str] = set()

    @property
    def is_closed(self) -> bool:
        """Whether it cannot be used any more."""
        channel = self._client.get_channel()
        return channel is None or channel.closed

    def list(self, folder: str) -> frozenset[str]:
        """Return the names in a folder, none where there is no folder."""
        try:
            return frozenset(self._client.listdir(folder))
        except FileNotFoundError:
            return frozenset()

    def measure(self, path: str) -> int | None:
        """Return the size of a regular file in bytes, or None where there is none."""
        try:
            state = self._client.stat(path)
        except FileNotFoundError:
            return None
        return state.st_size if state.st_mode is not None and stat.S_ISREG(state.st_mode) else None

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Replace a file's content in one step; its folders are made."""
        with self._replace(path) as temporary, self._client.open(temporary, "wx") as file:
            # Nobody else may read it: most of what we write has the variables or settings of jobs in it.
            file.chmod(0o700 if executable else 0o600)
            file.set_pipelined(True)
            file.write(data)

    def upload(self, source: Path, path: str) -> None:
        """Copy a file there, unless one of the same size and time is there already."""
        state = source.stat()
        with contextlib.suppress(FileNotFoundError):
            there = self._client.stat(path)
            if (there.st_size, there.st_mtime) == (state.st_size, int(state.st_mtime)):
                return
        with self._replace(path) as temporary:
            self._client.put(str(source), temporary)
            self._client.utime(temporary, (int(state.st_mtime), int(state.st_mtime)))

    @contextlib.contextmanager
    def _replace(self, path: str) -> Iterator[str]:
        """Yield the name under which a file is written before it gets its own; its folders are made."""
        self.make_folder(posixpath.dirname(path))
        temporary = _name_temporary(path)
        try:
            yield temporary
            self._client.posix_rename(temporary, path)
        except OSError:
            self._remove(temporary)
            raise

    def download(self, path: str, target: Path) -> None:
        """Copy a file from there; the folders here are made."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(build_temporary_name())
        try:
            self._client.get(path, str(temporary))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def read_tail(self, path: str, most: int) -> bytes:
        """Return the last bytes of a file, none where there is none."""
        size = self.measure(path)
        if not size:
            return b""
        with self._client.open(path, "rb") as file:
            file.seek(max(0, size - most))
            return bytes(file.read(most))

    def make_folder(self, folder: str) -> None:
        """Make a folder and those above it."""
        if folder in self._made:
            return
        try:
            self._client.stat(folder)
        except FileNotFoundError:
            parent = posixpath.dirname(folder)
            if parent != folder:
                self.make_folder(parent)
            # The server says no more than "failure" where another process was quicker.
            with contextlib.suppress(OSError):
                self._client.mkdir(folder)
            self._client.stat(folder)
        self._made.add(folder)

    def _remove(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self._client.remove(path)


def _name_temporary(path: str) -> str:
    return posixpath.join(posixpath.dirname(path), build_temporary_name())
