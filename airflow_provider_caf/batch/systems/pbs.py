"""PBS: OpenPBS and PBS Professional. Torque, which has the same ancestor, is a variation in `systems.torque`.

What shapes this module:

* An array needs two elements: one alone is submitted as a plain job.
* `qstat -F json` shows the first of several ids only, and without ids the jobs and the history of all users. The
  full form `qstat -f` is right for any number of ids, and all releases and relatives of PBS have it.
* `-x` adds what is over, as long as the server keeps a history (`job_history_enable`). A server that keeps none says
  so on standard error, prints nothing else, and the command ends with 0; then the second question, `build_history`,
  goes without `-x`.
* Only words tell why a job is not in an answer: the exit code is the last error number of PBS modulo 256, or 0. A job
  counts as gone when the answer says so of its id; a silent answer says nothing.
* `Exit_status` 0 is no success: a running element that was removed has it too. The substate tells.
* An element that has no record of its own is shown with the attributes of its array. With a history, that is one
  which never ran: it was removed while it waited. Without, it may as well have ended. Such an element has neither
  `exec_host` nor `run_count`; its substate, comment and exit status are the array's.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence

from airflow_provider_caf.batch.evidence import JobState, Native, says_out_of_memory
from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems import refusals
from airflow_provider_caf.batch.systems.base import Answer, Done, LookedUp, Query, Submission, build_answer
from airflow_provider_caf.batch.wrapper import build_element_script
from airflow_provider_caf.core.errors import PollError

CANCEL_TIMEOUT = 600.0
"""Seconds. PBS removes about 200 elements a second."""

_LONGEST_ARGUMENTS = 100_000
"""Bytes of ids in one command; the limit of the system is 128 kB for all arguments where it is smallest."""

NO_HISTORY = "not configured to maintain job history"

_REMOVED = "91"
"""The substate of what was removed while it ran, and the mark of what was removed while it waited."""

STATES: Mapping[str, JobState] = {
    "Q": JobState.QUEUED,
    "W": JobState.QUEUED,
    "T": JobState.QUEUED,
    "H": JobState.HELD,
    "B": JobState.RUNNING,
    "R": JobState.RUNNING,
    # Suspended for a more urgent job or for the owner of the machine: goes on by itself, and `qrls` has no effect.
    "S": JobState.RUNNING,
    "U": JobState.RUNNING,
    "E": JobState.TRANSFERRING,
    "F": JobState.EXITED,
    "X": JobState.EXITED,
    "F91": JobState.CANCELLED,
    "X91": JobState.CANCELLED,
    # On another server, which is not asked.
    "M": JobState.UNKNOWN,
}
"""`job_state`, with the substate where that alone tells that it was removed."""

_EXIT_REASONS: Mapping[int, str] = {
    -1: "PBS could not start it",
    -2: "PBS could not start it",
    -3: "PBS could not start it and tries again",
    -24: "it used more CPUs than it had asked for",
    -25: "it used more CPUs than it had asked for",
    -26: "it used more virtual memory than it had asked for",
    -27: "it used more memory than it had asked for",
    -28: "it used more CPU time than it had asked for",
    -29: "walltime: it ran longer than it had asked for",
}
_HOPELESS = re.compile(r"Can Never Run|too many failed attempts", re.IGNORECASE)
_ARRAY_COMMENT = "Job Array Began at"
"""What an element that has not run yet shows of its array: says nothing about itself."""
_ARRAY_ENDS = ("Subjob finished", "Subjob failed", "Subjob terminated")
"""What an element without a record of its own shows as its comment when it is over."""
_BY_RULE = re.compile(r"terminated by Scheduler@")
"""The scheduler removes a job to make room for another one: nobody has cancelled it."""
_GONE = re.compile(r"Unknown Job Id|has finished|finished array subjob|invalid for state of job")
_ATTRIBUTES = frozenset(
    {
        *("Exit_status", "Hold_Types", "Job_Name", "Job_Owner", "comment", "exec_host", "exit_status", "job_state"),
        *("run_count", "substate"),
    }
)
_ID = re.compile(r"\d+(?:\[\d*\])?(?:\.[A-Za-z0-9._-]+)?", re.ASCII)
_ATTRIBUTE = re.compile(r"\s+(\w+(?:\.\w+)?) = (.*)", re.ASCII)

# Both, always: where there is no history the first one says so with exit code 0, and prints no id.
_LOOKUP = 'qselect -x -N "$1" && exec qselect -N "$1"'

_ADVICE = {
    r"illegal -[Jt] value": "Older releases of PBS take no 'throttle'. Else: " + refusals.ARRAY_ADVICE,
    r"limit on resource|resource limits|exceeds allowable": "Lower 'memory', 'cpus' or 'walltime', or change 'queue'.",
    r"\barray\b.*(?:size|limit|large|request)": refusals.ARRAY_ADVICE,
    r"would exceed .* limit|number of jobs|jobs exceeds": refusals.JOBS_ADVICE,
}
"""Words of `qsub` → what to do."""

Job = Mapping[str, str]


class PBSSystem:
    """Run subjobs on OpenPBS or PBS Professional."""

    name = "pbs"
    # The server's own default for `max_array_size`.
    largest_array: int | None = 10_000
    longest_name = 64
    ignored = frozenset(
        {
            *("disk", "exclude_hosts", "getenv", "max_failures_per_host", "max_processes", "path_prefix"),
            *("memory_unit", "transfer_files", "universe"),
        }
    )
    states: Mapping[str, JobState] = STATES
    exit_reasons: Mapping[int, str] = _EXIT_REASONS
    memory_ends = frozenset({-26, -27})
    """The exit codes of what used more memory than it had asked for."""
    grace = 60.0

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return the `qsub` command. Everything else stands in the script: `-v` cannot carry quotes and commas.

        :raises DefinitionError: if an extra line is not a directive.
        """
        argv = ["qsub", *self._build_array_words(array), "-N", array.name, "-m", "n"]
        # The element's output goes to a log of its own; a copy would be brought back to the submit folder.
        argv += ["-o", "/dev/null", "-e", "/dev/null"]
        for option, value in (("-q", array.resources.queue), ("-A", array.resources.account)):
            argv += [] if value is None else [option, value]
        argv += [*self._build_resource_words(array), array.script_file]
        return Submission(
            command=Command(argv=tuple(argv)),
            files=(TextFile(path=array.script_file, text=self._build_script(array), executable=True),),
        )

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Read the id. Submit filters of a site may print around it.

        :raises SubmitError: if it was refused, or if there is no id of the right kind in it.
        """
        ids = {line.strip() for line in result.stdout.split("\n") if _ID.fullmatch(line.strip())}
        kind = {id for id in ids if ("[]" in id) == (len(array.elements) > 1)}
        if result.exit_code != 0 or len(kind) != 1:
            otherwise = f"Check the queue, the account and the resources; try by hand: qsub {array.script_file}"
            raise refusals.refuse_submit("qsub", array, result, _ADVICE, otherwise)
        return tuple(kind)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that looks for the name in queue and history."""
        return Command(argv=("/bin/sh", "-c", _LOOKUP, "caf-lookup", array.name))

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Read one id a line; nothing at all is the answer that there is none, where there is a history.

        :raises SubmitUnknown: if there is none in the queue and the server keeps no history.
        :raises SubmitError: if the server has not answered.
        """
        found = read_lookup(result)
        if found is None:
            raise refusals.refuse_lookup(array, result)
        if not found.ids and not found.keeps_history:
            raise refusals.doubt_lookup(
                array,
                "the PBS server keeps no job history",
                advice=f"Ask an administrator whether there was a job named {array.name} (tracejob, accounting logs). "
                "With job_history_enable this is never asked.",
            )
        return tuple((id,) for id in found.ids)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one command for all arrays, with what is over."""
        return self._build_queries(arrays, ("-x", "-t", "-f"))

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the jobs of each array. One that the server does not know any more has no elements.

        :raises PollError: if the answer is not one of `qstat`, or was cut off.
        """
        if NO_HISTORY in result.stderr and not result.stdout.strip():
            return Answer(elements={array.array.name: {} for array in query.arrays})
        return self._read_arrays(query, result, has_history=True)

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return the query for a server that keeps no history: the same without `-x`."""
        return self._build_queries(arrays, ("-t", "-f"))

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read the answer to the second question.

        :raises PollError: if it says nothing about the arrays.
        """
        return self._read_arrays(query, result, has_history=False)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the `qdel` commands."""
        if elements is None or len(array.array.elements) == 1:
            ids: Iterable[str] = array.ids
        else:
            ids = (build_element_id(array, element) for element in elements)
        return tuple(Command(argv=("qdel", *part), timeout=CANCEL_TIMEOUT) for part in cut_words(ids))

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the `qrls` command. PBS holds and releases an array as a whole."""
        return (Command(argv=("qrls", *array.ids)),) if elements else ()

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer of `qdel` or `qrls`. What is over or unknown is no error.

        :raises PollError: if the server did not take the command, say for a hold that only an operator may end.
        """
        check_change(f"Array {array.array.name}", result, done)

    def _build_array_words(self, array: ArraySpec) -> list[str]:
        # Without -f qsub leaves a process behind, which keeps the lock of the submission for a minute.
        return ["-f"] if len(array.elements) == 1 else ["-f", "-J", build_range(array)]

    def _build_index_word(self) -> str:
        return '"$PBS_ARRAY_INDEX"'

    def _build_resource_words(self, array: ArraySpec) -> list[str]:
        resources = array.resources
        chunk = "" if resources.cpus is None else f":ncpus={resources.cpus}"
        chunk += "" if resources.memory is None else f":mem={resources.memory}mb"
        # Without a request no `select`: an extra line may have one, and the command line would win.
        words = ["-l", f"select=1{chunk}"] if chunk else []
        if resources.walltime is not None:
            words += ["-l", f"walltime={build_clock(resources.walltime)}"]
        return words

    def _build_script(self, array: ArraySpec) -> str:
        lines = read_directives(self.name, array.resources, f"array {array.name}")
        index = "0" if len(array.elements) == 1 else self._build_index_word()
        first, _, rest = build_element_script(array, index).partition("\n")
        # qsub reads directives up to the first command only.
        return "\n".join([first, *lines, rest])

    def _build_queries(self, arrays: Sequence[SubmittedArray], words: Sequence[str]) -> tuple[Query, ...]:
        by_id = {id: array for array in arrays for id in array.ids}
        return tuple(
            Query(
                command=Command(argv=("qstat", *words, *part)),
                arrays=tuple({by_id[id].array.name: by_id[id] for id in part}.values()),
            )
            for part in cut_words(by_id)
        )

    def _read_arrays(self, query: Query, result: CommandResult, *, has_history: bool) -> Answer:
        jobs = parse_jobs(result)
        read = ((array, self._read_array(array, jobs, has_history=has_history)) for array in query.arrays)
        return build_answer(
            (array, natives or self.find_problem(result, array.ids[0]) or {}) for array, natives in read
        )

    def find_problem(self, result: CommandResult, id: str) -> str | None:
        """Return why a job that is not in the answer may exist all the same, or None."""
        number = re.compile(rf"(?<![\w.\[]){re.escape(id.partition('.')[0])}(?![\w\[])")
        errors = [line for line in result.stderr.split("\n") if line.startswith("qstat:")]
        if all(map(_GONE.search, errors)) and any(map(number.search, errors)):
            return None
        return f"qstat failed (exit code {result.exit_code}): {refusals.show_output(result)}"

    def _read_array(
        self, submitted: SubmittedArray, jobs: Mapping[str, Job], *, has_history: bool
    ) -> dict[int, Native]:
        parent = jobs.get(submitted.ids[0], {})
        found = {}
        for element in range(len(submitted.array.elements)):
            job = jobs.get(build_element_id(submitted, element))
            if job is not None:
                own = drop_borrowed(job, has_history=has_history) if "[]" in submitted.ids[0] else job
                found[element] = self.read_job(own, parent)
        return found

    def read_job(self, job: Job, parent: Job) -> Native:
        """Return what the attributes of a job say.

        :param parent: those of its array; empty: it has none.
        """
        code = job["job_state"]
        comment = job.get("comment", parent.get("comment"))
        if comment is not None and comment.startswith(_ARRAY_COMMENT):
            comment = None
        if code == "Q" and parent.get("job_state") == "H":
            # A held array shows its elements as queued.
            code, job = "H", {**job, "Hold_Types": parent.get("Hold_Types", "")}
        exit_code, reason = self._read_end(job)
        if code in ("F", "X") and job.get("substate") == _REMOVED:
            exit_code, reason = None, comment or "removed before it ran"
            code = code if _BY_RULE.search(reason) else f"{code}{_REMOVED}"
        elif code == "H":
            reason = f"hold of type {job.get('Hold_Types') or '?'}" + (f": {comment}" if comment else "")
        elif self.states.get(code) is JobState.QUEUED:
            reason = comment
        elif code in ("S", "U"):
            reason = f"suspended: {comment}" if comment else "suspended"
        return Native(
            code=code,
            reason=reason,
            exit_code=exit_code,
            host=job.get("exec_host", "").partition("/")[0] or None,
            is_hopeless=code in ("Q", "H") and _HOPELESS.search(comment or "") is not None,
            out_of_memory=exit_code in self.memory_ends or says_out_of_memory(reason),
        )

    def _read_end(self, job: Job) -> tuple[int | None, str | None]:
        """Return the exit code, 128 + n for a signal, and what it means."""
        text = job.get("Exit_status", job.get("exit_status", ""))
        if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) is None:
            return None, None
        status = int(text)
        if status < 0:
            return status, self.exit_reasons.get(status, "PBS could not run it")
        # PBS says 256 + n; where it starts the script in a login shell, that shell's 128 + n is what it sees.
        number = status - (256 if status > 256 else 128)
        try:
            return 128 + number, f"ended by {signal.Signals(number).name}"
        except ValueError:
            return status, None


