"""The words in which a strategy speaks: actions that it yields, and what the driver sends back.

A strategy is a generator. It yields an action, the driver carries it out and sends the answer in. Because a
plan is a pure function of the answers, a restart replays the recorded answers, and a second instance may run
ahead on guesses.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from enum import Enum
from typing import Any, Union

from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.results import ResultCode


@record
class Execute:
    """Run the algorithm once on these runs. The driver sends an `Execution` back.

    :param runs: the runs whose collected data the algorithm sees, sorted.
    :param iov: the IoV that the algorithm is told and that its payloads get unless they have their own.
    :param settings: attributes set on the algorithm for this and all later executions (JSON-able values).
    """

    runs: tuple[ExpRun, ...]
    iov: IoV
    settings: Mapping[str, Any] | None = None


@record
class FindBoundaries:
    """Ask the algorithm which runs begin a new payload. The driver sends a tuple of `ExpRun` back.

    :param runs: the runs to look at, sorted.
    """

    runs: tuple[ExpRun, ...]


@record
class StagedPayload:
    """A payload that an execution made and that is not committed yet.

    :param revision: MD5 of the file's bytes, in hex.
    :param iov: its own IoV, or None for the execution's.
    """

    name: str
    revision: str
    size: int
    iov: IoV | None = None


@record
class Execution:
    """What one execution gave.

    :param key: the number of the execution in the plan, from 0.
    :param output: the JSON value the algorithm wrote, as it was.
    """

    key: int
    runs: tuple[ExpRun, ...]
    iov: IoV
    code: ResultCode
    output: Any = None
    payloads: tuple[StagedPayload, ...] = ()


@record
class Commit:
    """Write the payloads of an execution to the local database. The driver sends None back.

    :param iov: the IoV to write instead of the execution's. A payload's own IoV stays.
    :param payloads: the payloads to write, where not all of the execution's.
    """

    execution: Execution
    iov: IoV | None = None
    payloads: tuple[StagedPayload, ...] | None = None


@record
class Report:
    """Hand in a result: it joins the list that decides on iterating. The driver sends None back."""

    execution: Execution
    iov: IoV | None = None


class FinalState(str, Enum):
    """How a strategy ended."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@record
class Outcome:
    """The end of a plan.

    :param reason: why it failed, or what a reader should know of a success.
    """

    state: FinalState
    reason: str = ""


Action = Union[Execute, FindBoundaries, Commit, Report]
Answer = Union[Execution, tuple[ExpRun, ...], None]
Plan = Generator[Action, Any, Outcome]
