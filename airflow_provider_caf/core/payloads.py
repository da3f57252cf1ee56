"""The text of a local database: which payload is valid for which runs.

The format is that of basf2's testing payload storage. Each line of `database.txt` is

    dbstore/<name> <revision> <exp_low>,<run_low>,<exp_high>,<run_high>

and the payload's file beside it is `dbstore_<name>_rev_<revision>.root`. A `#` begins a comment, empty
lines are skipped, and where several lines of a payload hold a run, the last one wins. basf2 shortens the
revision to as few digits of the file's MD5 as are unique, and older files have numbers: every word is
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from airflow_provider_caf.core.errors import DatabaseError, DefinitionError, explain_os_error
from airflow_provider_caf.core.file_names import DATABASE_FILE
from airflow_provider_caf.core.iov import ExpRun, IoV, find_iov_gaps, find_uncovered_runs
from airflow_provider_caf.core.record import record

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]*")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]*")
_MAX_LENGTH = 200
"""A file name may have 255 bytes, and some of them are the words around name and revision."""

_FORM = "dbstore/<name> <revision> <exp_low>,<run_low>,<exp_high>,<run_high>"


@record
class PayloadEntry:
    """One line of a local database.

    :param revision: what makes the file unique; written by us, the MD5 of its bytes in hex.
    :raises DefinitionError: if name or revision cannot be part of a file name and of a line.
    """

    name: str
    revision: str
    iov: IoV

    def __post_init__(self) -> None:
        """Refuse what would lead out of the folder or break the line."""
        check_payload_name(self.name)
        if not _REVISION.fullmatch(self.revision) or len(self.revision) > _MAX_LENGTH:
            raise DefinitionError(
                f"The revision {self.revision!r} of payload {self.name!r} cannot be part of a file name.",
                hint="Use the MD5 of the file's bytes, in hex.",
            )

    @property
    def file_name(self) -> str:
        """The name of the payload's file, in the folder of the database."""
        return build_payload_file_name(self.name, self.revision)


@record
class GapReport:
    """What the payloads of one name leave open.

    :param uncovered: runs that no IoV holds, sorted.
    :param gaps: runs between neighbouring IoVs inside an experiment, as IoVs, sorted.
    """

    uncovered: tuple[ExpRun, ...]
    gaps: tuple[IoV, ...]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left open."""
        return not self.uncovered and not self.gaps


def check_payload_name(name: str) -> None:
    """Refuse a payload name that cannot be part of a file name and of a line.

    :raises DefinitionError: if it has other characters than letters, digits and `_ . : + = @ -`, begins with
        one of the last six, or is too long.
    """
    if len(name) > _MAX_LENGTH or not _NAME.fullmatch(name) or ".." in name:
        raise DefinitionError(
            f"{name!r} cannot be the name of a payload.",
            hint=f"Use at most {_MAX_LENGTH} letters, digits and '_', and '.:+=@-' but not first; no '..'.",
        )


def build_payload_file_name(name: str, revision: str) -> str:
    """Return the name of a payload's file."""
    return f"dbstore_{name}_rev_{revision}.root"


def build_database(entries: Iterable[PayloadEntry]) -> str:
    """Return the text of a `database.txt`."""
    return "".join(f"dbstore/{entry.name} {entry.revision} {entry.iov}\n" for entry in entries)


def parse_database(text: str, where: str) -> tuple[PayloadEntry, ...]:
    """Read the text of a `database.txt`.

    :param where: the file, for the error message.
    :raises DatabaseError: if a line has not the form of the format, with the line's number.
    """
    entries = []
    # Only a line feed ends a line: splitlines() would also cut at characters that a comment may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            entries.append(_parse_words(words))
        except DefinitionError as error:
            raise DatabaseError(f"{where}:{number}: {error.what}", hint=f"A line has the form '{_FORM}'.") from error
    return tuple(entries)


