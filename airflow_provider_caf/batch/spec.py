"""What is asked of a batch system, as typed records: commands, resources, arrays.

Everything a user may write in `backend_args` is one field of `Resources`, read by one row of
`batch.arguments.ARGUMENTS`. The names of the CAF are accepted beside ours. A known argument that a system has no use
for is accepted too (`queue` on `local`), because one definition has to run on several systems; `prepare` says which
ones have no effect. An unknown one is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from airflow_provider_caf.batch.arguments import ARGUMENTS, CAF_NAMES
from airflow_provider_caf.core.errors import DefinitionError
from airflow_provider_caf.core.file_names import ARRAY_FILE, SCRIPT_FILE, name_element_log
from airflow_provider_caf.core.json_form import JsonRecord, normalise_json
from airflow_provider_caf.core.record import record
from airflow_provider_caf.core.suggestions import build_word_hint

DEFAULT_TIMEOUT = 60.0
"""Seconds. Commands of PBS, LSF and HTCondor hang without limit on a sick server, so each one has a limit."""

_SAFE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*", re.ASCII)


@record
class Command:
    """One command, never a shell string.

    :param argv: the program and its arguments.
    :param stdin: text for its standard input.
    :param environment: variables set beside those of the transport.
    :param timeout: seconds after which it is killed.
    :param lock: a file on the submit host. On another host, commands that name the same one run one after the other,
        each as long as anything of it lives, also when the process that sent it is dead.
    :param is_tied: whether it ends, with all that it has started, when the process that sent it dies. What submits or
        cancels must not stop half-way. Only this machine can do that.
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    environment: Mapping[str, str] | None = None
    timeout: float = DEFAULT_TIMEOUT
    lock: str | None = None
    is_tied: bool = False


