"""The face of LSF on the fake batch system: `bsub`, `bjobs`, `bhist`, `bkill`, `bresume`, `lsid`.

With the fault `compatible` it has the manners of an LSF-compatible system: few fields of `bjobs`, no exit codes in it,
and one plain job in place of an array that cannot be.

A source is a file and function of volclava (commit b361f56), an LSF-compatible system, or a command whose answer was
seen on volclava 2.2. IBM's LSF comes from the same program; where it differs, nothing but its manual pages and samples
of its output are public: then there is "no source" for the words, and the package must not depend on them.
"""

from __future__ import annotations

import getopt
import json
import os
import re
import stat
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import engine

# source: mbd.h, DEF_JOB_ARRAY_SIZE
MAX_JOB_ARRAY_SIZE = 1000
# source: bjobs.c, fields
FEW_FIELDS = (
    *("JOBID", "USER", "STAT", "QUEUE", "FROM_HOST", "EXEC_HOST", "JOB_NAME", "SUBMIT_TIME", "PROJ_NAME"),
    *("CPU_USED", "MEM", "SWAP", "PIDS", "START_TIME", "FINISH_TIME"),
)
# no source: IBM's manual page of bjobs names them
FIELDS = (*FEW_FIELDS, "JOBINDEX", "EXIT_CODE", "EXIT_REASON", "PEND_REASON")
# source: cmd.job.c, get_status; seen: bjobs of waiting, held, running and killed jobs
STATES = {"queued": "PEND", "held": "PSUSP", "running": "RUN", "transferring": "RUN", "cancelled": "EXIT"}
ARRAY_NAME = re.compile(r"([^\[]*)\[1-(\d+)\](?:%(\d+))?")
ID = re.compile(r"(\d+)(?:\[([\d,-]+)\])?")


def main(program: str) -> None:
    """Do what a command does."""
    engine.log_command([program, *sys.argv[1:]])
    faults = engine.faults()
    time.sleep(faults.get("frozen", 0))
    if faults.get("down"):
        _be_down(program, faults["down"])
    COMMANDS[program](sys.argv[1:])


def _be_down(program: str, how: object) -> NoReturn:
    """Do as with a dead LIM. The real ones go on for ever; here only with `down: "hang"`, else as with LSB_NTRIES=1."""
    if program in ("bhist", "lsid"):
        # source: seen: bhist 5 and lsid with all daemons stopped
        _fail("ls_getclustername(): LIM is down; try later")
    while True:
        # source: seen: bjobs, bsub and bkill with all daemons stopped; lsb.comm.c, getMasterName
        print("LSF daemon (LIM) not responding ... still trying", file=sys.stderr, flush=True)
        if how != "hang":
            break
        time.sleep(1)
    said = "Failed in an LSF library call: LIM is down; try later"
    if program == "bsub":
        # source: cmd.sub.c, do_sub and prtErrMsg; lsb.err.c, lsb_sysmsg
        _fail(f"{said}. Job not submitted.")
    if program == "bjobs":
        # source: bjobs.c, main: the error, and all the same a list without records; cmd.err.c, jobInfoErr
        _print_records([])
        # source: bjobs.c, main; lsb.err.c, lsb_perror
        _fail(said)
    for word in sys.argv[1:]:
        # source: cmd.sig.c, signalJobs
        print(f"Job <{word}>: {said}", file=sys.stderr)
    sys.exit(255)


