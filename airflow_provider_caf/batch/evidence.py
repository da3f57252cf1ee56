"""What is known of one try of a subjob: the exit record, the words of the batch system, our own notes.

Three witnesses speak of a try. The wrapper in the job writes the *exit record* when the try has ended. The *batch
system* says a state code for the element that runs the subjob (`Native`). A *note* says what we did to it ourselves.
`batch.verdicts` weighs them; nothing here decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.file_names import build_label
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.record import record


class JobState(Enum):
    """The state of a subjob, the same words for every batch system."""

    QUEUED = "queued"
    HELD = "held"
    RUNNING = "running"
    TRANSFERRING = "transferring"
    EXITED = "exited"
    CANCELLED = "cancelled"
    LOST = "lost"
    UNKNOWN = "unknown"


FINAL = frozenset({JobState.EXITED, JobState.CANCELLED, JobState.LOST})
"""The states that are over."""


_OUT_OF_MEMORY = re.compile(
    r"\b(?:MemoryError|bad_alloc|Cannot allocate memory|Out of memory|OUT_OF_MEMORY|OOM|oom-kill|"
    r"TERM_MEMLIMIT|memory (?:usage )?(?:limit )?exceeded|exceeded .{0,40}memory|exceeded request_memory)\b",
    re.IGNORECASE,
)


def says_out_of_memory(text: str | None) -> bool:
    """Return whether a text of another program says that memory was the cause: Python's, C++'s, a batch system's."""
    return _OUT_OF_MEMORY.search(text or "") is not None


@record
class Native:
    """What the batch system says of one element, in its own words.

    :param code: its state code, a key of `System.states`.
    :param reason: why it is held, failed or waits, where the system says so.
    :param exit_code: as the system reports it; it may be wrong and only explains.
    :param host: where it runs or ran.
    :param is_hopeless: it is held or waits for something that will not come by itself, such as a missing input.
    :param out_of_memory: it was ended or is held because it used more memory than it had asked for.
    """

    code: str
    reason: str | None = None
    exit_code: int | None = None
    host: str | None = None
    is_hopeless: bool = False
    out_of_memory: bool = False


@record
class Note(JsonRecord):
    """What we did to one subjob of one array.

    :param held_since: when it was first seen held in the present hold, in seconds since 1970.
    :param releases: how often we have released it.
    :param cancelled: we have cancelled it.
    :param given_up: why we have ended it although nobody wanted it cancelled: the reason of its hold.
    :param out_of_memory: that reason was its memory.
    :param told: what people shall know who look at how it ended.
    """

    noun = "note"
    short_fields = ("out_of_memory", "told")

    held_since: float | None = None
    releases: int = 0
    cancelled: bool = False
    given_up: str | None = None
    out_of_memory: bool = False
    told: str | None = None

    @classmethod
    def translate(cls, value: Any) -> Any:
        """Return the form of `to_json` for a note that was written before `out_of_memory` was a field of its own."""
        if isinstance(value, Mapping) and str(value.get("given_up")).startswith("OUT_OF_MEMORY"):
            return {"out_of_memory": True, **value}
        return value


@record
class ExitRecord:
    """How one try of one subjob ended.

    :param attempt: the number of the try.
    :param restart: how often the batch system had started that try before.
    :param folder: the work folder.
    :param exit_code: None: a signal ended it.
    :param peak_memory_kb: largest resident memory of one of its processes.
    :param outputs: path relative to the work folder → size in bytes.
    :param reason: why it has failed, where exit code and signal do not tell.
    :param ended_by: who ended the whole job from outside, a word of `core.file_names.ENDED_BY`; None: nobody.
    :param out_of_memory: there was no memory to start it.
    """

    subjob: int
    attempt: int
    restart: int
    folder: Path
    job_digest: str
    exit_code: int | None
    signal: int | None
    host: str
    started: datetime
    ended: datetime
    cpu_seconds: float
    peak_memory_kb: int
    outputs: Mapping[str, int]
    reason: str | None
    ended_by: str | None = None
    out_of_memory: bool = False

    @property
    def label(self) -> str:
        """The try as it stands in the names of folder and record."""
        return build_label(self.attempt, self.restart)

    @property
    def says_success(self) -> bool:
        """Whether the wrapper saw it end well. The outputs still have to be there now."""
        return self.exit_code == 0 and self.signal is None and self.reason is None

    @property
    def seconds(self) -> float:
        """The wall time. Never negative, although clocks jump."""
        return max(0.0, (self.ended - self.started).total_seconds())

    @property
    def was_told_to_end(self) -> bool:
        """Whether the whole job was ended from outside. What came after in its element did not begin."""
        return self.ended_by is not None