def explain_unreadable(folder: Path) -> AbstractContextManager[None]:
    """Say what is wrong where the text of a local database cannot be read.

    :param folder: the folder of the database.
    :raises DatabaseError: for what the system says, and for a text that is not UTF-8.
    """
    return explain_os_error(
        DatabaseError,
        f"The local database {folder / DATABASE_FILE} could not be read",
        "Check that the folder is mounted here and that you may read it; or make it again.",
        missing=(
            f"There is no local database in {folder}: it has no {DATABASE_FILE}.",
            "Check the path in the database chain, or whether the task that makes it has run.",
        ),
    )


def _parse_words(words: list[str]) -> PayloadEntry:
    if len(words) != 3:
        raise DefinitionError(f"The line has {len(words)} words instead of 3.")
    place, revision, iov = words
    store, slash, name = place.partition("/")
    if not slash or not store:
        raise DefinitionError(f"{place!r} is not 'dbstore/<name>'.")
    return PayloadEntry(name=name, revision=revision, iov=IoV.of_basf2(iov.split(","), iov))


def find_payload(entries: Iterable[PayloadEntry], name: str, run: ExpRun) -> PayloadEntry | None:
    """Return the entry of a payload that is valid for a run, or None.

    :param entries: in the order of the file; the last one that holds the run wins.
    """
    return next((entry for entry in reversed(tuple(entries)) if entry.name == name and entry.iov.contains(run)), None)


def find_gaps(entries: Iterable[PayloadEntry], name: str, runs: Iterable[ExpRun]) -> GapReport:
    """Find what the payloads of one name leave open.

    :param runs: the runs that should be covered.
    """
    iovs = [entry.iov for entry in entries if entry.name == name]
    return GapReport(uncovered=find_uncovered_runs(runs, iovs), gaps=find_iov_gaps(iovs))


@record
class FilledGap:
    """A payload whose IoV was extended over runs that none held.

    :param before: its IoV as the strategy committed it.
    :param after: its IoV in the local database.
    """

    name: str
    before: IoV
    after: IoV


def fill_gaps(
    entries: Sequence[PayloadEntry], runs: Iterable[ExpRun]
) -> tuple[tuple[PayloadEntry, ...], tuple[FilledGap, ...]]:
    """Extend payloads over the runs after them that no payload of their name holds.

    That is up to the next payload of the experiment and, after the last one, up to the last executed run. Experiments
    never mix, and a gap with nothing before it in its experiment stays.

    :param runs: the executed runs.
    :return: the entries, in their order and number, and what was extended.
    """
    wanted = sorted(set(runs))
    new = list(entries)
    for name in sorted({entry.name for entry in entries}):
        numbers = [number for number, entry in enumerate(entries) if entry.name == name]
        iovs = [entries[number].iov for number in numbers]
        # Where several end at one run, the last one wins there.
        by_end = {entries[number].iov.end: number for number in numbers}
        for gap in find_iov_gaps(iovs):
            number = by_end.pop(ExpRun(gap.exp_low, gap.run_low - 1))
            by_end[gap.end] = number
            new[number] = replace(new[number], iov=IoV.between(new[number].iov.low, gap.end))
        last_ends = {end.exp: end for end in sorted(by_end)}
        for run in find_uncovered_runs(wanted, [new[number].iov for number in numbers]):
            end = last_ends.get(run.exp)
            if end is not None and end < run:
                number = by_end.pop(end)
                by_end[run] = number
                last_ends[run.exp] = run
                new[number] = replace(new[number], iov=IoV.between(new[number].iov.low, run))
    filled = tuple(
        FilledGap(name=old.name, before=old.iov, after=entry.iov)
        for old, entry in zip(entries, new)
        if old.iov != entry.iov
    )
    return tuple(new), filled


def merge_entries(*databases: Iterable[PayloadEntry]) -> tuple[PayloadEntry, ...]:
    """Put the lines of several databases together; a later one wins over an earlier one.

    A line whose payload and IoV come again later can never win, and is left out.
    """
    merged: dict[tuple[str, IoV], PayloadEntry] = {}
    for database in databases:
        for entry in database:
            key = (entry.name, entry.iov)
            # Taken out first, so that the entry moves to the end: the order decides who wins.
            merged.pop(key, None)
            merged[key] = entry
    return tuple(merged.values())
