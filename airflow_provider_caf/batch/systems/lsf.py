"""IBM Spectrum LSF from 10.1.0.2 on, and systems that are compatible with it.

Theory
------
* An array is `bsub -J "name[1-n]%k"`; its elements are counted from 1, ours from 0. A name that is no valid array, or
  one that is larger than the site's MAX_JOB_ARRAY_SIZE, is refused by LSF. Compatible systems make one plain job of it
  instead, without a word: its index is 0, and `LSB_JOBINDEX` too, so that the job ends at once.
* What `bsub` runs is a shell's text, and it reads `#BSUB` lines everywhere in it. It gets a few lines that begin the
  real script, and no text of a user but the directives he asked for.
* `bjobs -a` knows what is over for CLEAN_PERIOD (an hour by default), then only `bhist` does, which reads all event
  files and is slow. So the history is asked only for what has left the queue.
* With a dead server every command prints "still trying" for ever: each one has a time limit.
* A number without unit means what the site's `LSF_UNIT_FOR_LIMITS` says. IBM's LSF takes units, so they are written
  out. Compatible systems take plain numbers only: `bsub` reads `lsf.conf`, and so do we, before the first submission.
* The exit record tells how an element ended. After a restart of its daemons a compatible system showed jobs as
  EXIT that ran on and ended well.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_caf.batch.arguments import MEMORY_UNITS
from airflow_provider_caf.batch.evidence import JobState, Native
from airflow_provider_caf.batch.extra_lines import read_directives
from airflow_provider_caf.batch.spec import ArraySpec, Command, CommandResult, SubmittedArray, TextFile
from airflow_provider_caf.batch.systems import refusals
from airflow_provider_caf.batch.systems.base import Answer, Done, LookedUp, Query, Submission, build_answer
from airflow_provider_caf.batch.systems.lsf_history import (
    CANCELLED,
    PastElement,
    build_end,
    read_history,
    read_host,
    read_text,
)
from airflow_provider_caf.batch.wrapper import DEFAULT_SHELL, build_element_script, quote
from airflow_provider_caf.core.errors import DefinitionError, PollError

TIMEOUT = 120.0
"""Seconds. A busy mbatchd answers after tens of seconds; a dead one never."""
HISTORY_TIMEOUT = 300.0
"""Seconds. `bhist` reads all event files of the cluster."""
ARGUMENTS_LIMIT = 90_000
"""Characters of ids in one command; Linux takes 128 kB in one argument and 2 MB in all."""

_FIELDS = "jobid jobindex stat exec_host exit_code exit_reason pend_reason"
_FEW_FIELDS = "jobid job_name stat exec_host"
"""What compatible systems know; there the index stands in the name."""
_FIELD_REFUSED = 99
"""What the compatible system's `bjobs` exits with, before it has printed anything, at a field it does not know."""

_ASK = f"""full=$1; few=$2; shift 2
bjobs -a -o "$full" -json "$@"; code=$?
[ "$code" -eq {_FIELD_REFUSED} ] || exit "$code"
exec bjobs -a -o "$few" -json "$@"
"""
_PROBE = """lsid 2>&1; echo; cat "${LSF_ENVDIR:-/etc}/lsf.conf" """
"""Which LSF it is, and its configuration: where LSF's own library looks for it (`ls_readconfenv` in `lib.conf.c`)."""
_TAKES_UNITS = re.compile(r"\b(?:IBM|Platform)\b")
_UNIT = re.compile(r"^\s*LSF_UNIT_FOR_LIMITS\s*=\s*[\"']?([KMGTPE])B?\b", re.MULTILINE | re.IGNORECASE)
_BETWEEN = "exit code of bjobs:"
_FIND = f"""bjobs -a -J "$1" -o 'jobid job_name' -json 2>&1; code=$?
echo; echo "{_BETWEEN} $code"
exec bhist -a -l -n 0 -J "$1"
"""
"""One command, as a lookup has to say whether there is one in the queue or in the history."""

STATES: Mapping[str, JobState] = {
    "PEND": JobState.QUEUED,
    "WAIT": JobState.QUEUED,  # in a chunk of short jobs that run one after the other
    "PROV": JobState.QUEUED,  # its host is being woken up
    "PSUSP": JobState.HELD,
    "USUSP": JobState.HELD,
    "RUN": JobState.RUNNING,
    # LSF goes on with it as soon as there is room; `bresume` of its owner has no effect.
    "SSUSP": JobState.RUNNING,
    "DONE": JobState.EXITED,
    "EXIT": JobState.EXITED,
    # The host is unreachable and may come back: no news.
    "UNKWN": JobState.UNKNOWN,
    "ZOMBI": JobState.UNKNOWN,
    **dict.fromkeys(CANCELLED, JobState.CANCELLED),
}

