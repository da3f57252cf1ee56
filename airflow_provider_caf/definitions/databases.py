"""The database chain of whatever has one, with the words of the framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.definitions.form import Form, fill, is_template
from airflow_provider_caf.definitions.words import Databases, FilePath


class HasDatabases(Form):
    """A form with a database chain: the first entry that has a payload wins.

    The word itself is declared where it stands among the others of the form.
    """

    if TYPE_CHECKING:
        database_chain: Databases

    @property
    def databases(self) -> tuple[DatabaseEntry, ...]:
        """The entries of the chain; templates that stand for whole entries are left out."""
        return tuple(
            DatabaseEntry(kind=kind, value=value)
            for entry in fill(self.database_chain, [])
            if not is_template(entry)
            for kind, value in entry.items()
        )

    def use_central_database(self, global_tag: str) -> None:
        """Look first at a global tag."""
        self.database_chain = [{"global_tag": global_tag}, *self.database_chain]

    def use_local_database(self, folder: FilePath) -> None:
        """Look first at the folder of a local database."""
        self.database_chain = [{"local": folder}, *self.database_chain]

    def reset_database(self) -> None:
        """Forget the database chain."""
        self.database_chain = []
