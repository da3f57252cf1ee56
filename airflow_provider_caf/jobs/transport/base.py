"""What a transport has to be able to do: run commands and put files on the submit host."""

from __future__ import annotations

from typing import Protocol

from airflow_provider_caf.batch.spec import Command, CommandResult, TextFile


class Transport(Protocol):
    """Reach the host on which the commands of a batch system run."""

    @property
    def host(self) -> str:
        """The host's name, for messages, and to tell submit hosts apart."""

    def run(self, command: Command, *, hold: int | None = None) -> CommandResult:
        """Run a command to its end.

        :param hold: a file descriptor that the command gets too, on this machine. A lock on it is then held as
            long as the command lives, even when this process is killed meanwhile. On another host `command.lock`
            does the same.
        :raises TransportError: if it cannot be started or takes longer than its time limit. Then it was
            killed; whether it has done its work is not known.
        """

    def write_file(self, file: TextFile) -> None:
        """Put a text file on the host, in one step. Its folder is there.

        :raises CafError: if it cannot be written.
        """
