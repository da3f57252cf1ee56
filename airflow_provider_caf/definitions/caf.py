"""The classes of a whole definition: `CAF`, its DAG options, its sign-off and its publication."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, model_validator

from airflow_provider_caf.batch.arguments import AMOUNTS, ARGUMENTS
from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.core.suggestions import check_word
from airflow_provider_caf.definitions.batch_lines import find_refused_lines
from airflow_provider_caf.definitions.calibration import (
    Calibration,
    CalibrationBase,
    SharedWords,
    choose_type,
)
from airflow_provider_caf.definitions.checks import find_mistakes
from airflow_provider_caf.definitions.databases import HasDatabases
from airflow_provider_caf.definitions.form import FIXED, Form, Template, Word, below, written
from airflow_provider_caf.definitions.unused import find_unused
from airflow_provider_caf.definitions.words import (
    TEXTS_SCHEMA,
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
    Settings,
    Text,
    choice,
    read_absolute,
    read_items,
    read_mapping,
    read_text,
    refuse,
)


class DagOptions(Form):
    """Options of the Airflow DAG."""

    noun: ClassVar[str] = "dag"

    schedule: Annotated[OptionalText, FIXED] = None
    """A cron expression or preset such as `@daily`. Without it a run is triggered by hand."""
    after: Annotated[Names, FIXED] = []
    """Run when these are ready: `caf` or `caf.calibration` of others. Not with `schedule`."""
    tags: Annotated[Names, FIXED] = []
    """Tags in the web UI, beside `caf`."""
    owner: Annotated[OptionalText, FIXED] = None
    """Who is shown as owner."""
    starts_paused: Annotated[Bool | None, FIXED] = None
    """Whether Airflow pauses it when it first sees it; without it as Airflow is configured."""
    max_active_runs: Annotated[Positive | None, FIXED] = None
    """At most so many runs at once."""
    max_active_tasks: Annotated[Positive | None, FIXED] = None
    """At most so many tasks of a run at once."""
    retries: Annotated[Natural | None, FIXED] = None
    """Tries of a task after its first, for causes that another try may mend."""
    retry_delay: Annotated[Seconds | None, FIXED] = None
    """Time between two tries, in seconds or as `5m`."""

    @model_validator(mode="after")
    def _check(self) -> DagOptions:
        if self.schedule is not None and self.after:
            raise DefinitionError("It has both schedule and after.", hint="Give one of them.")
        return self


def _read_users(value: Any) -> list[str]:
    return [read_text(name) for name in read_items(value, "user names")]


class SignOff(Form):
    """An expert approves or rejects the result."""

    noun: ClassVar[str] = "sign_off"

    message: OptionalText = None
    """What the expert reads above the summary."""
    users: Annotated[list[str], Word(_read_users, TEXTS_SCHEMA), Template()] = []
    """Who may answer; without it anyone who may edit the run."""
    timeout: OptionalSeconds = None
    """Without an answer until then the task fails."""


def _read_tag(value: Any) -> str:
    text = read_text(value)
    if not _TAG.fullmatch(text):
        raise refuse(value, "A global tag has letters, digits and + - _ : . in its name, and no - in front.")
    return text


class Upload(Form):
    """The experiment's tool puts the joined local database into the conditions database."""

    noun: ClassVar[str] = "upload"

    global_tag: Annotated[str, Word(_read_tag, {"type": "string"}), Template()]
    """The global tag, which has to be there."""
    connection: Text
    """An Airflow connection of any type: its login is the user, its password the token."""
    dry_run: Bool = False
    """Check the database and the connection, and upload nothing."""


class Publish(Form):
    """What becomes of the joined local database in the end."""

    noun: ClassVar[str] = "publish"

    folder: OptionalText = None
    """The database is copied to a folder of its own in this one; absolute."""
    command: OptionalArgv = None
    """A list of words, run once; `{database}` stands for the folder of the local database."""
    upload: Upload | None = None
    """The database is put into a global tag, by `b2conditionsdb upload`."""

    @model_validator(mode="after")
    def _check(self) -> Publish:
        if sum(way is not None for way in (self.folder, self.command, self.upload)) != 1:
            raise DefinitionError("publish has not one of folder, command and upload.", hint="Give one of them.")
        if self.folder is not None:
            read_absolute(self.folder)
        return self


