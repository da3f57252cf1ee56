"""Durations as text for people."""

from __future__ import annotations


def describe_seconds(seconds: float) -> str:
    """Return a duration as text: `0.4 s`, `11 s`, `3 min 20 s`, `2 h 05 min`."""
    if 0 < seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
