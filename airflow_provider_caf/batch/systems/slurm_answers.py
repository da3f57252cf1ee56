"""What Slurm answers: the lines of `squeue` and `sacct`, the look-up by name, `scancel` and `scontrol`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import CommandResult
from airflow_provider_caf.batch.systems.base import LookedUp
from airflow_provider_caf.batch.systems.refusals import refuse_action, show_output
from airflow_provider_caf.batch.systems.slurm_options import EXIT, explain
from airflow_provider_caf.core.errors import PollError
from airflow_provider_caf.core.record import record

_OUT_OF_MEMORY = "OUT_OF_MEMORY"
_HELD = "PENDING_HELD"
"""Ours: Slurm says PENDING and a reason."""

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

COLUMNS = (
    ("ArrayJobID", 16),
    ("ArrayTaskID", 16),
    ("State", 24),
    ("exit_code", 16),
    ("BatchHost", 64),
    ("Reason", 96),
)
"""Columns of fixed width: every version has them, and a line that was cut is seen. The free text comes last."""
NUMBER_COLUMN = ("JobID", 16)
"""The id that an element alone has, beside its place in the array."""
_PLAIN = "N/A"
"""What stands for the index of a job that is no element of an array."""

_ENDS = tuple(sum(width for _, width in COLUMNS[: number + 1]) for number in range(len(COLUMNS)))

# Not `PartitionConfig` and `PartitionNodeLimit`: nodes that are down for an hour cause them too.
_HOPELESS = frozenset(
    {
        *("AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount", "InvalidQOS"),
        *("JobHoldMaxRequeue", "PartitionTimeLimit", "QOSNotAllowed"),
    }
)
_LIMIT_OF_ONE_JOB = re.compile(r"(?:Assoc|QOS)\w*PerJob\w*|QOSMin\w+", re.ASCII)
"""A limit on each job, such as `AssocMaxWallDurationPerJobLimit`: it does not pass as others' jobs end."""

_CLUSTER = re.compile(r"CLUSTER: (\S+)\s*")
"""A line of the older `squeue -M`, also without a header."""
_STATE = re.compile(r"\w+", re.ASCII)
_HISTORY_ID = re.compile(r"(\d+)(?:_(?:(\d+)|\[([^\]]*)\]?))?", re.ASCII)
UNKNOWN_IDS = "Invalid job id specified"
NO_HISTORY = "accounting storage is disabled"
_ERROR = re.compile(r"^(?:scancel|sacct): error: ", re.MULTILINE)
"""Both end with an error's number, of which the system keeps the last eight bits: these may be 0 (`main` in `sacct.c`,
`_signal_job_by_str` in `scancel.c`). So an error that was printed counts, too."""
_NO_ERROR = re.compile(
    rf"{UNKNOWN_IDS}|[Jj]ob has already finished|already completing or completed|no longer pending|: No error$"
)
"""Answers about a job that is over, or that does not wait any more."""

_LOOKED_UP = re.compile(
    r"(?P<queue>(?:.*\n)*?)squeue 0\n(?P<history>(?:.*\n)*?)sacct (?P<status>\d+)\n"
    r"(?:remembers (?P<remembers>\d+)\n)?(?:clusters (?P<clusters>\S+)\n)?"
)


@record
class SlurmLine:
    """What one line says of one element, of several, or of a plain job.

    :param job: the id of the array, or of the plain job.
    :param index: the number of the element; None: a plain job, or several elements.
    :param listed: the numbers of several elements, such as `1-4,7%2`.
    :param number: the id that this element alone has, where that was asked for.
    """

    job: str
    index: int | None
    native: Native
    listed: str | None = None
    number: str = ""


def read_queue(result: CommandResult, cluster: str | None, *, has_number: bool = False) -> list[SlurmLine] | None:
    """Read the lines of `squeue`; None: it knows none of the ids.

    :param cluster: the one that was asked; None: the default one.
    :param has_number: whether `NUMBER_COLUMN` comes first.
    :raises PollError: if the controller did not answer, or if the answer is cut, something else, or of another cluster.
    """
    if result.exit_code != 0 and UNKNOWN_IDS in result.stderr:
        return None
    if result.exit_code != 0 or not is_whole(result.stdout):
        raise refuse_answer("squeue", result)
    width = NUMBER_COLUMN[1] if has_number else 0
    found = []
    for line in result.stdout.splitlines():
        if match := _CLUSTER.fullmatch(line):
            if match[1] != cluster:
                raise PollError(
                    f"squeue answers for the cluster {match[1]}, the jobs are on {cluster or 'the default one'}.",
                    hint="Has SLURM_CLUSTERS changed for the Airflow workers since the jobs were submitted?",
                )
        elif line.strip():
            found.append(_read_queue_line(line[width:], line[:width].strip()))
    return found


