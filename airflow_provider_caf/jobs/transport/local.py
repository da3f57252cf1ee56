"""Run commands on this machine."""

from __future__ import annotations

import platform
import shlex
import tempfile
from typing import IO

from airflow_provider_caf.batch.spec import Command, CommandResult, TextFile
from airflow_provider_caf.core.errors import CommandMissing, TransportError, TransportTimeout
from airflow_provider_caf.core.files import write_text
from airflow_provider_caf.core.processes import FreeProcess, TiedProcess

_LONGEST_SHOWN = 300


class LocalTransport:
    """Run commands as processes of this machine."""

    @property
    def host(self) -> str:
        """The name of this machine."""
        return platform.node() or "localhost"

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        """Run a command to its end, see `Transport.run`.

        Its output goes to files and not to pipes: some commands leave a process behind that keeps a pipe open
        (`qsub` does, for a minute), and a reader of the pipe would wait for that one too.
        """
        with (
            tempfile.TemporaryFile() as stdin,
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
        ):
            stdin.write((command.stdin or "").encode("utf-8", "surrogateescape"))
            stdin.seek(0)
            with self._start(command, stdin, stdout, stderr, hold) as process:
                try:
                    exit_code = process.wait(command.timeout)
                except TimeoutError as error:
                    process.end()
                    printed = _read(stderr).strip()[-500:]
                    raise TransportTimeout(
                        f"{show_command(command)} on {self.host} gave no answer in {command.timeout:g} s and was "
                        "ended." + (f" It said: {printed}" if printed else ""),
                        hint="Is the server of the batch system up? The command is tried again.",
                    ) from error
                except BaseException:
                    process.end()
                    raise
            return CommandResult(argv=command.argv, exit_code=exit_code, stdout=_read(stdout), stderr=_read(stderr))

    def write_file(self, file: TextFile) -> None:
        """Put a text file on this machine, see `Transport.write_file`."""
        write_text(file.path, file.text, mode=file.mode)

    def _start(
        self, command: Command, stdin: IO[bytes], stdout: IO[bytes], stderr: IO[bytes], hold: int | None
    ) -> FreeProcess:
        start = TiedProcess if command.is_tied else FreeProcess
        try:
            return start(
                command.argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                variables=command.environment,
                pass_fds=() if hold is None else (hold,),
            )
        except FileNotFoundError as error:
            raise CommandMissing(
                f"There is no command {command.argv[0]!r} on {self.host}.",
                hint="Is the batch system installed there, and its folder on the PATH of the Airflow worker?",
            ) from error
        except (OSError, ValueError) as error:
            raise TransportError(
                f"{show_command(command)} could not be started on {self.host}: {error}.",
                hint="Run it by hand on that machine.",
            ) from error


def show_command(command: Command) -> str:
    """Return a command's words for a message, cut where they are many."""
    text = shlex.join(command.argv)
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")
