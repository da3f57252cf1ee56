"""Run commands on another host over ssh: one connection for all commands of a process.

Nothing of Airflow is in here: whoever opens the transport says how to connect. Paramiko is imported when one is made.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from airflow_provider_caf.batch.spec import Command, CommandResult, TextFile
from airflow_provider_caf.core.errors import CommandMissing, TransportError, TransportTimeout
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.jobs.transport.local import show_command
from airflow_provider_caf.jobs.transport.remote_script import (
    ASKS,
    LARGEST_OUTPUT,
    LOCK_LIMIT,
    PROBLEMS,
    START,
    WANTED,
    Frame,
    build_remote_script,
    parse_frame,
)
from airflow_provider_caf.jobs.transport.sftp import RemoteFiles

if TYPE_CHECKING:
    import paramiko

_T = TypeVar("_T")
Connect = Callable[[], Any]
"""Return a new `paramiko.SSHClient` that has checked the host's key."""

_OPEN_LIMIT = 60.0
"""Seconds for the host to open a session, and to begin a command: profiles on cold network file systems are slow."""
_MOST_AT_ONCE = 8
"""Sessions of one connection at once. OpenSSH allows 10 (MaxSessions), and one more moves files."""
_LONGEST_LINE = 4096
_LONGEST_NOISE = 1_000_000
"""Bytes that a login shell may print before our answer begins."""

_log = logging.getLogger(__name__)


class SshTransport:
    """Run commands on another host. All methods may be called from any thread.

    :param connect: opens the connection, and opens it again after it broke.
    :param host: the host's name, for messages.
    :param remote_work_dir: the folder there that mirrors our work folder; None: that host sees ours.
    :raises ImportError: if paramiko is not installed.
    """

    def __init__(self, connect: Connect, *, host: str, remote_work_dir: str | None = None) -> None:
        import paramiko

        # Raised where a connection cannot be made, or breaks. `TimeoutError` is an `OSError`.
        self._breaks: tuple[type[Exception], ...] = (paramiko.SSHException, OSError, EOFError)
        self.remote_work_dir = remote_work_dir
        self._connect = connect
        self._host = host
        self._client: paramiko.SSHClient | None = None
        self._files: RemoteFiles | None = None
        self._mutex = threading.Lock()
        self._files_mutex = threading.Lock()
        self._sessions = threading.BoundedSemaphore(_MOST_AT_ONCE)

    @property
    def host(self) -> str:
        """The host's name."""
        return self._host

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        """Run a command to its end, see `Transport.run`.

        :param hold: stays here, no file descriptor travels; `command.lock` is what holds over there.
        """
        mark = f"caf-{secrets.token_hex(8)}"
        script = build_remote_script(command, mark).encode("utf-8", "surrogateescape")
        with self._sessions, self._open_session() as channel:
            conversation = _Conversation(self._host, channel, command, mark)
            try:
                frame = conversation.start(script)
                stdout, stderr = conversation.read(frame.out), conversation.read(frame.err)
            except self._breaks as error:
                raise TransportError(
                    f"The connection to {self._host} broke while {show_command(command)} ran: {_describe(error)}.",
                    hint="Whether it has done its work is not known; that is found out before it is tried again.",
                ) from error
        if frame.how == "late":
            printed = stderr.strip()[-500:]
            raise TransportTimeout(
                f"{show_command(command)} on {self._host} gave no answer in {command.timeout:g} s and was ended."
                + (f" It said: {printed}" if printed else ""),
                hint="Is the server of the batch system up? The command is tried again.",
            )
        return CommandResult(argv=command.argv, exit_code=frame.exit_code, stdout=stdout, stderr=stderr)

    def write_file(self, file: TextFile) -> None:
        """Put a text file on the host, see `Transport.write_file`. A shared file system carries it by itself."""
        if self.remote_work_dir is None:
            write_text(file.path, file.text, mode=file.mode)
        else:
            data = file.text.encode("utf-8", "surrogateescape")
            self.use_files(lambda files: files.write(file.path, data, executable=file.executable))

    def use_files(self, action: Callable[[RemoteFiles], _T]) -> _T:
        """Do something with the files of the host. It is done a second time where the connection broke meanwhile.

        :raises TransportError: if the host cannot be reached, or refuses.
        """
        with self._files_mutex:
            for is_last in (False, True):
                try:
                    files = self._open_files()
                    return action(files)
                except self._breaks as error:
                    was_open = self._files is not None and not self._files.is_closed
                    if is_last or was_open:
                        raise TransportError(
                            f"Files could not be moved from or to {self._host}: {_describe(error)}.",
                            hint="May the user of the SSH connection read and write remote_work_dir there, is there "
                            "space, and does the ssh server offer sftp?",
                        ) from error
        raise AssertionError("the loop returns or raises")

    def close(self) -> None:
        """Close the connection. The next command opens a new one."""
        with self._mutex:
            self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = self._files = None

    def _open_client(self) -> paramiko.SSHClient:
        with self._mutex:
            if self._client is None or not _is_alive(self._client):
                self._close()
                try:
                    self._client = self._connect()
                except self._breaks as error:
                    raise TransportError(
                        f"{self._host} could not be reached: {_describe(error)}.", hint=_advise(error)
                    ) from error
            return self._client

    def _open_files(self) -> RemoteFiles:
        from paramiko import SFTPClient

        client = self._open_client()
        if self._files is None or self._files.is_closed:
            self._files = None
            transport = client.get_transport()
            if transport is None:
                raise EOFError("the connection is closed")
            channel = transport.open_session(timeout=_OPEN_LIMIT)
            # Also for each answer later: a server that has gone silent must not hold a task for ever.
            channel.settimeout(_OPEN_LIMIT)
            channel.invoke_subsystem("sftp")
            self._files = RemoteFiles(SFTPClient(channel))
        return self._files

    @contextlib.contextmanager
    def _open_session(self) -> Iterator[paramiko.Channel]:
        """Open a session. Nothing has been sent yet, so a connection that proves dead is made anew."""
        for is_last in (False, True):
            client = self._open_client()
            try:
                transport = client.get_transport()
                if transport is None:
                    raise EOFError("the connection is closed")
                channel = transport.open_session(timeout=_OPEN_LIMIT)
                break
            except self._breaks as error:
                if is_last or _is_alive(client):
                    raise TransportError(
                        f"{self._host} opens no session: {_describe(error)}.",
                        hint="It may limit the sessions of one connection (MaxSessions). The command is tried again.",
                    ) from error
                _log.info("The connection to %s was dead (%s); connecting again", self._host, _describe(error))
        try:
            yield channel
        finally:
            channel.close()


