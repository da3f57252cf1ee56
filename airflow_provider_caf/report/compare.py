"""Find what has changed from one DAG run to another, payload by payload."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.catalog import Catalog, PayloadRow
from airflow_provider_caf.status.series import Constant, ConstantReader, group_payloads

RunName = tuple[str, str]
"""DAG id and run id."""


@record
class ConstantChange:
    """A constant that is not the same.

    :param iov: where both hold.
    :param field: its name in the payload, '' where the payload is a number.
    :param first: None where the payload of the first run has no such number.
    :param second: None where that of the second run has none.
    :param pull: the difference in units of both errors together; None where they are not known.
    """

    iov: IoV
    field: str
    first: float | None
    second: float | None
    pull: float | None

    @property
    def difference(self) -> float | None:
        """The second less the first; None where one of them is not there."""
        return None if self.first is None or self.second is None else self.second - self.first


@record
class PayloadChange:
    """The differences between the IoVs of one payload.

    :param kind: `same`, `changed`, `only in the first` or `only in the second`.
    :param first: how many IoVs the first run has.
    :param second: how many the second has.
    :param equal: pairs of IoVs that overlap and have the same content.
    :param moved: IoVs of either run that the other has not in this form.
    :param changed: constants that differ.
    :param opaque: pairs that differ, and the catalog has no numbers of them.
    """

    calibration: str
    payload: str
    kind: str
    first: int = 0
    second: int = 0
    equal: int = 0
    moved: tuple[IoV, ...] = ()
    changed: tuple[ConstantChange, ...] = ()
    opaque: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the form of `compare --json`."""
        changed = [
            {**asdict(change), "iov": str(change.iov), "difference": change.difference} for change in self.changed
        ]
        return {**asdict(self), "moved": [str(iov) for iov in self.moved], "changed": changed}


def compare_runs(catalog: Catalog, first: RunName, second: RunName) -> list[PayloadChange]:
    """Compare the final payloads of two runs, by calibration and payload name.

    :raises DatabaseError: if the catalog cannot be read.
    """
    rows = (catalog.read(PayloadRow, *name, final=True) for name in (first, second))
    one, other = (group_payloads(sorted(own, key=lambda row: (row.iov, row.position))) for own in rows)
    reader = ConstantReader()
    return [_compare(key, one.get(key, []), other.get(key, []), reader) for key in sorted({*one, *other})]


def _compare(
    key: tuple[str, str], first: list[PayloadRow], second: list[PayloadRow], reader: ConstantReader
) -> PayloadChange:
    names: dict[str, Any] = {"calibration": key[0], "payload": key[1], "first": len(first), "second": len(second)}
    if not first or not second:
        return PayloadChange(**names, kind="only in the second" if second else "only in the first")
    moved = sorted({row.iov for row in first} ^ {row.iov for row in second})
    equal = opaque = 0
    changed: list[ConstantChange] = []
    for one, other, iov in _find_overlaps(first, second):
        if one.revision == other.revision or (one.value is not None and one.value == other.value):
            equal += 1
            continue
        found = list(_compare_values(reader.read(one.value), reader.read(other.value), iov))
        changed += found
        opaque += not found
    is_same = not moved and not changed and not opaque
    return PayloadChange(
        **names,
        kind="same" if is_same else "changed",
        equal=equal,
        moved=tuple(moved),
        changed=tuple(changed),
        opaque=opaque,
    )


def _find_overlaps(first: list[PayloadRow], second: list[PayloadRow]) -> Iterator[tuple[PayloadRow, PayloadRow, IoV]]:
    """Yield the pairs that hold for a same run, with the IoV in which both do."""
    begin = 0
    for one in first:
        while begin < len(second) and second[begin].iov.end < one.iov.low:
            begin += 1
        for other in second[begin:]:
            if other.iov.low > one.iov.end:
                break
            if (iov := one.iov.intersect(other.iov)) is not None:
                yield one, other, iov


def _compare_values(one: dict[str, Constant], other: dict[str, Constant], iov: IoV) -> Iterator[ConstantChange]:
    for field in {**one, **other}:
        first, second = one.get(field), other.get(field)
        if first is None or second is None or first.value != second.value:
            yield ConstantChange(
                iov=iov,
                field=field,
                first=None if first is None else first.value,
                second=None if second is None else second.value,
                pull=None if first is None or second is None else _find_pull(first, second),
            )


def _find_pull(first: Constant, second: Constant) -> float | None:
    if first.error is None or second.error is None:
        return None
    together = math.hypot(first.error, second.error)
    return (second.value - first.value) / together if together > 0 else None
