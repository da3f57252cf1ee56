"""What LSF says of the end of an element, and its history, the output of `bhist -l`.

A line of the history is broken at column 80, also within a word; what follows is indented. The text of a job stands
there too, so only what begins with a time is read as an event.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from airflow_provider_caf.batch.evidence import Native, says_out_of_memory
from airflow_provider_caf.core.record import record

CANCELLED = frozenset({"TERM_ADMIN", "TERM_FORCE_ADMIN", "TERM_FORCE_OWNER", "TERM_OWNER"})
"""The reasons of an EXIT that somebody wanted; they serve as codes of their own."""

_RUN_LIMIT_CODE = 128 + signal.SIGUSR2
"""LSF ends a job that has reached its run limit with SIGUSR2 first."""

_TERM = re.compile(r"TERM_\w+")
_FOLD = re.compile(r"\n {21}")
_BLOCK = re.compile(r"^Job <(\d+)(?:\[(\d+)\])?>(.*?)(?=^Job <|\Z)", re.MULTILINE | re.DOTALL)
_BLOCK_NAME = re.compile(r"\A, Job Name <([^>]*)>")
_BLOCK_END = "Summary of time in seconds"
_EVENT = re.compile(r"^\w{3} \w{3} +\d+ \d\d:\d\d:\d\d(?: \d{4})?: (.*)$", re.MULTILINE)
"""With LSB_DISPLAY_YEAR there is a year."""
_STARTED = re.compile(r"(?:\[\d+\] )?(?:[Dd]ispatched .*?<([^>]*)>|Starting|Running|Pending|Requeued)")
_ENDED = re.compile(r"Exited(?: with exit code (\d+)| by (?:LSF )?signal (\d+))?")
_DONE = re.compile(r"Done successfully|Completed <done>")
_COMPLETED = re.compile(r"Completed <exit>(?:; (TERM_\w+[^;]*))?")


def read_text(value: object) -> str | None:
    """Return what LSF says as a text, or None where it says nothing: an empty text or `-`."""
    text = str(value or "").strip(" ;.\n")
    return None if text in ("", "-") else text


def read_host(text: str) -> str | None:
    """Return the first of `4*node1:node2`."""
    return read_text(text.partition(":")[0].rpartition("*")[2])


def build_end(stat: str, exit_code: int | None, reason: str | None, host: str | None) -> Native:
    """Return the end of an element.

    :param stat: `DONE` or `EXIT`.
    :param reason: LSF's own, such as `TERM_MEMLIMIT: …`; None: it is told by the signal, if there was one.
    """
    if stat == "DONE":
        return Native(code=stat, exit_code=0, host=host)
    term = _TERM.match(reason or "")
    if reason is None and exit_code is not None and exit_code > 128:
        reason = _explain(exit_code)
    code = term[0] if term is not None and term[0] in CANCELLED else stat
    return Native(code=code, reason=reason, exit_code=exit_code, host=host, out_of_memory=says_out_of_memory(reason))


@record
class PastElement:
    """What the history says of one element; index 0: of a plain job.

    :param end: None: it has not ended, as far as the history knows.
    """

    id: str
    index: int
    name: str | None
    end: Native | None


def read_history(text: str) -> list[PastElement] | None:
    """Return the elements of `bhist -l`, or None where there are none or the last one is cut off."""
    found = list(_BLOCK.finditer(_FOLD.sub("", text)))
    if not found or _BLOCK_END not in found[-1][3]:
        return None
    return [
        PastElement(
            id=match[1],
            index=int(match[2] or 0),
            name=name[1] if (name := _BLOCK_NAME.match(match[3])) else None,
            end=_read_end(_EVENT.findall(match[3])),
        )
        for match in found
    ]


def _read_end(events: Sequence[str]) -> Native | None:
    """Return how it ended; whatever came before the newest start does not count."""
    stat, exit_code, reason, host = "", None, None, None
    for event in events:
        if started := _STARTED.match(event):
            stat, exit_code, reason, host = "", None, None, read_host(started[1] or "") or host
        elif _DONE.match(event):
            stat = "DONE"
        elif ended := _ENDED.match(event):
            stat = "EXIT"
            exit_code = int(ended[1]) if ended[1] else 128 + int(ended[2]) if ended[2] else None
        elif completed := _COMPLETED.match(event):
            stat, reason = "EXIT", read_text(completed[1])
    return build_end(stat, exit_code, reason, host) if stat else None


def _explain(exit_code: int) -> str | None:
    try:
        name = signal.Signals(exit_code - 128).name
    except ValueError:
        return None
    if exit_code == _RUN_LIMIT_CODE:
        return f"{name}, which LSF sends at the end of the walltime"
    return f"ended by {name}"
