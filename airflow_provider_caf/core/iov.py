"""Runs and intervals of validity (IoVs).

An `IoV` is a closed interval of `ExpRun`s. Two high ends are open: `-1` as high run means "to the end of
`exp_high`", and `-1, -1` means "for ever". `IoV(0, 0, -1, -1)` is always valid. This is the convention of the
Belle II conditions database.

Experiment and run numbers end at 2147483647, in definitions, files, databases and the run list of a collector alike:
basf2 keeps them as 32-bit integers with sign (`IntervalOfValidity`), so a larger one could be collected but never read
from a database. A time stamp in milliseconds is no run number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from airflow_provider_caf.core.errors import DefinitionError, InputError

MAX_NUMBER = 2**31 - 1
"""The largest experiment and run number."""

_END = 2**62
"""Stands for an open end when ends are compared; larger than every run number."""

_LIMITS = f"Experiment and run numbers end at {MAX_NUMBER} (32 bits), as in the database."

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,99}")


class ExpRun(NamedTuple):
    """One run of one experiment. Ordered by experiment, then run."""

    exp: int
    run: int

    def __str__(self) -> str:
        return f"{self.exp}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> ExpRun:
        """Read the form `exp.run`.

        :raises DefinitionError: if the text is not two whole numbers ≥ 0 joined by a dot.
        """
        return cls.from_json(text.split("."), text)

    def to_json(self) -> list[int]:
        """Return `[exp, run]`."""
        return [self.exp, self.run]

    @classmethod
    def from_json(cls, value: Any, shown: Any = None) -> ExpRun:
        """Read `[exp, run]`.

        :param shown: what the error message shows instead of `value`.
        :raises DefinitionError: if it is not two whole numbers ≥ 0.
        """
        numbers = _read_whole_numbers(value, 2)
        if numbers is None or min(numbers) < 0 or max(numbers) > MAX_NUMBER:
            raise DefinitionError(
                f"{(value if shown is None else shown)!r} is not a run.",
                hint=f"Write an experiment and a run number, both at least 0, as [exp, run] or 'exp.run'. {_LIMITS}",
            )
        return cls(*numbers)

    @classmethod
    def of_event(cls, values: Any, where: str) -> ExpRun:
        """Make a run of what an event says, which may be whole numbers of floating point type.

        :param where: which event it is to the reader.
        :raises InputError: if it is not two whole numbers from 0 to `MAX_NUMBER`.
        """
        hint = "An experiment and a run number are needed, both whole and at least 0: see exp_run(event)."
        try:
            exp, run = (int(value) for value in values)
            if (exp, run) == tuple(values) and min(exp, run) >= 0:
                if max(exp, run) <= MAX_NUMBER:
                    return cls(exp, run)
                hint = f"{_LIMITS} Override exp_run(event) to make smaller numbers of it."
        except (TypeError, ValueError, OverflowError):
            pass
        raise InputError(f"{where} belongs to run {values!r}.", hint=hint)


class IoV(NamedTuple):
    """A closed interval of runs, see the module's text for open ends."""

    exp_low: int
    run_low: int
    exp_high: int
    run_high: int

    def __str__(self) -> str:
        return ",".join(str(number) for number in self)

    @classmethod
    def parse(cls, text: str) -> IoV:
        """Read the form `exp_low,run_low,exp_high,run_high`.

        :raises DefinitionError: if it is not a valid IoV.
        """
        return cls.from_json(text.split(","), text)

    def to_json(self) -> list[int]:
        """Return `[exp_low, run_low, exp_high, run_high]`."""
        return list(self)

    @classmethod
    def from_json(cls, value: Any, shown: Any = None) -> IoV:
        """Read `[exp_low, run_low, exp_high, run_high]`.

        :param shown: what the error message shows instead of `value`.
        :raises DefinitionError: if it is not four whole numbers, if a low end is negative, or if it ends
            before it starts.
        """
        text = repr(value if shown is None else shown)
        numbers = _read_whole_numbers(value, 4)
        if numbers is None or max(numbers) > MAX_NUMBER:
            raise DefinitionError(
                f"{text} is not an IoV.",
                hint=f"Write four whole numbers: exp, run of the first run, then of the last; -1 is open. {_LIMITS}",
            )
        iov = cls(*numbers)
        if min(iov[:2]) < 0 or min(iov[2:]) < -1 or (iov.exp_high == -1 and iov.run_high != -1):
            raise DefinitionError(
                f"{text} is not an IoV: only the high end may be open.",
                hint="Use -1 as the last run for 'to the end of the experiment', and -1,-1 for 'for ever'.",
            )
        if iov.end < iov.low:
            raise DefinitionError(f"The IoV {text} ends before it starts.", hint="Swap its two ends.")
        return iov

    @classmethod
    def of_basf2(cls, value: Any, shown: Any = None) -> IoV:
        """Read an IoV of basf2, where -1 stands for no bound at either end (`IntervalOfValidity::checkLowerBound`).

        No run is before 0, so there it begins. What it says of the run of an experiment that is open does not count.
        Without a bound at both ends it is basf2's empty interval, and no IoV.

        :param shown: what the error message shows instead of `value`.
        :raises DefinitionError: as `from_json`.
        """
        numbers = _read_whole_numbers(value, 4)
        if numbers is not None and numbers[::2] != (-1, -1):
            exp_low, run_low, exp_high, run_high = numbers
            low = (0, 0) if exp_low == -1 else (exp_low, 0 if run_low == -1 else run_low)
            high = (-1, -1) if exp_high == -1 else (exp_high, run_high)
            return cls.from_json((*low, *high), value if shown is None else shown)
        return cls.from_json(value, shown)

    @classmethod
    def spanning(cls, runs: Iterable[ExpRun]) -> IoV:
        """Return the smallest IoV that holds all runs.

        :raises ValueError: if there is no run.
        """
        ordered = sorted(runs)
        if not ordered:
            raise ValueError("no run to span")
        return cls.between(ordered[0], ordered[-1])

    @classmethod
    def between(cls, low: ExpRun, high: ExpRun) -> IoV:
        """Join two ends, of which the high one may be open."""
        return cls(low.exp, low.run, high.exp, high.run)

    @property
    def low(self) -> ExpRun:
        """The first run."""
        return ExpRun(self.exp_low, self.run_low)

    @property
    def high(self) -> ExpRun:
        """The last run, as written: -1 where it is open."""
        return ExpRun(self.exp_high, self.run_high)

    @property
    def end(self) -> ExpRun:
        """The last run as a number that compares: an open end is larger than every run."""
        return ExpRun(_END if self.exp_high == -1 else self.exp_high, _END if self.run_high == -1 else self.run_high)

    @property
    def is_open(self) -> bool:
        """Whether it has no last experiment."""
        return self.exp_high == -1

    def contains(self, other: ExpRun | IoV) -> bool:
        """Return whether a run, or the whole of another IoV, lies in this one."""
        low, end = (other.low, other.end) if isinstance(other, IoV) else (other, other)
        return self.low <= low and end <= self.end

    def overlaps(self, other: IoV) -> bool:
        """Return whether the two share at least one run."""
        return self.low <= other.end and other.low <= self.end

    def intersect(self, other: IoV) -> IoV | None:
        """Return what the two share, or None."""
        if not self.overlaps(other):
            return None
        high = self.high if self.end <= other.end else other.high
        return IoV.between(max(self.low, other.low), high)


