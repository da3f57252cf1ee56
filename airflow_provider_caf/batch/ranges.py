"""Numbers of elements as ranges: `0-3,7`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)


def join_ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ranges."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def read_ranges(text: str, count: int) -> Iterator[int]:
    """Return the numbers below `count` of `1-4,7%2`, as Slurm writes them. What is cut off (`...`) is left out."""
    for part in text.partition("%")[0].split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is not None:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield from range(first, min(last + 1, count), max(step, 1))