_MEANINGS: Mapping[str, str] = {
    "PSUSP": "held while it was pending",
    "USUSP": "suspended by its owner or an administrator",
    "SSUSP": "suspended by LSF, for the load of the host or for jobs of a higher priority",
    "UNKWN": "its host cannot be reached",
    "ZOMBI": "it was killed while its host could not be reached",
}
_SUBMITTED = re.compile(r"Job <(\d+)> is submitted")
NOT_FOUND = re.compile(r"is not found|No (?:\w+ )?job found")
_ID_NOT_FOUND = re.compile(r"Job <(\d+)(?:\[\d+\])?> is not found")
_INDEX = re.compile(r"\[(\d+)\]$")
_CONTROLLED = re.compile(r"^Job <.*$", re.MULTILINE)
_CONTROL_DONE = re.compile(
    r"is being (?:terminated|signaled|resumed|killed)|has already (?:finished|started)|has not started yet|"
    r"Operation is in progress|No matching job found|is not found"
)
"""What `bkill` and `bresume` say, with exit code 255, where there is nothing to do."""

_ADVICE = {
    r"MEMLIMT value|Bad resource requirement": "This LSF takes no units: set 'memory_unit' to the site's unit "
    "(LSF_UNIT_FOR_LIMITS in lsf.conf), such as MB.",
    r"job array|array index|bad job name": refusals.ARRAY_ADVICE,
    r"job limit|pending job": refusals.JOBS_ADVICE,
    r"hard limit|MEMLIMIT|RUNLIMIT": "Lower 'memory' or 'walltime', or use another queue: this one allows less.",
}

QUERY_HINT = (
    "Try the command by hand on the submit host. LSF 10.1.0.2 or newer is needed; is its folder on the PATH of the "
    "Airflow worker and the triggerer?"
)


