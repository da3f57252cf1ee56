"""Names of arrays: the same for the same submission, always, and different for any two.

After a crash the only way to find out whether a submit command did its work is to look the name up.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from airflow_provider_caf.core.errors import DefinitionError

PREFIX = "caf"
DEFAULT_LENGTH = 64
"""Shorter than every limit of today's systems. Old PBS takes 15 characters: pass that."""

_HASH_LENGTH = 10
SHORTEST = len(PREFIX) + 1 + _HASH_LENGTH


def build_array_name(
    *,
    labels: Sequence[str],
    identity: Sequence[str | int] = (),
    attempt: int,
    part: int = 0,
    folder: str = "",
    length: int = DEFAULT_LENGTH,
) -> str:
    """Return the name of an array: readable in front, a hash of everything behind.

    Letters, digits, `_` and `-` only, beginning with a letter, so that every system takes it and none reads a
    bracket or a `$` in it. The hash is always there: what was replaced or cut off must not make two names
    equal.

    :param labels: the words that people read, such as the names of calibration and collection.
    :param identity: what tells arrays of equal labels apart, such as the run; if empty, the labels count.
    :param part: the number of the piece, where an array had to be cut into several.
    :param folder: the array's folder. It tells installations apart that run the same DAG as the same user.
    :param length: the longest name the system takes, at least `SHORTEST`.
    :raises DefinitionError: if the length is too short for a name that is unique.
    """
    if length < SHORTEST:
        raise DefinitionError(
            f"An array's name needs {SHORTEST} characters, not {length}.", hint="Raise the length limit."
        )
    everything = [*(identity or labels), attempt, part, folder]
    digest = hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:_HASH_LENGTH]
    shown = "_".join(re.sub(r"[^A-Za-z0-9-]+", "-", word).strip("-") for word in (*labels, f"a{attempt}"))
    readable = f"{PREFIX}_{shown}"[: length - 1 - _HASH_LENGTH].rstrip("-_")
    return f"{readable}_{digest}"
