"""The members of a CAF: `Calibration`, and the steps that may stand between calibrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BeforeValidator, Field

from airflow_provider_caf.core.errors import DefinitionError, join_definition_errors
from airflow_provider_caf.definitions.algorithm import Algorithm
from airflow_provider_caf.definitions.collection import Collection, CollectorWords, FailureWords
from airflow_provider_caf.definitions.databases import HasDatabases
from airflow_provider_caf.definitions.form import FIXED, Form, Template, Word, fill, given, written
from airflow_provider_caf.definitions.references import build_reference
from airflow_provider_caf.definitions.words import (
    TEXTS_SCHEMA,
    Argv,
    Backend,
    BackendArgs,
    CodeReference,
    Databases,
    DataSet,
    FilePath,
    Flag,
    Folder,
    Iterations,
    JobBackend,
    Name,
    OptionalIov,
    OptionalSeconds,
    OptionalText,
    Repeats,
    Runs,
    Settings,
    Text,
    read_items,
    read_list,
    read_text,
    refuse,
)

DEFAULT_COLLECTION = "default"
"""The name of the collection that `Calibration(collector=…, input_files=…)` makes."""

_COLLECTIONS = "Write a mapping of names to collections, as in {muons: {collector: …}}."

_B = TypeVar("_B", bound="CalibrationBase")


def _read_dependencies(value: Any) -> list[str]:
    members = read_items(value, "calibrations")
    return read_list(read_text, "names")([getattr(member, "name", member) for member in members])


Dependencies = Annotated[list[str], Word(_read_dependencies, TEXTS_SCHEMA), FIXED]


def _mapping(hint: str) -> BeforeValidator:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise refuse(value, hint)
        return dict(value)

    return BeforeValidator(read)


class SharedWords(Form):
    """What a CAF says for all its calibrations."""

    input_data: Annotated[dict[str, DataSet], _mapping("Write a mapping of names to files.")] = {}
    """Named data sets: files, a mapping from file to IoV or run, or `{filemap: path}`."""
    max_iterations: Annotated[Repeats, FIXED] = 5
    """The default of its calibrations."""
    requested_iov: OptionalIov = None
    """The default of its calibrations."""
    ignored_runs: Runs = []
    """Runs that no algorithm of any calibration sees."""


class StepPlace(Protocol):
    """What `CalibrationBase.run` gets.

    `folder` is the step's own, `database` the folder in which a local database becomes its payloads, `database_chain`
    what it sees, `run_id` the DAG run; `log` writes to the task's log.
    """

    @property
    def folder(self) -> str: ...
    @property
    def database(self) -> str: ...
    @property
    def database_chain(self) -> Sequence[Mapping[str, str]]: ...
    @property
    def run_id(self) -> str: ...
    def log(self, text: str) -> None: ...


class CalibrationBase(HasDatabases):
    """A member of a CAF: what calibrations and steps share, and the base of types of your own.

    A type of your own declares its words as fields and implements `run`. It runs in one task. What it leaves as a local
    database in `step.database` are its payloads.
    """

    noun: ClassVar[str] = "calibration"

    name: Name
    """Stands in task ids and folders."""
    # As a default, and not in the annotation: there type checkers would not see the alias.
    dependencies: Dependencies = Field(default=[], alias="depends_on")
    """Calibrations whose payloads it needs. They run before it."""
    save_payloads: Flag = True
    """False leaves its payloads out of the joined local database: they only serve others."""
    database_chain: Databases = []
    """Looked at after the calibrations that it depends on; first hit wins."""

    def __init__(self, name: str | None = None, **words: Any) -> None:
        super().__init__(**written(name=name), **words)

    def depends_on(self, calibration: CalibrationBase | str) -> None:
        """Say that this one needs the payloads of another."""
        name = calibration.name if isinstance(calibration, CalibrationBase) else calibration
        self.dependencies = [*self.dependencies, name]

    def run(self, step: StepPlace) -> None:
        """Do the work of a type of your own.

        Running it again after a failure must do no harm.
        """
        raise NotImplementedError(f"{type(self).__name__} has no run(step).")

    @classmethod
    def from_options(cls: type[_B], name: str, options: Mapping[str, Any]) -> _B:
        """Make the object that a task runs.

        :raises DefinitionError: if a word is unknown or has a value that it cannot have.
        """
        return cls.from_json({"name": name, **options}, templates=False)

    def to_json(self) -> dict[str, Any]:
        """Return what was said, with the type where it is one of the user's."""
        kind = self._find_type()
        return {**super().to_json(), **({} if kind is None else {"type": kind})}

    def _find_type(self) -> str | None:
        """Return the word `type`; None for a calibration that collects."""
        if (kind := getattr(self, "kind", None)) is not None:
            return None if kind == "calibration" else str(kind)
        if type(self).run is CalibrationBase.run:
            raise DefinitionError(
                f"Calibration {self.name!r} is of the type {type(self).__name__}, which has no run.",
                hint="Write `def run(self, step)`: it does the work.",
            )
        return build_reference(type(self), f"type of calibration {self.name!r}")

    def describe_kind(self) -> str:
        """Return the word `type`, as files have it."""
        return self._find_type() or "calibration"

    def resolve(self, caf: SharedWords) -> CalibrationBase:
        """Return what is to be run of it.

        :param caf: what is said for all.
        :raises DefinitionError: with every mistake found.
        """
        self.write_out()
        return self