class _Conversation:
    """The exchange of one session about one command."""

    def __init__(self, host: str, channel: paramiko.Channel, command: Command, mark: str) -> None:
        self._host = host
        self._channel = channel
        self._command = command
        self._mark = mark
        self._received = b""
        self._deadline = time.monotonic() + _OPEN_LIMIT

    def start(self, script: bytes) -> Frame:
        """Send the script, answer its question, and return what it says of the command's end.

        :raises TransportError: if the command was not started, or nothing was said.
        """
        self._channel.settimeout(_OPEN_LIMIT)
        self._channel.exec_command(START)
        self._channel.sendall(script)
        # The host ends the command itself; this is for one that has gone silent.
        self._deadline = time.monotonic() + _OPEN_LIMIT + self._command.timeout
        if self._command.lock is not None:
            self._deadline += LOCK_LIMIT
        frame = self._read_frame()
        if frame.how == ASKS:
            self._channel.sendall(f"{WANTED}\n".encode())
            frame = self._read_frame()
        if frame.how in PROBLEMS:
            what, hint = PROBLEMS[frame.how]
            raise (CommandMissing if frame.how == "missing" else TransportError)(
                what.format(
                    program=self._command.argv[0],
                    host=self._host,
                    lock=self._command.lock,
                    limit=LOCK_LIMIT,
                    largest=LARGEST_OUTPUT,
                ),
                hint=hint,
            )
        return frame

    def read(self, count: int) -> str:
        """Read so many bytes of the answer.

        :raises EOFError: if it ends before.
        """
        while len(self._received) < count:
            self._receive()
        data, self._received = self._received[:count], self._received[count:]
        return data.decode("utf-8", "replace")

    def _read_frame(self) -> Frame:
        noise = b""
        while len(noise) < _LONGEST_NOISE:
            line, newline, rest = self._received.partition(b"\n")
            if not newline:
                try:
                    self._receive()
                except EOFError:
                    if not self._channel.eof_received:
                        raise  # the host has not said that this is all: the connection broke
                    break
                continue
            self._received = rest
            # Whatever was printed without a line break before our word stands on the same line.
            frame = parse_frame(line[max(line.find(self._mark.encode()), 0) :].decode("ascii", "replace"), self._mark)
            if frame is not None:
                return frame
            noise += line + newline
        raise TransportError(
            f"{self._host} did not run {show_command(self._command)}: {self._read_complaint(noise)}",
            hint=f"Try: ssh to it as that user, and {START!r}.",
        )

    def _receive(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing was heard of it for too long")
        self._channel.settimeout(left)
        data = self._channel.recv(65536)
        if not data:
            raise EOFError("the answer ended before its end")
        self._received += data

    def _read_complaint(self, noise: bytes) -> str:
        complaint = b""
        # Standard error comes by a way of its own and may be a little later than the end of standard output.
        self._channel.settimeout(1.0)
        with contextlib.suppress(TimeoutError):
            while len(complaint) < _LONGEST_LINE and (data := self._channel.recv_stderr(_LONGEST_LINE)):
                complaint += data
        text = (complaint + noise + self._received).decode("utf-8", "replace").strip()
        return text[-500:] or "it printed nothing"


def _is_alive(client: paramiko.SSHClient | None) -> bool:
    transport = None if client is None else client.get_transport()
    return transport is not None and transport.is_active()


def _describe(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{text}".rstrip(".")


def _advise(error: BaseException) -> str:
    from paramiko import AuthenticationException, BadHostKeyException

    if isinstance(error, BadHostKeyException):
        return "Its key is not the one that is known. Find out why before you change the SSH connection's host_key."
    if isinstance(error, AuthenticationException):
        return "Check login, password and key in the SSH connection."
    if "not found in known_hosts" in str(error):
        return "Put the host's key into the SSH connection (host_key), or into known_hosts of the Airflow workers."
    return "Check host and port in the SSH connection, and that the machine is up. The command is tried again."
