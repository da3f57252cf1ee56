"""Numbers over passes, runs and IoVs: what the page draws and the report prints."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.payloads import GapReport, PayloadEntry, find_gaps
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.catalog import ExecutionRow, JsonValue, MonitoredRow, PayloadRow

_ERROR_NAMES = ("{}_error", "{}_err", "{}_uncertainty", "{}_sigma")
_PLAIN_ERROR_NAMES = ("error", "err", "uncertainty", "sigma")
_MOST_FIELDS = 50
_MOST_LEAVES = 200


@record
class Constant:
    """A number of a payload.

    :param error: one standard deviation; None where the payload names none.
    """

    value: float
    error: float | None = None


@record
class TrendPoint(Constant):
    """A constant with the IoV for which it holds."""

    iov: IoV


@record
class ConvergencePoint:
    """The numbers that the executions of a pass have handed in under one name.

    :param value: the mean, where there are several.
    :param error: where there is one execution, what it handed in; else None.
    :param low: the smallest.
    :param high: the largest.
    :param count: how many.
    """

    iteration: int
    value: float
    error: float | None
    low: float
    high: float
    count: int


def list_fields(value: JsonValue) -> list[str]:
    """Return the numbers in a payload's value that can be drawn, as dotted paths; a number itself is the path ''.

    What is the error of another one is left out.
    """
    leaves = dict(_walk(value, ()))
    errors = {found for path in leaves if (found := find_error_field(path, leaves)) is not None}
    return [path for path in leaves if path not in errors][:_MOST_FIELDS]


def find_error_field(path: str, known: Iterable[str]) -> str | None:
    """Find which number is the error of another one: `gain_error` of `gain`, or `error` of the only `value`."""
    known = set(known)
    group, _, name = path.rpartition(".")
    front = f"{group}." if group else ""
    for form in _ERROR_NAMES:
        if front + form.format(name) in known:
            return front + form.format(name)
    if name in ("value", "mean", "val"):
        return next((front + error for error in _PLAIN_ERROR_NAMES if front + error in known), None)
    return None


def read_field(value: JsonValue, path: str) -> float | None:
    """Return a number of a payload's value, or None where there is none or it is not finite."""
    found: Any = value
    for part in path.split(".") if path else ():
        if isinstance(found, dict) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return _read_number(found)


