"""Read definitions from files, and say in which line a mistake stands."""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.definitions.caf import CAF, renumber
from airflow_provider_caf.definitions.calibration import DEFAULT_COLLECTION
from airflow_provider_caf.definitions.yaml_reader import Source, Way, cut_excerpt, read_source

DATA_SUFFIXES = (".json", ".yaml", ".yml")
SUFFIXES = (*DATA_SUFFIXES, ".py")

SCRIPT_RUN_SUFFIX = ".script.yaml"
"""What the name of a file ends with that is no definition, but a script that is described when it runs."""


def list_definition_files(folder: Path) -> list[Path]:
    """Return the definition files in a folder and below it, sorted; names that begin with `.` or `_` are left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    )


def load_definitions(path: Path) -> list[CAF]:
    """Read all definitions of a file: one of a YAML or JSON file, the global CAF objects of a Python file.

    :raises DefinitionError: with every mistake found, each with its line.
    """
    if path.name.endswith(SCRIPT_RUN_SUFFIX):
        raise DefinitionError(
            "This file is a script that is described when it runs.",
            hint="What it will do is known then: look at the definition in the folder `described`.",
            file=str(path),
        )
    if path.suffix in DATA_SUFFIXES:
        return [read_definition(path)]
    if path.suffix != ".py":
        raise DefinitionError(
            "This is no file of a definition.", hint=f"Its name has to end in {', '.join(SUFFIXES)}.", file=str(path)
        )
    return run_definitions(path)


def read_definition(path: Path) -> CAF:
    """Read and check the definition in a YAML or JSON file.

    :raises DefinitionError: with every mistake found, each with its line.
    """
    source = read_source(path)
    try:
        caf = CAF.from_json(source.value)
    except DefinitionError as error:
        mistakes = (*(error.causes or (error,)), *_find_more(source.value, error.causes or (error,)))
        raise place_errors(source, join_definition_errors(mistakes, str(path))) from None
    try:
        caf.resolve()
    except DefinitionError as error:
        raise place_errors(source, error) from None
    return caf


def _find_more(value: Any, mistakes: Iterable[DefinitionError]) -> list[DefinitionError]:
    """Find the mistakes that can only be seen in what is written as it should be.

    :param mistakes: in what is not; it is left out.
    """
    members = value.get("calibrations") if isinstance(value, dict) else None
    if not isinstance(members, list):
        return []
    wheres = [mistake.where for mistake in mistakes]
    bad_words = {where[0] for where in wheres if where}
    bad_members = {where[1] for where in wheres if where[:1] == ("calibrations",) and len(where) > 1}
    good = [number for number, member in enumerate(members) if number not in bad_members and isinstance(member, dict)]
    if not good:
        return []
    rest = {"name": "x", **{word: content for word, content in value.items() if word not in bad_words}}
    rest["calibrations"] = _take_members([members[number] for number in good])
    try:
        CAF.from_json(rest).resolve()
    except DefinitionError as error:
        found = [renumber(mistake, good) for mistake in error.causes or (error,)]
        # What the rest of the definition has without the others says nothing of it.
        return [mistake for mistake in found if mistake.where[:1] == ("calibrations",) and len(mistake.where) > 1]
    return []


def _take_members(members: list[dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return some calibrations without their dependencies on others: whether those are there cannot be said."""
    names = [member.get("name") for member in members]
    taken = []
    for member in members:
        needed = member.get("depends_on")
        # Nothing of it has been checked yet, so it may be anything. One name may stand for a list of one.
        listed = [needed] if isinstance(needed, str) else needed
        if isinstance(listed, list):
            member = {**member, "depends_on": [name for name in listed if name in names or not isinstance(name, str)]}
        taken.append(member)
    return taken


def place_errors(source: Source, error: DefinitionError) -> DefinitionError:
    """Return the mistakes of a definition with their lines."""
    mistakes = [source.locate(mistake, find_way(source.value, mistake.where)) for mistake in error.causes or (error,)]
    mistakes.sort(key=lambda mistake: mistake.line or 0)
    return join_definition_errors(mistakes, str(source.path))


def find_way(value: Any, where: Iterable[Any]) -> Way:
    """Return the way in what was written that belongs to a place in the resolved definition.

    There the short form of a calibration is a collection like the others.

    :param value: what was written. The way ends where that has nothing: one word may stand for a list of one.
    """
    way = tuple(where)
    if way[:1] == ("calibrations",) and way[2:4] == ("collections", DEFAULT_COLLECTION) and _is_short(value, way[1]):
        way = (*way[:2], *way[4:])
    for length, part in enumerate(way, start=1):
        if not isinstance(value, (dict, list)):
            return way[:length]
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return way[:length]
    return way


def _is_short(value: Any, number: int) -> bool:
    try:
        return value["calibrations"][number].get("collector") is not None
    except (KeyError, IndexError, TypeError, AttributeError):
        return False


def run_definitions(path: Path) -> list[CAF]:
    """Run a Python file and return its global CAF objects, in their order.

    :raises DefinitionError: with the line of the file in which it was raised.
    """
    sys.path.insert(0, str(path.parent))
    try:
        content = runpy.run_path(str(path), run_name=f"caf_definitions_{path.stem}")
        found = list({id(value): value for value in content.values() if isinstance(value, CAF)}.values())
        _check_names(found)
        for caf in found:
            caf.resolve()
    except DefinitionError as error:
        raise _place_in_python(path, error) from error
    except SystemExit as error:
        raise DefinitionError(
            f"It ends Python with exit code {error.code!r}.", hint="A file of definitions must not.", file=str(path)
        ) from error
    finally:
        # The file may have changed the list.
        if str(path.parent) in sys.path:
            sys.path.remove(str(path.parent))
    if not found:
        raise DefinitionError(
            "There is no definition in this file.", hint="Make a global `caf = CAF(…)`.", file=str(path)
        )
    return found


def _check_names(cafs: Iterable[CAF]) -> None:
    names: set[str] = set()
    for caf in cafs:
        if caf.name in names:
            raise DefinitionError(f"There are two definitions named {caf.name!r}.", hint="Rename one of them.")
        names.add(caf.name)


def _place_in_python(path: Path, error: DefinitionError) -> DefinitionError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = frames[-1].lineno if frames else None
    excerpt = ""
    if line is not None:
        excerpt = cut_excerpt(path.read_text("utf-8", errors="replace").splitlines(), line - 1)
    return DefinitionError(
        error.what, hint=error.hint, file=str(path), line=line, where=error.where, causes=error.causes, excerpt=excerpt
    )