def read_lookup(result: CommandResult) -> LookedUp | None:
    """Read what `qselect` has found in queue and history, or None where the server did not answer."""
    lines = result.stdout.split("\n")
    said = [line for line in result.stderr.split("\n") if line.startswith("qselect:") and NO_HISTORY not in line]
    if result.exit_code != 0 or said or lines.pop() or not all(_ID.fullmatch(line) for line in lines):
        return None
    return LookedUp(ids=tuple(dict.fromkeys(lines)), keeps_history=NO_HISTORY not in result.stderr)


def drop_borrowed(job: Job, *, has_history: bool) -> Job:
    """Leave out what an element that is over and has no record of its own shows of its array, see above."""
    if job["job_state"] not in ("F", "X") or "exec_host" in job or "run_count" in job:
        return job
    own = {name: value for name, value in job.items() if name not in ("Exit_status", "substate")}
    if job.get("comment", "").startswith((_ARRAY_COMMENT, *_ARRAY_ENDS)):
        own["comment"] = ""
    return {**own, "substate": _REMOVED} if has_history else own


def build_range(array: ArraySpec) -> str:
    """Return the indices of an array, with its throttle."""
    throttle = array.resources.throttle
    return f"0-{len(array.elements) - 1}" + ("" if throttle is None else f"%{throttle}")


