"""The faces of OpenPBS and of Torque (`FAKE_SYSTEM=torque`) on the fake batch system.

`qsub`, `qstat`, `qselect`, `qdel`, `qrls`, `qhold`. Texts and exit codes of OpenPBS are those of captured outputs of
23.06.06; those of Torque are the ones it is known for. Exit codes are error numbers of PBS modulo 256.

What was not captured is taken from the source of OpenPBS (commit cd7ab5e) and Torque (commit 34ff845):

* no history: `src/cmds/qselect.c` lines 581-598 and `src/cmds/qstat.c` lines 3123-3132 and 3340-3348: the message on
  standard error, exit code 0; the text in `src/lib/Liblog/pbs_messages.c` line 292, the id behind it by `prt_job_err`
  in `src/lib/Libcmds/err_handling.c`;
* an element without a record of its own: `status_subjob` in `src/server/stat_job.c` lines 375-470 (the attributes of
  the array, "Subjob finished") and `get_subjob_and_state` in `src/server/array_func.c` lines 392-450; without a history
  the record of an element ends with it, `svr_saveorpurge_finjobhist` in `src/server/svr_jobfunc.c` line 4646;
* Torque: `PBSE_UNKJOBID` in `src/include/pbs_error_db.h` line 29, `PBSE_` in `src/include/pbs_error.h` line 109.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import engine

SERVER = "pbshost"
MAX_ARRAY_SIZE = 10_000
USAGE = "usage: qsub [-a date_time] [-A account_string] [-c interval]"
OPTIONS = {
    "pbs": "a:A:c:C:e:fhj:J:k:l:m:M:N:o:p:P:q:r:R:S:u:W:v:Vz",
    "torque": "a:A:c:C:e:hj:k:l:m:M:N:o:p:q:r:S:t:u:W:v:Vz",
}
LONGEST_NAME = {"pbs": 236, "torque": 15}
RANGE = re.compile(r"(\d+)-(\d+)(?:%(\d+))?")
ID = re.compile(rf"(\d+)(\[(\d*)\])?(?:\.{SERVER})?")
STATES = {"queued": "Q", "held": "H", "running": "R", "transferring": "E"}
FINISHED, UNKNOWN = 35, 153
NO_HISTORY = "PBS is not configured to maintain job history"


def main(program: str) -> None:
    """Do what a command does."""
    engine.log_command([program, *sys.argv[1:]])
    faults = engine.faults()
    time.sleep(faults.get("frozen", 0))
    if faults.get("down"):
        _be_down(program)
    COMMANDS[program](sys.argv[1:])


def _flavour() -> str:
    return "torque" if os.environ.get("FAKE_SYSTEM") == "torque" else "pbs"


def _be_down(program: str) -> NoReturn:
    print("Connection refused", file=sys.stderr)
    if program in ("qdel", "qrls", "qhold"):
        _fail(f"Couldn't connect to cluster: {SERVER}", 162)
    _fail(f"{program}: cannot connect to server {SERVER} (errno=15010)", 162 if program == "qsub" else 255)


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def qsub(argv: list[str]) -> None:
    """Queue a script."""
    faults, flavour = engine.faults(), _flavour()
    try:
        found, rest = getopt.getopt(argv, OPTIONS[flavour])
    except getopt.GetoptError as error:
        _fail(f"qsub: invalid option -- '{error.opt}'\n{USAGE}", 2)
    options = dict(found)
    if len(rest) != 1 or not Path(rest[0]).is_file():
        _fail("qsub: script file:: No such file or directory", 1)
    if "-v" in options or "-V" in options:
        _fail("qsub: cannot send environment with the job", 1)
    name = options.get("-N", Path(rest[0]).name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        _fail(f"qsub: illegal -N value\n{USAGE}", 2)
    if len(name) > LONGEST_NAME[flavour]:
        _fail("qsub: Job name is too long ", 2)
    indices = _read_range(options.get("-J", options.get("-t")), flavour)
    _check_request(options, faults.get("refuse"))
    time.sleep(faults.get("slow_submit", 0))
    id = _queue(options, name, Path(rest[0]).read_text(), indices)
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        os._exit(139)
    print(f"{id}{'[]' if indices else ''}.{SERVER}")


def _read_range(text: str | None, flavour: str) -> tuple[int, int | None] | None:
    """Give the count and the throttle of an array."""
    if text is None:
        return None
    match = RANGE.fullmatch(text)
    if match is None or match[1] != "0" or (flavour == "pbs" and match[2] == "0"):
        _fail(f"qsub: illegal -J value\n{USAGE}", 2)
    if int(match[2]) >= MAX_ARRAY_SIZE:
        _fail("qsub: Array job exceeds server or queue size limit", 3)
    return int(match[2]) + 1, int(match[3]) if match[3] else None


def _check_request(options: dict[str, str], refuse: str | None) -> None:
    if refuse:
        _fail(f"qsub: {refuse}", 170)
    if options.get("-q") == "nosuch":
        _fail("qsub: Unknown queue", 170)
    for name, value in re.findall(r"(\w+)=([^:,]*)", options.get("-l", "")):
        if name == "walltime":
            continue
        if name not in ("select", "ncpus", "mem", "nodes", "ppn"):
            _fail(f"qsub: Unknown resource: {name}", 187)
        if not re.fullmatch(r"\d+(mb)?", value):
            _fail(f"qsub: Illegal attribute or resource value Resource_List.{name}", 166)
        if name == "mem" and int(value.removesuffix("mb")) > engine.faults().get("largest_memory", 10**9):
            _fail("qsub: Job violates queue and/or server resource limits", 188)


def _queue(options: dict[str, str], name: str, text: str, indices: tuple[int, int | None] | None) -> int:
    spool = engine.find_home() / f"spool.{os.getpid()}.SC"
    spool.write_text(text)
    spool.chmod(0o755)
    home = os.environ.get("HOME", "/")
    is_torque = _flavour() == "torque"
    return engine.submit(
        name,
        # Torque feeds the script to the shell, PBS has it run by its name.
        [options.get("-S", "/bin/sh"), str(spool)] if is_torque else [str(spool)],
        indices[0] if indices else 1,
        throttle=indices[1] if indices else None,
        environment={"HOME": home, "PBS_ENVIRONMENT": "PBS_BATCH"},
        cwd=home,
        index_variable=("PBS_ARRAYID" if is_torque else "PBS_ARRAY_INDEX") if indices else None,
        held="user" if ("-h", "") in options.items() else None,
        extra={"array": indices is not None, "queue": options.get("-q", "workq"), "options": options},
    )


def qstat(argv: list[str]) -> None:
    """Print jobs in the full form."""
    faults, flavour = engine.faults(), _flavour()
    try:
        found, ids = getopt.getopt(argv, "ft" if flavour == "torque" else "ftx")
    except getopt.GetoptError as error:
        _fail(f"qstat: invalid option -- '{error.opt}'", 2)
    options = {option for option, _ in found}
    if "-f" not in options:
        _fail("the fake qstat knows only the full form", 2)
    if faults.get("nonsense"):
        print("Have a nice day!")
        return
    if "-x" in options and faults.get("no_history"):
        _fail("\n".join(f"qstat: {NO_HISTORY} {word}" for word in ids or [SERVER]), 0)
    code, records = 0, []
    for word in ids or [_show_id(job) for job in _find_jobs() if "-x" in options or not _is_finished(job)]:
        problem = _find_problem(word, "-x" in options)
        if problem is None:
            records += list(_build_records(word, "-t" in options))
        else:
            print(f"qstat: {problem[0]}", file=sys.stderr)
            code = problem[1]
    text = "".join(f"{record}\n" for record in records)
    sys.stdout.write(text[: len(text) // 2] if faults.get("garbage") else text)
    sys.exit(code)


def _find_jobs() -> list[engine.Job]:
    return engine.jobs(gone=_flavour() == "pbs")


def _find_job(number: int) -> engine.Job | None:
    return next((job for job in _find_jobs() if job.id == number), None)


def _is_finished(job: engine.Job) -> bool:
    """Tell whether PBS shows a job with `-x` only. Torque shows what is over as long as it is in the queue."""
    over = all(each.state in ("done", "cancelled") for each in job.elements.values())
    return _flavour() == "pbs" and (over or not any(each.in_queue for each in job.elements.values()))


def _show_id(job: engine.Job, index: int | None = None) -> str:
    inner = "" if not job.extra["array"] else "[]" if index is None else f"[{index}]"
    return f"{job.id}{inner}.{SERVER}"


def _find_problem(word: str, history: bool) -> tuple[str, int] | None:
    match = ID.fullmatch(word)
    if match is None:
        return f"illegally formed job identifier: {word}", 1
    job = _find_job(int(match[1]))
    is_kept = not engine.faults().get("no_history")
    if job is None or (match[2] is not None) != job.extra["array"] or (_is_finished(job) and not is_kept):
        error = "Unknown Job Id Error" if _flavour() == "torque" else "Unknown Job Id"
        return f"{error} {word}", UNKNOWN
    if _is_finished(job) and not history:
        return f"{word} Job has finished, use -x or -H to obtain historical job information", FINISHED
    return None


def _build_records(word: str, elements: bool) -> Iterator[str]:
    match = ID.fullmatch(word)
    job = _find_job(int(match[1])) if match else None
    assert job is not None
    if not job.extra["array"]:
        yield _build_record(job, 0, _show_id(job))
        return
    if _flavour() == "pbs" or not elements:
        yield _build_parent(job)
    for index in sorted(job.elements) if elements else ():
        yield _build_record(job, index, _show_id(job, index))


def _build_parent(job: engine.Job) -> str:
    states = {each.state for each in job.elements.values()}
    state = "F" if _is_finished(job) else "B"
    if states <= {"queued", "held"}:
        state = "H" if "held" in states else "Q"
    if state == "H":
        return _show(job, _show_id(job), {"job_state": "H", "Hold_Types": "u", "substate": "20"})
    return _show(job, _show_id(job), {"job_state": state, "Hold_Types": "n", "array": "True"})


def _build_record(job: engine.Job, index: int, id: str) -> str:
    element = job.elements[index]
    attributes = {"job_state": STATES.get(element.state, ""), "Hold_Types": "n"}
    if _flavour() == "pbs" and element.starts:
        attributes["run_count"] = str(element.starts)
    if element.host:
        attributes["exec_host"] = f"{element.host}/0"
    if element.state == "held":
        attributes["Hold_Types"] = "u"
        attributes["comment"] = str(element.reason)
        if _flavour() == "pbs" and job.extra["array"] and {each.state for each in job.elements.values()} == {"held"}:
            # The array is held, its elements are shown as queued.
            attributes |= {"job_state": "Q", "Hold_Types": "n"}
    elif element.state == "queued" and element.reason:
        attributes["comment"] = element.reason
    elif element.state in ("done", "cancelled"):
        if _flavour() == "pbs" and job.extra["array"] and not _has_record(element):
            attributes = _borrow_end(job)
        else:
            attributes |= _build_torque_end(element) if _flavour() == "torque" else _build_end(job, element)
    attributes["job_state"] = engine.faults().get("state", {}).get(f"{job.id}.{index}", attributes["job_state"])
    name = f"{job.name}-{index}" if _flavour() == "torque" and job.extra["array"] else job.name
    return _show(job, id, attributes, name)


def _has_record(element: engine.Element) -> bool:
    """Tell whether PBS keeps a record of an element that is over: of one that ran, with a history."""
    return element.starts > 0 and not engine.faults().get("no_history")


def _borrow_end(job: engine.Job) -> dict[str, str]:
    """Give what an element without a record shows: the attributes of its array."""
    if not _is_finished(job):
        return {"job_state": "X", "substate": "70", "comment": "Subjob finished"}
    codes = {each.wait_status for each in job.elements.values() if each.state == "done"}
    removed = not codes
    substate = "91" if removed else "93" if codes != {0} else "92"
    status = "1" if substate == "93" else "0"
    return {"job_state": "F", "substate": substate, "Exit_status": status, "comment": "Subjob finished"}


def _build_end(job: engine.Job, element: engine.Element) -> dict[str, str]:
    """Give how an element ended. Signals as the login shell sees them, and 0 for a running one that was removed."""
    attributes = {"job_state": "F" if _is_finished(job) else "X"}
    where = f"Job run at Sat Nov 21 at 00:42 on ({element.host}:ncpus=1)"
    if element.state == "cancelled":
        attributes["substate"] = "91"
        if element.starts:
            by = f"{job.user}@{SERVER}"
            attributes |= {"Exit_status": "0", "comment": f"{where} and terminated by {by}"}
        return attributes
    code = element.exit_code if element.signal is None else 128 + element.signal
    comment = f"{where} and {'failed' if code else 'finished'}"
    return attributes | {"substate": "93" if code else "92", "Exit_status": str(code), "comment": comment}


def _build_torque_end(element: engine.Element) -> dict[str, str]:
    code = element.exit_code if element.signal is None else 256 + element.signal
    return {"job_state": "C", "exit_status": "271" if element.state == "cancelled" else str(code)}


def _show(job: engine.Job, id: str, attributes: dict[str, str], name: str | None = None) -> str:
    """Give the full form of a job. Long values are broken at commas and go on behind a tab."""
    everything = {
        "Job_Name": name or job.name,
        "Job_Owner": f"{job.user}@{SERVER}",
        **attributes,
        "queue": job.extra["queue"],
        "Error_Path": f"{SERVER}:/dev/null",
        "Variable_List": f"PBS_O_HOME=/root,PBS_O_LANG=C.UTF-8,PBS_O_PATH={os.environ['PATH']},PBS_O_QUEUE=workq",
    }
    lines = [f"Job Id: {id}"]
    for key, value in everything.items():
        broken = textwrap.wrap(value, 70, break_on_hyphens=False, drop_whitespace=False) or [""]
        lines.append(f"    {key} = " + "\n\t".join(broken))
    return "\n".join(lines) + "\n"


def qselect(argv: list[str]) -> None:
    """Print the ids of the jobs of a name."""
    faults = engine.faults()
    found, _ = getopt.getopt(argv, "xN:")
    options = dict(found)
    if "-x" in options and faults.get("no_history"):
        _fail(f"qselect: {NO_HISTORY}", 0)
    if faults.get("nonsense"):
        print("Have a nice day!")
        return
    jobs = [job for job in engine.jobs(name=options.get("-N"), gone=True) if "-x" in options or not _is_finished(job)]
    text = "".join(f"{_show_id(job)}\n" for job in jobs)
    sys.stdout.write(text[: len(text) // 2] if faults.get("garbage") else text)


def qdel(argv: list[str]) -> None:
    """Remove jobs and elements."""
    _change(argv, "qdel", engine.cancel)


def qrls(argv: list[str]) -> None:
    """Release jobs; Torque also elements."""
    _change(argv, "qrls", engine.release)


def qhold(argv: list[str]) -> None:
    """Hold jobs; Torque also elements."""
    _change(argv, "qhold", lambda id, indices: engine.hold(id, indices, "held by a user"))


def _change(argv: list[str], program: str, act: Callable[[int, list[int] | None], object]) -> None:
    code = 0
    for word in argv:
        match = ID.fullmatch(word)
        problem: tuple[str, int] | None = ("illegally formed job identifier: " + word, 1)
        if match is not None:
            problem = _find_refusal(match, program)
        if problem is None:
            assert match is not None
            act(int(match[1]), [int(match[3])] if match[3] else None)
        else:
            print(f"{program}: {problem[0]}", file=sys.stderr)
            code = problem[1]
    sys.exit(code)


def _find_refusal(match: re.Match[str], program: str) -> tuple[str, int] | None:
    """Say why a job cannot be changed."""
    job = _find_job(int(match[1]))
    if job is None or (match[2] is not None) != job.extra["array"]:
        return f"Unknown Job Id {match[0]}", UNKNOWN
    over = [index for index, each in job.elements.items() if each.state in ("done", "cancelled")]
    if _flavour() == "torque":
        chosen = [int(match[3])] if match[3] else list(job.elements)
        return ("Request invalid for state of job " + match[0], 170) if set(chosen) <= set(over) else None
    if _is_finished(job):
        return f"Job has finished {match[0]}", FINISHED
    if match[3]:
        if int(match[3]) not in job.elements or program != "qdel":
            return f"Invalid request {match[0]}", 156
        if int(match[3]) in over:
            return f"Request invalid for finished array subjob {match[0]}", 55
    return None


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "qdel": qdel,
    "qhold": qhold,
    "qrls": qrls,
    "qselect": qselect,
    "qstat": qstat,
    "qsub": qsub,
}
