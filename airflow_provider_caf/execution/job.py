"""A strategy that is carried out in a job: what the job leaves, and how the task goes through it again.

The job fills the checkpoint, which lies in the folder of the algorithm, and writes how it ended. Then the task plans
once more with the same answers, and commits: payloads are written in one place, with a job and without.

==================  ==============================================================================================
file                what is in it
==================  ==============================================================================================
`job_request.json`  what to do: `core.algorithm_requests.StrategyRequest`
`checkpoint/`       the keys of the checkpoint, a file each; see `execution.checkpoint`
`job_live.json`     `LiveExecutions`: how many executions are finished and the last of them
`job_end.json`      `StrategyEnd`
`job.lock`          held while anything of the job lives
==================  ==============================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core import errors
from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.atomic import write_bytes
from airflow_provider_caf.core.errors import AlgorithmFailed, CafError, InputError, JobFailed
from airflow_provider_caf.core.files import PRIVATE, read_json
from airflow_provider_caf.core.json_form import JsonRecord
from airflow_provider_caf.core.names import check_file_name
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.stored_record import StoredRecord
from airflow_provider_caf.core.strategies.base import Question
from airflow_provider_caf.core.strategies.tickets import Ticket
from airflow_provider_caf.execution.checkpoint import Checkpoint
from airflow_provider_caf.execution.executions import FinishedExecution
from airflow_provider_caf.execution.pool import Finished
from airflow_provider_caf.execution.process import Opened

EXIT_TRY_AGAIN = 75
"""Exit code of a job whose end names what another try may mend, as `EX_TEMPFAIL` of sysexits.h."""

_SHOWN_EXECUTIONS = 50
_SHOWN_BYTES = 64 * 1024


class FileState:
    """A folder in the place of Airflow's task state store.

    :param folder: made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        path = self._find(key)
        return read_json(path, f"The checkpoint {key!r}") if path.exists() else default

    def set(self, key: str, value: Any) -> None:
        """Keep a value that JSON can say."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._find(key), json.dumps(value).encode(), mode=PRIVATE)

    def delete(self, key: str) -> None:
        """Forget a value."""
        self._find(key).unlink(missing_ok=True)

    def _find(self, key: str) -> Path:
        return self._folder / check_file_name(f"{key}.json")


def open_checkpoint(layout: AlgorithmLayout) -> Checkpoint:
    """Return the checkpoint that a job keeps."""
    return Checkpoint(FileState(layout.checkpoint_folder), layout.checkpoint_folder, layout.staging_folder)


@record
class StoredError(JsonRecord):
    """An error of ours, for another process.

    :param kind: its class.
    """

    noun = "error"

    kind: str
    what: str
    hint: str | None = None
    log: str | None = None
    log_tail: str = ""

    @classmethod
    def keep(cls, error: CafError) -> StoredError:
        """Return what is to be known of an error."""
        log, tail = (error.log, error.log_tail) if isinstance(error, JobFailed) else (None, "")
        return cls(kind=type(error).__name__, what=error.what, hint=error.hint, log=log, log_tail=tail)

    def build(self) -> CafError:
        """Return the error."""
        found = getattr(errors, self.kind, None)
        kind = found if isinstance(found, type) and issubclass(found, CafError) else CafError
        if issubclass(kind, JobFailed):
            return kind(self.what, hint=self.hint, log=self.log, log_tail=self.log_tail)
        return kind(self.what, hint=self.hint)


@record
class Unanswered(JsonRecord):
    """A question that the algorithm gave no answer to."""

    noun = "question without an answer"

    ticket: Ticket
    error: StoredError


@record
class StrategyEnd(StoredRecord):
    """How a job with a strategy ended.

    :param job: that of its request.
    :param opened: what the algorithm saw; None: it could not be opened.
    :param unanswered: what broke.
    :param error: why it could not go on; None: the strategy came to its end.
    """

    noun = "end of a strategy"
    version = 1

    job: str
    opened: Opened | None = None
    replayed: int = 0
    wasted: int = 0
    unanswered: tuple[Unanswered, ...] = ()
    error: StoredError | None = None

    @property
    def may_go_better(self) -> bool:
        """Whether another try may answer what this one did not."""
        found = [*(one.error for one in self.unanswered), *([] if self.error is None else [self.error])]
        return any(not errors.is_final(error.build()) for error in found)


@record
class LiveExecutions(StoredRecord):
    """How far a job with a strategy is.

    :param count: executions that its plan asked for and that are finished.
    :param last: the last of them.
    """

    noun = "progress of a strategy"
    version = 1

    generation: int
    count: int
    last: tuple[FinishedExecution, ...] = ()

    def add(self, executions: Sequence[FinishedExecution]) -> LiveExecutions:
        """Return it with more executions; one file holds the last ones that are small enough together."""
        last: list[FinishedExecution] = []
        size = 0
        for execution in reversed([*self.last, *executions][-_SHOWN_EXECUTIONS:]):
            size += len(json.dumps(execution.to_json()))
            if size > _SHOWN_BYTES:
                break
            last.insert(0, execution)
        return LiveExecutions(generation=self.generation, count=self.count + len(executions), last=tuple(last))


def list_unanswered(found: Mapping[Ticket, CafError]) -> tuple[Unanswered, ...]:
    """Return the questions that gave no answer, with the reasons."""
    return tuple(Unanswered(ticket=ticket, error=StoredError.keep(error)) for ticket, error in found.items())


class RecordedPool:
    """Stand for the processes of an algorithm, with what a job has left of them. All else is in its checkpoint.

    :raises InputError: if the job could not open the algorithm.
    """

    free = 1

    def __init__(self, end: StrategyEnd) -> None:
        self._end = end
        self._errors = {one.ticket: one.error for one in end.unanswered}
        self._finished: list[Finished] = []

    def open(self) -> Opened:
        """Return what the algorithm saw.

        :raises CafError: what the job raised, if it could not open it.
        """
        if self._end.opened is not None:
            return self._end.opened
        if self._end.error is not None:
            raise self._end.error.build()
        raise InputError("The job left neither the runs nor an error.", hint="Clear the task: the job runs again.")

    def start(self, ticket: Ticket, question: Question) -> None:
        """Note a question that the job could not answer.

        :raises CafError: if the job did not come as far as this.
        """
        error = self._errors.get(ticket)
        if error is None and self._end.error is not None:
            raise self._end.error.build()
        if error is None:
            raise AlgorithmFailed(
                "The strategy asks for something else than it did in its job, with the same runs and answers.",
                hint="A strategy may not depend on chance, time or the machine, and its file and checkpoint must "
                "stay as they are while its job runs. Correct it, and clear the task.",
            )
        self._finished.append(Finished(ticket=ticket, answer=None, error=error.build(), seconds=0.0))

    def wait(self) -> Sequence[Finished]:
        """Return what broke."""
        finished, self._finished = self._finished, []
        return finished
