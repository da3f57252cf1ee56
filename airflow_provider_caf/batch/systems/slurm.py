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
from collections.abc import Iterable, Iterator, Mapping, Sequence

from airflow_provider_caf.batch.evidence import FINAL, JobState, Native
from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems import refusals
from airflow_provider_caf.batch.systems.base import Answer, Done, Query, Submission
from airflow_provider_caf.batch.systems.slurm_options import ADVICE, EXIT, build_options, build_output, explain
from airflow_provider_caf.batch.wrapper import build_element_script
from airflow_provider_caf.core.errors import PollError

_HELD = "PENDING_HELD"
"""Ours: Slurm says PENDING and a reason."""
_OUT_OF_MEMORY = "OUT_OF_MEMORY"

STATES: Mapping[str, JobState] = {
    "PENDING": JobState.QUEUED,
    _HELD: JobState.HELD,
    "CONFIGURING": JobState.QUEUED,
    "POWER_UP_NODE": JobState.QUEUED,
    "REQUEUED": JobState.QUEUED,
    "REQUEUE_FED": JobState.QUEUED,
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RUNNING": JobState.RUNNING,
    # It keeps its place on the node and goes on by itself; `scontrol release` does nothing for it.
    "SUSPENDED": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    # The node tidies up after it: it may go on like that for minutes.
    "COMPLETING": JobState.TRANSFERRING,
    "STAGE_OUT": JobState.TRANSFERRING,
    "COMPLETED": JobState.EXITED,
    "FAILED": JobState.EXITED,
    "TIMEOUT": JobState.EXITED,
    _OUT_OF_MEMORY: JobState.EXITED,
    "NODE_FAIL": JobState.EXITED,
    "BOOT_FAIL": JobState.EXITED,
    "DEADLINE": JobState.EXITED,
    "PREEMPTED": JobState.EXITED,
    "LAUNCH_FAILED": JobState.EXITED,
    "RECONFIG_FAIL": JobState.EXITED,
    "CANCELLED": JobState.CANCELLED,
}

_COLUMNS = (
    ("ArrayJobID", 16),
    ("ArrayTaskID", 16),
    ("State", 24),
    ("exit_code", 16),
    ("BatchHost", 64),
    ("Reason", 96),
)
"""Columns of fixed width: every version has them, and a line that was cut is seen. The free text comes last."""

_ENDS = tuple(sum(width for _, width in _COLUMNS[: number + 1]) for number in range(len(_COLUMNS)))

_ENVIRONMENT = {"SLURM_BITSTR_LEN": "0"}
"""Without it `sacct` cuts a long list of waiting elements at 64 characters."""