_TAG = re.compile(r"[A-Za-z0-9_+:.][A-Za-z0-9_+:.-]*")

RUN_OPTIONS = ("connection", *sorted(set(ARGUMENTS) - AMOUNTS))
"""What a run may choose only where the definition says so."""

GAP_POLICIES = ("report", "fill", "fail")


def _read_members(value: Any) -> list[Any]:
    if isinstance(value, CalibrationBase):
        return [value]
    members: list[Any] = []
    for index, member in enumerate(read_items(value, "calibrations")):
        with below(index):
            if not isinstance(member, (CalibrationBase, Mapping)):
                raise refuse(member, "A calibration is a mapping that begins with `name:`.")
        members.append(member)
    return members


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


def _read_run_options(value: Any) -> list[str]:
    names = [read_text(name) for name in read_items(value, "names of options")]
    for name in names:
        check_word(name, RUN_OPTIONS, f"There is no option {name!r} of a run.", "options")
    return names


class CAF(SharedWords, HasDatabases):
    """Several calibrations that run together as one DAG."""

    noun: ClassVar[str] = "CAF"
    elsewhere: ClassVar[tuple[type[Form], ...]] = (DagOptions, Calibration)

    name: Name
    """The id of the DAG."""
    calibrations: Annotated[list[Annotated[Any, BeforeValidator(_make_member)]], BeforeValidator(_read_members)] = []
    """In any order; dependencies decide which runs first."""
    description: Annotated[OptionalText, FIXED] = None
    """Shown in the web UI."""
    software: Annotated[Settings, FIXED] = {}
    """What the definition was made with: name to version. A run shows it beside the versions of its own."""
    dag: DagOptions | None = None
    """Options of the Airflow DAG."""
    params: Annotated[
        dict[str, Any], Word(_read_params, {"type": "object", "additionalProperties": {"type": "object"}}), FIXED
    ] = {}
    """Further params of a run, a JSON Schema with `default` each; `{{ params.x }}` in templates."""
    expert_config: Annotated[dict[str, Any], Word(read_mapping, {"type": "object"}), FIXED] = {}
    """Expert options with their defaults; `{{ params.expert_config.x }}` in templates."""
    backend: Backend = None
    """The batch system: `htcondor`, `local`, `lsf`, `pbs`, `slurm` or `torque`; capitals do not matter. Without it that
    of the connection, else `local`."""
    backend_args: BackendArgs = {}
    """Arguments of the batch system for all calibrations."""
    connection: OptionalText = None
    """An Airflow connection of type `caf_batch`; its arguments stand below those of the definition."""
    database_chain: Databases = []
    """The end of the database chain of every calibration."""
    run_options: Annotated[list[str], Word(_read_run_options, TEXTS_SCHEMA), FIXED] = []
    """What the conf of a run may set although it says what is executed, or as whom: `connection`, and arguments of
    `backend_args` such as `setup` or `python`. Data, runs, iterations, options and amounts it may set anyway."""
    data_roots: Annotated[Names, FIXED] = []
    """Folders, or beginnings of URIs, in which files have to be that the conf of a run names; without it anywhere."""
    job_budget: OptionalCount = None
    """How many subjobs all collections without a splitting of their own have together; each gets a share by its number
    of files."""
    gaps: Annotated[str, choice("There is no policy {!r} for gaps.", "policies", *GAP_POLICIES), Template()] = "report"
    """What gaps in the joined local database lead to: `report`, `fill` or `fail`."""
    sign_off: SignOff | None = None
    """Who approves the result."""
    publish: Publish | None = None
    """What becomes of the result."""

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
        # What was changed in place has not been checked yet.
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