def _read_algorithms(value: Any) -> Any:
    is_one = isinstance(value, (str, type, Algorithm, Mapping)) or callable(value)
    return [
        {"algorithm": algorithm} if isinstance(algorithm, (str, type)) or callable(algorithm) else algorithm
        for algorithm in ([value] if is_one else read_items(value, "algorithms"))
    ]


class Calibration(FailureWords, CollectorWords, CalibrationBase):
    """Collections, then algorithms, repeated until the algorithms are content.

    Give either `collector` with its input, which makes one collection named `default`, or `collections`, or both.
    Without any, the algorithms work on payloads of the calibrations that it depends on.
    """

    elsewhere: ClassVar[tuple[type[Form], ...]] = (Collection, Algorithm)

    kind: Annotated[Literal["calibration"], Field(alias="type")] = "calibration"
    """`calibration`, or left out."""
    algorithms: Annotated[list[Algorithm], BeforeValidator(_read_algorithms)] = []
    """In the order in which they run; code stands for an algorithm without further words."""
    collections: Annotated[dict[str, Collection], _mapping(_COLLECTIONS)] = {}
    """Named collections."""
    max_iterations: Iterations = None
    """At most so many repetitions *after* the first pass: 0 is one pass. Without it the CAF's counts. Reaching it is a
    normal end and is reported."""
    ignored_runs: Runs = []
    """Runs that no algorithm sees, with those of the CAF."""
    requested_iov: OptionalIov = None
    """Only runs inside it are calibrated, and only files that may hold such runs are read."""
    backend_args: BackendArgs = {}
    """For all its collections and algorithms, over those of the CAF."""
    backend: Backend = None
    """Its own batch system. The connection of the CAF does not count for it then."""
    connection: OptionalText = None
    """Its own connection of type `caf_batch`."""

    def __init__(
        self,
        name: str | None = None,
        collector: CodeReference | Sequence[str] | None = None,
        algorithms: CodeReference | Algorithm | Iterable[CodeReference | Algorithm] | None = None,
        input_files: FilePath | Iterable[FilePath] | None = None,
        **words: Any,
    ) -> None:
        own = written(name=name, collector=collector, algorithms=algorithms, input_files=input_files)
        super().__init__(**own, **words)

    def add_collection(self, name: str, collection: Collection) -> None:
        """Add a named collection.

        :raises DefinitionError: if the name is taken.
        """
        if name in self.collections or (name == DEFAULT_COLLECTION and self.collector is not None):
            raise self._refuse_second(name)
        self.collections = {**self.collections, name: collection}

    def list_collections(self) -> dict[str, Collection]:
        """Return all collections, the one of the short form first.

        :raises DefinitionError: if words of the short form stand without a collector.
        """
        short = {word: value for word, value in self.collect_words().items() if word in CollectorWords.model_fields}
        if self.collector is None:
            if used := [word for word, value in short.items() if value]:
                raise DefinitionError(
                    f"Calibration {self.name!r} has {', '.join(sorted(used))} but no collector.",
                    hint="Give `collector` too, or put them on the collections in `collections`.",
                    where=(used[0],),
                )
            return dict(self.collections)
        if DEFAULT_COLLECTION in self.collections:
            raise self._refuse_second(DEFAULT_COLLECTION)
        return {DEFAULT_COLLECTION: Collection(**short), **self.collections}

    def _refuse_second(self, name: str) -> DefinitionError:
        return DefinitionError(
            f"Calibration {self.name!r} has two collections named {name!r}.", hint="Rename one of them."
        )

    def resolve(self, caf: SharedWords) -> Calibration:
        """Return it with all its collections resolved, and with what it leaves to its CAF.

        :raises DefinitionError: with every mistake found.
        """
        collections = {}
        mistakes: list[DefinitionError] = []
        for name, collection in self.list_collections().items():
            try:
                collections[name] = collection.resolve(name, self.name, caf.input_data, self)
            except DefinitionError as error:
                mistakes.append(error.within("collections", name))
        if mistakes:
            raise join_definition_errors(mistakes, f"calibration {self.name!r}")
        ignored = [run for runs in (caf.ignored_runs, self.ignored_runs) for run in fill(runs, [])]
        words: dict[str, Any] = {
            **{word: field.get_default() for word, field in CollectorWords.model_fields.items()},
            "collections": collections,
            "max_iterations": caf.max_iterations if self.max_iterations is None else self.max_iterations,
            "ignored_runs": list(dict.fromkeys(ignored)),
            "requested_iov": caf.requested_iov if self.requested_iov is None else self.requested_iov,
        }
        resolved = self.model_copy(update=words)
        resolved.write_out(besides=(*CollectorWords.model_fields, *FailureWords.model_fields))
        for algorithm in resolved.algorithms:
            algorithm.write_out()
        return resolved

    @property
    def repetitions(self) -> int:
        """How often it repeats at most after its first pass, once that is resolved."""
        return given(self.max_iterations)


