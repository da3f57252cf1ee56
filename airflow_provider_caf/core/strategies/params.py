"""The parameters that a strategy declares, and how their values are read.

Values come from a definition as JSON: an IoV as four numbers, a run as two. A strategy sees them as `IoV` and
`ExpRun`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import (
    normalise_json,
    read_flag,
    read_list,
    read_number,
    read_text,
    read_whole_number,
    read_with,
)
from airflow_provider_caf.core.record import record


@record
class Param:
    """One parameter that a strategy knows.

    :param kind: `bool`, `int`, `float`, `str`, `iov`, `run`, `runs` (a list), or `json` (any JSON value).
    :param text: what it does, in one line.
    :param default: the value where none is given, as the strategy sees it. None as default allows null.
    :param minimum: the smallest value of an `int` or `float`.
    """

    kind: str
    text: str
    default: Any = None
    minimum: float | None = None

    def __post_init__(self) -> None:
        """Refuse a kind that does not exist: a mistake of the strategy's author."""
        if self.kind not in _KINDS:
            raise DefinitionError(
                f"A parameter was declared with the unknown kind {self.kind!r}.",
                hint=f"Use one of: {', '.join(sorted(_KINDS))}.",
            )

    @property
    def form(self) -> str:
        """What a value has to be, as in `a whole number, at least 1`."""
        text = _KINDS[self.kind][0]
        if self.minimum is not None:
            text += f", at least {self.minimum:g}"
        return text + (", or null" if self.default is None and self.kind != "json" else "")

    def parse(self, value: Any) -> Any:
        """Read a value.

        :raises ValueError: if it is not what `form` says.
        """
        if value is None and self.default is None:
            return None
        parsed = _KINDS[self.kind][1](value, "parameter")
        if self.minimum is not None and parsed < self.minimum:
            raise ValueError(f"{value!r} is too small")
        return parsed


def parse_params(
    strategy: str, known: Mapping[str, Param], given: Mapping[str, Any], find_hint: Callable[[str], str]
) -> tuple[dict[str, Any], list[DefinitionError]]:
    """Read all values, with defaults filled in, and find every mistake in them.

    :param strategy: the strategy's name, for the messages.
    :param find_hint: gives the hint for a name that is not known.
    """
    errors = [
        DefinitionError(f"The strategy {strategy} has no parameter {name!r}.", hint=find_hint(name), where=(name,))
        for name in given
        if name not in known
    ]
    values = {}
    for name, param in known.items():
        if name not in given:
            values[name] = param.default
            continue
        try:
            values[name] = param.parse(given[name])
        except ValueError:
            errors.append(
                DefinitionError(
                    f"The parameter {name!r} of the strategy {strategy} is {given[name]!r}.",
                    hint=f"It has to be {param.form}.",
                    where=(name,),
                )
            )
    return values, errors


_KINDS: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "bool": ("true or false", read_flag),
    "float": ("a number", lambda value, where: float(read_number(value, where))),
    "int": ("a whole number", read_whole_number),
    "iov": ("an IoV [exp_low, run_low, exp_high, run_high]", read_with(IoV.of_basf2)),
    "json": ("a JSON value", normalise_json),
    "run": ("a run [exp, run]", read_with(ExpRun.from_json)),
    "runs": ("a list of runs [exp, run]", read_list(read_with(ExpRun.from_json))),
    "str": ("a text", read_text),
}
