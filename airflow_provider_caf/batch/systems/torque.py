"""Torque, as a variation of PBS.

What is different:

* Arrays are `qsub -t`, and the script finds its number in `PBS_ARRAYID`. Elements have the array's name with `-2`
  behind. Any element can be released alone.
* The script's text is fed to a shell, whatever its first line says: the shell is named with `-S`.
* There is no history. What is over stands in the queue as C for some minutes (`keep_completed`), then it is unknown.
* Job names had 15 characters for most of its life.

The commands of the same names that come with Slurm take single jobs well enough: a plain number as the id, no exit
status, exit code 153 and not a word where nothing was found. Their `qstat` shows the elements of an array without
their indices, and takes neither `-t` nor `-x`: arrays do not work there, `array_limit: 1` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray
from airflow_provider_caf.batch.systems.base import Done, LookedUp, Query
from airflow_provider_caf.batch.systems.pbs import (
    CANCEL_TIMEOUT,
    Job,
    PBSSystem,
    build_clock,
    build_element_id,
    build_range,
    cut_words,
    parse_jobs,
)
from airflow_provider_caf.batch.systems.pbs import check_change as check_pbs_change
from airflow_provider_caf.batch.systems.refusals import doubt_lookup, refuse_lookup, show_output
from airflow_provider_caf.batch.wrapper import DEFAULT_SHELL
from airflow_provider_caf.core.errors import DefinitionError, PollError, SubmitError

_UNKNOWN = 153
"""PBSE_UNKJOBID (15001) modulo 256."""
_KEPT = 300.0
"""Seconds for which sites shall show what is over (`keep_completed`), as they do with Slurm's own `MinJobAge`."""

_REMOVED = "271"
"""256 + SIGTERM, the exit status of what `qdel` ended or took out of the queue."""

_EXIT_REASONS: Mapping[int, str] = {
    -1: "Torque could not start it",
    -2: "Torque could not start it",
    -3: "Torque could not start it and tries again",
    -8: "its shell could not be started",
    -10: "it used more memory than it had asked for",
    -11: "walltime: it ran longer than it had asked for",
    -12: "it used more CPU time than it had asked for",
}


def read_lookup(result: CommandResult, name: str, user: str | None = None) -> LookedUp | str:
    """Read which jobs of the queue have a name, or say what was answered instead.

    :param user: only his; None: of everybody.
    """
    try:
        jobs = parse_jobs(result)
    except PollError as error:
        return error.what
    # With nothing in the queue it is silent; the one over Slurm ends with the code of an unknown job then.
    if result.stderr.strip() or result.exit_code not in (0, _UNKNOWN):
        return show_output(result)
    named = re.compile(re.escape(name) + r"(?:-\d+)?")
    ids = [
        re.sub(r"\[\d+\]", "[]", id)
        for id, job in jobs.items()
        if named.fullmatch(job.get("Job_Name", "")) and user in (None, job.get("Job_Owner", "").partition("@")[0])
    ]
    return LookedUp(ids=tuple(dict.fromkeys(ids)), keeps_history=False, remembers=_KEPT)


def check_change(what: str, result: CommandResult, done: str) -> None:
    """Check the answer of a command that changes jobs, see `systems.pbs.check_change`.

    :raises PollError: if it was not done.
    """
    # The `qdel` over Slurm ends with the number of jobs that were over (`qdel.pl`), without a word. Torque's own ends
    # with an error's number and says nothing where the connection broke (`prt_job_err`).
    is_silent = done == "cancelled" and not (result.stdout + result.stderr).strip()
    if not (is_silent and 0 <= result.exit_code < len(result.argv)):
        check_pbs_change(what, result, done)