class ImportedPayloads(CalibrationBase):
    """A local database that was made elsewhere enters the chain as a step."""

    kind: Annotated[Literal["imported_payloads"], Field(alias="type")] = "imported_payloads"
    """`imported_payloads`."""
    folder: Folder
    """The folder of the local database, absolute."""
    payloads: Annotated[list[Text] | None, Template()] = None
    """The names of the payloads to take; without it all."""

    def __init__(self, name: str | None = None, folder: FilePath | None = None, **words: Any) -> None:
        super().__init__(**written(name=name, folder=folder), **words)


class ExternalCommand(CalibrationBase):
    """A command that has to run between calibrations, such as a production of data that the later ones read."""

    kind: Annotated[Literal["external_command"], Field(alias="type")] = "external_command"
    """`external_command`."""
    command: Argv
    """A list of words, run without a shell. `{folder}`, `{database}` and `{database_chain}` stand for the step's
    folder, the local database that it may fill, and a JSON file with what it sees."""
    environment: Settings = {}
    """Variables of the command, over those of the worker."""
    timeout: OptionalSeconds = None
    """After this time, with that in a queue, it is ended and has failed."""
    backend: JobBackend = None
    """A batch system on which it runs as a job, or `inherit`: that of the CAF. Without it a job of the machine of the
    worker, which goes on when that dies."""
    connection: OptionalText = None
    """The Airflow connection of type `caf_batch` for that job; it counts in the place of `backend`, too."""
    backend_args: BackendArgs = {}
    """Of that job; where it names a backend or connection, over those of the CAF."""

    def __init__(self, name: str | None = None, command: Sequence[str] | None = None, **words: Any) -> None:
        super().__init__(**written(name=name, command=command), **words)


class OwnCalibration(CalibrationBase):
    """A calibration of a type of the user's, as a file names it; the class is not imported here."""

    model_config: ClassVar[Any] = {**CalibrationBase.model_config, "extra": "allow"}

    kind: Annotated[
        str,
        Word(lambda value: build_reference(value, "type"), {"type": "string", "pattern": ":"}),
        FIXED,
        Field(alias="type"),
    ]
    """`module:Class` of a `CalibrationBase`; its further words are its own."""


def choose_type(value: Any) -> type[CalibrationBase]:
    """Return the form of a member of a CAF, by its word `type`.

    :raises DefinitionError: if there is no such type.
    """
    kind = value.get("type", "calibration") if isinstance(value, Mapping) else "calibration"
    if isinstance(kind, str) and kind in _TYPES:
        return _TYPES[kind]
    if isinstance(kind, str) and ":" in kind:
        return OwnCalibration
    raise DefinitionError(
        f"There is no type {kind!r} of calibration.",
        hint=f"Known types: {', '.join(_TYPES)}, or 'module:Class' for one of your own.",
        where=("type",),
    )


_TYPES: dict[Any, type[CalibrationBase]] = {
    form.model_fields["kind"].default: form for form in (Calibration, ImportedPayloads, ExternalCommand)
}
