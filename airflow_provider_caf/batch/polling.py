"""When to look again, when to believe that a job is gone, when to give up on a server. Decisions only."""

from __future__ import annotations

from airflow_provider_caf.core.record import record


@record
class Patience:
    """How often to look and how long to wait. All in seconds.

    :param shortest: the first interval between two queries.
    :param longest: the interval on long waits.
    :param share: the interval as a share of the time waited so far, between the two bounds.
    :param grace: how long a job may be missing from queue and history, or ended without an exit record (a
        network file system shows a file late), before that counts. None: what the system needs.
    :param deadline: how long queries may fail before that is an error. A server can be down for ten minutes.
    """

    shortest: float = 1.0
    longest: float = 60.0
    share: float = 0.05
    grace: float | None = None
    deadline: float = 1800.0

    def choose_grace(self, usual: float) -> float:
        """Return the grace time in seconds.

        :param usual: what the system needs, in seconds.
        """
        return usual if self.grace is None else self.grace


def decide_interval(waited: float, patience: Patience) -> float:
    """Return the time to the next query: quick at first, slower on long waits.

    :param waited: seconds since the submission. A clock that was set back gives a negative one.
    """
    return min(max(patience.shortest, patience.share * waited), patience.longest)


def decide_over(since: float | None, now: float, limit: float) -> bool:
    """Return whether something has lasted for its limit.

    :param since: when it began; None: it is not so.
    """
    return since is not None and now - since >= limit
