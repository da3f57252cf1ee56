"""Names of calibrations, collections and algorithms: they stand in task ids, folders and job names."""

from __future__ import annotations

import re
import unicodedata

from airflow_provider_caf.core.errors import DefinitionError

MAX_NAME_LENGTH = 100

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=-]*")


def check_name(kind: str, name: str) -> str:
    """Refuse a name that cannot be a folder, a task id and part of a batch job's name; else return it.

    :param kind: what is named, such as `calibration`.
    :raises DefinitionError: with a name that would do.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} cannot be the name of {'an' if kind[0] in 'aeio' else 'a'} {kind}.",
            hint=f"Use at most {MAX_NAME_LENGTH} letters, digits, '_' and '-'; begin with a letter or digit. "
            f"{build_slug(name)!r} would do.",
        )
    return name


def check_file_name(name: str) -> str:
    """Refuse a name that cannot be a file in a folder of ours; else return it.

    :raises DefinitionError: if it has folders, begins with a dot, or has characters that need quoting.
    """
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not _FILE_NAME.fullmatch(name):
        raise DefinitionError(
            f"{name!r} cannot be the name of a file.",
            hint=f"Use at most {MAX_NAME_LENGTH} letters, digits and '_', and '.+=-' but not first; no folders.",
        )
    return name


def build_slug(name: object) -> str:
    """Return an allowed name that looks like this one."""
    plain = unicodedata.normalize("NFKD", str(name)).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", plain).lstrip("_-")[:MAX_NAME_LENGTH].rstrip("_-")
    return slug or "unnamed"


def check_count(kind: str, number: int) -> int:
    """Refuse a number that cannot count iterations, subjobs or attempts; else return it.

    :param kind: what is counted, such as `subjob`.
    :raises DefinitionError: if it is negative or not a whole number.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise DefinitionError(f"{number!r} cannot count {kind}s.", hint="Count from 0.")
    return number