# Not `PartitionConfig` and `PartitionNodeLimit`: nodes that are down for an hour cause them too.
_HOPELESS = frozenset(
    {
        *("AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
        *("JobHoldMaxRequeue", "PartitionTimeLimit", "QOSNotAllowed"),
    }
)
_LIMIT_OF_ONE_JOB = re.compile(r"(?:Assoc|QOS)\w*PerJob\w*|QOSMin\w+", re.ASCII)
"""A limit on each job, such as `AssocMaxWallDurationPerJobLimit`: it does not pass as others' jobs end."""

_ID = re.compile(r"(?:Submitted batch job )?(\d+)(?:(?:;| on cluster )([\w.-]+))?", re.ASCII)
_CLUSTER = re.compile(r"CLUSTER: (\S+)\s*")
"""A line of the older `squeue -M`, also without a header."""
_STATE = re.compile(r"\w+", re.ASCII)
_HISTORY_ID = re.compile(r"(\d+)(?:_(?:(\d+)|\[([^\]]*)\]?))?", re.ASCII)
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?", re.ASCII)
_UNKNOWN_IDS = "Invalid job id specified"
_NO_HISTORY = "accounting storage is disabled"
_ERROR = re.compile(r"^(?:scancel|sacct): error: ", re.MULTILINE)
"""Both end with an error's number, of which the system keeps the last eight bits: these may be 0 (`main` in `sacct.c`,
`_signal_job_by_str` in `scancel.c`). So an error that was printed counts, too."""
_NO_ERROR = re.compile(
    rf"{_UNKNOWN_IDS}|[Jj]ob has already finished|already completing or completed|no longer pending|: No error$"
)
"""Answers about a job that is over, or that does not wait any more."""

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
_LOOKED_UP = re.compile(
    r"(?P<queue>(?:.*\n)*?)squeue 0\n(?P<history>(?:.*\n)*?)sacct (?P<status>\d+)\n"
    r"(?:remembers (?P<remembers>\d+)\n)?(?:clusters (?P<clusters>\S+)\n)?"
)


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
        return (_join_id(*matches[-1].groups()),)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that looks an array up by its name; the name never becomes text of a shell."""
        return Command(argv=("/bin/sh", "-c", _LOOK_UP, "caf-lookup", array.name, str(_BACKLOG)), timeout=120.0)

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Read the ids of all arrays of that name.

        :raises SubmitUnknown: if there is none in the queue, and the site keeps no history.
        :raises SubmitError: if queue or history did not answer.
        """
        match = _LOOKED_UP.fullmatch(result.stdout)
        has_no_history = _NO_HISTORY in result.stderr
        has_failed = match is not None and (match["status"] != "0" or _says_nothing(match["history"], result))
        known = match is not None and (has_no_history or not has_failed)
        lines = [*match["queue"].splitlines(), *match["history"].splitlines()] if match else []
        ids = [_HISTORY_ID.fullmatch(line.strip()) for line in lines if line and not _CLUSTER.fullmatch(line)]
        if match is None or not known or None in ids:
            raise refusals.refuse_lookup(array, result)
        found = sorted({id_match[1] for id_match in ids if id_match}, key=int)
        cluster = match["clusters"]
        if found and cluster is not None and ("," in cluster or cluster == "all"):
            raise refusals.refuse_lookup(array, result, f"job {' '.join(found)} is on one of the clusters {cluster}")
        if not found and has_no_history:
            raise refusals.doubt_lookup(
                array,
                "Slurm keeps no history here (accounting storage is disabled)",
                advice=f"Look for the job name {array.name} in the log of slurmctld or in the job completion log.",
                remembers=float(match["remembers"] or 0),
            )
        return tuple((_join_id(number, cluster),) for number in found)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `squeue` for all arrays, one line per element, also for what has ended lately."""
        columns = ",".join(f"{name}:{width}" for name, width in _COLUMNS)
        return _build_queries(arrays, "squeue", ("-h", "-r", "-t", "all", "-O", columns, "-j"))

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the lines of `squeue`.

        :raises PollError: if the controller did not answer, or if the answer is cut or something else.
        """
        elements: dict[str, dict[int, Native]] = {array.array.name: {} for array in query.arrays}
        if result.exit_code != 0 and _UNKNOWN_IDS in result.stderr:
            return Answer(elements=elements)
        if result.exit_code != 0 or not _is_whole(result.stdout):
            raise _fail("squeue", result)
        owners = _find_owners(query.arrays)
        for line in _list_lines(query, result):
            job, index, native = _read_queue_line(line)
            if job in owners:
                elements[owners[job]][index] = native
        return Answer(elements=elements)

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `sacct` for all arrays. With ids it looks at all times."""
        return _build_queries(arrays, "sacct", ("-X", "-n", "-P", "-o", "JobID,State,ExitCode,NodeList", "-j"))

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the final states. A site without accounting knows nothing, and says so.

        :raises PollError: if the accounting did not answer, or if the answer is cut or something else.
        """
        elements: dict[str, dict[int, Native]] = {array.array.name: {} for array in query.arrays}
        if _NO_HISTORY in result.stderr:
            return Answer(elements=elements)
        if result.exit_code != 0 or not _is_whole(result.stdout) or _says_nothing(result.stdout, result):
            raise _fail("sacct", result)
        owners = _find_owners(query.arrays)
        counts = {array.array.name: len(array.array.elements) for array in query.arrays}
        groups: list[tuple[str, str, Native]] = []
        for line in result.stdout.splitlines():
            match, native = _read_history_line(line)
            name = owners.get(match[1])
            if name is None or STATES.get(native.code) not in FINAL:
                continue
            if match[2] is not None:
                elements[name][int(match[2])] = native
            elif match[3] is not None:
                groups.append((name, match[3], native))
            # An id alone is the first, unfinished record of one element or of all: the next answer will tell.
        for name, listed, native in groups:
            # One line for all that never started. An element that did has a line of its own, which says more.
            for index in _read_ranges(listed, counts[name]):
                elements[name].setdefault(index, native)
        return Answer(elements=elements)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the commands that end elements; see above why some are held first."""
        if elements is None:
            jobs = (_split_id(id) for id in array.ids)
            return tuple(Command(argv=("scancel", *_name_cluster(cluster), job)) for job, cluster in jobs)
        return tuple(
            Command(argv=(program, *_name_cluster(cluster), *words, job))
            for job, cluster in _build_element_ids(array, elements)
            for program, *words in (("scontrol", "hold"), ("scancel",))
        )

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the commands that let held elements go on."""
        return tuple(
            Command(argv=("scontrol", *_name_cluster(cluster), "release", job))
            for job, cluster in _build_element_ids(array, elements)
        )

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer.

        :raises PollError: if the controller did not take the command.
        """
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = lines if result.exit_code != 0 else [line for line in lines if _ERROR.match(line)]
        if not all(_NO_ERROR.search(line) for line in errors) or (result.exit_code != 0 and not errors):
            raise refusals.refuse_action(array, result, done)


def _join_id(job: str, cluster: str | None) -> str:
    return job if cluster is None else f"{job};{cluster}"


def _split_id(id: str) -> tuple[str, str | None]:
    """Return the number of a job, and its cluster; None: the default one."""
    job, _, cluster = id.partition(";")
    return job, cluster or None


def _name_cluster(cluster: str | None) -> tuple[str, ...]:
    return () if cluster is None else ("-M", cluster)


def _build_queries(arrays: Sequence[SubmittedArray], program: str, words: Sequence[str]) -> tuple[Query, ...]:
    by_cluster: dict[str | None, list[SubmittedArray]] = {}
    for array in arrays:
        by_cluster.setdefault(_split_id(array.ids[0])[1], []).append(array)
    return tuple(
        Query(
            command=Command(
                argv=(program, *_name_cluster(cluster), *words, ",".join(_find_owners(chunk))),
                environment=_ENVIRONMENT,
            ),
            arrays=tuple(chunk),
        )
        for cluster, own in by_cluster.items()
        for chunk in (own[start : start + _MOST_IDS] for start in range(0, len(own), _MOST_IDS))
    )


def _list_lines(query: Query, result: CommandResult) -> Iterator[str]:
    """Yield the lines about jobs.

    :raises PollError: if the answer is of a cluster that was not asked for.
    """
    cluster = _split_id(query.arrays[0].ids[0])[1]
    for line in result.stdout.splitlines():
        if match := _CLUSTER.fullmatch(line):
            if match[1] != cluster:
                raise PollError(
                    f"squeue answers for the cluster {match[1]}, the jobs are on {cluster or 'the default one'}.",
                    hint="Has SLURM_CLUSTERS changed for the Airflow workers since the jobs were submitted?",
                )
        elif line.strip():
            yield line


def _build_element_ids(array: SubmittedArray, elements: Sequence[int]) -> Iterator[tuple[str, str | None]]:
    """Yield `5_[0-3,7]` for many elements at once, with the cluster."""
    ordered = sorted(elements)
    for start in range(0, len(ordered), _MOST_ELEMENTS):
        listed = _join_ranges(ordered[start : start + _MOST_ELEMENTS])
        for job, cluster in map(_split_id, array.ids):
            yield f"{job}_[{listed}]", cluster


def _join_ranges(numbers: Sequence[int]) -> str:
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def _read_ranges(text: str, count: int) -> Iterator[int]:
    """Yield the elements of `1-4,7%2`. What is cut off (`...`) is left out."""
    for part in text.partition("%")[0].split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is not None:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield from range(first, min(last + 1, count), max(step, 1))


def _find_owners(arrays: Iterable[SubmittedArray]) -> dict[str, str]:
    return {_split_id(id)[0]: array.array.name for array in arrays for id in array.ids}


def _is_whole(text: str) -> bool:
    return not text or text.endswith("\n")


def _says_nothing(listed: str, result: CommandResult) -> bool:
    """Return whether the history has named an error and no job. "None" it says with nothing at all."""
    return not listed.strip() and _ERROR.search(result.stderr) is not None


def _read_queue_line(line: str) -> tuple[str, int, Native]:
    starts = (0, *_ENDS)
    job, index, state, status, host, word = (line[start:end].strip() for start, end in zip(starts, (*_ENDS[:-1], None)))
    if not (len(line) >= _ENDS[-2] and job.isdecimal() and index.isdecimal() and _STATE.fullmatch(state)):
        raise PollError(
            f"squeue printed a line that cannot be read: {line.strip()[:300]!r}",
            hint="Is 'squeue' on the PATH of the submit host the one of Slurm? The query is tried again.",
        )
    word = word.strip("()").replace(" ", "_")
    held = state == "PENDING" and (word.startswith(("JobHeld", "JobHold")) or word.endswith("_held"))
    exit_code, reason = explain(state, STATES.get(state), "" if word in ("None", "N/A") else word, status)
    native = Native(
        code=_HELD if held else state,
        reason=reason,
        exit_code=exit_code,
        host=None if host in ("", "n/a") else host,
        is_hopeless=state == "PENDING" and (word in _HOPELESS or _LIMIT_OF_ONE_JOB.fullmatch(word) is not None),
        out_of_memory=state == _OUT_OF_MEMORY,
    )
    return job, int(index), native


def _read_history_line(line: str) -> tuple[re.Match[str], Native]:
    job, _, rest = line.partition("|")
    state, _, rest = rest.partition("|")
    status, _, host = rest.partition("|")
    match = _HISTORY_ID.fullmatch(job)
    # `CANCELLED by 1000`
    word, _, user = state.partition(" by ")
    if match is None or not _STATE.fullmatch(word) or not EXIT.fullmatch(status):
        raise PollError(
            f"sacct printed a line that cannot be read: {line[:300]!r}",
            hint="Is 'sacct' on the PATH of the submit host the one of Slurm? The query is tried again.",
        )
    exit_code, reason = explain(word, STATES.get(word), "", status)
    if user:
        reason = f"cancelled by {'root' if user == '0' else f'the user with the number {user}'}"
    return match, Native(
        code=word,
        reason=reason,
        exit_code=exit_code,
        host=None if host in ("", "None assigned") else host,
        out_of_memory=word == _OUT_OF_MEMORY,
    )


def _fail(command: str, result: CommandResult) -> PollError:
    how = f"exit code {result.exit_code}" if result.exit_code else "its answer was cut off"
    return PollError(
        f"{command} did not answer ({how}): {refusals.show_output(result)}",
        hint="Try 'scontrol ping' on the submit host. The query is tried again.",
    )
