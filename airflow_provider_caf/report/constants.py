"""The numbers in the values of many payloads, read without looking at the form of each value anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from airflow_provider_caf.core.record import record
from airflow_provider_caf.io.catalog import JsonValue
from airflow_provider_caf.status.series import find_error_field, list_fields, read_field

_LONGEST_LIST = 200
"""Entries of a list that are looked at when forms are compared: no constant is further behind."""


@record
class Constant:
    """A number of a payload.

    :param error: one standard deviation; None where the payload names none.
    """

    value: float
    error: float | None = None


class ConstantReader:
    """Read the constants of payloads. Payloads of one name mostly have one form, which is looked at once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], Mapping[str, str | None]] = {}

    def list_fields(self, value: JsonValue) -> Mapping[str, str | None]:
        """Give the constants of a value: path → path of its error, or None."""
        form = tuple(_list_paths(value))
        if form not in self._known:
            self._known[form] = {field: find_error_field(field, form) for field in list_fields(value)}
        return self._known[form]

    def read(self, value: JsonValue) -> dict[str, Constant]:
        """Give all constants of a value that are finite, by their paths."""
        found = {}
        for field, error in self.list_fields(value).items():
            number = read_field(value, field)
            if number is not None:
                found[field] = Constant(value=number, error=None if error is None else read_field(value, error))
        return found


def _list_paths(value: JsonValue, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _list_paths(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_LONGEST_LIST]):
            yield from _list_paths(item, f"{path}.{number}" if path else str(number))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield path
