"""The requests to the process of an algorithm: the task writes them, the process reads them.

In a frame a request has its word besides, `{"do": "open", …}`: `open`, `execute`, `boundaries` or `close`, which has no
more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from airflow_provider_caf.core.algorithm_layout import AlgorithmLayout
from airflow_provider_caf.core.chain import DatabaseEntry
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import JsonRecord, read_number, read_optional
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.stored_record import StoredRecord


@record
class OpenRequest(JsonRecord):
    """Make the algorithm, and look at its collected data.

    :param algorithm: the reference of its class.
    :param indexes: the index of each collection.
    :param output_folder: where it may write extra files.
    :param prefix: what it reads, instead of its own.
    :param pre_algorithm: the reference of a function that runs before, and may change the collected data.
    :param data_input: the reference of a function that chooses the input files.
    :param output_files: for each collection the files that its subjobs have left.
    :param runs: what it works on where there are no collections.
    :param cpus: how many threads it may use.
    """

    noun = "request"

    algorithm: str
    indexes: tuple[str, ...]
    database_chain: tuple[DatabaseEntry, ...] = ()
    settings: Mapping[str, Any] | None = None
    iteration: int = 0
    output_folder: str = "."
    prefix: str | None = None
    pre_algorithm: str | None = None
    data_input: str | None = None
    output_files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    runs: tuple[ExpRun, ...] = ()
    cpus: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the form that `from_json` reads, the database chain as it stands in job files."""
        return {**self.build_fields(), "database_chain": [entry.to_job_json() for entry in self.database_chain]}


@record
class ExecuteRequest(JsonRecord):
    """Run the algorithm once.

    :param key: the number of the execution.
    :param staging: the folder for the payload files.
    :param settings: set before; None: none.
    :param input: what the strategy hands to it.
    """

    noun = "request"

    key: int
    runs: tuple[ExpRun, ...]
    iov: IoV
    staging: str
    settings: Mapping[str, Any] | None = None
    input: Any = None


@record
class BoundariesRequest(JsonRecord):
    """Ask which of the runs begin a new payload."""

    noun = "request"

    runs: tuple[ExpRun, ...]
    settings: Mapping[str, Any] | None = None


@record
class CloseRequest(JsonRecord):
    """Close the files and end."""

    noun = "request"


@record
class StrategyRequest(StoredRecord):
    """Carry out a whole strategy, in a task or in a job.

    :param folder: of the algorithm in its pass, see `core.algorithm_layout`.
    :param name: of the algorithm.
    :param title: whose strategy it is, for messages.
    :param strategy: its name or reference.
    :param open: how each process of the algorithm is opened.
    :param run_ahead: whether executions may begin on a guess.
    :param cpus: threads of one process.
    :param execution_timeout: in seconds.
    :param memory_growth: in MB (2^20 bytes), after which a process is started afresh.
    :param requested_iov: only runs in it count.
    :param ignored_runs: runs that do not count.
    :param generation: a number that a clear of the task raises and a retry does not.
    :param made_of: a digest of what the executions depend on.
    :param keep_executions: whether a clear keeps them.
    :param job: what a job leaves in its end, to say which request it was.
    :param app: the name of the job app with the code that is to carry it out; empty: any.
    """

    noun = "request for a strategy"
    version = 1

    folder: str
    name: str
    title: str
    strategy: str
    params: Mapping[str, Any]
    open: OpenRequest
    generation: int
    made_of: str
    workers: int = 1
    run_ahead: bool = True
    cpus: int = 1
    execution_timeout: Annotated[float | None, read_optional(read_number)] = None
    memory_growth: int | None = None
    requested_iov: IoV | None = None
    ignored_runs: tuple[ExpRun, ...] = ()
    keep_executions: bool = False
    job: str = ""
    app: str = ""

    @property
    def layout(self) -> AlgorithmLayout:
        """The paths of the algorithm."""
        return AlgorithmLayout(folder=Path(self.folder), name=self.name)
