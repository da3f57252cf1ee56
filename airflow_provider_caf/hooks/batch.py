"""The connection to a batch system: which one, and the arguments that every job of it gets."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseHook

from airflow_provider_caf.batch.spec import parse_resources
from airflow_provider_caf.core.errors import DefinitionError

DEFAULT_SYSTEM = "local"


class BatchHook(BaseHook):
    """Read a connection of type `caf_batch`.

    :param caf_batch_conn_id: the connection's id.
    """

    conn_name_attr = "caf_batch_conn_id"
    default_conn_name = "caf_batch_default"
    conn_type = "caf_batch"
    hook_name = "CAF batch system"

    def __init__(self, caf_batch_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.caf_batch_conn_id = caf_batch_conn_id

    def read_system(self) -> str:
        """Give the name of the batch system."""
        return str(self._read_extra().get("system") or DEFAULT_SYSTEM)

    def read_arguments(self) -> dict[str, Any]:
        """Give the arguments of the connection's extra; they stand below those of a definition.

        :raises DefinitionError: if one is unknown or has a value that it cannot have.
        """
        arguments = {
            name: value for name, value in self._read_extra().items() if name != "system" and value not in (None, "")
        }
        parse_resources(arguments, f"connection {self.caf_batch_conn_id!r}")
        return arguments

    def test_connection(self) -> tuple[bool, str]:
        """Check what the connection says; no job is submitted."""
        try:
            arguments = self.read_arguments()
        except DefinitionError as error:
            return False, str(error)
        return True, f"System {self.read_system()!r}, arguments: {', '.join(sorted(arguments)) or 'none'}."

    def _read_extra(self) -> dict[str, Any]:
        connection = self.get_connection(self.caf_batch_conn_id)
        if connection.conn_type != self.conn_type:
            raise DefinitionError(
                f"The connection {self.caf_batch_conn_id!r} is of type {connection.conn_type!r}.",
                hint=f"A batch system needs a connection of type {self.conn_type!r}.",
            )
        return dict(connection.extra_dejson)
