"""HTCondor: one cluster per array, one process of it per element.

Theory
------
* An element is the process `cluster.number`; both count from 0.
* What is over stays in the queue for a while (`leave_in_queue`), so that one `condor_q` tells all. What left it before
  anybody looked is asked of `condor_history`.
* A site may want processes to be made late (`max_materialize`, `max_idle` in `extra_lines`). Those that do not exist
  yet are in no list. Each one that does tells the number of the next (`JobMaterializeNextProcId`), and all from there
  on count as queued. One of these cannot be removed alone: the system does not know it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems import refusals
from airflow_provider_caf.batch.systems.base import Answer, Done, LookedUp, Query, Submission
from airflow_provider_caf.batch.systems.htcondor_file import (
    INPUTS_FILE,
    STAY,
    SUBMIT_FILE,
    build_submit_file,
    is_late,
    list_paths,
)
from airflow_provider_caf.batch.wrapper import build_element_script, build_scratch_script
from airflow_provider_caf.core.errors import PollError

UNMATERIALIZED = "UNMATERIALIZED"
"""Ours: a process that does not exist yet."""

STATES: Mapping[str, JobState] = {
    "IDLE": JobState.QUEUED,
    UNMATERIALIZED: JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "TRANSFERRING_OUTPUT": JobState.TRANSFERRING,
    "HELD": JobState.HELD,
    "COMPLETED": JobState.EXITED,
    "REMOVED_BY_POLICY": JobState.EXITED,
    "REMOVED": JobState.CANCELLED,
}
"""HTCondor's words for `JobStatus`, and two of ours: a process that does not exist yet, and one that a policy (a time
limit, a rule of the site) removed: that is a failure of the job, nobody has cancelled it."""

_WORDS = {
    1: "IDLE",
    2: "RUNNING",
    3: "REMOVED",
    4: "COMPLETED",
    5: "HELD",
    6: "TRANSFERRING_OUTPUT",
    7: "SUSPENDED",
}

_HOPELESS = frozenset({6, 7, 8, 12, 13, 14, 32, 33, 34, 46, 47})
"""`HoldReasonCode`s of what does not mend itself: the program cannot be started (6), output or input cannot be opened
(7, 8), files cannot be transferred (12, 13, or are too large: 32, 33), no working directory (14), out of memory or disk
(34), over its time (46, 47)."""
_OUT_OF_RESOURCES = 34
_MEMORY = re.compile(r"\bmemory\b|RequestMemory|ResidentSetSize|MemoryUsage|ImageSize", re.IGNORECASE)
_OTHER_LIMIT = re.compile(
    r"\b(?:wall|walltime|time|clock|hours?|minutes?|duration|disk|held|hold|cpus?)\b", re.IGNORECASE
)
_PERSON = re.compile(r"\(by user [^()]+\)\s*$|^removed because <OtherJobRemoveRequirements")
"""Who asks the schedd for a removal is written down by the schedd itself, behind whatever reason he gives
(`Scheduler::actOnJobs` in `schedd.cpp`); jobs that go with another one, as those of a DAGMan, say so. All other texts
come from rules, the site's own or HTCondor's."""

ATTRIBUTES = (
    *("ClusterId", "ProcId", "JobStatus", "ExitCode", "ExitBySignal", "ExitSignal", "CompletionDate"),
    *("HoldReason", "HoldReasonCode", "RemoveReason", "LastRejMatchReason", "RemoteHost", "LastRemoteHost"),
    *("JobMaterializeNextProcId", "RequestMemory", "ResidentSetSize"),
)

SUBMIT_TIMEOUT = 300.0
"""Seconds. Ten thousand processes take ten; a frozen schedd would hang the command for ever."""
HISTORY_TIMEOUT = 120.0
LOOKUP_TIMEOUT = 300.0
"""Seconds. A name that is not in the history makes the command read all of it."""
SCAN_LIMIT = 100_000
"""The history has no index: it is read backwards, some thousand jobs a second."""
IDS_OF_A_COMMAND = 1000
_LARGEST_ARRAY = 10_000
"""The schedd's own limit (`MAX_JOBS_PER_SUBMISSION`) is 20 000 by default."""

LOOKUP = """\
condor_q -constraint "$1" -af ClusterId &&
condor_q -factory -constraint "$1" -af ClusterId &&
echo history &&
condor_history -constraint "$1" -af ClusterId &&
echo newest &&
condor_history -limit 1 -af ClusterId
"""
"""A constant text. The second line finds an array of which no process exists yet.

The last one tells a history without this name from none: where the folder of the history is not there (the schedd is on
another machine) or may not be read, `condor_history` prints nothing and succeeds (`findHistoryFiles`)."""

