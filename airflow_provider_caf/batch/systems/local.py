"""The local system: for each array a detached pool of processes on this machine, see `worker.pool`.

The pool's own commands answer in JSON, one object per array, so that one query covers any number of arrays.
Lists go in by standard input: an argument list has a limit, 10 000 subjobs do not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import airflow_provider_caf
from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems.base import Answer, Done, Query, Submission, build_answer
from airflow_provider_caf.batch.systems.refusals import refuse_lookup, show_output
from airflow_provider_caf.batch.wrapper import DEFAULT_SHELL, build_script
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError

_SETUP_TIMEOUT = 600.0
"""Seconds. The site's setup lines run in the submit command; a cold network file system takes minutes."""

_GONE = "L"

STATES: Mapping[str, JobState] = {
    "Q": JobState.QUEUED,
    "R": JobState.RUNNING,
    "E": JobState.EXITED,
    "C": JobState.CANCELLED,
}
"""What `pool query` prints for an element. `L`, gone with its pool, is no state: the element is missing."""


_RUN_WORKER = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from airflow_provider_caf.worker.__main__ import main; sys.exit(main())"
)


def build_tool() -> tuple[str, ...]:
    """Return the argv that runs the worker's verbs of the package that runs now, wherever it was imported from.

    Isolated and without site-packages: it needs nothing but the standard library and starts in half the time,
    and a folder of the same name in the current folder cannot take its place.
    """
    root = os.path.dirname(os.path.dirname(airflow_provider_caf.__file__))  # noqa: PTH120 - pure text
    return (sys.executable, "-I", "-S", "-c", _RUN_WORKER, root)


class LocalSystem:
    """Run subjobs on this machine.

    :param tool: the argv that runs the worker's verbs for looking and cancelling. The installed package is
        used, not an array's own app, whose folder may be removed while others still wait.
    """

    name = "local"
    largest_array: int | None = None
    longest_name = 64
    ignored = frozenset(
        {
            *("account", "array_limit", "cpus", "disk", "exclude_hosts", "extra_lines", "getenv", "held"),
            *(
                "held_timeout",
                "max_failures_per_host",
                "memory",
                "memory_unit",
                "path_prefix",
                "queue",
                "transfer_files",
            ),
            *("universe", "walltime"),
        }
    )
    states = STATES
    # The lock of a pool is proof: who can take it knows that the pool is dead, and its files are on this
    # machine.
    grace = 0.0

    def __init__(self, tool: Sequence[str] | None = None) -> None:
        self._tool = tuple(tool or build_tool())

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return the command that starts the pool: the site's setup runs once, all subjobs inherit what it set.

        :raises DefinitionError: if a container is asked for.
        """
        resources = array.resources
        if resources.container is not None:
            raise DefinitionError(
                f"The local system cannot run the container {resources.container!r} of array {array.name}.",
                hint="Remove 'container' from the backend_args, or use a batch system.",
            )
        script = build_script(array, ["pool", "submit", array.array_file])
        return Submission(
            command=Command(argv=(resources.shell or DEFAULT_SHELL, array.script_file), timeout=_SETUP_TIMEOUT),
            files=(TextFile(path=array.script_file, text=script, executable=True),),
        )

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Read the pool's id. Setup lines may have printed something before it.

        :raises SubmitError: if no pool was started.
        """
        answer = _read_last_line(result.stdout) if result.exit_code == 0 else None
        if answer is None or not isinstance(answer.get("id"), str):
            raise SubmitError(
                f"The local pool of array {array.name} was not started (exit code {result.exit_code}): "
                f"{show_output(result)}",
                hint=f"Run {array.script_file} by hand. Are 'setup' and 'python' ({array.python}) right?",
            )
        return (answer["id"],)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that says whether the array's folder has, or had, a pool."""
        return self._build_command("lookup", [{"folder": array.folder, "name": array.name}])

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Read the answer of the lookup.

        :raises SubmitError: if it says nothing.
        """
        answers = _read_answers(result, 1)
        if answers is None or "error" in answers[0]:
            raise refuse_lookup(array, result, None if answers is None else str(answers[0]["error"]))
        found = answers[0].get("id")
        return () if found is None else ((str(found),),)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one command for all arrays."""
        requests = [{"folder": array.array.folder, "id": array.ids[0]} for array in arrays]
        return (Query(command=self._build_command("query", requests), arrays=tuple(arrays)),)

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read one letter per element.

        :raises PollError: if the answer is not about these arrays.
        """
        answers = _read_answers(result, len(query.arrays))
        if answers is None:
            raise PollError(
                f"The local pools could not be asked (exit code {result.exit_code}): {show_output(result)}",
                hint=f"Try: {' '.join((*self._tool, 'pool', 'query'))}",
            )
        return build_answer((array, _read_states(array, answer)) for array, answer in zip(query.arrays, answers))

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return nothing: a pool's journal remembers all."""
        return ()

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Refuse: there is no history command.

        :raises PollError: always.
        """
        raise PollError("The local system has no history.", hint="Use the answer of the query.")

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the command that ends elements, and what a dead pool has left running."""
        requests = {
            "folder": array.array.folder,
            "id": array.ids[0],
            "elements": None if elements is None else list(elements),
        }
        return (self._build_command("cancel", [requests]),)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer.

        :raises PollError: if the pool was not reached.
        """
        answers = _read_answers(result, 1)
        if answers is None or "error" in answers[0]:
            reason = show_output(result) if answers is None else str(answers[0]["error"])
            raise PollError(
                f"Array {array.array.name} could not be {done} (exit code {result.exit_code}): {reason}",
                hint=f"Look for the processes of pool {array.ids[0]} and end them.",
            )

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return nothing: no subjob is ever held."""
        return ()

    def _build_command(self, action: str, requests: list[dict[str, Any]]) -> Command:
        return Command(argv=(*self._tool, "pool", action), stdin=json.dumps(requests))


def _read_last_line(text: str) -> dict[str, Any] | None:
    lines = text.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _read_answers(result: CommandResult, expected: int) -> list[dict[str, Any]] | None:
    """Return one object per array asked for, or None where the answer is something else."""
    if result.exit_code != 0:
        return None
    try:
        answers = [json.loads(line) for line in result.stdout.splitlines()]
    except ValueError:
        return None
    if len(answers) != expected or not all(isinstance(answer, dict) for answer in answers):
        return None
    return answers


def _read_states(submitted: SubmittedArray, answer: Mapping[str, Any]) -> dict[int, Native] | str:
    """Return what is said about each element, or why nothing is."""
    if "error" in answer:
        return str(answer["error"])
    if answer.get("gone") is True:
        return {}
    letters, host = answer.get("states"), answer.get("host")
    count = len(submitted.array.elements)
    if not isinstance(letters, str) or len(letters) != count:
        return f"the answer is {letters!r}, not one letter for each of {count} elements"
    return {
        index: Native(code=letter, host=host if isinstance(host, str) else None)
        for index, letter in enumerate(letters)
        if letter != _GONE
    }
