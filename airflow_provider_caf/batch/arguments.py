"""The arguments of batch systems, as users write them in `backend_args`, and how each one is read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_provider_caf.core.errors import DefinitionError

AUTO = "auto"
MEMORY_UNITS = ("K", "M", "G", "T", "P", "E")
"""Each is 1024 of the one before."""
HELD_POLICIES = ("wait", "release", "fail")

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmgt])(?:i?b)?)?\s*", re.IGNORECASE)
_MEBIBYTES = {"k": 1 / 1024, "": 1.0, "m": 1.0, "g": 1024.0, "t": 1024.0**2}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _refuse(value: Any, where: str, wanted: str) -> DefinitionError:
    return DefinitionError(f"The {where} is {value!r}.", hint=f"It has to be {wanted}.")


def _read_line(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip() or any(ord(letter) < 32 for letter in value):
        raise _refuse(value, where, "a text of one line")
    return value


def _read_any_line(value: Any, where: str) -> str:
    # CAF's `path_prefix` is an empty text by default.
    return value if value == "" else _read_line(value, where)


def _read_count(value: Any, where: str) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        # Connections and the CAF's configuration files carry numbers as texts.
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _refuse(value, where, "a whole number of at least 1")
    return value


def _read_size(value: Any, where: str) -> int:
    match = _SIZE.fullmatch(str(value)) if isinstance(value, (str, int, float)) else None
    if match is None or isinstance(value, bool):
        raise _refuse(value, where, "a number of MB (2^20 bytes), or a text such as '4 GB'")
    # Rounded up: a request must not be smaller than what was asked.
    size = -int(-float(match[1]) * _MEBIBYTES[(match[2] or "").lower()] // 1)
    if size < 1:
        raise _refuse(value, where, "more than nothing")
    return size


def _read_unit(value: Any, where: str) -> str:
    unit = value.strip().upper().removesuffix("B") if isinstance(value, str) else ""
    if unit not in MEMORY_UNITS:
        raise _refuse(value, where, f"one of {', '.join(f'{unit}B' for unit in MEMORY_UNITS)}")
    return unit


def _read_walltime(value: Any, where: str) -> int:
    seconds = 0
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := _CLOCK.fullmatch(value.strip())):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = round(float(match[1]) * _SECONDS[match[2].lower()])
    if seconds < 1:
        # HH:MM is LSF's form and MM:SS is Slurm's: a text with one colon is not guessed.
        raise _refuse(value, where, "whole seconds, 'HH:MM:SS', 'D-HH:MM:SS', or a text such as '90m', '2h' or '1d'")
    return seconds


def _read_flag_or_names(value: Any, where: str) -> str:
    # HTCondor's getenv is true, false, or a list of variable names.
    if isinstance(value, bool):
        return "true" if value else "false"
    return _read_line(value, where)


def _read_lines(value: Any, where: str) -> tuple[str, ...]:
    lines: Iterable[Any] = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, (list, tuple)) or not all(isinstance(line, str) for line in lines):
        raise _refuse(value, where, "a list of lines")
    if any("\0" in line or "\n" in line or "\r" in line for line in lines):
        raise _refuse(value, where, "a list of lines without line breaks in them")
    return tuple(lines)


def _read_environment(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _refuse(value, where, "a mapping of variable names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or _VARIABLE.fullmatch(name) is None:
            raise _refuse(name, f"variable name in the {where}", "letters, digits and '_', not beginning with a digit")
        if not isinstance(text, str) or "\0" in text:
            raise _refuse(text, f"variable {name!r} in the {where}", "a text")
    return dict(value)


def _read_count_or_auto(value: Any, where: str) -> int | str:
    if value == AUTO:
        return AUTO
    try:
        return _read_count(value, where)
    except DefinitionError:
        raise _refuse(value, where, f"a whole number of at least 1, or {AUTO!r}") from None


def _read_factor(value: Any, where: str) -> float:
    try:
        factor = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        factor = math.nan
    if not 1 <= factor <= 100:
        raise _refuse(value, where, "a number from 1 to 100")
    return factor


def _read_flag(value: Any, where: str) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    if not isinstance(value, bool):
        raise _refuse(value, where, "true or false")
    return value


def _read_held(value: Any, where: str) -> str:
    if value not in HELD_POLICIES:
        raise _refuse(value, where, f"one of {', '.join(HELD_POLICIES)}")
    return str(value)


def is_host(value: Any) -> bool:
    """Return whether something can be the name of a host."""
    return isinstance(value, str) and _HOST.fullmatch(value) is not None


def _read_hosts(value: Any, where: str) -> tuple[str, ...]:
    hosts: Iterable[Any] = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(hosts, (list, tuple)) or not all(map(is_host, hosts)):
        raise _refuse(value, where, "a list of host names (letters, digits, '.', '_' and '-')")
    return tuple(hosts)


ARGUMENTS: Mapping[str, Callable[[Any, str], Any]] = {
    "account": _read_line,
    "array_limit": _read_count,
    "container": _read_line,
    "cpus": _read_count,
    "disk": _read_size,
    "environment": _read_environment,
    "exclude_hosts": _read_hosts,
    "extra_lines": _read_lines,
    "getenv": _read_flag_or_names,
    "held": _read_held,
    "held_timeout": _read_walltime,
    "max_failures_per_host": _read_count,
    "max_processes": _read_count,
    "memory": _read_size,
    "memory_ceiling": _read_size,
    "memory_factor": _read_factor,
    "memory_unit": _read_unit,
    "path_prefix": _read_any_line,
    "python": _read_line,
    "queue": _read_line,
    "setup": _read_lines,
    "shell": _read_line,
    "subjobs_per_job": _read_count_or_auto,
    "throttle": _read_count,
    "transfer_files": _read_flag,
    "universe": _read_line,
    "walltime": _read_walltime,
}
"""Argument → its reader. The names are the fields of `Resources`."""

AMOUNTS = frozenset(
    {
        "account",
        "array_limit",
        "cpus",
        "disk",
        "exclude_hosts",
        "held",
        "held_timeout",
        "max_failures_per_host",
        "max_processes",
        "memory",
        "memory_ceiling",
        "memory_factor",
        "queue",
        "subjobs_per_job",
        "throttle",
        "walltime",
    }
)
"""The arguments that say how much is asked for and where it waits. All others say what is executed, in which
environment, or become lines of a submit file."""

CAF_NAMES: Mapping[str, str] = {
    "request_cpus": "cpus",
    "request_disk": "disk",
    "request_memory": "memory",
}
"""Names of the CAF (and of HTCondor's submit files) → ours. Those that are equal are not listed."""
