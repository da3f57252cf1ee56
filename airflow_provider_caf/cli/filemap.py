"""`filemap`: which runs and how many events are in files."""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.cli.output import command, find_console
from airflow_provider_caf.core.errors import CafError, DefinitionError, InputError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.temporary import build_temporary_name
from airflow_provider_caf.io.filemap import MappedFile, read_filemap_and_how, write_filemap
from airflow_provider_caf.io.inputs import resolve_input_files
from airflow_provider_caf.io.job_app import build_job_app
from airflow_provider_caf.io.metadata_cache import measure
from airflow_provider_caf.steps.file_metadata import HowToRead, read_metadata
from airflow_provider_caf.steps.pickled_map import HOW, read_pickled_map, write_pickled_map

_GROUPS, _HIGH_GROUPS = ("exp", "run"), ("exp_high", "run_high")


class _RateColumn(ProgressColumn):
    """Files per second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.0f} files/s")


@command
def filemap(arguments: Any) -> None:
    """Write which runs and how many events are in files."""
    target = Path(arguments.output)
    if target.suffix not in (".json", *_WRITERS):
        raise DefinitionError(f"{target} is no .json, .parquet or .pkl file.", hint="Name it accordingly.")
    if target.suffix == ".parquet":
        # Without it the work of hours would end in an error.
        import_parquet()
    if bool(arguments.patterns) == (arguments.pickle is not None):
        raise DefinitionError("Files are named by patterns, or by --pickle.", hint="Give one of them.")
    # Other forms are made of a map beside them, which stays: the next time only what has changed is looked into.
    keeper = target if target.suffix == ".json" else target.with_name(f"{target.name}.json")
    console = find_console(stderr=True)
    excluded = None if arguments.exclude is None else _compile(arguments.exclude)
    if arguments.pickle is None:
        result, how, count = _map_patterns(arguments, excluded, keeper, console)
    else:
        every = read_pickled_map(Path(arguments.pickle))
        result, how, count = {file: every[file] for file in _leave_out(every, excluded)}, HOW, 0
    write_filemap(keeper, result, how)
    if target.suffix in _WRITERS:
        _WRITERS[target.suffix](target, result)
    console.print(f"{target}: {len(result)} files, {count} of them looked into now.", markup=False)


def _map_patterns(
    arguments: Any, excluded: re.Pattern[str] | None, keeper: Path, console: Console
) -> tuple[dict[str, MappedFile], str, int]:
    """Return the map of the files that patterns name, how it was made, and how many files were looked into."""
    pattern = None if arguments.regex is None else compile_regex(arguments.regex)
    way = HowToRead(
        how="basf2" if arguments.basf2 else "tree",
        tree=arguments.tree,
        exp_branch=arguments.exp_branch,
        run_branch=arguments.run_branch,
    )
    how = way.key if pattern is None else f"regex:{pattern.pattern}"
    files = _leave_out(resolve_input_files(arguments.patterns, "this file map", base=Path.cwd()), excluded)
    known = _find_unchanged(keeper, files, how, console)
    missing = [file for file in files if file not in known]
    if pattern is not None:
        known |= map_by_path(missing, pattern)
    elif missing:
        _map_by_content(missing, known, keeper, way, arguments, console)
    return {file: known[file] for file in files}, how, len(missing)


def _leave_out(files: Iterable[str], excluded: re.Pattern[str] | None) -> list[str]:
    return [file for file in files if excluded is None or not excluded.search(file)]


def _find_unchanged(path: Path, files: Sequence[str], how: str, console: Console) -> dict[str, MappedFile]:
    """Return the entries of an older map for files that have not changed, if it was made in the same way."""
    if not path.exists():
        return {}
    old, old_how = read_filemap_and_how(path)
    if old_how != how:
        older = "it does not say how" if old_how is None else f"with {old_how}"
        console.print(f"{path} was made in another way ({older}): all files are looked into.", markup=False)
        return {}
    return {file: old[file] for file in files if file in old and measure(file) == (old[file].size, old[file].mtime_ns)}


def _compile(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise DefinitionError(f"{text!r} is no regular expression: {error}.", hint="See Python's `re`.") from error


def compile_regex(text: str) -> re.Pattern[str]:
    """Read the expression that takes the runs from a path.

    :raises DefinitionError: if it is no regular expression, or lacks a group.
    """
    pattern = _compile(text)
    if not set(_GROUPS) <= set(pattern.groupindex):
        raise DefinitionError(
            f"The regular expression {text!r} has not the groups exp and run.",
            hint=r"Such as 'e(?P<exp>\d+)/r(?P<run>\d+)/'.",
        )
    unknown = sorted(set(pattern.groupindex) - {*_GROUPS, *_HIGH_GROUPS})
    if unknown:
        raise DefinitionError(
            f"The regular expression {text!r} has the unknown group {unknown[0]!r}.",
            hint=build_word_hint(unknown[0], [*_GROUPS, *_HIGH_GROUPS], "groups"),
        )
    return pattern


def map_by_path(files: Sequence[str], pattern: re.Pattern[str]) -> dict[str, MappedFile]:
    """Take the runs from the paths.

    :param pattern: with the groups `exp` and `run`, and if need be `exp_high` and `run_high`; it is searched in the
        path.
    :raises InputError: if a path does not match.
    """
    found, faults = {}, []
    for file in files:
        match = pattern.search(file)
        texts = {} if match is None else match.groupdict()
        try:
            groups = {name: int(text) for name, text in texts.items() if text is not None}
            low = ExpRun(groups["exp"], groups["run"])
            high = ExpRun(groups.get("exp_high", low.exp), groups.get("run_high", low.run))
            iov = IoV.from_json([*low, *high])
        except DefinitionError:
            raise
        except (ValueError, KeyError):
            faults.append(file)
            continue
        size, mtime_ns = measure(file) or (None, None)
        found[file] = MappedFile(iov=iov, size=size, mtime_ns=mtime_ns)
    if faults:
        raise InputError(
            f"The paths of {len(faults)} of {len(files)} files do not match {pattern.pattern!r}, "
            f"such as {faults[0]!r}.",
            hint="Correct the expression, or the patterns.",
        )
    return found


def _map_by_content(
    missing: Sequence[str],
    known: dict[str, MappedFile],
    keeper: Path,
    way: HowToRead,
    arguments: Any,
    console: Console,
) -> None:
    """Look into files, and keep what is known after each part, so that an interruption loses nothing."""
    columns = TextColumn("looking into files"), BarColumn(), MofNCompleteColumn(), _RateColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with tempfile.TemporaryDirectory(prefix="caf-filemap-") as folder, bar as progress:
        app = Path(folder) / "app.pyz"
        build_job_app(app, set())
        task = progress.add_task("files", total=len(missing))

        def note(part: dict[str, MappedFile]) -> None:
            known.update(part)
            write_filemap(keeper, known, way.key)
            progress.advance(task, len(part))

        read_metadata(
            missing,
            way,
            app=app,
            resources=Resources(python=arguments.python),
            processes=arguments.processes,
            note=note,
        )


def import_parquet() -> tuple[Any, Any]:
    """Import pyarrow and its part for Parquet.

    :raises CafError: if pyarrow is not installed.
    """
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise CafError(
            "Parquet needs pyarrow, which is not installed.", hint="pip install pyarrow, or use .json."
        ) from error


def write_parquet(path: Path, files: Mapping[str, MappedFile]) -> None:
    """Write a file map as a table: path, exp_low, run_low, exp_high, run_high, events.

    :raises CafError: if pyarrow is not installed.
    """
    arrow, parquet = import_parquet()
    columns: dict[str, list[Any]] = {"path": list(files)}
    for name in IoV._fields:
        columns[name] = [getattr(file.iov, name) for file in files.values()]
    columns["events"] = [file.events for file in files.values()]
    temporary = path.with_name(build_temporary_name(path.name))
    parquet.write_table(arrow.table(columns), temporary)
    temporary.replace(path)


_WRITERS = {".parquet": write_parquet, ".pkl": write_pickled_map}
"""Suffix → what writes a map in that form."""
