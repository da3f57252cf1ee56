"""What constants a process sees: local databases and global tags in order, first hit wins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.json_form import ObjectReader, read_text
from airflow_provider_caf.core.record import record

LOCAL = "local"
GLOBAL_TAG = "global_tag"

_JOB_FIELDS = {LOCAL: "path", GLOBAL_TAG: "name"}


@record
class DatabaseEntry:
    """One place where constants are looked up.

    :param kind: `local` for a folder with a `database.txt`, `global_tag` for a tag of the central database.
    :param value: the folder's path, or the tag's name.
    :raises DefinitionError: if the kind is unknown or the value empty.
    """

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

    def to_json(self) -> dict[str, str]:
        """Give the form that `from_json` reads: `kind` and `value`."""
        return {"kind": self.kind, "value": self.value}

    def to_job_json(self) -> dict[str, str]:
        """Give the form in which a job reads it: `kind`, and `path` or `name`."""
        return {"kind": self.kind, _JOB_FIELDS[self.kind]: self.value}

    @classmethod
    def from_json(cls, value: Any) -> DatabaseEntry:
        """Read one of the two forms.

        :raises DefinitionError: if a field is missing, unknown or wrong.
        """
        reader = ObjectReader(value, "entry of the database chain")
        kind = reader.take("kind", read_text)
        job_field = _JOB_FIELDS.get(kind, "value")
        entry = cls(kind=kind, value=reader.take(job_field if job_field in value else "value", read_text))
        reader.finish()
        return entry


def build_database_chain(
    previous: str | None, dependencies: Iterable[str], own: Iterable[DatabaseEntry]
) -> tuple[DatabaseEntry, ...]:
    """Give the chain of one iteration; the first entry that has a payload for a run wins.

    :param previous: folder of the payloads of the previous iteration, None in the first.
    :param dependencies: folders of the payloads of the calibrations it depends on, nearest first.
    :param own: what the definition gives, in its order.
    """
    folders = [*([] if previous is None else [previous]), *dependencies]
    entries = [*(DatabaseEntry(kind=LOCAL, value=folder) for folder in folders), *own]
    # A second look into the same place cannot find more.
    return tuple(dict.fromkeys(entries))
