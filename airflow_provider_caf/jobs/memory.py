"""The memory that the next attempt of a subjob asks for, where the site refuses more."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from airflow_provider_caf.batch.packing import Part
from airflow_provider_caf.batch.spec import SubmittedArray
from airflow_provider_caf.batch.verdicts import Verdict
from airflow_provider_caf.core.errors import SubmitRefused
from airflow_provider_caf.jobs.notes import note_remark

_log = logging.getLogger(__name__)


def read_memory(
    least: int | None, previous: Iterable[SubmittedArray], arrays: Iterable[SubmittedArray]
) -> dict[int, int | None]:
    """Return what was requested for the newest attempt of each subjob in MB, also in the previous run if more.

    :param least: the request of the definition in MB.
    """
    memory: dict[int, int | None] = {}
    for submitted in previous:
        if (submitted.array.resources.memory or 0) > (least or 0):
            memory.update(dict.fromkeys(submitted.array.subjobs, submitted.array.resources.memory))
    for submitted in arrays:
        memory.update(dict.fromkeys(submitted.array.subjobs, submitted.array.resources.memory))
    return memory


def step_back(missing: Iterable[Verdict], arrays: Sequence[SubmittedArray]) -> dict[int, int | None]:
    """Return the memory of the attempt before for what was given up because nothing can ever run it with more.

    Some systems refuse a request that is too large; others take it and say that it can never run.
    """
    memory: dict[int, int | None] = {}
    for verdict in missing:
        if verdict.gave_up and not verdict.out_of_memory:
            requests = [array.array.resources.memory for array in arrays if verdict.subjob in array.array.subjobs]
            if len(requests) > 1 and (requests[-1] or 0) > (requests[-2] or 0):
                memory[verdict.subjob] = requests[-2]
    return memory


def submit_modestly(submit: Callable[[Part, int], SubmittedArray], part: Part, number: int) -> SubmittedArray:
    """Submit a part; with the memory of the attempt before where the site refuses more. Better than no retry."""
    try:
        return submit(part, number)
    except SubmitRefused as error:
        if part.modest is None:
            raise
        grown, before = part.resources.memory, part.modest.memory
        as_before = "without a memory request" if before is None else f"with {before} MB"
        remark = f"{grown} MB of memory were refused for this try, it was submitted {as_before} as before: {error.what}"
        _log.warning("%s", remark)
        submitted = submit(replace(part, resources=part.modest), number)
        note_remark(submitted, remark)
        return submitted
