"""Slurm: `sbatch --array`, watched by one `squeue`, then by `sacct`.

What shaped this module, seen on real sites:

* An element that is cancelled while it waits leaves no record anywhere, unless it has been held before: holding
  gives it a job record of its own. So single elements are held first and cancelled then.
* `squeue --json` ignores `-j`, and `sacct --json` gives wrong exit codes for arrays. Both are asked for columns.
* `squeue` forgets a job some minutes after its end (`MinJobAge`). When it has forgotten all that are asked for, it
  fails with "Invalid job id specified"; when it knows one of them, it leaves out the others without a word.
* `sacct` is late, and what it says of a job that has not ended may be wrong for ever ("runaway jobs"). Only its
  final states are believed.
* A submit command that failed or timed out may have submitted all the same.
* A site may send jobs to another cluster by its own settings (`SLURM_CLUSTERS`). Then `sbatch` prints `4242;cluster`;
  the cluster stays part of the id, and every command names it: ids count from 1 on each cluster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from airflow_provider_caf.batch.evidence import FINAL, Native
from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.ranges import join_ranges, read_ranges
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems import refusals
from airflow_provider_caf.batch.systems.base import Answer, Done, LookedUp, Query, Submission
from airflow_provider_caf.batch.systems.slurm_answers import (
    COLUMNS,
    STATES,
    check_done,
    join_id,
    read_history,
    read_lookup,
    read_queue,
)
from airflow_provider_caf.batch.systems.slurm_options import ADVICE, build_options, build_output
from airflow_provider_caf.batch.wrapper import build_element_script
from airflow_provider_caf.core.errors import PollError

ENVIRONMENT = {"SLURM_BITSTR_LEN": "0"}
"""Without it `sacct` cuts a long list of waiting elements at 64 characters."""

_ID = re.compile(r"(?:Submitted batch job )?(\d+)(?:(?:;| on cluster )([\w.-]+))?", re.ASCII)

_MOST_IDS = 7000
_MOST_ELEMENTS = 5000
"""One argument of a command may have 128 kB."""

_BACKLOG = 5
"""Seconds. A controller that was frozen takes up a submission that its sender has given up for lost, and may answer a
query before that: "none" is asked again."""

# Queue and history, always: a short array may have left the queue, and a fresh one is not in the history yet. Both
# where sbatch submits: of two variables it takes the first one here.
_LOOK_UP = """\
user=$(id -u)
clusters=${SLURM_CLUSTERS:-$SBATCH_CLUSTERS}
ask() { squeue -h -t all -u "$user" ${clusters:+-M "$clusters"} --name="$1" -o %F; }
found=$(ask "$1"); status=$?
if [ "$status$found" = 0 ]; then sleep "$2"; found=$(ask "$1"); status=$?; fi
echo "$found"; echo "squeue $status"
status=0
sacct -X -n -P -u "$user" ${clusters:+-M "$clusters"} --name="$1" -S now-30days -o JobID || status=$?
echo "sacct $status"
if [ "$status" != 0 ]; then scontrol show config | sed -n 's/^MinJobAge *= *\\([0-9]*\\) sec.*/remembers \\1/p'; fi
if [ -n "$clusters" ]; then echo "clusters $clusters"; fi
"""


class SlurmSystem:
    """Run subjobs on Slurm, on a file system that submit host and nodes share."""

    name = "slurm"
    # The stock MaxArraySize is 1001, and the largest index is one less.
    largest_array: int | None = 1000
    longest_name = 64
    ignored = frozenset({"getenv", "max_processes", "memory_unit", "path_prefix", "transfer_files", "universe"})
    states = STATES
    grace = 60.0

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return the submit command. Options go before the script, where they win over its own lines.

        :raises DefinitionError: if `extra_lines` are not options of `sbatch`.
        """
        resources = array.resources
        first, rest = build_element_script(array, '"$SLURM_ARRAY_TASK_ID"').split("\n", 1)
        text = "\n".join([first, *read_directives(self.name, resources, f"array {array.name}"), rest])
        limit = "" if resources.throttle is None else f"%{resources.throttle}"
        argv = (
            "sbatch",
            "--parsable",
            f"--job-name={array.name}",
            f"--array=0-{len(array.elements) - 1}{limit}",
            f"--output={build_output(array)}",
            "--open-mode=append",
            # The script goes to its folder itself: a folder that a node does not see is an exit code then, and not
            # a job that dies without a word.
            "--chdir=/",
            # Nothing of our environment; the node gives the one of a login.
            "--export=NONE",
            *build_options(resources),
            array.script_file,
        )
        return Submission(
            command=Command(argv=argv),
            files=(TextFile(path=array.script_file, text=text, executable=True),),
        )

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Read the id. A plugin of the site may have printed something around it.

        :raises SubmitError: if it was refused, or if there is no id in it.
        """
        matches = [match for line in result.stdout.splitlines() if (match := _ID.fullmatch(line.strip()))]
        if result.exit_code != 0 or not matches:
            otherwise = "Look at 'queue', 'account' and 'extra_lines'."
            raise refusals.refuse_submit("sbatch", array, result, ADVICE, otherwise)
        return (join_id(*matches[-1].groups()),)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that looks an array up by its name."""
        return build_find(array.name)

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Read the ids of all arrays of that name.

        :raises SubmitUnknown: if there is none in the queue, and the site keeps no history.
        :raises SubmitError: if queue or history did not answer.
        """
        found = read_lookup(result)
        if not isinstance(found, LookedUp):
            raise refusals.refuse_lookup(array, result, found)
        if not found.ids and not found.keeps_history:
            raise refusals.doubt_lookup(
                array,
                "Slurm keeps no history here (accounting storage is disabled)",
                advice=f"Look for the job name {array.name} in the log of slurmctld or in the job completion log.",
                remembers=found.remembers,
            )
        return tuple((id,) for id in found.ids)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `squeue` for all arrays, one line per element, also for what has ended lately."""
        columns = ",".join(f"{name}:{width}" for name, width in COLUMNS)
        return _build_queries(arrays, "squeue", ("-h", "-r", "-t", "all", "-O", columns, "-j"))

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the lines of `squeue`.

        :raises PollError: if the controller did not answer, or if the answer is cut or something else.
        """
        elements: dict[str, dict[int, Native]] = {array.array.name: {} for array in query.arrays}
        owners = _find_owners(query.arrays)
        for line in read_queue(result, split_id(query.arrays[0].ids[0])[1]) or ():
            if line.job not in owners:
                continue
            if line.index is None:
                raise PollError(
                    f"squeue shows job {line.job}, which is an array, without the number of an element.",
                    hint="Is 'squeue' on the PATH of the submit host the one of Slurm? The query is tried again.",
                )
            elements[owners[line.job]][line.index] = line.native
        return Answer(elements=elements)

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `sacct` for all arrays. With ids it looks at all times."""
        return _build_queries(arrays, "sacct", ("-X", "-n", "-P", "-o", "JobID,State,ExitCode,NodeList", "-j"))

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the final states. A site without accounting knows nothing, and says so.

        :raises PollError: if the accounting did not answer, or if the answer is cut or something else.
        """
        elements: dict[str, dict[int, Native]] = {array.array.name: {} for array in query.arrays}
        owners = _find_owners(query.arrays)
        counts = {array.array.name: len(array.array.elements) for array in query.arrays}
        groups: list[tuple[str, str, Native]] = []
        for line in read_history(result) or ():
            name = owners.get(line.job)
            if name is None or STATES.get(line.native.code) not in FINAL:
                continue
            if line.index is not None:
                elements[name][line.index] = line.native
            elif line.listed is not None:
                groups.append((name, line.listed, line.native))
            # An id alone is the first, unfinished record of one element or of all: the next answer will tell.
        for name, listed, native in groups:
            # One line for all that never started. An element that did has a line of its own, which says more.
            for index in read_ranges(listed, counts[name]):
                elements[name].setdefault(index, native)
        return Answer(elements=elements)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the commands that end elements; see above why some are held first."""
        if elements is None:
            jobs = (split_id(id) for id in array.ids)
            return tuple(Command(argv=("scancel", *name_cluster(cluster), job)) for job, cluster in jobs)
        return tuple(
            Command(argv=(program, *name_cluster(cluster), *words, job))
            for job, cluster in _build_element_ids(array, elements)
            for program, *words in (("scontrol", "hold"), ("scancel",))
        )

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the commands that let held elements go on."""
        return tuple(
            Command(argv=("scontrol", *name_cluster(cluster), "release", job))
            for job, cluster in _build_element_ids(array, elements)
        )

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer.

        :raises PollError: if the controller did not take the command.
        """
        check_done(f"Array {array.array.name}", result, done)


