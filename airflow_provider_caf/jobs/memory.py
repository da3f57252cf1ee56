"""How much memory the next try of a subjob asks for, where the site has a word in it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.packing import Part
from airflow_provider_caf.batch.resubmit import has_memory_words
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import Verdict
from airflow_provider_caf.core.errors import SubmitRefused
from airflow_provider_caf.jobs.notes import note_told

_log = logging.getLogger(__name__)


def read_memory(
    asked: int | None, previous: Iterable[SubmittedArray], arrays: Iterable[SubmittedArray]
) -> dict[int, int | None]:
    """Give what was requested for the newest try of each subjob in MB, also in the pass before if that was more.

    :param asked: what the definition asks for in MB.
    """
    least = asked or 0
    memory: dict[int, int | None] = {}
    for each in previous:
        if (each.array.resources.memory or 0) > least:
            memory.update(dict.fromkeys(each.array.subjobs, each.array.resources.memory))
    for each in arrays:
        memory.update(dict.fromkeys(each.array.subjobs, each.array.resources.memory))
    return memory


def step_back(missing: Iterable[Verdict], arrays: Sequence[SubmittedArray]) -> dict[int, int | None]:
    """Give the memory of the try before for what was given up because nothing can ever run it with more.

    Some systems refuse a request that is too large; others take it and say that it can never run.
    """
    back: dict[int, int | None] = {}
    for verdict in missing:
        if verdict.gave_up and not has_memory_words(verdict.reason or ""):
            own = [each.array.resources.memory for each in arrays if verdict.subjob in each.array.subjobs]
            if len(own) > 1 and (own[-1] or 0) > (own[-2] or 0):
                back[verdict.subjob] = own[-2]
    return back


def submit_modestly(submit: Callable[[Part, int], SubmittedArray], part: Part, number: int) -> SubmittedArray:
    """Submit a part; with the memory of the try before where the site refuses more. One retry less than nothing."""
    try:
        return submit(part, number)
    except SubmitRefused as error:
        if part.modest is None:
            raise
        grown, before = part.resources.memory, part.modest.memory
        as_before = "without a memory request" if before is None else f"with {before} MB"
        told = f"{grown} MB of memory were refused for this try, it was submitted {as_before} as before: {error.what}"
        _log.warning("%s", told)
        submitted = submit(replace(part, resources=part.modest), number)
        note_told(submitted, told)
        return submitted
