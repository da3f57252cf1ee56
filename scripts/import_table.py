"""A contract for import-linter: a room may import what its row of the table names, and nothing else.

import-linter's own contracts name what is forbidden, so a library that nobody thought of is allowed. Here it
is the other way round: besides itself and the standard library a room imports only what is written down. The
rows are in pyproject.toml.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output

PACKAGE = "airflow_provider_caf"


class AllowedImports(Contract):
    """Hold one row of the import table.

    Options: `rooms` (modules or packages, relative to the package), `ours` (what else of ours they may
    import, relative too), `third_party` (top-level names), `apart_from` (parts of the rooms that have a row
    of their own).
    """

    rooms = fields.ListField(subfield=fields.StringField())
    ours = fields.ListField(subfield=fields.StringField())
    third_party = fields.ListField(subfield=fields.StringField())
    apart_from = fields.ListField(subfield=fields.StringField(), required=False, default=[])

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare every import of the rooms with their row.

        :param graph: who imports whom.
        :param verbose: not used.
        :raises ValueError: when something that the row names is not there.
        """
        strays = [
            f"{importer} imports {imported} (line {line})"
            for importer in sorted(self._find_modules(graph))
            for imported, line in self._find_strays(graph, importer)
        ]
        return ContractCheck(kept=not strays, metadata={"strays": strays})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the imports that the row does not name.

        :param check: what `check` gave.
        """
        for stray in check.metadata["strays"]:
            output.print_error(stray)
        output.new_line()

    def _find_modules(self, graph: ImportGraph) -> set[str]:
        rooms, parts = _list_full_names(self.rooms), _list_full_names(self.apart_from)
        # What a row names must exist: a slip of the pen would otherwise check nothing and look like success.
        for name in (*rooms, *parts, *_list_full_names(self.ours)):
            if name not in graph.modules:
                raise ValueError(f"The import table names {name}, and there is no such module.")
        modules = {name for room in rooms for name in (room, *graph.find_descendants(room))}
        return modules - {name for part in parts for name in (part, *graph.find_descendants(part))}

    def _find_strays(self, graph: ImportGraph, importer: str) -> Iterator[tuple[str, int]]:
        own_rooms = {".".join(room.split(".")[:2]) for room in _list_full_names(self.rooms)}
        ours = (*own_rooms, *_list_full_names(self.ours))
        third_party = sys.stdlib_module_names | set(cast("list[str]", self.third_party))
        for imported in sorted(graph.find_modules_directly_imported_by(importer)):
            details = graph.get_import_details(importer=importer, imported=imported)
            top_level = imported.partition(".")[0]
            if imported == PACKAGE:
                # Plainly naming the package loads nothing new. A name out of it loads the room behind it.
                is_allowed = all(detail["line_contents"] == f"import {PACKAGE}" for detail in details)
            elif top_level == PACKAGE:
                is_allowed = any(f"{imported}.".startswith(f"{name}.") for name in ours)
            else:
                is_allowed = top_level in third_party
            if not is_allowed:
                yield imported, min(detail["line_number"] for detail in details)


def _list_full_names(names: Any) -> list[str]:
    # import-linter puts the parsed list where the class has a field.
    return [f"{PACKAGE}.{name}" for name in cast("list[str]", names)]
