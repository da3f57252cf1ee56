"""The class `Collection`: a collector, its input and its selection, its splitting into subjobs, its output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import PrivateAttr, model_validator

from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.strategies.base import GRANULARITIES
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.definitions.databases import HasDatabases
from airflow_provider_caf.definitions.form import Form, Template, fill, is_template, written
from airflow_provider_caf.definitions.words import (
    BackendArgs,
    CodeReference,
    Databases,
    FilePath,
    FilesToIovs,
    Flag,
    JobFiles,
    NamesOfData,
    OptionalCount,
    OptionalMappings,
    OptionalNumber,
    Paths,
    Patterns,
    Retries,
    Settings,
    Tolerated,
    choice,
    code_or_argv,
    read_paths,
)

_C = TypeVar("_C", bound="Collection")

_SPLITTING = ("max_files_per_collector_job", "max_collector_jobs", "arguments", "max_subjobs")


_GRANULARITY = choice("There is no granularity {!r}.", "granularities", *GRANULARITIES)
Granularity = Annotated[Annotated[str, _GRANULARITY] | None, Template()]
Collector = Annotated[str | list[str], code_or_argv("collector")]
PreCollector = Annotated[str | list[str], code_or_argv("pre_collector")] | None


class CollectorWords(Form):
    """What is said of a collection, or by a calibration of its collection `default`.

    This is the table of the short form: the words that a calibration of the CAF has for its one collector, and besides
    `input_data` and `granularity`, which a short form needs whose files have a name or whose collector is a command.
    """

    collector: Collector | None = None
    """A Collector class, or the argv list of any command."""
    input_files: Paths = []
    """Absolute paths, globs (`*`, `?`, `[…]`, `**`), or URIs such as `root://…`. A glob must match something."""
    input_data: NamesOfData = []
    """Names of data sets of the CAF whose files are the input, beside `input_files`."""
    files_to_iovs: FilesToIovs = {}
    """The IoV, or the one run, of the data in each file; or the path of a file map. Without other input these files are
    the input."""
    granularity: Granularity = None
    """What is kept apart, `run` or `all` (nothing); without it as the collector says."""
    max_files_per_collector_job: OptionalCount = None
    """At most so many files in a subjob."""
    max_collector_jobs: OptionalCount = None
    """At most so many subjobs; files are spread evenly."""
    output_patterns: Patterns = ["CollectorOutput.root"]
    """Globs relative to the subjob's folder. Each must match a file that is not empty, else the subjob has failed."""
    pre_collector: PreCollector = None
    """Code or an argv list that runs in the job before the collector. A function gets the content of `job.json` as a
    dict, and may give a list of other input files."""


class FailureWords(Form):
    """What is said of failures of subjobs: by a collection, or by a calibration of those that say nothing."""

    max_subjob_retries: Retries = None
    """Tries of one subjob after its first. Without it as the calibration says, else 3."""
    max_failed_subjobs: Tolerated = None
    """How many subjobs may fail for good: a count, or a share such as `0.02` or `"2%"`. The calibration goes on without
    them and says so. Without it as the calibration says, else none."""


class Selection(Form):
    """Which of the input files are used: limits, in the order of the paths or in a random one.

    Their runs, and for limits of events the events in them, must be known.
    """

    noun: ClassVar[str] = "selection"

    max_files_per_run: OptionalCount = None
    """At most so many files of each run."""
    max_events_per_run: OptionalCount = None
    """Files of each run until so many events are reached; the one that reaches it is taken."""
    max_events: OptionalCount = None
    """Files until so many events are reached in all."""
    min_events_per_file: OptionalCount = None
    """Leave out files with fewer events."""
    random_seed: OptionalNumber = None
    """Take files in a random order that depends on this number alone."""

    @model_validator(mode="after")
    def _check(self) -> Selection:
        limits = [name for name in type(self).model_fields if name != "random_seed"]
        if all(getattr(self, name) is None for name in limits):
            raise DefinitionError(
                "The selection limits nothing.", hint=f"Give one of {', '.join(limits[:-1])} or {limits[-1]}."
            )
        return self

    @property
    def needs_events(self) -> bool:
        """Whether the number of events in each file has to be known."""
        return any(limit is not None for limit in (self.max_events_per_run, self.max_events, self.min_events_per_file))

    @property
    def needs_runs(self) -> bool:
        """Whether the runs in each file have to be known."""
        return self.max_files_per_run is not None or self.max_events_per_run is not None


