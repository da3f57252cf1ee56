"""The face of LSF on the fake batch system: `bsub`, `bjobs`, `bhist`, `bkill`, `bstop`, `bresume`.

Texts and exit codes are those of captured outputs. With the fault `compatible` it has the manners of an LSF-compatible
system: few fields of `bjobs`, no exit codes in it, and one plain job in place of an array that cannot be.
"""

from __future__ import annotations

import getopt
import getpass
import json
import os
import re
import stat
import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import engine

MAX_JOB_ARRAY_SIZE = 1000
FEW_FIELDS = (
    *("JOBID", "USER", "STAT", "QUEUE", "FROM_HOST", "EXEC_HOST", "JOB_NAME", "SUBMIT_TIME", "PROJ_NAME"),
    *("CPU_USED", "MEM", "SWAP", "PIDS", "START_TIME", "FINISH_TIME"),
)
FIELDS = (*FEW_FIELDS, "JOBINDEX", "EXIT_CODE", "EXIT_REASON", "PEND_REASON")
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
    """Do as with a dead server. The real ones go on for ever; only with the fault `down: "hang"` this one does, too."""
    while program != "bhist":
        print("batch system daemon not responding ... still trying", file=sys.stderr, flush=True)
        if how != "hang":
            break
        time.sleep(1)
    _fail("ls_getclustername(): LIM is down; try later")


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
        _fail("No command is specified. Job not submitted.")
    if faults.get("refuse"):
        _fail(f"{faults['refuse']}. Job not submitted.")
    if options.get("-q") == "nosuch":
        _fail("nosuch: No such queue. Job not submitted.")
    # volclava (commit b361f56): `isint_` in `lsbatch/lib/lsb.sub.c` line 4161; `getVal` in `lsf/intlib/resreq.c`
    # line 732 takes a plain number only, and the text is that of LSBE_BAD_RESREQ, `lsbatch/lib/lsb.err.c` line 130.
    units = "" if faults.get("compatible") else "([KMGTPEZ]B?)?"
    if "-M" in options and not re.fullmatch(rf"\d+{units}", options["-M"]):
        _fail(f"{options['-M']}: MEMLIMT value should be a positive integer. Job not submitted.")
    if not all(
        re.fullmatch(rf"\d+{units}", size) for size in re.findall(r"(?:mem|tmp)=([^:\]]+)", options.get("-R", ""))
    ):
        _fail("Bad resource requirement syntax. Job not submitted.")
    largest = faults.get("largest_memory")
    if largest is not None and int(re.sub(r"\D", "", options.get("-M", "0"))) > largest:
        # LSBE_PJOB_LIMIT and its neighbours, `lsbatch/lib/lsb.err.c` line 89.
        _fail("MEMLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.")
    time.sleep(faults.get("slow_submit", 0))
    id = _queue(options, text, bool(faults.get("compatible")))
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        os._exit(139)
    queue = f"queue <{options['-q']}>" if "-q" in options else "default queue <normal>"
    print(f"Job <{id}> is submitted to {queue}.")


def _queue(options: dict[str, str], text: str, is_compatible: bool) -> int:
    name = options.get("-J", text.splitlines()[-1])
    array = ARRAY_NAME.fullmatch(name)
    valid = array is not None and 1 <= int(array[2]) <= MAX_JOB_ARRAY_SIZE
    if "[" in name and not valid and not is_compatible:
        # The real text is not known.
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
        held="The job was suspended by the user while pending" if "-H" in options else None,
        extra={"queue": options.get("-q", "normal")},
    )