_TERSE = re.compile(r"^(\d+)\.0 - (\d+)\.(\d+)\s*$", re.MULTILINE)
_LOOKED_UP = re.compile(
    r"(?P<queue>[\d\s]*)\bhistory\s+(?P<history>[\d\s]*)(?:\bnewest\s+(?P<newest>[\d\s]*))?", re.ASCII
)
NO_HISTORY = re.compile(r"HISTORY is (?:unset|not defined)|No history file")
_TOTALS = re.compile(
    r"^\d+ Succeeded, (\d+) Failed, \d+ Not Found, \d+ Bad Status, \d+ Already Done, (\d+) Permission Denied$",
    re.MULTILINE,
)
"""What became of the jobs of a cluster (`doWorkByConstraint` in `rm.cpp`). Without it `condor_rm` says the same
of jobs that are not there and of jobs of somebody else."""
_NOTHING_TO_DO = re.compile(r"Job \d+\.\d+ (?:not found|already marked for removal|not held to be released)", re.ASCII)
_NOT_DONE = re.compile(r"Permission denied to |No result found for job ")
"""What is said of single jobs (`JobActionResults::getResultString` in `dc_schedd.cpp`)."""


_ADVICE = {
    "MAX_JOBS_PER_SUBMISSION": refusals.ARRAY_ADVICE,
    r"MAX_JOBS_PER_OWNER|MAX_JOBS_SUBMITTED|jobs? would exceed|exceed\w* .*\bjobs\b": refusals.JOBS_ADVICE,
}