def build_find(name: str) -> Command:
    """Return the command that looks for the jobs of a name; the name never becomes text of a shell."""
    return Command(argv=("/bin/sh", "-c", _LOOK_UP, "caf-lookup", name, str(_BACKLOG)), timeout=120.0)


def split_id(id: str) -> tuple[str, str | None]:
    """Return the number of a job, and its cluster; None: the default one."""
    job, _, cluster = id.partition(";")
    return job, cluster or None


def name_cluster(cluster: str | None) -> tuple[str, ...]:
    """Return the words of a command that name a cluster; None: the default one."""
    return () if cluster is None else ("-M", cluster)


def _build_queries(arrays: Sequence[SubmittedArray], program: str, words: Sequence[str]) -> tuple[Query, ...]:
    by_cluster: dict[str | None, list[SubmittedArray]] = {}
    for array in arrays:
        by_cluster.setdefault(split_id(array.ids[0])[1], []).append(array)
    return tuple(
        Query(
            command=Command(
                argv=(program, *name_cluster(cluster), *words, ",".join(_find_owners(chunk))),
                environment=ENVIRONMENT,
            ),
            arrays=tuple(chunk),
        )
        for cluster, own in by_cluster.items()
        for chunk in (own[start : start + _MOST_IDS] for start in range(0, len(own), _MOST_IDS))
    )


def _build_element_ids(array: SubmittedArray, elements: Sequence[int]) -> Iterator[tuple[str, str | None]]:
    """Yield `5_[0-3,7]` for many elements at once, with the cluster."""
    ordered = sorted(elements)
    for start in range(0, len(ordered), _MOST_ELEMENTS):
        listed = join_ranges(ordered[start : start + _MOST_ELEMENTS])
        for job, cluster in map(split_id, array.ids):
            yield f"{job}_[{listed}]", cluster


def _find_owners(arrays: Iterable[SubmittedArray]) -> dict[str, str]:
    return {split_id(id)[0]: array.array.name for array in arrays for id in array.ids}
