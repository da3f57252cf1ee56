"""The class `Jobs`: commands that any task has run as jobs of a batch system, as the words of an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, model_validator

from airflow_provider_caf.core.errors import DefinitionError, InputError
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.splitting import Splitting, plan_subjobs
from airflow_provider_caf.definitions.form import Form, Template, Word
from airflow_provider_caf.definitions.words import (
    Backend,
    BackendArgs,
    JobFiles,
    OptionalArgv,
    OptionalMappings,
    OptionalText,
    Paths,
    Patterns,
    Positive,
    Repeats,
    Settings,
    Tolerated,
    read_argv,
    read_list,
)

FILES_PLACEHOLDER = "{input_files}"

# What a template of Airflow gives is a text.
_NUMBER = BeforeValidator(lambda value: int(value) if isinstance(value, str) and value.strip().isdecimal() else value)
_Count = Annotated[Annotated[Positive, _NUMBER] | None, Template()]
_Tolerated = Annotated[Tolerated, _NUMBER]
_Argvs = Word(read_list(read_argv, "commands"), {"type": "array", "items": {"type": "array"}})


@record
class Job:
    """One command with what it works on.

    :param command: argv, with placeholders.
    :param input_files: paths and URIs.
    :param arguments: for the placeholders.
    """

    command: tuple[str, ...]
    input_files: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)


class Jobs(Form):
    """Commands, and how they become jobs of a batch system."""

    noun: ClassVar[str] = "task"

    command: OptionalArgv = None
    """The argv list of one command; no shell sees it. `{input_files}` alone in a word becomes one word for each file;
    `{subjob}`, `{job}` (the job file) and the names of `arguments` are filled in."""
    commands: Annotated[Annotated[list[list[str]], _Argvs] | None, Template()] = None
    """Instead of `command`: one argv list for each job."""
    arguments: OptionalMappings = None
    """One job with `command` for each mapping. Each of them gets all input files."""
    input_files: Annotated[Paths | None, Template()] = None
    """Absolute paths, globs or URIs. Without a limit below and without `arguments`, one job for each file."""
    max_files_per_job: _Count = None
    """At most so many files in a job."""
    max_jobs: _Count = None
    """At most so many jobs, with the files spread evenly."""
    outputs: Patterns = []
    """Globs relative to the folder in which a job runs. A job without a file for each of them has failed."""
    job_files: JobFiles = {}
    """Name in the folder in which a job runs → path of a file that travels there."""
    environment: Settings = {}
    """Variables of the jobs."""
    backend: Backend = None
    """The batch system; without it as the connection says, else this machine."""
    conn_id: OptionalText = None
    """The Airflow connection of type `caf_batch`."""
    backend_args: BackendArgs = {}
    """Arguments of the batch system, such as `queue`, `memory` and `walltime`."""
    max_retries: Annotated[Annotated[Repeats, _NUMBER] | None, Template()] = None
    """Tries of one job after its first; without it 3."""
    max_failed: _Tolerated = None
    """How many jobs may fail for good: a count, or a share such as `0.02` or `"2%"`; without it none."""

    @model_validator(mode="after")
    def _check(self) -> Jobs:
        """Refuse words that say nothing beside one another."""
        if (self.command is None) == (self.commands is None):
            raise DefinitionError(
                "There is no command." if self.command is None else "There are both 'command' and 'commands'.",
                hint="Give `command`, an argv list, or `commands`, a list of such lists with one job for each.",
            )
        splitting = [word for word in ("arguments", "max_files_per_job", "max_jobs") if getattr(self, word) is not None]
        beside = [*splitting, *(["input_files"] if self.input_files is not None else [])]
        if self.commands is not None and beside:
            raise DefinitionError(
                f"{beside[0]!r} stands beside 'commands', of which each is a job already.",
                hint="Give `command` with placeholders instead, or write the files into the commands.",
            )
        if len(splitting) > 1:
            raise DefinitionError(f"Jobs are split by {' and by '.join(splitting)}.", hint="Give only one of them.")
        if splitting and splitting != ["arguments"] and self.input_files is None:
            raise DefinitionError(f"There are no input_files for {splitting[0]!r}.", hint="Give input_files.")
        for word in ("commands", "arguments"):
            if getattr(self, word) == []:
                raise DefinitionError(f"The list of {word} is empty.", hint="Give one item for each job.")
        if FILES_PLACEHOLDER in (self.command or ()) and not self.input_files:
            raise DefinitionError(
                f"There is no input file, and the command has {FILES_PLACEHOLDER!r}.", hint="Give input_files."
            )
        if "environment" in self.backend_args and self.environment:
            raise DefinitionError("'environment' stands in the task and in its backend_args.", hint="Keep one of them.")
        return self

    def plan(self, files: tuple[str, ...]) -> tuple[Job, ...]:
        """Return the jobs.

        :param files: the input files, with all globs resolved.
        :raises InputError: if there are none although they are asked for.
        """
        if self.commands is not None:
            return tuple(Job(command=tuple(command)) for command in self.commands)
        command = tuple(self.command or ())
        if self.arguments is not None:
            return tuple(
                Job(command=command, input_files=files, arguments=dict(arguments)) for arguments in self.arguments
            )
        if self.input_files is None:
            return (Job(command=command),)
        if not files:
            raise InputError("There is no input file.", hint="The list of input_files is empty: give it files.")
        splitting = Splitting(max_files_per_collector_job=self.max_files_per_job, max_collector_jobs=self.max_jobs)
        return tuple(Job(command=command, input_files=plan.files) for plan in plan_subjobs(files, splitting))

    @property
    def arguments_of_batch(self) -> dict[str, Any]:
        """The arguments of the batch system, with the variables."""
        return {**self.backend_args, **({"environment": self.environment} if self.environment else {})}