def _fail(text: str, code: int = 255) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def bsub(argv: list[str]) -> None:
    """Queue an array."""
    faults = engine.faults()
    text = "" if sys.stdin.isatty() else sys.stdin.read()
    lines = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("#BSUB ")]
    options: dict[str, str] = {}
    rest: list[str] = []
    for words in (*(re.findall(r"\S+", line) for line in lines), argv):
        found, rest = getopt.getopt(words, "J:o:e:q:P:W:M:n:R:H")
        options.update(found)
    if rest:
        text = "#!/bin/sh\n" + " ".join(rest) + "\n"
    if not text.strip():
        # source: seen: bsub -o /dev/null
        _fail("No command is specified. Job not submitted.")
    if faults.get("refuse"):
        # no source: the text is the test's
        _fail(f"{faults['refuse']}. Job not submitted.")
    if options.get("-q") == "nosuch":
        # source: seen: bsub -q nosuch
        _fail("nosuch: No such queue. Job not submitted.")
    # no source: which units IBM's LSF takes, its manual page of bsub names
    units = "" if faults.get("compatible") else "([KMGTPEZ]B?)?"
    if "-M" in options and not re.fullmatch(rf"\d+{units}", options["-M"]):
        # source: seen: bsub -M lots, and -M 26MB; lsb.sub.c, isint_
        _fail(f"{options['-M']}: MEMLIMT value should be a positive integer. Job not submitted.")
    if not all(
        re.fullmatch(rf"\d+{units}", size) for size in re.findall(r"(?:mem|tmp)=([^:\]]+)", options.get("-R", ""))
    ):
        # source: seen: bsub -R 'select[', and rusage[mem=100MB]; resreq.c, getVal; lsb.err.c, LSBE_BAD_RESREQ
        _fail("Bad resource requirement syntax. Job not submitted.")
    largest = faults.get("largest_memory")
    if largest is not None and int(re.sub(r"\D", "", options.get("-M", "0"))) > largest:
        # source: cmd.sub.c, prtErrMsg; lsb.err.c, LSBE_OVER_LIMIT; seen for RUNLIMIT: bsub -W 999 -q short
        _fail("MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.")
    time.sleep(faults.get("slow_submit", 0))
    id = _queue(options, text, bool(faults.get("compatible")))
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        # no source: a crash of the command has not been seen here
        os._exit(139)
    # source: seen: bsub with and without -q
    queue = f"queue <{options['-q']}>" if "-q" in options else "default queue <normal>"
    # source: seen: bsub
    print(f"Job <{id}> is submitted to {queue}.")


def _queue(options: dict[str, str], text: str, is_compatible: bool) -> int:
    name = options.get("-J", text.splitlines()[-1])
    array = ARRAY_NAME.fullmatch(name)
    valid = array is not None and 1 <= int(array[2]) <= MAX_JOB_ARRAY_SIZE
    if "[" in name and not valid and not is_compatible:
        # no source: IBM's LSF refuses it; seen on the compatible one, which makes a plain job: bsub -J 'big[1-30000]'
        _fail(f"{name}: Bad job array. Job not submitted.")
    spool = engine.find_home() / f"spool.{os.getpid()}.{time.time_ns()}"
    spool.write_text(text)
    spool.chmod(spool.stat().st_mode | stat.S_IXUSR)
    # The variables of bsub are those of the job.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FAKE_")}
    return engine.submit(
        array[1] if array and valid else name,
        [str(spool)],
        int(array[2]) if array and valid else 1,
        first=1 if array and valid else 0,
        throttle=int(array[3]) if array and valid and array[3] else None,
        environment=environment,
        cwd=str(Path.cwd()),
        index_variable="LSB_JOBINDEX",
        # source: lsb.reason.c, PEND_USER_STOP
        held="The job was suspended by the user while pending" if "-H" in options else None,
        extra={"queue": options.get("-q", "normal")},
    )


def bjobs(argv: list[str]) -> None:
    """Print records as JSON."""
    faults = engine.faults()
    found, ids = getopt.getopt([word for word in argv if word not in ("-json", "-a")], "J:o:")
    options = dict(found)
    if "-json" not in argv or "-o" not in options:
        # no source: nobody here asks otherwise
        _fail("the fake bjobs knows only: bjobs -a -json -o FIELDS [-J NAME] [ID …]")
    fields = [word.upper() for word in options["-o"].split()]
    for field in fields:
        if field not in (FEW_FIELDS if faults.get("compatible") else FIELDS):
            # source: seen: bjobs -o 'jobid jobindex stat exit_code' 5
            _fail(f"<{field}> in the format string is not a valid field name.", 99)
    if faults.get("nonsense"):
        # no source: what is something else altogether
        print("Have a nice day!")
        return
    jobs = {job.id: job for job in engine.jobs(name=options.get("-J"))}
    if not ids and not jobs and not faults.get("compatible"):
        # no source: IBM's LSF with -json; cmd.err.c, jobInfoErr has these words without it
        _fail(f"Job <{options['-J']}> is not found" if "-J" in options else "No job found")
    records: list[dict[str, str]] = []
    for word in map(str, ids or jobs):
        chosen = _choose(jobs, word)
        records += [{field: _read_field(field, job, index) for field in fields} for job, index in chosen]
        if not chosen:
            # source: seen: bjobs -json -o 'jobid stat' 4711; bjobs.c, main: the number alone is the JOBID of an element
            records.append({"JOBID": word.partition("[")[0], "ERROR": f"Job <{word}> is not found"})
    _print_records(records, is_cut=bool(faults.get("garbage")))
    # source: seen: bjobs -json -o 'jobid stat' 4711 3; bjobs.c, main: 255 where no job was displayed
    sys.exit(255 if all("ERROR" in each for each in records) else 0)


