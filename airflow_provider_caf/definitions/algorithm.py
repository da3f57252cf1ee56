"""What a definition says of an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from airflow_provider_caf.definitions.form import FIXED, Form, Word, written
from airflow_provider_caf.definitions.references import build_reference
from airflow_provider_caf.definitions.words import (
    CodeReference,
    Count,
    Flag,
    Name,
    OptionalCount,
    OptionalSeconds,
    OptionalText,
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

    algorithm: Annotated[str, code("algorithm"), Field(description="An Algorithm class.")]
    strategy: Annotated[
        str,
        Word(_read_strategy, {"type": "string"}),
        FIXED,
        Field(description="A built-in strategy, or a `Strategy` subclass of your own."),
    ] = "SingleIOV"
    params: Annotated[
        Settings, Field(description="Parameters of the strategy. One that it does not know is an error.")
    ] = {}
    settings: Annotated[
        Settings, Field(description="Attributes set on the algorithm. One that it does not have is an error.")
    ] = {}
    name: Name = Field(
        default_factory=_name_after_class, description="Its name in task ids and folders; without it that of the class."
    )
    prefix: Annotated[
        OptionalText,
        Field(description="The prefix of the collector whose objects it reads. Needed where there are several."),
    ] = None
    pre_algorithm: Annotated[
        Annotated[str, code("pre_algorithm")] | None,
        Field(
            description=(
                "A function that runs before the first execution of each of the algorithm's processes; it gets the "
                "algorithm, and may change the files in its `input_files`: they are copies."
            )
        ),
    ] = None
    data_input: Annotated[
        Annotated[str, code("data_input")] | None,
        Field(
            description=(
                "A function that gets the algorithm and gives the list of files that become its `input_files`, "
                "instead of the merged ones."
            )
        ),
    ] = None
    workers: Annotated[
        Count, Field(description="How many processes execute at the same time. The result is that of one.")
    ] = 1
    run_ahead: Annotated[
        Flag, Field(description="Whether executions may begin on the guess that those before them succeed.")
    ] = True
    cpus: Annotated[
        Count, Field(description="How many threads each process may use; the algorithm finds it as `self.cpus`.")
    ] = 1
    execution_timeout: Annotated[
        OptionalSeconds, Field(description="An execution that takes longer is ended and counts as failed.")
    ] = None
    memory_growth: Annotated[
        OptionalCount,
        Field(
            description="In MB (2^20 bytes); a process that grew by more since its first execution is started afresh."
        ),
    ] = 2000
    keep_executions: Annotated[
        Flag, Field(description="Whether a clear of the task keeps its finished executions. A retry always does.")
    ] = False
    fill_gaps: Annotated[
        Flag,
        Field(
            description=(
                "Extend a payload over the runs after it that have none, up to the next payload of the experiment or "
                "the last executed run."
            )
        ),
    ] = False

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

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "algorithm" and "name" not in self.model_fields_set:
            self.__dict__["name"] = _name_after_class(self.__dict__)
