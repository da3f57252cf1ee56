"""What a definition says as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.batch_lines import find_refused_lines
from airflow_provider_caf.definitions.calibration import (
    Calibration,
    CalibrationBase,
    SharedWords,
    choose_type,
)
from airflow_provider_caf.definitions.checks import find_mistakes
from airflow_provider_caf.definitions.databases import HasDatabases
from airflow_provider_caf.definitions.form import FIXED, Chooser, Form, Template, Word, written
from airflow_provider_caf.definitions.unused import find_unused
from airflow_provider_caf.definitions.words import (
    Backend,
    BackendArgs,
    Bool,
    Databases,
    Name,
    Names,
    Natural,
    OptionalArgv,
    OptionalCount,
    OptionalSeconds,
    OptionalText,
    Positive,
    Seconds,
    read_items,
    read_mapping,
    read_text,
    refuse,
)


class DagOptions(Form):
    """Options of the Airflow DAG."""

    noun: ClassVar[str] = "dag"

    schedule: Annotated[
        OptionalText,
        FIXED,
        Field(description="A cron expression or preset such as `@daily`. Without it a run is triggered by hand."),
    ] = None
    after: Annotated[
        Names,
        FIXED,
        Field(description="Run when these are ready: `caf` or `caf.calibration` of others. Not with `schedule`."),
    ] = []
    tags: Annotated[Names, FIXED, Field(description="Tags in the web UI, beside `caf`.")] = []
    owner: Annotated[OptionalText, FIXED, Field(description="Who is shown as owner.")] = None
    starts_paused: Annotated[
        Bool | None,
        FIXED,
        Field(description="Whether Airflow pauses it when it first sees it; without it as Airflow is configured."),
    ] = None
    max_active_runs: Annotated[Positive | None, FIXED, Field(description="At most so many runs at once.")] = None
    max_active_tasks: Annotated[
        Positive | None, FIXED, Field(description="At most so many tasks of a run at once.")
    ] = None
    retries: Annotated[
        Natural | None,
        FIXED,
        Field(description="Tries of a task after its first, for causes that another try may mend."),
    ] = None
    retry_delay: Annotated[
        Seconds | None, FIXED, Field(description="Time between two tries, in seconds or as `5m`.")
    ] = None

    @model_validator(mode="after")
    def _check(self) -> DagOptions:
        if self.schedule is not None and self.after:
            raise DefinitionError("It has both schedule and after.", hint="Give one of them.")
        return self


class SignOff(Form):
    """An expert approves or rejects the result."""

    noun: ClassVar[str] = "sign_off"

    message: Annotated[OptionalText, Field(description="What the expert reads above the summary.")] = None
    users: Annotated[
        list[str],
        Word(
            lambda value: [read_text(name) for name in read_items(value, "user names")],
            {"type": "array", "items": {"type": "string"}},
        ),
        Template(),
        Field(description="Who may answer; without it everybody who may edit the run."),
    ] = []
    timeout: Annotated[OptionalSeconds, Field(description="Without an answer until then the task fails.")] = None


class Publish(Form):
    """What becomes of the joined local database in the end."""

    noun: ClassVar[str] = "publish"

    folder: Annotated[
        OptionalText, Field(description="The database is copied to a folder of its own in this one; absolute.")
    ] = None
    command: Annotated[
        OptionalArgv,
        Field(description="A list of words, run once; `{database}` stands for the folder of the local database."),
    ] = None

    @model_validator(mode="after")
    def _check(self) -> Publish:
        if (self.folder is None) == (self.command is None):
            raise DefinitionError("publish has neither or both of folder and command.", hint="Give one of them.")
        if self.folder is not None and not self.folder.startswith(("/", "{{")):
            raise DefinitionError(f"The folder {self.folder!r} is not absolute.", hint="Begin it with '/'.")
        return self


GAP_POLICIES = ("report", "fill", "fail")


def _read_gaps(value: Any) -> str:
    if value not in GAP_POLICIES:
        raise DefinitionError(
            f"There is no policy {value!r} for gaps.", hint=build_word_hint(str(value), GAP_POLICIES, "policies")
        )
    return str(value)


def _read_members(value: Any) -> list[Any]:
    if isinstance(value, CalibrationBase):
        return [value]
    members: list[Any] = []
    for index, member in enumerate(read_items(value, "calibrations")):
        try:
            members.append(member if isinstance(member, CalibrationBase) else _read_member(member))
        except DefinitionError as error:
            raise error.within(index) from error
    return members


def _read_member(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise refuse(value, "A calibration is a mapping that begins with `name:`.")
    return value


def _make_member(value: Any) -> CalibrationBase:
    return value if isinstance(value, CalibrationBase) else choose_type(value)(**value)


def _read_params(value: Any) -> dict[str, Any]:
    params = read_mapping(value)
    for name, schema in params.items():
        if not name.isidentifier():
            raise DefinitionError(f"{name!r} cannot be the name of a param.", hint="Use letters, digits and '_'.")
        if not isinstance(schema, dict) or "default" not in schema:
            raise DefinitionError(
                f"The param {name!r} has no default.",
                hint="Write a mapping with type, default, title and description, as JSON Schema has them.",
            )
    return params


class CAF(SharedWords, HasDatabases):
    """Several calibrations that run together as one DAG."""

    noun: ClassVar[str] = "CAF"
    parts: ClassVar[Mapping[str, Chooser]] = {
        "dag": lambda _: DagOptions,
        "sign_off": lambda _: SignOff,
        "publish": lambda _: Publish,
    }
    members: ClassVar[Mapping[str, Chooser]] = {"calibrations": choose_type}
    elsewhere: ClassVar[tuple[type[Form], ...]] = (DagOptions, Calibration)

    name: Annotated[Name, Field(description="The id of the DAG.")]
    calibrations: Annotated[
        list[Annotated[Any, BeforeValidator(_make_member)]],
        BeforeValidator(_read_members),
        Field(description="In any order; dependencies decide which runs first."),
    ] = []
    description: Annotated[OptionalText, FIXED, Field(description="Shown in the web UI.")] = None
    dag: Annotated[DagOptions | None, Field(description="Options of the Airflow DAG.")] = None
    params: Annotated[
        dict[str, Any],
        Word(_read_params, {"type": "object", "additionalProperties": {"type": "object"}}),
        FIXED,
        Field(description="Further params of a run, a JSON Schema with `default` each; `{{ params.x }}` in templates."),
    ] = {}
    expert_config: Annotated[
        dict[str, Any],
        Word(read_mapping, {"type": "object"}),
        FIXED,
        Field(description="Expert options with their defaults; `{{ params.expert_config.x }}` in templates."),
    ] = {}
    backend: Annotated[
        Backend,
        Field(
            description=(
                "The batch system: `htcondor`, `local`, `lsf`, `pbs`, `slurm` or `torque`; capitals do not matter. "
                "Without it that of the connection, else `local`."
            )
        ),
    ] = None
    backend_args: Annotated[BackendArgs, Field(description="Arguments of the batch system for all calibrations.")] = {}
    connection: Annotated[
        OptionalText,
        Field(
            description=(
                "An Airflow connection of type `caf_batch`; its arguments stand below those of the definition."
            )
        ),
    ] = None
    database_chain: Annotated[Databases, Field(description="The end of the database chain of every calibration.")] = []
    job_budget: Annotated[
        OptionalCount,
        Field(
            description=(
                "How many subjobs all collections without a splitting of their own have together; each gets a share "
                "by its number of files."
            )
        ),
    ] = None
    gaps: Annotated[
        str,
        Word(_read_gaps, {"enum": list(GAP_POLICIES)}),
        Template(),
        Field(description="What gaps in the joined local database lead to: `report`, `fill` or `fail`."),
    ] = "report"
    sign_off: Annotated[SignOff | None, Field(description="Who approves the result.")] = None
    publish: Annotated[Publish | None, Field(description="What becomes of the result.")] = None

    def __init__(
        self,
        name: str | None = None,
        calibrations: CalibrationBase | Iterable[CalibrationBase] | None = None,
        **words: Any,
    ) -> None:
        super().__init__(**written(name=name, calibrations=calibrations), **words)

    def add_calibration(self, calibration: CalibrationBase) -> None:
        """Add a calibration. Its name is checked against the others when the record is built."""
        self.calibrations = [*self.calibrations, calibration]

    def resolve(self) -> CAF:
        """Return what is to be run, checked as a whole: nothing in it has to be looked up in another place.

        A template stays where it stands until a run fills it in.

        :raises DefinitionError: with every mistake found.
        """
        # What was changed in place has been read by nobody yet.
        return CAF.from_json(self.to_json())._check_and_resolve()

    def map_dependencies(self) -> dict[str, tuple[str, ...]]:
        """Return for each calibration those that it depends on, as `core.graph` takes it."""
        return {member.name: tuple(member.dependencies) for member in self.calibrations}

    def _check_and_resolve(self) -> CAF:
        members, mistakes = self._resolve_members()
        # A name with a slip of the pen would be told twice: as unknown, and the right one as unused.
        mistakes = mistakes or [*find_unused(self.to_json()), *find_refused_lines(self.to_json())]
        mistakes += self._find_own_asset()
        mistakes += self._find_among(members)
        if mistakes:
            raise join_definition_errors(mistakes, f"the CAF {self.name!r}")
        # The data sets are in the collections now.
        resolved = self.model_copy(update={"calibrations": [*members.values()], "input_data": {}})
        resolved.write_out(besides=("input_data", "expert_config", "params"))
        return resolved

    def _resolve_members(self) -> tuple[dict[int, CalibrationBase], list[DefinitionError]]:
        """Return the calibrations that can be resolved, by their numbers, and the mistakes in the others."""
        members: dict[int, CalibrationBase] = {}
        mistakes: list[DefinitionError] = []
        for number, member in enumerate(self.calibrations):
            try:
                members[number] = member.resolve(self)
            except DefinitionError as error:
                mistakes += [mistake.within("calibrations", number) for mistake in error.causes or (error,)]
        return members, mistakes

    def _find_among(self, members: Mapping[int, CalibrationBase]) -> list[DefinitionError]:
        """Find the mistakes that resolved calibrations have, alone and together.

        :param members: by their numbers; what depends on one that is left out is looked at without it.
        """
        left_out = {member.name for member in self.calibrations} - {member.name for member in members.values()}
        if left_out and not members:
            return []
        for member in members.values():
            member.dependencies = [name for name in member.dependencies if name not in left_out]
        mistakes = find_mistakes(self.name, [*members.values()], self.job_budget)
        return [renumber(mistake, [*members]) for mistake in mistakes]

    def _find_own_asset(self) -> Iterator[DefinitionError]:
        for number, other in enumerate([] if self.dag is None else self.dag.after):
            if other.partition(".")[0] == self.name:
                yield DefinitionError(
                    f"The CAF {self.name!r} runs after {other!r}, which is its own: each run would start the next.",
                    hint="Name another CAF.",
                    where=("dag", "after", number),
                )


def renumber(mistake: DefinitionError, numbers: Sequence[int]) -> DefinitionError:
    """Return a mistake that was found among some of the calibrations as one among all of them.

    :param numbers: of those some, in their order.
    """
    if mistake.where[:1] != ("calibrations",) or len(mistake.where) < 2:
        return mistake
    where = ("calibrations", numbers[int(mistake.where[1])], *mistake.where[2:])
    return DefinitionError(mistake.what, hint=mistake.hint, where=where)
