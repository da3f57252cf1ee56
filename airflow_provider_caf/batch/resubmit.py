"""Which subjobs go again, with how much memory, with which neighbours, and on which hosts not."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_caf.batch.arguments import is_host
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.record import record

DEFAULT_MAX_RETRIES = 3
DEFAULT_MEMORY_FACTOR = 1.5
_KILLED = 9
_KILLED_AS_EXIT_CODE = 128 + _KILLED
_FIRST_GUESS = 1000
"""MB. A collector that loads ROOT and one file needs about half of it."""

_NEAR_THE_LIMIT = 0.8
"""A job that is killed for its memory was measured a bit below the limit: the last pages were refused."""


@record
class RetryPolicy:
    """How failed subjobs go again.

    :param max_retries: tries of one subjob after its first.
    :param memory_factor: the memory request grows by this where memory was the cause.
    :param memory_ceiling: the largest request in MB; None: no limit.
    :param max_failures_per_host: a host on which so many subjobs failed gets none any more; None: no host is bad.
    """

    max_retries: int = DEFAULT_MAX_RETRIES
    memory_factor: float = DEFAULT_MEMORY_FACTOR
    memory_ceiling: int | None = None
    max_failures_per_host: int | None = None


def build_retry_policy(resources: Resources, max_retries: int) -> RetryPolicy:
    """Return the policy that the arguments `memory_factor`, `memory_ceiling` and `max_failures_per_host` make."""
    return RetryPolicy(
        max_retries=max_retries,
        memory_factor=resources.memory_factor or DEFAULT_MEMORY_FACTOR,
        memory_ceiling=resources.memory_ceiling,
        max_failures_per_host=resources.max_failures_per_host,
    )


@record
class Failure:
    """One subjob that did not end well.

    :param tries: how often it was tried.
    :param memory: what was requested for the last try, in MB; None: the system's default.
    :param peak_memory: the largest resident memory of the last try in kB.
    :param out_of_memory: somebody says that memory was the cause: Python, C++, the batch system.
    :param broke_off: its job ended with it, and so did those that shared its element of the array.
    """

    subjob: int
    tries: int
    exit_code: int | None = None
    signal: int | None = None
    memory: int | None = None
    peak_memory: int | None = None
    out_of_memory: bool = False
    broke_off: bool = False


@record
class Retry:
    """Subjobs that go again together, as they ask for the same memory.

    :param memory: the request in MB; None: as before.
    :param alone: each has an element of its own, so that it takes no neighbour with it once more.
    :param before: where the request has grown, that of their last try in MB; 0: there was none.
    """

    subjobs: tuple[int, ...]
    memory: int | None = None
    alone: bool = False
    before: int | None = None


@record
class RetryPlan:
    """What to do with the failed subjobs.

    :param retries: new, smaller arrays.
    :param spent: the subjobs that have no try left.
    """

    retries: tuple[Retry, ...]
    spent: tuple[int, ...]


def is_memory_cause(failure: Failure) -> bool:
    """Return whether memory was the cause.

    Either somebody says so, or the subjob was killed when its memory was near what it had asked for. SIGKILL alone
    says nothing: a time limit and an administrator use it too.
    """
    if failure.out_of_memory:
        return True
    killed = failure.signal == _KILLED or failure.exit_code == _KILLED_AS_EXIT_CODE
    if not killed or failure.memory is None or failure.peak_memory is None:
        return False
    return failure.peak_memory >= _NEAR_THE_LIMIT * failure.memory * 1024


def decide_memory(failure: Failure, policy: RetryPolicy) -> int | None:
    """Return the next memory request in MB; None: as before.

    Without a request it grows from what the subjob used, and where nobody measured that, from a guess: the site's
    default was too small, and would be too small again.
    """
    if not is_memory_cause(failure):
        return failure.memory
    base = failure.memory or (failure.peak_memory or 0) // 1024 or _FIRST_GUESS
    grown = -int(-base * policy.memory_factor // 1)
    if policy.memory_ceiling is not None:
        # A request that was above the ceiling already is the user's own wish: it is not made smaller.
        grown = max(min(grown, policy.memory_ceiling), failure.memory or 0)
    return grown


def plan_retries(failures: Iterable[Failure], policy: RetryPolicy) -> RetryPlan:
    """Decide which subjobs go again, grouped by the memory they ask for."""
    groups: dict[tuple[int | None, bool, int | None], list[int]] = {}
    spent = []
    for failure in sorted(failures, key=lambda failure: failure.subjob):
        if failure.tries > policy.max_retries:
            spent.append(failure.subjob)
        else:
            memory = decide_memory(failure, policy)
            key = (memory, failure.broke_off, None if memory == failure.memory else failure.memory or 0)
            groups.setdefault(key, []).append(failure.subjob)
    retries = (
        Retry(subjobs=tuple(subjobs), memory=memory, alone=alone, before=before)
        for (memory, alone, before), subjobs in groups.items()
    )
    return RetryPlan(retries=tuple(sorted(retries, key=lambda retry: retry.subjobs)), spent=tuple(spent))


@record
class HostTry:
    """A try of a subjob that ended on a host.

    :param out_of_memory: somebody says that memory was the cause.
    """

    host: str
    subjob: int
    succeeded: bool
    out_of_memory: bool = False


def find_bad_hosts(tries: Iterable[HostTry], policy: RetryPolicy) -> tuple[str, ...]:
    """Return the hosts on which too many different subjobs failed and none succeeded, sorted.

    A subjob that had too little memory says nothing about the host.
    """
    if policy.max_failures_per_host is None:
        return ()
    failed: dict[str, set[int]] = {}
    good = set()
    for host_try in tries:
        if host_try.succeeded:
            good.add(host_try.host)
        elif not host_try.out_of_memory:
            failed.setdefault(host_try.host, set()).add(host_try.subjob)
    return tuple(
        sorted(
            host
            for host, subjobs in failed.items()
            # Host names come from jobs, and go into submit files.
            if host not in good and len(subjobs) >= policy.max_failures_per_host and is_host(host)
        )
    )