def bjobs(argv: list[str]) -> None:
    """Print records as JSON."""
    faults = engine.faults()
    found, ids = getopt.getopt([word for word in argv if word not in ("-json", "-a")], "J:o:")
    options = dict(found)
    if "-json" not in argv or "-o" not in options:
        _fail("the fake bjobs knows only: bjobs -a -json -o FIELDS [-J NAME] [ID …]")
    fields = [word.upper() for word in options["-o"].split()]
    for field in fields:
        if field not in (FEW_FIELDS if faults.get("compatible") else FIELDS):
            _fail(f"<{field}> in the format string is not a valid field name.", 99)
    if faults.get("nonsense"):
        print("Have a nice day!")
        return
    jobs = {job.id: job for job in engine.jobs(name=options.get("-J"))}
    if not ids and not jobs:
        _fail(f"Job <{options['-J']}> is not found" if "-J" in options else "No job found")
    records: list[dict[str, str]] = []
    for id in map(int, ids or jobs):
        if id in jobs:
            records += [
                {field: _read_field(field, jobs[id], index) for field in fields} for index in sorted(jobs[id].elements)
            ]
        else:
            records.append({"JOBID": str(id), "ERROR": f"Job <{id}> is not found"})
    answer = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)
    print(answer[: len(answer) // 2] if faults.get("garbage") else answer)
    sys.exit(255 if all("ERROR" in each for each in records) else 0)


def _read_field(field: str, job: engine.Job, index: int) -> str:
    element = job.elements[index]
    word = _read_state(job.id, index, element)
    code = element.exit_code if element.signal is None else 128 + element.signal
    reason = element.reason or ""
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
        return "DONE" if element.wait_status == 0 else "EXIT"
    return STATES[element.state]


def _name(job: engine.Job, index: int) -> str:
    return f"{job.name}[{index}]" if index else job.name


def bhist(argv: list[str]) -> None:
    """Print the long history."""
    faults = engine.faults()
    found, ids = getopt.getopt(argv, "aln:J:")
    if faults.get("no_history"):
        _fail("/lsf/work/logdir/lsb.events: Permission denied")
    name = dict(found).get("-J")
    jobs = engine.jobs(ids=[int(id) for id in ids] or None, name=name, gone=True)
    if not jobs:
        _fail("No matching job found")
    if faults.get("nonsense"):
        print("Have a nice day!")
        return
    text = ("-" * 78 + "\n").join(_tell(job, index) for job in jobs for index in sorted(job.elements))
    print(text[: len(text) // 2] if faults.get("garbage") else text)


def _tell(job: engine.Job, index: int) -> str:
    element = job.elements[index]
    id = f"{job.id}[{index}]" if index else str(job.id)
    lines = [f"Job <{id}>, Job Name <{_name(job, index)}>, User <{job.user}>, Command <exec /bin/bash /w/run.sh>"]

    def tell(moment: float, event: str) -> None:
        lines.append(f"{time.strftime('%a %b %e %H:%M:%S', time.localtime(moment))}: {event}")

    tell(job.submitted, f"Submitted from host <vm>, to Queue <{job.extra['queue']}>, CWD <{job.cwd}>")
    if element.started is not None:
        tell(element.started, f"Dispatched 1 Task(s) on Host(s) <{element.host}>")
        tell(element.started, f"Starting (Pid {element.pid or 1})")
        tell(element.started, "Running with execution home </home/caf>")
    lag = engine.faults().get("history_lag", 0)
    if element.ended is not None and time.time() - element.ended >= lag:
        for event in _tell_end(element):
            tell(element.ended, event)
    folded = [f"\n{'':21}".join(textwrap.wrap(line + ";", 79, drop_whitespace=False)) for line in lines[1:]]
    head = f"\n{'':21}".join(textwrap.wrap(lines[0], 79, drop_whitespace=False))
    moment = time.strftime("%a %b %e %H:%M:%S")
    return "\n".join(
        ["", head, *folded, "", f"Summary of time in seconds spent in various states by  {moment}", "  PEND   RUN", ""]
    )


def _tell_end(element: engine.Element) -> Iterator[str]:
    if element.wait_status == 0 and element.state == "done":
        yield "Done successfully. The CPU time used is 0.0 seconds"
        return
    code = element.exit_code if element.signal is None else 128 + element.signal
    yield f"Exited with exit code {130 if code is None else code}. The CPU time used is 0.0 seconds"
    if element.state == "cancelled":
        yield "Completed <exit>; TERM_OWNER: job killed by owner"
    elif element.reason:
        yield f"Completed <exit>; {element.reason}"


def _control(
    change: Callable[[int, Iterable[int] | None], Sequence[int]], done: str, undone: str
) -> Callable[[list[str]], None]:
    """Give the command that does something to the elements it names."""

    def command(argv: list[str]) -> None:
        code = 0
        for word in argv:
            match = ID.fullmatch(word)
            if match is None:
                _fail(f"{word}: Illegal job ID.")
            indices = None if match[2] is None else set(_read_indices(match[2]))
            jobs = engine.jobs(ids=[int(match[1])])
            if not jobs or (indices is not None and not indices & set(jobs[0].elements)):
                print(f"Job <{word}>: No matching job found", file=sys.stderr)
                code = 255
            elif change(int(match[1]), indices):
                print(f"Job <{word}> is being {done}")
            else:
                print(f"Job <{word}>: {undone}", file=sys.stderr)
                code = 255
        sys.exit(code)

    return command


def _read_indices(text: str) -> Iterator[int]:
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _stop(id: int, indices: Iterable[int] | None) -> Sequence[int]:
    return engine.hold(id, indices, f"The job was suspended by user <{getpass.getuser()}>")


def lsid(argv: list[str]) -> None:
    """Say which system it is: `lsf/lstools/lsid.c` prints the version first."""
    if engine.faults().get("compatible"):
        print("volclava 2.2, Nov 21 2026\n")
    else:
        print("IBM Spectrum LSF Standard 10.1.0.0, Apr 04 2018\nCopyright International Business Machines Corp.\n")
    print("My cluster name is cluster1\nMy master name is vm")


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "bsub": bsub,
    "lsid": lsid,
    "bjobs": bjobs,
    "bhist": bhist,
    "bkill": _control(engine.cancel, "terminated", "Job has already finished"),
    "bstop": _control(_stop, "stopped", "Job has already finished"),
    "bresume": _control(engine.release, "resumed", "Job has already started"),
}