class ConstantReader:
    """Read the constants of payloads. Payloads of one name mostly have one form, which is looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Mapping[str, str | None]] = {}

    def list_fields(self, value: JsonValue) -> Mapping[str, str | None]:
        """Return the constants of a value: path → path of its error, or None."""
        form = tuple(_list_paths(value))
        if form not in self._known:
            self._known[form] = {field: find_error_field(field, form) for field in list_fields(value)}
        return self._known[form]

    def read(self, value: JsonValue) -> dict[str, Constant]:
        """Return all constants of a value that are finite, by their paths."""
        constants = {field: _read_constant(value, field, error) for field, error in self.list_fields(value).items()}
        return {field: constant for field, constant in constants.items() if constant is not None}

    def read_one(self, value: JsonValue, field: str) -> Constant | None:
        """Return one number of a value, be it a constant or the error of one; None where there is none."""
        return _read_constant(value, field, self.list_fields(value).get(field))


def list_constants(values: Iterable[JsonValue]) -> list[str]:
    """Return the paths of all constants in the payloads of one name."""
    reader = ConstantReader()
    return list(dict.fromkeys(field for value in values for field in reader.list_fields(value)))


def build_points(payloads: Iterable[PayloadRow], field: str) -> list[TrendPoint]:
    """Return one number of the payloads of one name, in the order of their first run."""
    reader = ConstantReader()
    constants = [(row.iov, reader.read_one(row.value, field)) for row in payloads]
    points = [_build_point(iov, constant) for iov, constant in constants if constant is not None]
    return sorted(points, key=lambda point: point.iov)


def build_trends(payloads: Iterable[PayloadRow]) -> dict[str, list[TrendPoint]]:
    """Return the constants of the payloads of one name by their paths, in the order of their first run."""
    reader = ConstantReader()
    trends: dict[str, list[TrendPoint]] = {}
    for row in sorted(payloads, key=lambda row: row.iov):
        for field, constant in reader.read(row.value).items():
            trends.setdefault(field, []).append(_build_point(row.iov, constant))
    return trends


def _build_point(iov: IoV, constant: Constant) -> TrendPoint:
    return TrendPoint(iov=iov, value=constant.value, error=constant.error)


def build_convergence(numbers: Iterable[MonitoredRow]) -> dict[tuple[str, str], list[ConvergencePoint]]:
    """Return the monitored numbers of a calibration against the pass: (algorithm, name) → points."""
    groups: dict[tuple[str, str], dict[int, list[MonitoredRow]]] = {}
    for row in numbers:
        if row.value is not None:
            groups.setdefault((row.algorithm, row.name), {}).setdefault(row.iteration, []).append(row)
    return {
        key: [_summarise(iteration, rows) for iteration, rows in sorted(passes.items())]
        for key, passes in sorted(groups.items())
    }


def group_payloads(rows: Iterable[PayloadRow]) -> dict[tuple[str, str], list[PayloadRow]]:
    """Return the payloads by calibration and name, each in their order."""
    groups: dict[tuple[str, str], list[PayloadRow]] = {}
    for row in rows:
        groups.setdefault((row.calibration, row.name), []).append(row)
    return groups


def find_payload_gaps(
    payloads: Iterable[PayloadRow], executions: Iterable[ExecutionRow]
) -> dict[tuple[str, str], GapReport]:
    """Find what the final payloads leave open: (calibration, payload) → gaps, where there are any.

    :param executions: their runs are those that should be covered.
    """
    runs: dict[str, set[ExpRun]] = {}
    for execution in executions:
        runs.setdefault(execution.calibration, set()).update(execution.runs)
    found = {}
    for (calibration, name), rows in group_payloads(payloads).items():
        entries = [PayloadEntry(name=row.name, revision=row.revision, iov=row.iov) for row in rows]
        report = find_gaps(entries, name, runs.get(calibration, ()))
        if not report.is_empty:
            found[calibration, name] = report
    return found


def find_shown_runs(payloads: Iterable[PayloadRow], executions: Iterable[ExecutionRow]) -> set[ExpRun]:
    """Return the runs that an axis has to show: those that were executed.

    Of a calibration that executed none, such as imported payloads: the first and the last run of each IoV.
    """
    shown: set[ExpRun] = set()
    known = set()
    for execution in executions:
        shown.update(execution.runs)
        known.add(execution.calibration)
    imported = [row.iov for row in payloads if row.calibration not in known]
    return shown | {end for iov in imported for end in (iov.low, iov.high) if min(end) >= 0}


def find_experiments(runs: Iterable[ExpRun]) -> list[tuple[int, int, int]]:
    """Return for each experiment its number, its first and its last run."""
    ends: dict[int, tuple[int, int]] = {}
    for exp, run in runs:
        low, high = ends.get(exp, (run, run))
        ends[exp] = (min(low, run), max(high, run))
    return [(exp, low, high) for exp, (low, high) in sorted(ends.items())]


def _read_constant(value: JsonValue, field: str, error: str | None) -> Constant | None:
    number = read_field(value, field)
    if number is None:
        return None
    return Constant(value=number, error=None if error is None else read_field(value, error))


def _list_paths(value: JsonValue, path: str = "") -> Iterator[str]:
    """Return the paths of all numbers: what payloads of one form have in common."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _list_paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_MOST_LEAVES]):
            yield from _list_paths(item, f"{path}.{number}" if path else str(number))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path


def _read_number(value: Any) -> float | None:
    """Return a finite number; JSON may hold whole ones that no float can."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def _summarise(iteration: int, rows: Sequence[MonitoredRow]) -> ConvergencePoint:
    values = [row.value for row in rows if row.value is not None]
    return ConvergencePoint(
        iteration=iteration,
        value=math.fsum(values) / len(values),
        error=rows[0].error if len(rows) == 1 else None,
        low=min(values),
        high=max(values),
        count=len(values),
    )


def _walk(value: JsonValue, way: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    left = [(value, way)]
    count = 0
    while left and count < _MOST_LEAVES:
        found, path = left.pop(0)
        if isinstance(found, Mapping):
            left += [(item, (*path, str(key))) for key, item in found.items()]
        elif isinstance(found, list):
            left += [(item, (*path, str(number))) for number, item in enumerate(found[:_MOST_FIELDS])]
        elif (number := _read_number(found)) is not None:
            count += 1
            yield ".".join(path), number
