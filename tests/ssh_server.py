"""A real ssh server on loopback, with keys and a configuration of its own; whoever runs the tests may log in."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from tests.waiting import LIMIT

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
PidFile none
AuthorizedKeysFile {folder}/user.pub
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
LogLevel VERBOSE
{more}
"""


@dataclass
class SshServer:
    """A started server.

    :param folder: keys and log.
    """

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def user(self) -> str:
        """Who may log in."""
        return getpass.getuser()

    @property
    def key_file(self) -> Path:
        """The private key that opens it."""
        return self.folder / "user"

    @property
    def host_key(self) -> str:
        """Its own public key."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def read_host_key(self) -> paramiko.PKey:
        """Give its own public key, as paramiko has it."""
        kind, data = self.host_key.split()
        return paramiko.PKey.from_type_string(kind, b64decode(data))

    def connect(self, key_file: str | None = None) -> paramiko.SSHClient:
        """Give a new connection that has checked the server's key.

        :param key_file: a key other than the one that opens it.
        """
        client = paramiko.SSHClient()
        client.get_host_keys().add(f"[127.0.0.1]:{self.port}", "ssh-ed25519", self.read_host_key())
        client.connect(
            "127.0.0.1",
            port=self.port,
            username=self.user,
            key_filename=key_file or str(self.key_file),
            look_for_keys=False,
            allow_agent=False,
        )
        return client

    def list_sessions(self) -> list[int]:
        """Give the processes that serve a connection."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(word) for word in children.read_text().split()]

    def break_connections(self) -> None:
        """Kill what serves the connections, as a reboot of the host would."""
        for pid in self.list_sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def count_logins(self) -> int:
        """Give how often somebody has logged in."""
        return (self.folder / "log").read_text().count("Accepted publickey")


@contextlib.contextmanager
def start_ssh_server(folder: Path, more: str = "") -> Iterator[SshServer]:
    """Start a server, and end it at the end. Where the machine has none, the test that wants it is left out.

    :param more: lines for its configuration.
    """
    if SSHD is None:
        pytest.skip("no sshd on this machine (Debian package openssh-server)")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        if not (folder / name).exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(_CONFIG.format(folder=folder, port=port, more=more))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it for its privilege separation
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(folder / "log")])
    server = SshServer(folder, port, process)
    try:
        _wait_for_port(server)
        yield server
    finally:
        server.break_connections()
        process.terminate()
        process.wait()


def _wait_for_port(server: SshServer) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        except OSError:
            assert server.process is None or server.process.poll() is None, (server.folder / "log").read_text()
            assert time.monotonic() < deadline, "the ssh server does not listen"
            time.sleep(0.05)
