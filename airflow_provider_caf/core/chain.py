"""The database chain of a process: local databases and global tags in order, first hit wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record

LOCAL = "local"
GLOBAL_TAG = "global_tag"

_JOB_FIELDS = {LOCAL: "path", GLOBAL_TAG: "name"}


@record
class DatabaseEntry(JsonRecord):
    """One place where constants are looked up.

    :param kind: `local` for a folder with a `database.txt`, `global_tag` for a tag of the central database.
    :param value: the folder's path, or the tag's name.
    :raises DefinitionError: if the kind is unknown or the value empty.
    """

    noun = "entry of the database chain"

    kind: str
    value: str

    def __post_init__(self) -> None:
        """Refuse what names no database."""
        if self.kind not in _JOB_FIELDS:
            raise DefinitionError(
                f"There is no kind of database {self.kind!r}.", hint=f"Use {LOCAL!r} or {GLOBAL_TAG!r}."
            )
        if not isinstance(self.value, str) or not self.value.strip() or "\0" in self.value:
            raise DefinitionError(
                f"The {self.kind} database has the value {self.value!r}.",
                hint="Give the folder's path, or the name of the global tag.",
            )

    def to_job_json(self) -> dict[str, str]:
        """Return the form in which a job reads it: `kind`, and `path` or `name`."""
        return {"kind": self.kind, _JOB_FIELDS[self.kind]: self.value}

    @classmethod
    def translate(cls, value: Any) -> Any:
        """Read the form of `to_job_json`, too."""
        if not isinstance(value, Mapping) or "value" in value:
            return value
        job_field = _JOB_FIELDS.get(str(value.get("kind")))
        return {"value" if name == job_field else name: item for name, item in value.items()}


def build_database_chain(
    previous: str | None, dependencies: Iterable[str], own: Iterable[DatabaseEntry]
) -> tuple[DatabaseEntry, ...]:
    """Return the chain of one iteration; the first entry that has a payload for a run wins.

    :param previous: folder of the payloads of the previous iteration, None in the first.
    :param dependencies: folders of the payloads of the calibrations it depends on, nearest first.
    :param own: what the definition gives, in its order.
    """
    folders = [*([] if previous is None else [previous]), *dependencies]
    entries = [*(DatabaseEntry(kind=LOCAL, value=folder) for folder in folders), *own]
    # A second look into the same place cannot find more.
    return tuple(dict.fromkeys(entries))