def read_history(result: CommandResult, *, has_number: bool = False) -> list[SlurmLine] | None:
    """Read the lines of `sacct`; None: this site keeps no history.

    :param has_number: whether `JobIDRaw` comes first.
    :raises PollError: if the accounting did not answer, or if the answer is cut or something else.
    """
    if NO_HISTORY in result.stderr:
        return None
    if result.exit_code != 0 or not is_whole(result.stdout) or says_nothing(result.stdout, result):
        raise refuse_answer("sacct", result)
    found = []
    for line in result.stdout.splitlines():
        number, _, rest = line.partition("|") if has_number else ("", "", line)
        found.append(_read_history_line(rest, number))
    return found


def read_lookup(result: CommandResult) -> LookedUp | str | None:
    """Read what the look-up by name has found; a text or None: what was answered instead."""
    match = _LOOKED_UP.fullmatch(result.stdout)
    if match is None:
        return None
    has_no_history = NO_HISTORY in result.stderr
    if not has_no_history and (match["status"] != "0" or says_nothing(match["history"], result)):
        return None
    lines = [*match["queue"].splitlines(), *match["history"].splitlines()]
    ids = [_HISTORY_ID.fullmatch(line.strip()) for line in lines if line and not _CLUSTER.fullmatch(line)]
    if None in ids:
        return None
    found = sorted({match[1] for match in ids if match}, key=int)
    cluster = match["clusters"]
    if found and cluster is not None and ("," in cluster or cluster == "all"):
        return f"job {' '.join(found)} is on one of the clusters {cluster}"
    return LookedUp(
        ids=tuple(join_id(job, cluster) for job in found),
        keeps_history=not has_no_history,
        remembers=float(match["remembers"] or 0),
    )


def join_id(job: str, cluster: str | None) -> str:
    """Return the id of a job on a cluster."""
    return job if cluster is None else f"{job};{cluster}"


def is_whole(text: str) -> bool:
    return not text or text.endswith("\n")


def says_nothing(listed: str, result: CommandResult) -> bool:
    """Return whether the history has named an error and no job. "None" it says with nothing at all."""
    return not listed.strip() and _ERROR.search(result.stderr) is not None


def _read_queue_line(line: str, number: str) -> SlurmLine:
    starts = (0, *_ENDS)
    job, index, state, status, host, word = (line[start:end].strip() for start, end in zip(starts, (*_ENDS[:-1], None)))
    is_plain = index == _PLAIN
    if not (len(line) >= _ENDS[-2] and job.isdecimal() and (is_plain or index.isdecimal()) and _STATE.fullmatch(state)):
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
    return SlurmLine(job=job, index=None if is_plain else int(index), native=native, number=number)


def _read_history_line(line: str, number: str) -> SlurmLine:
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
    native = Native(
        code=word,
        reason=reason,
        exit_code=exit_code,
        host=None if host in ("", "None assigned") else host,
        out_of_memory=word == _OUT_OF_MEMORY,
    )
    index = None if match[2] is None else int(match[2])
    return SlurmLine(job=match[1], index=index, native=native, listed=match[3], number=number)


def check_done(what: str, result: CommandResult, done: str) -> None:
    """Check what `scancel` or `scontrol` said.

    :param what: to what it was to be done, such as `Array caf_a`.
    :raises PollError: if it was not done, although there was something to do.
    """
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    errors = lines if result.exit_code != 0 else [line for line in lines if _ERROR.match(line)]
    if not all(_NO_ERROR.search(line) for line in errors) or (result.exit_code != 0 and not errors):
        raise refuse_action(what, result, done)


def refuse_answer(command: str, result: CommandResult) -> PollError:
    how = f"exit code {result.exit_code}" if result.exit_code else "its answer was cut off"
    return PollError(
        f"{command} did not answer ({how}): {show_output(result)}",
        hint="Try 'scontrol ping' on the submit host. The query is tried again.",
    )
