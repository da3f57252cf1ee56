"""The names of the signals that end a process."""

from __future__ import annotations

import signal


def name_signal(number: int) -> str:
    """Return the name of a signal, such as `SIGKILL`; `signal 40` where it has none, as most real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
