"""What to do with a job that the batch system holds.

Theory
------
A hold is a pause: somebody or something has to act before the job goes on. Some holds end by themselves (a licence, a
maintenance), some end when the job is released (a file server that was away), and some never end (an input file that
does not exist, a request that no host can fulfil). A system that knows the last kind says so: `Native.is_hopeless`.

======== ============================ =================================================================
policy   a hopeless one               any other
======== ============================ =================================================================
(none)   fails at once                waits
wait     waits                        waits
release  fails at once                is released after `held_timeout`, a few times; after that it fails
fail     fails at once                fails after `held_timeout`
======== ============================ =================================================================

*Fails* means: the job is ended, and its subjob counts as failed, with the system's own reason. Nothing is removed
without having said why.
"""

from __future__ import annotations

from enum import Enum

from airflow_provider_caf.batch.polling import decide_over
from airflow_provider_caf.batch.spec import Resources
from airflow_provider_caf.core.record import record

DEFAULT_TIMEOUT = 300.0
"""Seconds. Shorter ones would fight with an administrator who is about to release the jobs."""

MOST_RELEASES = 3
"""What is held again after so many releases is not mended by one more."""


class HeldAction(Enum):
    """What to do with a held job now."""

    WAIT = "wait"
    RELEASE = "release"
    FAIL = "fail"


@record
class HeldPolicy:
    """How held jobs are treated, see the table above.

    :param action: `wait`, `release` or `fail`; None: nobody has said.
    :param timeout: seconds after which `release` and `fail` act.
    """

    action: str | None = None
    timeout: float = DEFAULT_TIMEOUT


def build_held_policy(resources: Resources) -> HeldPolicy:
    """Return the policy that the arguments `held` and `held_timeout` make."""
    timeout = DEFAULT_TIMEOUT if resources.held_timeout is None else float(resources.held_timeout)
    return HeldPolicy(action=resources.held, timeout=timeout)


def decide_held(policy: HeldPolicy, *, hopeless: bool, since: float, now: float, releases: int) -> HeldAction:
    """Decide about one job that is held, or that waits for what will never come.

    :param hopeless: the system says that it will never go on by itself.
    :param since: when it was first seen so, in seconds.
    :param releases: how often we have released it.
    """
    if policy.action == "wait":
        return HeldAction.WAIT
    if hopeless:
        return HeldAction.FAIL
    if policy.action is None or not decide_over(since, now, policy.timeout):
        return HeldAction.WAIT
    if policy.action == "release" and releases < MOST_RELEASES:
        return HeldAction.RELEASE
    return HeldAction.FAIL
