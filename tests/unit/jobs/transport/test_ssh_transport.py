"""Commands on another host: over a real ssh server on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest

from airflow_provider_caf.batch.spec import Command, TextFile
from airflow_provider_caf.core.errors import TransportError
from airflow_provider_caf.jobs.transport.ssh import SshTransport
from tests.ssh_server import SshServer, start_ssh_server
from tests.waiting import is_running, wait_until


@pytest.fixture
def transport(server: SshServer) -> Iterator[SshTransport]:
    """Give a transport to the server."""
    opened = SshTransport(server.connect, host="farm")
    yield opened
    opened.close()


def test_what_a_command_answers(transport: SshTransport) -> None:
    script = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.stderr.write('err'); sys.exit(3)"
    words = ("a b", "$(touch /tmp/x)", "'", "", "!!", "\n", "`;|&<>")
    command = Command(argv=(sys.executable, "-c", script, *words), stdin="ä in", environment={"X": "1"})
    result = transport.run(command)
    assert result.stdout == f"{list(words)} ä in\n"
    assert (result.exit_code, result.stderr, result.argv) == (3, "err", command.argv)
    assert transport.host == "farm"


def test_odd_answers(transport: SshTransport) -> None:
    assert transport.run(Command(argv=("cat",))).stdout == ""
    assert transport.run(Command(argv=("printf", r"\377\n"))).stdout == "\ufffd\n"
    assert transport.run(Command(argv=("sh", "-c", "kill -9 $$"))).exit_code == -9
    large = "x" * 3_000_000
    assert transport.run(Command(argv=("cat",), stdin=large)).stdout == large
    many = tuple(f"{number}[1]" for number in range(10_000))
    assert transport.run(Command(argv=("echo", *many))).stdout.split() == [*many]


def test_all_commands_share_one_connection(transport: SshTransport, server: SshServer) -> None:
    before = server.count_logins()
    with ThreadPoolExecutor(20) as threads:
        commands = (Command(argv=("sh", "-c", f"sleep 0.1; echo {number}")) for number in range(20))
        answers = [result.stdout for result in threads.map(transport.run, commands)]
    assert answers == [f"{number}\n" for number in range(20)]
    assert server.count_logins() == before + 1


def test_a_dead_connection_is_opened_again(transport: SshTransport, server: SshServer) -> None:
    transport.run(Command(argv=("true",)))
    server.break_connections()
    wait_until(lambda: not server.list_sessions())
    assert transport.run(Command(argv=("echo", "again"))).stdout == "again\n"


def test_a_connection_that_breaks_meanwhile(transport: SshTransport, server: SshServer, tmp_path: Path) -> None:
    """It is not tried again by itself: nobody knows how far it came. It goes on there, and has its time limit."""
    pid = tmp_path / "pid"
    command = Command(argv=("sh", "-c", f"echo $$ > {pid}; exec sleep 600"), timeout=8.0)
    failures: list[str] = []

    def run() -> None:
        with pytest.raises(TransportError) as caught:
            transport.run(command)
        failures.append(str(caught.value))

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: pid.exists() and pid.read_text() != "")
    server.break_connections()
    thread.join()
    assert "The connection to farm broke while" in failures[0]
    assert "Whether it has done its work is not known" in failures[0]
    wait_until(lambda: not is_running(int(pid.read_text())))


def test_a_command_that_takes_too_long_leaves_nothing(transport: SshTransport, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo $$ > {pids}; sleep 600 & echo $! >> {pids}; echo 'still trying' >&2; wait"
    with pytest.raises(TransportError) as caught:
        transport.run(Command(argv=("sh", "-c", script), timeout=3.0))
    assert "on farm gave no answer in 3 s and was ended. It said: still trying" in str(caught.value)
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()))


def test_a_command_that_is_not_there(transport: SshTransport) -> None:
    with pytest.raises(TransportError, match=r"There is no command 'no-such-sbatch' on farm\.\n.*login shell"):
        transport.run(Command(argv=("no-such-sbatch", "x")))


def test_too_much_is_not_read(transport: SshTransport) -> None:
    with pytest.raises(TransportError, match=r"'sh' on farm printed more than 67108864 bytes"):
        transport.run(Command(argv=("sh", "-c", "head -c 70000000 /dev/zero")))


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def connect() -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.connect("127.0.0.1", port=port, username="x", look_for_keys=False, allow_agent=False)
        return client

    with pytest.raises(TransportError, match=r"farm could not be reached: .*\n.*Check host and port"):
        SshTransport(connect, host="farm").run(Command(argv=("true",)))


def test_a_host_with_another_key_is_refused(server: SshServer, tmp_path: Path) -> None:
    with start_ssh_server(tmp_path / "other") as other:

        def connect() -> paramiko.SSHClient:
            client = paramiko.SSHClient()
            name = f"[127.0.0.1]:{server.port}"
            client.get_host_keys().add(name, "ssh-ed25519", other.read_host_key())
            client.connect("127.0.0.1", port=server.port, username=server.user, key_filename=str(server.key_file))
            return client

        with pytest.raises(TransportError, match=r"farm could not be reached: .*\n.*not the one that is known"):
            SshTransport(connect, host="farm").run(Command(argv=("true",)))


def test_an_unknown_host_is_refused(server: SshServer) -> None:
    def connect() -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.connect("127.0.0.1", port=server.port, username=server.user, key_filename=str(server.key_file))
        return client

    with pytest.raises(TransportError, match=r"not found in known_hosts.\n.*host_key"):
        SshTransport(connect, host="farm").run(Command(argv=("true",)))


def test_a_user_who_may_not_log_in(server: SshServer, tmp_path: Path) -> None:
    with start_ssh_server(tmp_path / "other") as other:
        stranger = str(other.key_file)

        def connect() -> paramiko.SSHClient:
            return server.connect(key_file=stranger)

        with pytest.raises(TransportError, match=r"farm could not be reached: Authentication failed.*\n.*Check login"):
            SshTransport(connect, host="farm").run(Command(argv=("true",)))


@pytest.mark.parametrize(
    "line", ["ForceCommand echo 'This account is not available'; exit 1", "ForceCommand /bin/false"]
)
def test_a_host_that_runs_no_shell(tmp_path: Path, line: str) -> None:
    with start_ssh_server(tmp_path / "sshd", line) as server:
        transport = SshTransport(server.connect, host="farm")
        with pytest.raises(TransportError, match=r"farm did not run 'true': (This account is not|it printed nothing)"):
            transport.run(Command(argv=("true",)))
        transport.close()


def test_what_a_profile_prints_is_no_answer(tmp_path: Path) -> None:
    noise = "echo welcome; printf 'no line end'; echo bad >&2; exec /bin/sh -l -s"
    with start_ssh_server(tmp_path / "sshd", f"ForceCommand {noise}") as server:
        transport = SshTransport(server.connect, host="farm")
        assert transport.run(Command(argv=("echo", "x"))).stdout == "x\n"
        transport.close()


def test_sessions_are_not_more_than_the_host_allows(tmp_path: Path) -> None:
    with start_ssh_server(tmp_path / "sshd", "MaxSessions 0") as server:
        transport = SshTransport(server.connect, host="farm")
        with pytest.raises(TransportError, match=r"farm opens no session: .*\n.*MaxSessions"):
            transport.run(Command(argv=("true",)))
        transport.close()


def test_files_on_a_shared_file_system_are_written_here(transport: SshTransport, tmp_path: Path) -> None:
    transport.write_file(TextFile(path=str(tmp_path / "run.sh"), text="#!/bin/sh\n", executable=True))
    assert os.access(tmp_path / "run.sh", os.X_OK)


def test_files_on_another_file_system_go_by_sftp(server: SshServer, tmp_path: Path) -> None:
    transport = SshTransport(server.connect, host="farm", remote_work_dir=str(tmp_path))
    path = tmp_path / "it's new" / "run.sh"
    transport.write_file(TextFile(path=str(path), text="ä\udcff\n", executable=True))
    assert path.read_bytes() == b"\xc3\xa4\xff\n"
    assert os.access(path, os.X_OK)
    server.break_connections()
    wait_until(lambda: not server.list_sessions())
    transport.write_file(TextFile(path=str(path), text="new"))
    assert path.read_text() == "new"
    assert [each.name for each in path.parent.iterdir()] == ["run.sh"]
    (tmp_path / "file").touch()
    with pytest.raises(TransportError, match=r"Files could not be moved from or to farm: .*\n.*remote_work_dir"):
        transport.write_file(TextFile(path=str(tmp_path / "file" / "x"), text=""))
    transport.close()


@pytest.mark.parametrize("command", ["sleep 600", "/bin/false"])
def test_a_host_without_sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr("airflow_provider_caf.jobs.transport.ssh._OPEN_LIMIT", 3.0)
    with start_ssh_server(tmp_path / "sshd", f"ForceCommand {command}") as server:
        transport = SshTransport(server.connect, host="farm", remote_work_dir=str(tmp_path))
        with pytest.raises(TransportError, match=r"Files could not be moved from or to farm: .*\n.*offer sftp"):
            transport.write_file(TextFile(path=str(tmp_path / "x"), text=""))
        transport.close()


SUBMITTER = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from airflow_provider_caf.batch.spec import Command
    from airflow_provider_caf.jobs.transport.ssh import SshTransport
    from tests.ssh_server import SshServer

    folder, port, lock, *argv = sys.argv[1:]
    server = SshServer(Path(folder), int(port))
    transport = SshTransport(server.connect, host="farm")
    print("begin", flush=True)
    transport.run(Command(argv=tuple(argv), lock=lock))
    """
)


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2])
def test_a_command_of_a_killed_process_holds_its_lock_or_never_runs(
    transport: SshTransport, server: SshServer, tmp_path: Path, moment: float
) -> None:
    lock, done = str(tmp_path / "lock"), tmp_path / "done"
    words = (str(server.folder), str(server.port), lock, "sh", "-c", f"sleep 1; echo one >> {done}")
    process = subprocess.Popen([sys.executable, "-c", SUBMITTER, *words], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(moment)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    look = Command(argv=("sh", "-c", f"cat {done} 2>/dev/null; true"), lock=lock)
    first = transport.run(look).stdout
    time.sleep(1.5)
    # What was seen under the lock is the last word: nothing comes after.
    assert transport.run(look).stdout == first