def _choose(jobs: Mapping[int, engine.Job], word: str) -> list[tuple[engine.Job, int]]:
    """Give the elements that an id names."""
    match = ID.fullmatch(word)
    job = jobs.get(int(match[1])) if match else None
    if match is None or job is None:
        return []
    wanted = set(_read_indices(match[2])) if match[2] else set(job.elements)
    return [(job, index) for index in sorted(job.elements) if index in wanted]


def _print_records(records: Sequence[dict[str, str]], *, is_cut: bool = False) -> None:
    answer = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)
    # source: seen: bjobs -a -o 'jobid stat job_name finish_time' -json 5
    print(answer[: len(answer) // 2] if is_cut else answer)


def _read_field(field: str, job: engine.Job, index: int) -> str:
    element = job.elements[index]
    word = _read_state(job.id, index, element)
    code = element.exit_code if element.signal is None else 128 + element.signal
    reason = element.reason or ""
    # source: seen: bjobs -a -o … -json; lsb.reason.c, the text of PEND_REASON
    # no source: JOBINDEX, EXIT_CODE, EXIT_REASON; by samples of IBM's LSF
    values: dict[str, str] = {
        "JOBID": str(job.id),
        "JOBINDEX": str(index),
        "JOB_NAME": _name(job, index),
        "STAT": word,
        "USER": job.user,
        "QUEUE": job.extra["queue"],
        "EXEC_HOST": element.host or "",
        "EXIT_CODE": str(code) if word == "EXIT" and code else "",
        "EXIT_REASON": "",
        "PEND_REASON": f"{reason or 'New job is waiting for scheduling'};" if word in ("PEND", "PSUSP") else "",
    }
    if element.state == "cancelled":
        values.update(EXIT_CODE="130", EXIT_REASON="TERM_OWNER: job killed by owner")
    elif word == "EXIT":
        values["EXIT_REASON"] = reason
    return values.get(field, "")


def _read_state(id: int, index: int, element: engine.Element) -> str:
    told = engine.faults().get("state", {}).get(f"{id}.{index}")
    if told:
        return str(told)
    if element.state == "done":
        # source: seen: bjobs -w of jobs that ended with 0 and with another exit code
        return "DONE" if element.wait_status == 0 else "EXIT"
    return STATES[element.state]


def _name(job: engine.Job, index: int) -> str:
    # source: seen: bjobs -a -o 'jobid stat job_name finish_time' -json 5
    return f"{job.name}[{index}]" if index else job.name


def bhist(argv: list[str]) -> None:
    """Print the long history."""
    faults = engine.faults()
    found, ids = getopt.getopt(argv, "aln:J:")
    if faults.get("no_history"):
        # source: bhist.c, readEventFromHead
        _fail("/lsf/work/logdir/lsb.events: Permission denied")
    name = dict(found).get("-J")
    jobs = engine.jobs(ids=[int(id) for id in ids] or None, name=name, gone=True)
    if not jobs:
        # source: seen: bhist 4711; bhist.c, main: on standard output
        print("No matching job found")
        sys.exit(255)
    if faults.get("nonsense"):
        # no source: what is something else altogether
        print("Have a nice day!")
        return
    text = ("-" * 78 + "\n").join(_tell(job, index) for job in jobs for index in sorted(job.elements))
    # source: seen: bhist -l '5[3]'
    print(text[: len(text) // 2] if faults.get("garbage") else text)


def _tell(job: engine.Job, index: int) -> str:
    element = job.elements[index]
    id = f"{job.id}[{index}]" if index else str(job.id)
    is_compatible = bool(engine.faults().get("compatible"))
    # source: seen: bhist -l '5[3]' and bhist -l '2[1]'
    lines = [f"Job <{id}>, Job Name <{_name(job, index)}>, User <{job.user}>, Command <exec /bin/bash /w/run.sh>"]

    def tell(moment: float, event: str) -> None:
        lines.append(f"{time.strftime('%a %b %e %H:%M:%S', time.localtime(moment))}: {event}")

    tell(job.submitted, f"Submitted from host <vm>, to Queue <{job.extra['queue']}>, CWD <{job.cwd}>")
    if element.started is not None:
        # no source: IBM's LSF names tasks; seen on the compatible one: Dispatched to <vm>
        tell(element.started, f"Dispatched {'to' if is_compatible else '1 Task(s) on Host(s)'} <{element.host}>")
        tell(element.started, f"Starting (Pid {element.pid or 1})")
        tell(element.started, "Running with execution home </home/caf>")
    lag = engine.faults().get("history_lag", 0)
    if element.ended is not None and time.time() - element.ended >= lag:
        for event in _tell_end(job, element, is_compatible):
            tell(element.ended, event)
    folded = [f"\n{'':21}".join(textwrap.wrap(line + ";", 79, drop_whitespace=False)) for line in lines[1:]]
    head = f"\n{'':21}".join(textwrap.wrap(lines[0], 79, drop_whitespace=False))
    moment = time.strftime("%a %b %e %H:%M:%S")
    return "\n".join(
        ["", head, *folded, "", f"Summary of time in seconds spent in various states by  {moment}", "  PEND   RUN", ""]
    )


def _tell_end(job: engine.Job, element: engine.Element, is_compatible: bool) -> Iterator[str]:
    if element.wait_status == 0 and element.state == "done":
        # source: bhist.c, getEventStatus and printEvent; seen for bjobs -l 10
        yield "Done successfully. The CPU time used is 0.0 seconds"
        return
    if element.state == "cancelled":
        # source: bhist.c, printEvent: EVENT_JOB_SIGNAL
        yield f"Signal <KILL> requested by user or administrator <{job.user}>"
    how = f" with exit code {element.exit_code}" if element.signal is None else f" by signal {element.signal}"
    if element.wait_status is None:
        # source: bhist.c, printEvent: of what has not started, no host and no time is known
        yield "Exited"
    else:
        # source: seen: bhist -l '5[3]'; bhist.c, printEvent
        yield f"Exited{how}. The CPU time used is 0.0 seconds"
    # no source: IBM's LSF; by samples of its output
    if element.state == "cancelled" and not is_compatible:
        yield "Completed <exit>; TERM_OWNER: job killed by owner"
    elif element.reason and not is_compatible:
        yield f"Completed <exit>; {element.reason}"


def _control(signal: str, done: str) -> Callable[[list[str]], None]:
    """Give the command that sends a signal to the jobs it names: to each element, or to an array as one."""

    def command(argv: list[str]) -> None:
        problems = 0
        for word in argv:
            match = ID.fullmatch(word)
            if match is None:
                # source: seen: bkill nonsense
                _fail(f"{word}: Illegal job ID.")
            number = int(match[1])
            for index in _read_indices(match[2]) if match[2] else [None]:
                # source: cmd.jobid.c, getJobIds: each index of a list is a job of its own
                shown = match[1] if index is None else f"{number}[{index}]"
                problem = _send(signal, number, index)
                problems += problem is not None
                # source: cmd.sig.c, signalJobs and prtSignaled; seen: bkill '5[2]', bkill 7, bkill 3, bresume 11
                print(
                    f"Job <{shown}>: {problem}" if problem else f"Job <{shown}> is being {done}",
                    file=sys.stderr if problem else sys.stdout,
                )
        # source: cmd.sig.c, signalJobs: one that could not be done is enough; seen: bkill 7
        sys.exit(255 if problems else 0)

    return command


def _send(signal: str, number: int, index: int | None) -> str | None:
    """Send a signal to an element, or to a whole job; give why it was not, or not at once."""
    # source: mbd.job.c, signalJob and sigPFjob; lsb.err.c; seen: bkill '5[77]', bkill 3, bkill 7
    jobs = engine.jobs(ids=[number])
    if not jobs or (index is not None and index not in jobs[0].elements):
        return "No matching job found"
    if engine.faults().get("denied"):
        return "User permission denied"
    elements = jobs[0].elements
    chosen = list(elements) if index is None else [index]
    if all(elements[each].state in ("done", "cancelled") for each in chosen):
        return "Job has already finished"
    if signal == "KILL":
        engine.cancel(number, chosen)
    else:
        # What runs or waits already is "resumed" without an error.
        engine.release(number, chosen)
    return "Operation is in progress" if index is None and jobs[0].first else None


def _read_indices(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def lsid(argv: list[str]) -> None:
    """Say which system it is."""
    if engine.faults().get("compatible"):
        # source: lsid.c, main; lsf.h, _LS_VERSION_
        print("volclava 2.2, Nov 21 2026\n")
    else:
        # no source: IBM's manual page of lsid shows such lines
        print("IBM Spectrum LSF Standard 10.1.0.0, Apr 04 2018\nCopyright International Business Machines Corp.\n")
    # source: lsid.c, main
    print("My cluster name is cluster1\nMy master name is vm")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "bsub": bsub,
    "lsid": lsid,
    "bjobs": bjobs,
    "bhist": bhist,
    "bkill": _control("KILL", "terminated"),
    "bresume": _control("CONT", "resumed"),
}