class LSFSystem:
    """Submit to LSF."""

    name = "lsf"
    largest_array: int | None = 1000
    longest_name = 64
    ignored = frozenset({"getenv", "max_processes", "path_prefix", "transfer_files", "universe"})
    states = STATES
    grace = 60.0

    def build_probe(self, array: ArraySpec) -> Command | None:
        """Return the command that asks for the unit of sizes, where there are some and nobody has said it."""
        resources = array.resources
        if resources.memory_unit is not None or (resources.memory is None and resources.disk is None):
            return None
        return Command(argv=("/bin/sh", "-c", _PROBE, "caf-unit"), timeout=TIMEOUT)

    def parse_probe(self, array: ArraySpec, result: CommandResult) -> ArraySpec:
        """Return the array with the unit of a compatible system, unchanged where LSF takes units or nobody says it."""
        product, _, configuration = result.stdout.partition("\n")
        unit = _UNIT.search(configuration)
        if _TAKES_UNITS.search(product):
            return array
        if unit is None and not product.lower().startswith("volclava"):
            return array
        # The manual page of volclava: megabytes, unless the site says another unit.
        return replace(array, resources=replace(array.resources, memory_unit=unit[1].upper() if unit else "M"))

    def build_submit(self, array: ArraySpec) -> Submission:
        """Return the `bsub` command, with the lines that begin the script on its standard input.

        :raises DefinitionError: if an extra line is no directive, or the folder's name has a line break.
        """
        if re.search(r"[\r\n]", array.script_file):
            raise DefinitionError(
                f"The folder {array.folder!r} of array {array.name} has a line break in its name.",
                hint="bsub would read a line of it as a directive. Choose another work folder.",
            )
        resources = array.resources
        begin = [
            "#!/bin/sh",
            *read_directives(self.name, resources, f"array {array.name}"),
            f"exec {quote(resources.shell or DEFAULT_SHELL)} {quote(array.script_file)}",
        ]
        script = build_element_script(array, '"$LSB_JOBINDEX"', first=1)
        return Submission(
            command=Command(argv=_build_bsub(array), stdin="\n".join(begin) + "\n", timeout=TIMEOUT),
            files=(TextFile(path=array.script_file, text=script, executable=True),),
        )

    def parse_submit(self, array: ArraySpec, result: CommandResult) -> tuple[str, ...]:
        """Find the id: scripts of the site and warnings may print lines before and after it.

        :raises SubmitError: if there is none.
        """
        ids = set(_SUBMITTED.findall(f"{result.stdout}\n{result.stderr}"))
        if len(ids) != 1:
            otherwise = "Mend what LSF says in the backend_args, or wait until its server is up."
            raise refusals.refuse_submit("LSF", array, result, _ADVICE, otherwise)
        return (ids.pop(),)

    def build_lookup(self, array: ArraySpec) -> Command:
        """Return the command that asks the queue and the history for the name."""
        return build_find(array.name)

    def parse_lookup(self, array: ArraySpec, result: CommandResult) -> tuple[tuple[str, ...], ...]:
        """Read the ids of that name. The history need not answer where the queue knows it.

        :raises SubmitUnknown: if the queue knows none and the history does not say.
        :raises SubmitError: if the queue does not say.
        """
        found = read_lookup(array.name, result)
        if found is None:
            raise refusals.refuse_lookup(array, result, refusals.show_all_output(result))
        if not found.ids and not found.keeps_history:
            raise refusals.doubt_lookup(
                array,
                f"its history does not answer: {refusals.show_all_output(result)}",
                advice=f"bhist -a -l -n 0 -J {array.name} tells; it has to be able to read LSF's event files.",
            )
        return tuple((id,) for id in found.ids)

    def build_query(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return one `bjobs` command for all arrays."""
        return tuple(Query(command=build_question(_list_ids(part)), arrays=part) for part in _cut(arrays))

    def parse_query(self, query: Query, result: CommandResult) -> Answer:
        """Read the records. An id that LSF does not know any more has one that says so.

        :raises PollError: if it is no answer.
        """
        records = read_records(f"{result.stdout}\n{result.stderr}")
        if records is None:
            raise PollError(
                f"bjobs gave no answer (exit code {result.exit_code}): {refusals.show_all_output(result)}",
                hint=QUERY_HINT,
            )
        by_id: dict[str, list[Mapping[str, Any]]] = {}
        for job in records:
            by_id.setdefault(str(job.get("JOBID")), []).append(job)
        silence = f"bjobs says nothing of it: {refusals.show_all_output(result)}"
        return build_answer(
            (array, _read_elements(array, by_id[array.ids[0]]) if array.ids[0] in by_id else silence)
            for array in query.arrays
        )

    def build_history(self, arrays: Sequence[SubmittedArray]) -> tuple[Query, ...]:
        """Return the `bhist` command that searches all event files."""
        return tuple(
            Query(
                command=Command(argv=("bhist", "-l", "-n", "0", *_list_ids(part)), timeout=HISTORY_TIMEOUT),
                arrays=part,
            )
            for part in _cut(arrays)
        )

    def parse_history(self, query: Query, result: CommandResult) -> Answer:
        """Read how elements ended. One whose end is not in the history stays missing.

        :raises PollError: if it is no history.
        """
        blocks = read_ends(result)
        elements: dict[str, Mapping[int, Native]] = {}
        for submitted in query.arrays:
            own = [block for block in blocks if block.id == submitted.ids[0] and block.end is not None]
            elements[submitted.array.name] = _place(submitted, [(past.index, past.end) for past in own if past.end])
        return Answer(elements=elements)

    def build_cancel(self, array: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
        """Return the `bkill` commands."""
        return _build_control("bkill", array, elements)

    def build_release(self, array: SubmittedArray, elements: Sequence[int]) -> tuple[Command, ...]:
        """Return the `bresume` commands."""
        return _build_control("bresume", array, elements)

    def parse_action(self, array: SubmittedArray, result: CommandResult, done: Done) -> None:
        """Check the answer. A job that is over, not known, or not suspended any more is no error.

        :raises PollError: if LSF did not take the command.
        """
        check_control(f"Array {array.array.name}", result, done)


def build_find(name: str) -> Command:
    """Return the command that asks the queue and the history for the jobs that the user has of a name."""
    return Command(argv=("/bin/sh", "-c", _FIND, "caf-find", name), timeout=HISTORY_TIMEOUT)


def read_lookup(name: str, result: CommandResult) -> LookedUp | None:
    """Read what `build_find` has found, or None where the queue did not answer."""
    queue, between, history = result.stdout.partition(f"\n{_BETWEEN}")
    records = read_records(queue) if between else None
    if records is None:
        return None
    jobs = [job for job in records if NOT_FOUND.search(str(job.get("ERROR", ""))) is None]
    if any("ERROR" in job for job in jobs):
        return None
    names = {str(job.get("JOBID")): str(job.get("JOB_NAME")) for job in jobs}
    blocks = read_history(history)
    if blocks is None and not names and NOT_FOUND.search(history + result.stderr):
        blocks = []
    names.update({block.id: block.name for block in blocks or () if block.name is not None})
    found = sorted(id for id, shown in names.items() if shown.partition("[")[0] == name)
    return LookedUp(ids=tuple(found), keeps_history=blocks is not None)


def read_ends(result: CommandResult) -> list[PastElement]:
    """Return the blocks of jobs in an answer of `bhist`. What it does not know is in none.

    :raises PollError: if it is no history.
    """
    blocks = read_history(result.stdout)
    if blocks is not None:
        return blocks
    if NOT_FOUND.search(f"{result.stdout}\n{result.stderr}"):
        return []
    raise PollError(
        f"bhist gave no answer (exit code {result.exit_code}): {refusals.show_all_output(result)}",
        hint="Try the command by hand: it has to be able to read LSF's event files.",
    )


def build_question(ids: Iterable[str]) -> Command:
    """Return one `bjobs` command. Where a field is not known, the shell asks for fewer."""
    return Command(argv=("/bin/sh", "-c", _ASK, "caf-ask", _FIELDS, _FEW_FIELDS, *ids), timeout=TIMEOUT)


def _build_bsub(array: ArraySpec) -> tuple[str, ...]:
    resources = array.resources
    throttle = "" if resources.throttle is None else f"%{resources.throttle}"
    # Without -o the owner gets a mail for each element. What an element prints goes to a file of its own.
    argv = ["bsub", "-J", f"{array.name}[1-{len(array.elements)}]{throttle}", "-o", "/dev/null"]
    if resources.queue is not None:
        argv += ["-q", resources.queue]
    if resources.account is not None:
        argv += ["-P", resources.account]
    if resources.walltime is not None:
        argv += ["-W", str(-(-resources.walltime // 60))]
    if resources.cpus is not None:
        argv += ["-n", str(resources.cpus)]
    if resources.memory is not None:
        argv += ["-M", _say_size(resources.memory, resources.memory_unit)]
    requirement = _build_requirement(array)
    if requirement:
        argv += ["-R", requirement]
    return tuple(argv)


def _say_size(megabytes: int, unit: str | None) -> str:
    """Return a size with its unit, or as a plain number of the site's unit, rounded up."""
    if unit is None:
        return f"{megabytes}MB"
    scale = 1024 ** (MEMORY_UNITS.index(unit) - MEMORY_UNITS.index("M"))
    return str(math.ceil(megabytes / scale))


def _build_requirement(array: ArraySpec) -> str:
    resources = array.resources
    hosts = " && ".join(f"hname!='{host}'" for host in resources.exclude_hosts or ())
    # Where the unit of limits is kB, that of reservations is MB: so it is without LSF_UNIT_FOR_LIMITS.
    unit = "M" if resources.memory_unit == "K" else resources.memory_unit
    sizes = (("mem", resources.memory), ("tmp", resources.disk))
    used = ":".join(f"{name}={_say_size(size, unit)}" for name, size in sizes if size is not None)
    parts = [
        f"select[{hosts}]" if hosts else "",
        f"rusage[{used}]" if used else "",
        # Threads of one subjob share memory.
        "span[hosts=1]" if resources.cpus is not None and resources.cpus > 1 else "",
    ]
    return " ".join(part for part in parts if part)


def _list_ids(arrays: Sequence[SubmittedArray]) -> list[str]:
    return [id for submitted in arrays for id in submitted.ids]


def _cut(arrays: Sequence[SubmittedArray]) -> Iterator[tuple[SubmittedArray, ...]]:
    part: list[SubmittedArray] = []
    length = 0
    for submitted in arrays:
        more = sum(len(id) + 1 for id in submitted.ids)
        if part and length + more > ARGUMENTS_LIMIT:
            yield tuple(part)
            part, length = [], 0
        part.append(submitted)
        length += more
    if part:
        yield tuple(part)


def read_records(text: str) -> list[Mapping[str, Any]] | None:
    """Return the records of `bjobs -json`, also of what it says in plain text, or None where it says nothing.

    Where it was not answered, it prints an empty list all the same, beside the error (`main` in `bjobs.c` of volclava).
    """
    records: list[Mapping[str, Any]] = []
    start = text.find("{")
    if start >= 0:
        try:
            answer, length = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            return None
        found = answer.get("RECORDS") if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(job, dict) and "JOBID" in job for job in found):
            return None
        records += found
        text = text[:start] + text[start + length :]
    records += [{"JOBID": id, "ERROR": f"Job <{id}> is not found"} for id in _ID_NOT_FOUND.findall(text)]
    is_told = records or NOT_FOUND.search(text) or (start >= 0 and not text.strip())
    return records if is_told else None