class HTCondorSystem:
    """Run subjobs as the processes of a cluster."""

    name = "htcondor"
    largest_array: int | None = _LARGEST_ARRAY
    longest_name = 100
    ignored = frozenset({"max_processes", "memory_unit", "queue"})
    states = STATES
    # A network file system shows a file up to half a minute late.
    grace = 60.0

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return `condor_submit`, the submit file and the script.

        :raises DefinitionError: if a path or a line cannot be said in a submit file.
        """
        travels = bool(array.resources.transfer_files)
        build_its_script = build_scratch_script if travels else build_element_script
        files = [
            TextFile(path=array.script_file, text=build_its_script(array, '"$1"'), executable=True),
            TextFile(path=f"{array.folder}/{SUBMIT_FILE}", text=build_submit_file(array)),
        ]
        if travels:
            table = "".join(f"{list_paths(paths)}\n" for paths in array.inputs)
            files.append(TextFile(path=f"{array.folder}/{INPUTS_FILE}", text=table))
        command = Command(
            argv=("condor_submit", "-terse", f"{array.folder}/{SUBMIT_FILE}"),
            timeout=SUBMIT_TIMEOUT,
        )
        return Submission(command=command, files=tuple(files))

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Read the cluster. It counts also where the command failed: it has been seen to crash after it had submitted.

        :raises SubmitError: if there is none, or it is not of this array.
        """
        found = _TERSE.findall(result.stdout)
        expected = str(len(array.elements) - 1)
        if len(found) == 1 and found[0][0] == found[0][1] and found[0][2] == expected:
            return (str(found[0][0]),)
        otherwise = f"Try: condor_submit {array.folder}/{SUBMIT_FILE}"
        raise refusals.refuse_submit("HTCondor", array, result, _ADVICE, otherwise)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the commands that look into queue and history for the attribute `CafName`."""
        # The only shell text is the constant; the name comes in as an argument.
        argv = ("/bin/sh", "-c", LOOKUP, "caf-lookup", f'CafName =?= "{array.name}"')
        return Command(argv=argv, timeout=LOOKUP_TIMEOUT)

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Return each cluster of that name.

        :raises SubmitUnknown: if there is none in the queue and there is no history here.
        :raises SubmitError: if queue or history did not answer.
        """
        found = read_lookup(result)
        if found is None:
            raise refusals.refuse_lookup(array, result)
        if not found.ids and not found.keeps_history:
            raise refusals.doubt_lookup(
                array,
                "HTCondor keeps no history here (HISTORY)"
                if NO_HISTORY.search(result.stderr)
                else "condor_history shows nothing at all here",
                advice=f"Look for the CafName {array.name} in the schedd's logs.",
                remembers=0.0 if is_late(array) else STAY,
            )
        return tuple((cluster,) for cluster in found.ids)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `condor_q` for all arrays, or one per thousand of them."""
        return tuple(
            Query(
                command=Command(argv=("condor_q", *_list_ids(part), "-json", "-attributes", ",".join(ATTRIBUTES))),
                arrays=tuple(part),
            )
            for part in _cut(arrays)
        )

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer. Nothing at all, with exit code 0, means that none of the arrays is in the queue.

        :raises PollError: if the schedd did not answer, or the answer is not whole.
        """
        if result.exit_code != 0:
            raise refuse_answer("The queue", result)
        return _read_answer(query, read_ads("The queue", result), in_queue=True)

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return `condor_history` for all arrays. It stops when it has found as many as there are."""
        queries = []
        for part in _cut(arrays):
            count = sum(len(array.array.elements) for array in part)
            limits = ("-limit", str(count), "-scanlimit", str(SCAN_LIMIT))
            argv = ("condor_history", *_list_ids(part), *limits, "-json", "-attributes", ",".join(ATTRIBUTES))
            queries.append(Query(command=Command(argv=argv, timeout=HISTORY_TIMEOUT), arrays=tuple(part)))
        return tuple(queries)

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer of the history. A site that keeps none knows nothing of what is over.

        :raises PollError: if it could not be read, or the answer is not whole.
        """
        if result.exit_code != 0:
            if NO_HISTORY.search(result.stderr):
                return Answer(elements={array.array.name: {} for array in query.arrays})
            raise refuse_answer("The history", result)
        return _read_answer(query, read_ads("The history", result), in_queue=False)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return `condor_rm` with the clusters, or with the processes."""
        if elements is None:
            return (Command(argv=("condor_rm", "-totals", *array.ids), timeout=SUBMIT_TIMEOUT),)
        return _build_actions("condor_rm", array, elements)

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return `condor_release` with the processes."""
        return _build_actions("condor_release", array, elements)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check what an action said: that it was done, or that there was nothing to do.

        :raises PollError: if the schedd did not take it.
        """
        check_action(f"Array {array.array.name}", result, done)


def read_lookup(result: CommandResult) -> LookedUp | None:
    """Read what `LOOKUP` has found, or None where queue or history did not answer."""
    match = _LOOKED_UP.fullmatch(result.stdout)
    # A site that keeps no history says so.
    keeps_none = NO_HISTORY.search(result.stderr) is not None
    if match is None or not (keeps_none or (result.exit_code == 0 and match["newest"] is not None)):
        return None
    ids = {*match["queue"].split(), *match["history"].split()}
    return LookedUp(ids=tuple(sorted(ids, key=int)), keeps_history=bool((match["newest"] or "").strip()))


def _cut(arrays: Sequence[SubmittedArray]) -> list[Sequence[SubmittedArray]]:
    return [arrays[start : start + IDS_OF_A_COMMAND] for start in range(0, len(arrays), IDS_OF_A_COMMAND)]


def _list_ids(arrays: Iterable[SubmittedArray]) -> list[str]:
    return [cluster for array in arrays for cluster in array.ids]


def read_ads(what: str, result: CommandResult) -> list[dict[str, Any]]:
    """Return the job records.

    :raises PollError: if the text is not a whole list of them.
    """
    if not result.stdout.strip():
        return []
    try:
        ads = json.loads(result.stdout)
        numbers = [ad[name] for ad in ads for name in ("ClusterId", "ProcId", "JobStatus")]
        if isinstance(ads, list) and all(isinstance(number, int) for number in numbers):
            return ads
    except (ValueError, TypeError, KeyError):
        pass  # said below, with what was printed
    raise refuse_answer(what, result)


def refuse_answer(what: str, result: CommandResult) -> PollError:
    """Return the error for an answer that is none."""
    output = refusals.show_output(result)
    return PollError(
        f"{what} of HTCondor did not answer as it should (exit code {result.exit_code}): {output}",
        hint=f"Try: {' '.join(result.argv[:2])}",
    )


def _read_answer(query: Query, ads: Iterable[Mapping[str, Any]], *, in_queue: bool) -> Answer:
    owners = {number: array for array in query.arrays for number in array.ids}
    elements: dict[str, dict[int, Native]] = {array.array.name: {} for array in query.arrays}
    nexts: dict[str, int] = {}
    for ad in ads:
        array = owners.get(str(ad["ClusterId"]))
        if array is None:
            continue
        name = array.array.name
        if 0 <= ad["ProcId"] < len(array.array.elements):
            elements[name][ad["ProcId"]] = read_native(ad, array.array.resources.walltime)
        following = ad.get("JobMaterializeNextProcId")
        if in_queue and isinstance(following, int):
            nexts[name] = following
    for array in query.arrays:
        name = array.array.name
        for index in range(nexts.get(name, len(array.array.elements)), len(array.array.elements)):
            elements[name].setdefault(index, Native(code=UNMATERIALIZED, reason="it is not made yet"))
    return Answer(elements=elements)


def read_native(ad: Mapping[str, Any], walltime: int | None = None) -> Native:
    """Return what the record of a process says.

    :param walltime: seconds that we have set as a limit; None: it is not ours, or has none.
    """
    code = _WORDS.get(ad["JobStatus"], f"JobStatus {ad['JobStatus']}")
    if code == "REMOVED":
        code = _judge_removal(ad)
    hold = ad.get("HoldReasonCode")
    reason, exit_code, out_of_memory = None, None, False
    if code == "HELD":
        hold_reason = _read_text(ad, "HoldReason") or "no reason given"
        reason = f"{hold_reason} (hold code {hold})"
        # The texts differ by version and site.
        out_of_memory = (hold == _OUT_OF_RESOURCES and "disk" not in hold_reason.lower()) or _MEMORY.search(
            hold_reason
        ) is not None
    elif code == "COMPLETED":
        exit_code = _read_exit_code(ad)
    elif code in ("REMOVED", "REMOVED_BY_POLICY"):
        reason = _read_text(ad, "RemoveReason")
        if reason is not None and code == "REMOVED_BY_POLICY":
            reason, out_of_memory = _explain_rule(ad, reason, walltime)
    elif code == "IDLE":
        reason = _read_text(ad, "LastRejMatchReason")
    host = _read_text(ad, "RemoteHost") or _read_text(ad, "LastRemoteHost")
    return Native(
        code=code,
        reason=reason,
        exit_code=exit_code,
        # slot1_3@machine
        host=None if host is None else host.rpartition("@")[2],
        is_hopeless=code == "HELD" and hold in _HOPELESS,
        out_of_memory=out_of_memory,
    )


def _judge_removal(ad: Mapping[str, Any]) -> str:
    """Return `REMOVED` for a job that was ended, and other codes where it had ended before or had broken a rule."""
    if ad.get("CompletionDate"):
        return "COMPLETED"
    reason = _read_text(ad, "RemoveReason")
    # A rule always says what it is.
    return "REMOVED" if reason is None or _PERSON.search(reason) else "REMOVED_BY_POLICY"


def _explain_rule(ad: Mapping[str, Any], reason: str, walltime: int | None) -> tuple[str, bool]:
    """Return which limit a removed job has broken, by the rule's text, else by the job's numbers.

    :returns: the reason, and whether it was the memory.
    """
    reason = _mark_walltime(reason, walltime)
    if _MEMORY.search(reason):
        return reason, True
    used, requested = ad.get("ResidentSetSize"), ad.get("RequestMemory")
    if _OTHER_LIMIT.search(reason) or not (isinstance(used, int) and isinstance(requested, int)):
        return reason, False
    # In kB and in MB.
    is_over = 0 < requested * 1024 <= used
    return (f"it used {used // 1024} MB of {requested}: {reason}" if is_over else reason), is_over


def _read_exit_code(ad: Mapping[str, Any]) -> int | None:
    if ad.get("ExitBySignal") is True and isinstance(ad.get("ExitSignal"), int):
        return 128 + int(ad["ExitSignal"])
    code = ad.get("ExitCode")
    return code if isinstance(code, int) else None


def _read_text(ad: Mapping[str, Any], name: str) -> str | None:
    value = ad.get(name)
    return value.strip() or None if isinstance(value, str) else None


def _mark_walltime(reason: str, walltime: int | None) -> str:
    ours = walltime is not None and f"EnteredCurrentStatus > {walltime}" in reason
    return f"it ran longer than its walltime of {walltime} s: {reason}" if ours else reason


def _build_actions(tool: str, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
    words = [f"{number}.{element}" for number in array.ids for element in elements]
    return tuple(
        Command(argv=(tool, *words[start : start + IDS_OF_A_COMMAND]), timeout=SUBMIT_TIMEOUT)
        for start in range(0, len(words), IDS_OF_A_COMMAND)
    )


def check_action(what: str, result: CommandResult, done: str) -> None:
    """Check what an action said: that it was done, or that there was nothing to do.

    :param what: to what it was to be done, such as `Array caf_a`.
    :raises PollError: if it was not done.
    """
    errors = [line for line in result.stderr.splitlines() if line.strip()]
    if "-totals" in result.argv:
        totals = _TOTALS.search(result.stdout)
        is_done = totals is not None and int(totals[1]) == int(totals[2]) == 0
    elif result.exit_code == 0:
        is_done = not any(map(_NOT_DONE.match, errors))
    else:
        is_done = bool(errors) and all(map(_NOTHING_TO_DO.fullmatch, errors))
    if not is_done:
        raise refusals.refuse_action(what, result, done)
