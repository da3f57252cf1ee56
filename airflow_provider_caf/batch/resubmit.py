"""Which subjobs go again, and with how much memory (law 9)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_provider_caf.core.record import record

_KILLED = 9
_KILLED_AS_EXIT_CODE = 128 + _KILLED
_NEAR_THE_LIMIT = 0.8
"""A job that is killed for its memory was measured a bit below the limit: the last pages were refused."""

_MEMORY_WORDS = re.compile(
    r"\b(?:MemoryError|bad_alloc|Cannot allocate memory|Out of memory|OUT_OF_MEMORY|OOM|oom-kill|"
    r"TERM_MEMLIMIT|memory (?:usage )?(?:limit )?exceeded|exceeded .{0,40}memory|exceeded request_memory)\b",
    re.IGNORECASE,
)


@record
class RetryPolicy:
    """How failed subjobs go again.

    :param max_retries: tries of one subjob after its first.
    :param memory_factor: the memory request grows by this where memory was the cause.
    :param memory_ceiling: the largest request in MB; None: no limit.
    """

    max_retries: int = 3
    memory_factor: float = 1.5
    memory_ceiling: int | None = None


@record
class Failure:
    """One subjob that did not end well.

    :param tries: how often it was tried.
    :param memory: what was requested for the last try, in MB; None: the system's default.
    :param peak_memory: the largest resident memory of the last try in kB.
    :param text: the reason, the native reason and the last lines of stderr.
    """

    subjob: int
    tries: int
    exit_code: int | None = None
    signal: int | None = None
    memory: int | None = None
    peak_memory: int | None = None
    text: str = ""


@record
class Retry:
    """Subjobs that go again together, as they ask for the same memory.

    :param memory: the request in MB; None: as before.
    """

    subjobs: tuple[int, ...]
    memory: int | None = None


@record
class Resubmission:
    """What to do with the failed subjobs.

    :param retries: new, smaller arrays.
    :param spent: the subjobs that have no try left.
    """

    retries: tuple[Retry, ...]
    spent: tuple[int, ...]


def is_memory_cause(failure: Failure) -> bool:
    """Tell whether memory was the cause.

    Either somebody says so (Python, C++, the batch system), or the subjob was killed when its memory was near
    what it had asked for. SIGKILL alone says nothing: a time limit and an administrator use it too.
    """
    if _MEMORY_WORDS.search(failure.text):
        return True
    killed = failure.signal == _KILLED or failure.exit_code == _KILLED_AS_EXIT_CODE
    if not killed or failure.memory is None or failure.peak_memory is None:
        return False
    return failure.peak_memory >= _NEAR_THE_LIMIT * failure.memory * 1024


def decide_memory(failure: Failure, policy: RetryPolicy) -> int | None:
    """Give the next memory request in MB; None: as before.

    Without a request there is nothing to grow from but what the subjob used.
    """
    if not is_memory_cause(failure):
        return failure.memory
    base = failure.memory or (failure.peak_memory or 0) // 1024
    if not base:
        return None
    grown = -int(-base * policy.memory_factor // 1)
    if policy.memory_ceiling is not None:
        # A request that was above the ceiling already is the user's own wish: it is not made smaller.
        grown = max(min(grown, policy.memory_ceiling), base)
    return grown


def decide_resubmission(failures: Iterable[Failure], policy: RetryPolicy) -> Resubmission:
    """Decide which subjobs go again, grouped by the memory they ask for."""
    groups: dict[int | None, list[int]] = {}
    spent = []
    for failure in sorted(failures, key=lambda each: each.subjob):
        if failure.tries > policy.max_retries:
            spent.append(failure.subjob)
        else:
            groups.setdefault(decide_memory(failure, policy), []).append(failure.subjob)
    retries = (Retry(subjobs=tuple(subjobs), memory=memory) for memory, subjobs in groups.items())
    return Resubmission(retries=tuple(sorted(retries, key=lambda each: each.subjobs)), spent=tuple(spent))