def _read_elements(submitted: SubmittedArray, records: Sequence[Mapping[str, Any]]) -> dict[int, Native] | str:
    """Return what is said about each element, or why nothing is."""
    found = []
    for job in records:
        error = job.get("ERROR")
        if error is not None:
            if NOT_FOUND.search(str(error)) is None:
                return str(error)
        elif not isinstance(job.get("STAT"), str):
            return f"a record of job {job['JOBID']} has no STAT"
        else:
            found.append((read_index(job), read_native(job)))
    return _place(submitted, found)


def _place(submitted: SubmittedArray, found: Sequence[tuple[int, Native]]) -> dict[int, Native]:
    """Return what is said by our numbers of the elements.

    Index 0 is a plain job: then no element will ever run, and all of them end as it does.
    """
    count = len(submitted.array.elements)
    elements: dict[int, Native] = {}
    for index, native in found:
        if 1 <= index <= count:
            elements[index - 1] = native
        elif index == 0:
            reason = (
                f"LSF has made one plain job of the array of {count}: is it larger than the site's MAX_JOB_ARRAY_SIZE? "
                "Set 'array_limit'"
            )
            elements = dict.fromkeys(range(count), Native(code=native.code, reason=reason, host=native.host))
    return elements


def read_index(values: Mapping[str, Any]) -> int:
    """Return the number of an element in LSF's own counting; 0: a plain job."""
    index = str(values.get("JOBINDEX", ""))
    if not index.isdecimal():
        match = _INDEX.search(str(values.get("JOB_NAME", "")))
        index = match[1] if match else "0"
    return int(index)


