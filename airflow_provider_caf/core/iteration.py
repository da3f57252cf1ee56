"""The decision after a pass: whether a calibration runs its collectors and algorithms once more."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode


class IterationAction(str, Enum):
    """What comes after an iteration."""

    ITERATE = "ITERATE"
    FINISH = "FINISH"


@record
class IterationDecision:
    """What comes next, and why.

    :param limit_reached: True if an algorithm wanted another iteration and there is none left.
    :param reason: for the log and the result table.
    """

    action: IterationAction
    limit_reached: bool
    reason: str


def decide_iteration(codes: Iterable[ResultCode], iteration: int, max_iterations: int) -> IterationDecision:
    """Decide whether to iterate.

    One ITERATE among the results is enough. There are at most `max_iterations` repetitions, so
    `max_iterations + 1` passes. Reaching the limit is a normal end, which is reported.

    :param codes: the results of all algorithms of this iteration whose payloads were committed.
    :param iteration: the number of this iteration, from 0.
    :param max_iterations: at least 0.
    """
    results = list(codes)
    wanting = results.count(ResultCode.ITERATE)
    action, limit_reached = IterationAction.FINISH, False
    reason = f"{wanting} of {len(results)} results of iteration {iteration} ask for another one"
    if not wanting:
        reason = f"No result of iteration {iteration} asks for another one."
    elif iteration < max_iterations:
        action = IterationAction.ITERATE
        reason += f"; {max_iterations - iteration} left."
    else:
        limit_reached = True
        reason += f", but the limit of {max_iterations} repetitions is reached."
    return IterationDecision(action=action, limit_reached=limit_reached, reason=reason)