def build_clock(seconds: int) -> str:
    """Return a time limit as HH:MM:SS."""
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def build_element_id(array: SubmittedArray, element: int) -> str:
    """Return the id of one element; that of a plain job is its own."""
    return array.ids[0].replace("[]", f"[{element}]", 1)


def cut_words(words: Iterable[str], limit: int = _LONGEST_ARGUMENTS) -> list[list[str]]:
    """Cut a list of words into parts that fit into one command each."""
    parts: list[list[str]] = []
    size = limit
    for word in words:
        size += len(word) + 1
        if size > limit:
            parts.append([])
            size = len(word) + 1
        parts[-1].append(word)
    return parts


def parse_jobs(result: CommandResult) -> dict[str, dict[str, str]]:
    """Read the full form of `qstat`: id → the attributes that say something about a state.

    Each job is a line `Job Id: …`, lines `    name = value` and an empty line. A long value goes on in lines that
    begin with a tab.

    :raises PollError: if it is something else, or was cut off.
    """
    jobs: dict[str, dict[str, str]] = {}
    job: dict[str, str] = {}
    last = indent = ""
    for line in result.stdout.split("\n"):
        if line.startswith("Job Id:"):
            # The wrappers over Slurm begin attributes with a tab; they do not break lines.
            indent = "\t" if line.startswith("Job Id:\t") else " "
            job = jobs.setdefault(line.partition(":")[2].strip(), {})
            last = ""
        elif line.startswith(indent) and (match := _ATTRIBUTE.fullmatch(line)):
            last = match[1]
            if last in _ATTRIBUTES:
                job.setdefault(last, match[2])
        elif line.startswith("\t") and last in _ATTRIBUTES:
            job[last] += line[1:]
    whole = result.stdout.endswith("\n\n") if jobs else not result.stdout.strip()
    if not whole or not all("job_state" in job for job in jobs.values()):
        raise PollError(
            f"The answer of qstat (exit code {result.exit_code}) is cut off, or no list of jobs: "
            f"{refusals.show_output(result)}",
            hint="Run qstat -f with the id of the job by hand.",
        )
    return jobs


def check_change(what: str, result: CommandResult, done: str) -> None:
    """Check the answer of a command that changes jobs. What is over or unknown is no error.

    :param what: to what it was to be done, such as `Array caf_a`.
    :raises PollError: if it was not done.
    """
    errors = [line for line in result.stderr.split("\n") if line.strip()]
    if result.exit_code != 0 and (not errors or not all(_GONE.search(line) for line in errors)):
        raise refusals.refuse_action(what, result, done)