@record
class CommandResult:
    """What a command answered.

    :param exit_code: negative: the signal that ended it.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str = ""
    stderr: str = ""


@record
class TextFile:
    """A file that has to be there before a submit command runs.

    :param path: absolute, on the submit host.
    :param executable: whether it gets the execute permission.
    """

    path: str
    text: str
    executable: bool = False

    @property
    def mode(self) -> int:
        """Its permissions: nobody else may read it, as it has the variables of the jobs in it."""
        return 0o700 if self.executable else 0o600


@record
class Resources:
    """What a subjob asks of the batch system. None: not said, the system's own default counts.

    :param queue: queue or partition.
    :param account: account, project or accounting group.
    :param walltime: limit in seconds.
    :param memory: request in MB (2^20 bytes).
    :param cpus: number of cores.
    :param disk: request in MB (2^20 bytes).
    :param universe: HTCondor's universe.
    :param getenv: HTCondor's `getenv`.
    :param path_prefix: put before input and output paths in HTCondor's submit file.
    :param extra_lines: lines for the submit file or directives, as they are.
    :param environment: variables of the subjob, set after `setup`.
    :param setup: shell lines of the site, taken as they are, run before everything.
    :param shell: the shell that reads the script, and with it `setup`.
    :param container: image for apptainer.
    :param python: the Python that runs the job app.
    :param max_processes: size of the local pool; None: one process per core.
    :param throttle: at most so many elements of one array run at once. The batch system sees to it.
    :param array_limit: the most elements that the site allows in one array; None: the system's usual limit.
    :param subjobs_per_job: so many subjobs run one after the other in one element; `AUTO`: as many as fill some
        minutes, by the run times seen.
    :param exclude_hosts: hosts on which no subjob shall run.
    :param max_failures_per_host: a host on which so many subjobs failed gets no retries any more.
    :param memory_factor: the memory request of a retry grows by this where memory was the cause.
    :param memory_ceiling: the largest memory request of a retry in MB (2^20 bytes).
    :param memory_unit: LSF's: what a number without unit means on a site whose LSF takes no units, such as `M`.
    :param held: what to do with held jobs: `wait`, `release` or `fail`.
    :param held_timeout: seconds after which `release` and `fail` act.
    :param transfer_files: HTCondor carries all files; no shared file system is needed.
    """

    queue: str | None = None
    account: str | None = None
    walltime: int | None = None
    memory: int | None = None
    cpus: int | None = None
    disk: int | None = None
    universe: str | None = None
    getenv: str | None = None
    path_prefix: str | None = None
    extra_lines: tuple[str, ...] | None = None
    environment: Mapping[str, str] | None = None
    setup: tuple[str, ...] | None = None
    shell: str | None = None
    container: str | None = None
    python: str | None = None
    max_processes: int | None = None
    throttle: int | None = None
    array_limit: int | None = None
    subjobs_per_job: int | str | None = None
    exclude_hosts: tuple[str, ...] | None = None
    max_failures_per_host: int | None = None
    memory_factor: float | None = None
    memory_ceiling: int | None = None
    memory_unit: str | None = None
    held: str | None = None
    held_timeout: int | None = None
    transfer_files: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the arguments that are set."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: normalise_json(value, name) for name, value in given.items() if value is not None}

    def keep_environment(self) -> Resources:
        """Return what says in which environment a program runs, without what it asks of the batch system."""
        return Resources(
            environment=self.environment,
            setup=self.setup,
            shell=self.shell,
            container=self.container,
            python=self.python,
        )

    @staticmethod
    def from_json(value: Any) -> Resources:
        """Read what `to_json` gave, see `parse_resources`."""
        return parse_resources(value, "the record")


def parse_resources(values: Mapping[str, Any], where: str) -> Resources:
    """Read `backend_args`.

    :param values: argument → value, as a user writes them.
    :param where: what they belong to, such as `calibration 'vertex'`.
    :raises DefinitionError: if an argument is unknown, given under two names, or has a value it cannot have.
    """
    if not isinstance(values, Mapping):
        raise DefinitionError(
            f"The backend_args of {where} are {values!r}.",
            hint="Write a mapping of argument names to values.",
        )
    read: dict[str, Any] = {}
    for given, value in values.items():
        name = CAF_NAMES.get(given, given)
        if name not in ARGUMENTS:
            raise DefinitionError(
                f"The backend_args of {where} have an unknown argument {given!r}.",
                hint=build_word_hint(str(given), (*ARGUMENTS, *CAF_NAMES), "arguments"),
            )
        if name in read:
            raise DefinitionError(
                f"The backend_args of {where} give {name!r} twice, once as {given!r}.",
                hint="Keep one of them.",
            )
        read[name] = None if value is None else ARGUMENTS[name](value, f"argument {given!r} of {where}")
    return Resources(**read)


def merge_resources(*layers: Resources) -> Resources:
    """Merge arguments in the CAF's order: system default, connection, CAF, calibration, collection.

    The last layer that sets an argument wins, as in the CAF; lists are not joined. Only `environment` is
    merged variable by variable.
    """
    merged = Resources()
    for layer in layers:
        given = {field.name: value for field in fields(layer) if (value := getattr(layer, field.name)) is not None}
        if merged.environment is not None and layer.environment is not None:
            given["environment"] = {**merged.environment, **layer.environment}
        merged = replace(merged, **given)
    return merged


@record
class ArraySpec(JsonRecord):
    """One submission: many subjobs as elements of one array. It is also the intent record.

    All paths are absolute and seen on the machines that run the jobs.

    :param name: the same for the same submission, see `batch.naming`.
    :param folder: holds this record as `array.json`, the script, and the files of the local pool.
    :param input_folder: holds `<subjob %05d>.json`.
    :param output_folder: gets `<subjob %05d>/attempt_<k>`.
    :param status_folder: gets the exit records.
    :param elements: the subjobs of each array element; several are run one after the other.
    :param attempt: the number of this try, the same for all its subjobs.
    :param app: the job app (zip app).
    :param python: the Python that runs it, on the machines that run the jobs.
    :param inputs: for each element the files and folders that travel with it, where files travel. Only a submission
        needs them: they are no part of the intent record.
    """

    noun = "intent record"
    version = 1
    left_out = ("inputs",)

    name: str
    folder: str
    input_folder: str
    output_folder: str
    status_folder: str
    elements: tuple[tuple[int, ...], ...]
    attempt: int
    app: str
    python: str
    resources: Resources = Resources()
    inputs: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if _SAFE_NAME.fullmatch(self.name) is None:
            raise DefinitionError(
                f"{self.name!r} cannot be the name of an array.",
                hint="Make it with batch.naming.build_array_name.",
            )
        for what in ("folder", "input_folder", "output_folder", "status_folder", "app"):
            path = getattr(self, what)
            if not path.startswith("/") or "\0" in path:
                raise DefinitionError(
                    f"The {what} of array {self.name} is {path!r}.", hint="It has to be an absolute path."
                )
        subjobs = self.subjobs
        if not subjobs or not all(self.elements) or len(set(subjobs)) != len(subjobs) or min(subjobs) < 0:
            raise DefinitionError(
                f"The elements of array {self.name} are {self.elements!r}.",
                hint="An array has at least one element, and each subjob (counted from 0) is in one of them.",
            )

    @property
    def subjobs(self) -> tuple[int, ...]:
        """All subjobs, in the order of the elements."""
        return tuple(subjob for element in self.elements for subjob in element)

    @property
    def array_file(self) -> str:
        """The path of the intent record."""
        return f"{self.folder}/{ARRAY_FILE}"

    @property
    def script_file(self) -> str:
        """The path of the script that the batch system runs."""
        return f"{self.folder}/{SCRIPT_FILE}"

    def element_log(self, element: int | str) -> str:
        """Return the path of what an element prints beside the logs of its subjobs: setup lines, a container, a crash.

        :param element: its number from 0, or a word of the shell for it.
        """
        return f"{self.folder}/{name_element_log(element)}"


@record
class _Submitted(JsonRecord):
    """What stands in `submitted.json` beside the intent record."""

    version = 1

    name: str
    ids: tuple[str, ...]
    submitted: str


@record
class SubmittedArray:
    """An array that a batch system took.

    :param array: what was submitted.
    :param ids: the system's ids, one for each native array. Empty: it was submitted and is over, and more is not known:
        a system without history has forgotten it before its ids were recorded.
    :param submitted: when, in UTC, ISO 8601.
    """

    array: ArraySpec
    ids: tuple[str, ...]
    submitted: str

    def to_json(self) -> dict[str, Any]:
        """Return what stands in `submitted.json` beside the intent record."""
        return _Submitted(name=self.array.name, ids=self.ids, submitted=self.submitted).to_json()

    @classmethod
    def from_json(cls, array: ArraySpec, value: Any, where: str = "record of the submission") -> SubmittedArray:
        """Read what `to_json` gave.

        :raises DefinitionError: if it is something else, or of another array.
        """
        name = value.get("name", array.name) if isinstance(value, Mapping) else array.name
        if name != array.name:
            raise DefinitionError(
                f"The {where} is of array {name!r}, not of {array.name!r}.",
                hint="Something else wrote into this folder. Remove it and run the task again.",
            )
        found = _Submitted.from_json(value, where)
        return cls(array=array, ids=found.ids, submitted=found.submitted)


def select_elements(array: ArraySpec, subjobs: Sequence[int] | None) -> tuple[int, ...]:
    """Return the elements all of whose subjobs are asked for.

    An element with a subjob that was not asked for is left alone: cancelling it would end that one too.

    :param subjobs: None: all elements.
    """
    if subjobs is None:
        return tuple(range(len(array.elements)))
    wanted = set(subjobs)
    return tuple(index for index, element in enumerate(array.elements) if wanted.issuperset(element))