def read_native(values: Mapping[str, Any]) -> Native:
    """Return what a record says, which has a STAT."""
    stat = values["STAT"]
    host = read_host(str(values.get("EXEC_HOST", "")))
    if stat in ("DONE", "EXIT"):
        code = str(values.get("EXIT_CODE", ""))
        return build_end(stat, int(code) if code.isdecimal() else None, read_text(values.get("EXIT_REASON")), host)
    reasons = [_MEANINGS.get(stat), read_text(values.get("PEND_REASON"))]
    return Native(code=stat, reason=": ".join(text for text in reasons if text) or None, host=host)


def _build_control(program: str, submitted: SubmittedArray, elements: Sequence[int] | None) -> tuple[Command, ...]:
    id = submitted.ids[0]
    if elements is None:
        return (Command(argv=(program, id), timeout=TIMEOUT),)
    words = [f"{id}[{first}]" if first == last else f"{id}[{first}-{last}]" for first, last in _find_ranges(elements)]
    step = max(1, ARGUMENTS_LIMIT // (len(id) + len("[-]") + 2 * len(str(len(submitted.array.elements))) + 1))
    return tuple(
        Command(argv=(program, *words[start : start + step]), timeout=TIMEOUT) for start in range(0, len(words), step)
    )


def _find_ranges(elements: Sequence[int]) -> list[tuple[int, int]]:
    """Return LSF's numbers of elements as ranges."""
    ranges: list[tuple[int, int]] = []
    for index in sorted({element + 1 for element in elements}):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = (ranges[-1][0], index)
        else:
            ranges.append((index, index))
    return ranges


def check_control(what: str, result: CommandResult, done: str) -> None:
    """Check what `bkill` or `bresume` said. A job that is over, or not known any more, is no error.

    :param what: to what it was to be done.
    :raises PollError: if it was not done.
    """
    if result.exit_code == 0:
        return
    lines = _CONTROLLED.findall(f"{result.stdout}\n{result.stderr}")
    if not lines or not all(_CONTROL_DONE.search(line) for line in lines):
        raise refusals.refuse_action(what, result, done)
