"""What a definition says of a collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from airflow_provider_caf.core.calibration import CollectionRecord, DatabaseEntry
from airflow_provider_caf.core.calibration_records import DEFAULT_SUBJOB_RETRIES
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.iov import IoV
from airflow_provider_caf.core.selection import Selection as SelectionRecord
from airflow_provider_caf.core.splitting import Splitting
from airflow_provider_caf.core.strategies.base import GRANULARITIES
from airflow_provider_caf.core.suggestions import build_word_hint
from airflow_provider_caf.core.tolerance import Tolerance
from airflow_provider_caf.definitions.databases import HasDatabases
from airflow_provider_caf.definitions.form import Chooser, Form, Word, is_template
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
    OptionalNumber,
    Paths,
    Patterns,
    Retries,
    Settings,
    Tolerated,
    code_or_argv,
    read_list,
    read_mapping,
    refuse,
)

DEFAULT_OUTPUT = ["CollectorOutput.root"]

_SPLITTING = ("max_files_per_collector_job", "max_collector_jobs", "arguments", "max_subjobs")


def _read_granularity(value: Any) -> str | None:
    if value is None or value in GRANULARITIES:
        return value  # type: ignore[no-any-return]
    if not isinstance(value, str):
        raise refuse(value, f"It has to be one of {', '.join(GRANULARITIES)}.")
    raise DefinitionError(
        f"There is no granularity {value!r}.", hint=build_word_hint(value, GRANULARITIES, "granularities")
    )


Granularity = Annotated[str | None, Word(_read_granularity, {"enum": [*GRANULARITIES, None]})]
Collector = Annotated[str | list[str] | None, code_or_argv("collector")]
PreCollector = Annotated[str | list[str] | None, code_or_argv("pre_collector")]

COLLECTOR_TEXT = "A Collector class, or the argv list of any command."
INPUT_FILES_TEXT = (
    "Absolute paths, globs (`*`, `?`, `[…]`, `**`), or URIs such as `root://…`. A glob must match something."
)
INPUT_DATA_TEXT = "Names of data sets of the CAF whose files are the input, beside `input_files`."
FILES_TO_IOVS_TEXT = (
    "The IoV, or the one run, of the data in each file; or the path of a file map. Without other input these files are "
    "the input."
)
MAX_FILES_TEXT = "At most so many files in a subjob."
MAX_JOBS_TEXT = "At most so many subjobs; files are spread evenly."
PATTERNS_TEXT = (
    "Globs relative to the subjob's folder. Each must match a file that is not empty, else the subjob has failed."
)
GRANULARITY_TEXT = "What is kept apart, `run` or `all` (nothing); without it as the collector says."
PRE_COLLECTOR_TEXT = (
    "Code or an argv list that runs in the job before the collector. A function gets the content of `job.json` as a "
    "dict, and may give a list of other input files."
)
RETRIES_TEXT = "Tries of one subjob after its first."
FAILED_TEXT = (
    'How many subjobs may fail for good: a count, or a share such as `0.02` or `"2%"`. The calibration goes on '
    "without them and says so."
)


class Selection(Form):
    """Which of the input files are used: limits, in the order of the paths or in a random one."""

    noun: ClassVar[str] = "selection"

    max_files_per_run: Annotated[OptionalCount, Field(description="At most so many files of each run.")] = None
    max_events_per_run: Annotated[
        OptionalCount, Field(description="Files of each run until so many events are reached.")
    ] = None
    max_events: Annotated[OptionalCount, Field(description="Files until so many events are reached in all.")] = None
    min_events_per_file: Annotated[OptionalCount, Field(description="Leave out files with fewer events.")] = None
    random_seed: Annotated[
        OptionalNumber, Field(description="Take files in a random order that depends on this number alone.")
    ] = None

    def build_record(self) -> SelectionRecord | None:
        """Give the checked record, None while a template stands for a limit.

        :raises DefinitionError: if it limits nothing.
        """
        words = {name: getattr(self, name) for name in type(self).model_fields}
        return None if any(map(is_template, words.values())) else SelectionRecord(**words)


class Collection(HasDatabases):
    """One collector with its input, its splitting into subjobs and its batch arguments."""

    noun: ClassVar[str] = "collection"
    parts: ClassVar[Mapping[str, Chooser]] = {"selection": lambda _: Selection}

    collector: Annotated[Collector, Field(description=COLLECTOR_TEXT)]
    input_files: Annotated[Paths, Field(description=INPUT_FILES_TEXT)] = []
    input_data: Annotated[NamesOfData, Field(description=INPUT_DATA_TEXT)] = []
    files_to_iovs: Annotated[FilesToIovs, Field(description=FILES_TO_IOVS_TEXT)] = {}
    selection: Annotated[Selection | None, Field(description="Which of the input files are used.")] = None
    max_files_per_collector_job: Annotated[OptionalCount, Field(description=MAX_FILES_TEXT)] = None
    max_collector_jobs: Annotated[OptionalCount, Field(description=MAX_JOBS_TEXT)] = None
    arguments: Annotated[
        list[dict[str, Any]] | None,
        Word(
            lambda value: None if value is None else read_list(read_mapping, "mappings")(value),
            {"type": ["array", "null"], "items": {"type": "object"}},
        ),
        Field(description="One subjob for each mapping, with all files; the collector finds it as `self.arguments`."),
    ] = None
    max_subjobs: Annotated[OptionalCount, Field(description="The limit of `arguments`, required with it.")] = None
    output_patterns: Annotated[Patterns, Field(description=PATTERNS_TEXT)] = DEFAULT_OUTPUT
    granularity: Annotated[Granularity, Field(description=GRANULARITY_TEXT)] = None
    settings: Annotated[
        Settings, Field(description="Attributes set on the collector. One that it does not have is an error.")
    ] = {}
    pre_collector: Annotated[PreCollector, Field(description=PRE_COLLECTOR_TEXT)] = None
    job_files: Annotated[
        JobFiles,
        Field(description="Files that travel with each job: their names in its work folder, and where they are."),
    ] = {}
    merge: Annotated[
        Flag,
        Field(
            description=(
                "False leaves the outputs as they are. The algorithm has to read them itself, as `self.output_files`, "
                "and to say which runs are in them, in `find_collected_runs`."
            )
        ),
    ] = True
    database_chain: Annotated[
        Databases,
        Field(description="Looked at before the database chain of the calibration, behind the payloads it depends on."),
    ] = []
    backend_args: Annotated[
        BackendArgs, Field(description="Arguments of the batch system, over those of the calibration.")
    ] = {}
    max_subjob_retries: Annotated[Retries, Field(description=RETRIES_TEXT)] = None
    max_failed_subjobs: Annotated[Tolerated, Field(description=FAILED_TEXT)] = None

    def __init__(
        self,
        collector: CodeReference | Sequence[str] | None = None,
        input_files: FilePath | Iterable[FilePath] | None = None,
        **words: Any,
    ) -> None:
        given: dict[str, Any] = {"collector": collector, "input_files": input_files}
        super().__init__(**{name: value for name, value in given.items() if value is not None}, **words)

    def build_record(
        self,
        name: str,
        calibration: str,
        *,
        data_sets: Mapping[str, Any] | None = None,
        default_retries: int = DEFAULT_SUBJOB_RETRIES,
        default_failed: Tolerance = 0,
    ) -> CollectionRecord:
        """Give the checked record.

        :param data_sets: name → files of the CAF's data sets.
        :param default_retries: where this collection has no `max_subjob_retries`.
        :param default_failed: where this collection has no `max_failed_subjobs`.
        :raises DefinitionError: if something written here cannot be.
        """
        where = f"collection {name!r} of calibration {calibration!r}"
        is_command = isinstance(self.collector, list)
        before = self.pre_collector
        files, iovs, filemaps = self._collect_input(data_sets or {}, where)
        return CollectionRecord(
            name=name,
            collector=None if is_command else self.collector,  # type: ignore[arg-type]
            command=tuple(self.collector) if is_command else None,  # type: ignore[arg-type]
            settings=fill(self.settings, {}),
            input_files=files,
            files_to_iovs=iovs,
            filemaps=filemaps,
            selection=self._build_selection(where),
            splitting=self._build_splitting(where),
            output_patterns=tuple(fill(self.output_patterns, DEFAULT_OUTPUT)),
            granularity=fill(self.granularity, None),
            database_chain=build_chain(self.database_chain),
            backend_args=fill(self.backend_args, {}),
            pre_collector=(
                None if before is None else {"command": before} if isinstance(before, list) else {"function": before}
            ),
            job_files=fill(self.job_files, {}),
            merge=fill(self.merge, True),
            max_subjob_retries=default_retries if self.max_subjob_retries is None else fill(self.max_subjob_retries, 0),
            max_failed_subjobs=default_failed if self.max_failed_subjobs is None else fill(self.max_failed_subjobs, 0),
        )

    def _collect_input(
        self, data_sets: Mapping[str, Any], where: str
    ) -> tuple[tuple[str, ...], dict[str, IoV], tuple[str, ...]]:
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
        filemaps: dict[str, None] = {}
        for position, source in enumerate(sources):
            if isinstance(source, str):
                filemaps[source] = None
            elif isinstance(source, Mapping) and set(source) == {"filemap"}:
                filemaps[source["filemap"]] = None
            elif isinstance(source, Mapping):
                iovs |= {path: IoV.from_json(iov) for path, iov in source.items() if not is_template(iov)}
                # Beside a list of files, the mapping only says what is in them.
                files |= dict.fromkeys(source) if position > 1 or not self.input_files else {}
            else:
                files |= dict.fromkeys(source)
        return tuple(files), iovs, tuple(filemaps)

    def _build_selection(self, where: str) -> SelectionRecord | None:
        try:
            return None if self.selection is None else self.selection.build_record()
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint, where=("selection",)) from error

    def _build_splitting(self, where: str) -> Splitting:
        words: dict[str, Any] = {name: fill(getattr(self, name), None) for name in _SPLITTING}
        if words["arguments"] is not None:
            words["arguments"] = tuple(words["arguments"])
        try:
            return Splitting(**words)
        except DefinitionError as error:
            raise DefinitionError(f"In {where}: {error.what}", hint=error.hint) from error


def fill(value: Any, instead: Any) -> Any:
    """Give a value, or what stands for it while it is a template."""
    return instead if is_template(value) else value


def build_chain(entries: Any) -> tuple[DatabaseEntry, ...]:
    """Give the records of a database chain; templates that stand for whole entries are left out."""
    return tuple(
        DatabaseEntry(kind=kind, value=value)
        for entry in fill(entries, [])
        if not is_template(entry)
        for kind, value in entry.items()
    )