ALWAYS = IoV(0, 0, -1, -1)
"""The IoV of a payload that is valid for every run."""


def filter_runs(
    runs: Iterable[ExpRun], *, requested: IoV | None = None, ignored: Iterable[ExpRun] = ()
) -> tuple[ExpRun, ...]:
    """Return the sorted runs inside the requested IoV that are not ignored."""
    left_out = set(ignored)
    return tuple(
        sorted(run for run in set(runs) if run not in left_out and (requested is None or requested.contains(run)))
    )


def find_uncovered_runs(runs: Iterable[ExpRun], iovs: Iterable[IoV]) -> tuple[ExpRun, ...]:
    """Return the runs that lie in none of the IoVs, sorted."""
    ordered = sorted(iovs, key=lambda iov: (iov.low, iov.end))
    uncovered = []
    furthest: ExpRun | None = None
    index = 0
    for run in sorted(set(runs)):
        while index < len(ordered) and ordered[index].low <= run:
            end = ordered[index].end
            furthest = end if furthest is None else max(furthest, end)
            index += 1
        if furthest is None or furthest < run:
            uncovered.append(run)
    return tuple(uncovered)


def find_iov_gaps(iovs: Iterable[IoV]) -> tuple[IoV, ...]:
    """Return the runs between neighbouring IoVs that none of them holds, as IoVs, sorted.

    Only inside an experiment: whether there are runs between the last one of an experiment and the first one
    of the next is not known. IoVs may overlap.
    """
    gaps = []
    furthest: ExpRun | None = None
    for iov in sorted(iovs, key=lambda iov: (iov.low, iov.end)):
        if furthest is not None and furthest.exp == iov.exp_low and furthest.run + 1 < iov.run_low:
            gaps.append(IoV(iov.exp_low, furthest.run + 1, iov.exp_low, iov.run_low - 1))
        furthest = iov.end if furthest is None else max(furthest, iov.end)
    return tuple(gaps)


def _read_whole_numbers(value: Any, count: int) -> tuple[int, ...] | None:
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != count:
        return None
    numbers = []
    for item in value:
        if isinstance(item, str):
            text = item.strip()
            # Longer texts cannot be run numbers, and Python refuses to read thousands of digits.
            if not _WHOLE_NUMBER.fullmatch(text):
                return None
            numbers.append(int(text))
        elif isinstance(item, int) and not isinstance(item, bool):
            numbers.append(item)
        else:
            return None
    return tuple(numbers)
