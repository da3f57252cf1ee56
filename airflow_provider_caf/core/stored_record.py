"""Records that have a file of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from airflow_provider_caf.core.files import PRIVATE, read_json, write_json
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

_R = TypeVar("_R", bound="StoredRecord")


@record
class StoredRecord(JsonRecord):
    """A record in a file that only this user may read."""

    def write(self, path: Path, *, durable: bool = True) -> None:
        """Write the record, in one step.

        :param durable: wait until it is on disk.
        :raises OSError: if it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.to_json(), durable=durable, mode=PRIVATE)

    @classmethod
    def read_file(cls: type[_R], path: Path, where: str) -> _R:
        """Read what `write` wrote.

        :param where: what it is to the reader, such as `manifest of collection 'hits'`.
        :raises InputError: if it is missing or cut off.
        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        return cls.from_json(read_json(path, f"The {where}"), where)
