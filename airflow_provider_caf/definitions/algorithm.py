"""The class `Algorithm`: code of the user, and the strategy that runs it over intervals of validity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.definitions.form import FIXED, Form, Word, written
from airflow_provider_caf.definitions.references import build_reference
from airflow_provider_caf.definitions.words import (
    INHERIT,
    BackendArgs,
    CodeReference,
    Count,
    Flag,
    JobBackend,
    Name,
    OptionalCount,
    OptionalSeconds,
    OptionalText,
    Retries,
    Settings,
    code,
)


def _read_strategy(value: Any) -> Any:
    if isinstance(value, str) and value and ":" not in value:
        return value
    return build_reference(value, "strategy")


def _name_after_class(words: dict[str, Any]) -> str:
    return str(words.get("algorithm", "")).rpartition(":")[2].replace(".", "_")


class Algorithm(Form):
    """One algorithm with the strategy that runs it over intervals of validity."""

    noun: ClassVar[str] = "algorithm"

    algorithm: Annotated[str, code("algorithm")]
    """An Algorithm class."""
    strategy: Annotated[str, Word(_read_strategy, {"type": "string"}), FIXED] = "SingleIOV"
    """A built-in strategy, or a `Strategy` subclass of your own."""
    params: Settings = {}
    """Parameters of the strategy. One that it does not know is an error."""
    settings: Settings = {}
    """Attributes set on the algorithm. One that it does not have is an error."""
    name: Name = Field(default_factory=_name_after_class)
    """Its name in task ids and folders; without it that of the class."""
    prefix: OptionalText = None
    """The prefix of the collector whose objects it reads. Needed where there are several."""
    pre_algorithm: Annotated[str, code("pre_algorithm")] | None = None
    """A function that runs before the first execution of each of the algorithm's processes; it gets the algorithm, and
    may change the files in its `input_files`: they are copies."""
    data_input: Annotated[str, code("data_input")] | None = None
    """A function that gets the algorithm and gives the list of files that become its `input_files`, instead of the
    merged ones."""
    workers: Count = 1
    """How many processes execute at the same time. The result is that of one."""
    run_ahead: Flag = True
    """Whether executions may begin on the guess that those before them succeed."""
    cpus: Count = 1
    """How many threads each process may use; the algorithm finds it as `self.cpus`."""
    execution_timeout: OptionalSeconds = None
    """An execution that takes longer is ended and counts as failed."""
    memory_growth: OptionalCount = 2000
    """In MB (2^20 bytes); a process that grew by more since its first execution is started afresh."""
    keep_executions: Flag = False
    """Whether a clear of the task keeps its finished executions. A retry always does."""
    backend: JobBackend = None
    """A batch system on which the whole strategy runs as a job, or `inherit`: that of the collectors. Without it the
    strategy runs in Airflow's worker."""
    connection: OptionalText = None
    """The Airflow connection of type `caf_batch` for that job; it counts in the place of `backend`, too."""
    backend_args: BackendArgs = {}
    """Of that job, over those of the calibration and of the CAF. Without `cpus` it gets `workers` × `cpus` cores."""
    max_retries: Retries = None
    """Tries of that job after its first. A try that has finished executions begins the count anew. Without it 3."""
    fill_gaps: Flag = False
    """Extend a payload over the runs after it that have none, up to the next payload of the experiment or the last
    executed run."""

    def __init__(
        self,
        algorithm: CodeReference | None = None,
        strategy: CodeReference | None = None,
        params: Mapping[str, Any] | None = None,
        **words: Any,
    ) -> None:
        # A name that is nothing is that of the class.
        name = words.pop("name", None) or None
        super().__init__(**written(algorithm=algorithm, strategy=strategy, params=params, name=name), **words)

    @model_validator(mode="after")
    def _check_job(self) -> Algorithm:
        """Refuse words that have no effect."""
        unused = [word for word in ("backend_args", "max_retries") if getattr(self, word) not in (None, {})]
        if unused and self.backend is None and self.connection is None:
            raise DefinitionError(
                f"{unused[0]!r} has no effect: without a backend the algorithm runs in Airflow's worker.",
                hint=f"Name a backend ({INHERIT!r} is that of the collectors), or put backend_args on the calibration.",
                where=(unused[0],),
            )
        if self.backend == INHERIT and self.connection is not None:
            raise DefinitionError(
                f"The backend {INHERIT!r} stands beside a connection.", hint="Give one of them.", where=("connection",)
            )
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "algorithm" and "name" not in self.model_fields_set:
            self.__dict__["name"] = _name_after_class(self.__dict__)