class TorqueSystem(PBSSystem):
    """Run subjobs on Torque, or through the Torque-like commands of another system."""

    name = "torque"
    longest_name = 15
    states: Mapping[str, JobState] = {
        "Q": JobState.QUEUED,
        "W": JobState.QUEUED,
        "T": JobState.QUEUED,
        "H": JobState.HELD,
        "R": JobState.RUNNING,
        "S": JobState.RUNNING,
        "E": JobState.TRANSFERRING,
        "C": JobState.EXITED,
        f"C{_REMOVED}": JobState.CANCELLED,
    }
    exit_reasons = _EXIT_REASONS
    memory_ends = frozenset({-10})

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Read the id, and say so where the commands are those over Slurm and it is an array.

        :raises SubmitError: if it was refused, or if there is no id of the right kind in it.
        """
        try:
            return super().parse_submit(array, result)
        except SubmitError as error:
            if result.exit_code == 0 and re.fullmatch(r"\d+", result.stdout.strip(), re.ASCII):
                raise SubmitError(
                    f"qsub gave array {array.name} the id {result.stdout.strip()} of a single job.",
                    hint=f"This qsub has no arrays: qdel {result.stdout.strip()}, then set 'array_limit': 1.",
                ) from error
            raise

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that lists the queue: `qselect` of Torque does not show all arrays."""
        return Command(argv=("qstat", "-f"))

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Look for the name. Some releases list the elements, whose names have `-2` behind, some the array.

        :raises SubmitUnknown: if there is none: what was over for longer than `keep_completed` is forgotten.
        :raises SubmitError: if the server has not answered.
        """
        found = read_lookup(result, array.name)
        if isinstance(found, str):
            raise refuse_lookup(array, result, found)
        if not found.ids:
            raise doubt_lookup(
                array,
                "Torque keeps no history",
                advice=f"Ask an administrator whether there was a job named {array.name} (tracejob, accounting logs). "
                "The queue shows what is over for keep_completed seconds.",
                remembers=found.remembers,
            )
        return tuple((id,) for id in found.ids)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one command for all arrays. `-t` stands there only where there is an array, see above."""
        arrayed = any(len(array.array.elements) > 1 for array in arrays)
        return self._build_queries(arrays, ("-f", "-t") if arrayed else ("-f",))

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return nothing: there is no history."""
        return ()

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer of `qdel` or `qrls`. What is over is no error; the `qdel` over Slurm says it without words.

        :raises PollError: if the server did not take the command.
        """
        check_change(f"Array {array.array.name}", result, done)

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the `qrls` commands."""
        ids = (build_element_id(array, element) for element in elements)
        return tuple(Command(argv=("qrls", *part), timeout=CANCEL_TIMEOUT) for part in cut_words(ids))

    def find_problem(self, result: CommandResult, id: str) -> str | None:
        """Return why a job that is not in the answer may exist all the same, or None."""
        # The one over Slurm says it without words, and is asked for all jobs whatever their ids.
        is_silent = result.exit_code in (0, _UNKNOWN) and not result.stderr.strip()
        return None if is_silent else super().find_problem(result, id)

    def _build_array_words(self, array: ArraySpec) -> list[str]:
        shell = array.resources.shell or DEFAULT_SHELL
        if set(shell) & set("@,"):
            raise DefinitionError(
                f"The shell {shell!r} of array {array.name} cannot be said to qsub.",
                hint="Its path may hold no '@' and no comma.",
            )
        return ["-S", shell] if len(array.elements) == 1 else ["-S", shell, "-t", build_range(array)]

    def _build_index_word(self) -> str:
        return '"$PBS_ARRAYID"'

    def _build_resource_words(self, array: ArraySpec) -> list[str]:
        resources = array.resources
        words = [] if resources.cpus is None else [f"nodes=1:ppn={resources.cpus}"]
        words += [] if resources.memory is None else [f"mem={resources.memory}mb"]
        words += [] if resources.walltime is None else [f"walltime={build_clock(resources.walltime)}"]
        # In one option: of several, the qsub over Slurm takes the last.
        return ["-l", ",".join(words)] if words else []

    def read_job(self, job: Job, parent: Job) -> Native:
        """Return what the attributes of a job say; what `qdel` has ended is told by its exit status."""
        native = super().read_job(job, parent)
        if native.code == "C" and job.get("exit_status") == _REMOVED:
            return Native(code=f"C{_REMOVED}", reason="removed", host=native.host)
        return native