class Collection(FailureWords, CollectorWords, HasDatabases):
    """One collector with its input, its splitting into subjobs and its batch arguments."""

    noun: ClassVar[str] = "collection"

    collector: Collector
    selection: Selection | None = None
    """Which of the input files are used."""
    arguments: OptionalMappings = None
    """One subjob for each mapping, with all files; the collector finds it as `self.arguments`."""
    max_subjobs: OptionalCount = None
    """The limit of `arguments`, required with it."""
    settings: Settings = {}
    """Attributes set on the collector. One that it does not have is an error."""
    job_files: JobFiles = {}
    """Files that travel with each job: their names in its work folder, and where they are."""
    merge: Flag = True
    """False leaves the outputs as they are. The algorithm has to read them itself, as `self.output_files`, and to say
    which runs are in them, in `find_collected_runs`."""
    database_chain: Databases = []
    """Looked at before the database chain of the calibration, behind the payloads it depends on."""
    backend_args: BackendArgs = {}
    """Arguments of the batch system, over those of the calibration."""
    # What `resolve` adds; no words of files.
    _name: str = PrivateAttr("")
    _filemaps: list[str] = PrivateAttr(default_factory=list)

    def __init__(
        self,
        collector: CodeReference | Sequence[str] | None = None,
        input_files: FilePath | Iterable[FilePath] | None = None,
        **words: Any,
    ) -> None:
        filemaps = read_paths(words.pop("filemaps", []))
        super().__init__(**written(collector=collector, input_files=input_files), **words)
        self._filemaps = filemaps

    def to_json(self) -> dict[str, Any]:
        """Return what was written, and the file maps that `resolve` found."""
        return {**super().to_json(), **({"filemaps": self._filemaps} if self._filemaps else {})}

    @property
    def name(self) -> str:
        """Its name in the calibration that it belongs to."""
        return self._name

    @property
    def filemaps(self) -> list[str]:
        """The paths of the file maps of its input, once that is resolved."""
        return self._filemaps

    def rename(self: _C, name: str) -> _C:
        """Return a copy with the name that it has in a calibration."""
        renamed = self.model_copy()
        renamed._name = name
        return renamed

    @property
    def reference(self) -> str | None:
        """The collector class; None where a command collects."""
        return self.collector if isinstance(self.collector, str) else None

    @property
    def command(self) -> list[str] | None:
        """The words of the command that collects; None where a class does."""
        return self.collector if isinstance(self.collector, list) else None

    @property
    def pre_job(self) -> dict[str, Any] | None:
        """What runs in a job before, in the form of `job.json`: `{"function": reference}` or `{"command": argv}`."""
        if self.pre_collector is None:
            return None
        return {"command" if isinstance(self.pre_collector, list) else "function": self.pre_collector}

    @property
    def splitting(self) -> Splitting:
        """The rule by which its files become subjobs.

        :raises DefinitionError: if its words exclude one another.
        """
        words: dict[str, Any] = {name: fill(getattr(self, name), None) for name in _SPLITTING}
        if words["arguments"] is not None:
            words["arguments"] = tuple(words["arguments"])
        return Splitting(**words)

    def resolve(self, name: str, calibration: str, data_sets: Mapping[str, Any], failures: FailureWords) -> Collection:
        """Return it with its name, its input files in one place, and what it leaves to its calibration.

        :param data_sets: name → files of the CAF's data sets.
        :param failures: what the calibration says of failures.
        :raises DefinitionError: if a data set does not exist, or words of its splitting exclude one another.
        """
        where = f"collection {name!r} of calibration {calibration!r}"
        files, iovs, filemaps = self._collect_input(data_sets, where)
        try:
            _ = self.splitting
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error
        defaults = {"max_subjob_retries": 3, "max_failed_subjobs": 0}
        chosen = {
            word: next(value for value in (getattr(self, word), getattr(failures, word), default) if value is not None)
            for word, default in defaults.items()
        }
        words = {"input_files": files, "input_data": [], "files_to_iovs": iovs, **chosen}
        resolved = self.model_copy(update=words).rename(name)
        resolved._filemaps = filemaps
        resolved.write_out(besides=("input_data",))
        return resolved

    def _collect_input(self, data_sets: Mapping[str, Any], where: str) -> tuple[list[str], dict[str, IoV], list[str]]:
        """Return the files or patterns, the IoVs that are known, and the paths of file maps."""
        sources: list[Any] = [fill(self.input_files, ["{{ }}"]), self.files_to_iovs]
        for number, name in enumerate(fill(self.input_data, [])):
            if name not in data_sets and not is_template(name):
                raise DefinitionError(
                    f"The {where} reads the data set {name!r}, which does not exist.",
                    hint=build_word_hint(name, data_sets, "data sets"),
                    where=("input_data", number),
                )
            sources.append(data_sets.get(name, []))
        files: dict[str, None] = {}
        iovs: dict[str, IoV] = {}
        filemaps = dict.fromkeys(self.filemaps)
        for position, source in enumerate(sources):
            if isinstance(source, str):
                filemaps[source] = None
            elif isinstance(source, Mapping) and set(source) == {"filemap"}:
                filemaps[source["filemap"]] = None
            elif isinstance(source, Mapping):
                iovs |= {path: iov for path, iov in source.items() if not is_template(iov)}
                # Beside a list of files, the mapping only says what is in them.
                files |= dict.fromkeys(source) if position > 1 or not self.input_files else {}
            else:
                files |= dict.fromkeys(source)
        return list(files), iovs, list(filemaps)
