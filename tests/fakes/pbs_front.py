"""The faces of OpenPBS and of Torque (`FAKE_SYSTEM=torque`) on the fake batch system.

`qsub`, `qstat`, `qselect`, `qdel`, `qrls`. Exit codes are error numbers of PBS modulo 256.

A source is a file and function of OpenPBS (commit cd7ab5e) or of Torque (commit 34ff845), or a command whose answer was
seen on OpenPBS 23.06.06.
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
# source: seen: qstat -x -t -f; Torque shows the same letters
STATES = {"queued": "Q", "held": "H", "running": "R", "transferring": "E"}
# source: seen: qstat of a job that is over, and of one that never was
FINISHED, UNKNOWN = 35, 153
# source: pbs_messages.c, msg_job_history_notset
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
    if _flavour() == "torque":
        # source: qsub_functions.c, main_func; qdel.c, main; qrls.c, main; qstat.c, run_job_mode: all of Torque
        _fail(f"{program}: cannot connect to server {SERVER} (errno=111) Connection refused", 111)
    # source: seen: qstat, qsub and qdel with the server killed
    print("Connection refused", file=sys.stderr)
    if program == "qdel":
        # source: seen: qdel '17[].pbshost' with the server killed
        _fail(f"Couldn't connect to cluster: {SERVER}", 162)
    # source: seen: qstat and qsub with the server killed; qrls.c, main; qselect.c, main
    _fail(f"{program}: cannot connect to server {SERVER} (errno=15010)", 162 if program in ("qsub", "qrls") else 255)


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def qsub(argv: list[str]) -> None:
    """Queue a script."""
    faults, flavour = engine.faults(), _flavour()
    try:
        found, rest = getopt.getopt(argv, OPTIONS[flavour])
    except getopt.GetoptError as error:
        # source: seen: qsub --bad
        _fail(f"qsub: invalid option -- '{error.opt}'\n{USAGE}", 2)
    options = dict(found)
    if len(rest) != 1 or not Path(rest[0]).is_file():
        # source: seen: qsub missing.sh
        _fail("qsub: script file:: No such file or directory", 1)
    if "-v" in options or "-V" in options:
        # source: seen: qsub -v with odd quotes; here of every -v
        _fail("qsub: cannot send environment with the job", 1)
    name = options.get("-N", Path(rest[0]).name)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
        # source: seen: qsub -N of odd names; qsub_functions.c of Torque, process_opts
        _fail(f"qsub: illegal -N value\n{USAGE}", 2)
    if len(name) > LONGEST_NAME[flavour]:
        # source: seen: qsub -N of a long name
        _fail("qsub: Job name is too long ", 2)
    indices = _read_range(options.get("-J", options.get("-t")), flavour)
    _check_request(options, faults.get("refuse"))
    time.sleep(faults.get("slow_submit", 0))
    id = _queue(options, name, Path(rest[0]).read_text(), indices)
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        # no source: a crash of the command has not been seen here
        os._exit(139)
    # source: seen: qsub of a job and of an array
    print(f"{id}{'[]' if indices else ''}.{SERVER}")


def _read_range(text: str | None, flavour: str) -> tuple[int, int | None] | None:
    """Give the count and the throttle of an array."""
    if text is None:
        return None
    match = RANGE.fullmatch(text)
    if match is None or match[1] != "0" or (flavour == "pbs" and match[2] == "0"):
        # source: seen: qsub -J 0-0
        _fail(f"qsub: illegal -J value\n{USAGE}", 2)
    if int(match[2]) >= MAX_ARRAY_SIZE:
        # source: seen: qsub -J 0-30000
        _fail("qsub: Array job exceeds server or queue size limit", 3)
    return int(match[2]) + 1, int(match[3]) if match[3] else None


def _check_request(options: dict[str, str], refuse: str | None) -> None:
    if refuse:
        # no source: the text is the test's
        _fail(f"qsub: {refuse}", 170)
    if options.get("-q") == "nosuch":
        # source: seen: qsub -q nosuch
        _fail("qsub: Unknown queue", 170)
    for name, value in re.findall(r"(\w+)=([^:,]*)", options.get("-l", "")):
        if name == "walltime":
            continue
        if name not in ("select", "ncpus", "mem", "nodes", "ppn"):
            # source: seen: qsub -l nosuchres=1
            _fail(f"qsub: Unknown resource: {name}", 187)
        if not re.fullmatch(r"\d+(mb)?", value):
            # source: seen: qsub -l mem=lots
            _fail(f"qsub: Illegal attribute or resource value Resource_List.{name}", 166)
        if name == "mem" and int(value.removesuffix("mb")) > engine.faults().get("largest_memory", 10**9):
            # source: pbs_messages.c, msg_excqresc
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
        # source: getopt of the C library: of an option that it does not know
        _fail(f"qstat: invalid option -- '{error.opt}'", 2)
    options = {option for option, _ in found}
    if "-f" not in options:
        # no source: nobody here asks otherwise
        _fail("the fake qstat knows only the full form", 2)
    if faults.get("nonsense"):
        # no source: what is something else altogether
        print("Have a nice day!")
        return
    if "-x" in options and faults.get("no_history"):
        # source: seen: qstat -x without history; qstat.c, main; err_handling.c, prt_job_err
        _fail("\n".join(f"qstat: {NO_HISTORY} {word}" for word in ids or [SERVER]), 0)
    code, records = 0, []
    for word in ids or [_show_id(job) for job in _find_jobs() if "-x" in options or not _is_finished(job)]:
        problem = _find_problem(word, "-x" in options)
        if problem is None:
            records += list(_build_records(word, "-t" in options))
        else:
            # source: seen: qstat -x -f 4711 2
            print(f"qstat: {problem[0]}", file=sys.stderr)
            code = problem[1]
    text = "".join(f"{record}\n" for record in records)
    # source: seen: qstat -x -f -t '4[]'
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
        # source: seen: qdel nonsense; qstat.c, main
        return f"illegally formed job identifier: {word}", 1
    job = _find_job(int(match[1]))
    is_kept = not engine.faults().get("no_history")
    is_there = job is not None and (not match[3] or int(match[3]) in job.elements)
    if (
        job is None
        or not is_there
        or (match[2] is not None) != job.extra["array"]
        or (_is_finished(job) and not is_kept)
    ):
        # source: seen: qstat -f 4711; pbs_error_db.h of Torque, PBSE_UNKJOBID
        error = "Unknown Job Id Error" if _flavour() == "torque" else "Unknown Job Id"
        return f"{error} {word}", UNKNOWN
    if _is_finished(job) and not history:
        # source: seen: qstat '4[]' of an array that is over
        return f"{word} Job has finished, use -x or -H to obtain historical job information", FINISHED
    return None


def _build_records(word: str, elements: bool) -> Iterator[str]:
    match = ID.fullmatch(word)
    job = _find_job(int(match[1])) if match else None
    assert job is not None
    if not job.extra["array"]:
        yield _build_record(job, 0, _show_id(job))
        return
    if match and match[3]:
        # source: stat_job.c, status_subjob; qstat.c of Torque, run_job_mode: an element alone, without its array
        yield _build_record(job, int(match[3]), _show_id(job, int(match[3])))
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
    # source: svr_jobfunc.c, svr_saveorpurge_finjobhist
    return element.starts > 0 and not engine.faults().get("no_history")


def _borrow_end(job: engine.Job) -> dict[str, str]:
    """Give what an element without a record shows: the attributes of its array."""
    # source: seen: qstat -x -t -f of an element removed while it waited; stat_job.c, status_subjob; array_func.c,
    # get_subjob_and_state
    if not _is_finished(job):
        return {"job_state": "X", "substate": "70", "comment": "Subjob finished"}
    codes = {each.wait_status for each in job.elements.values() if each.state == "done"}
    removed = not codes
    substate = "91" if removed else "93" if codes != {0} else "92"
    status = "1" if substate == "93" else "0"
    return {"job_state": "F", "substate": substate, "Exit_status": status, "comment": "Subjob finished"}


def _build_end(job: engine.Job, element: engine.Element) -> dict[str, str]:
    """Give how an element ended. Signals as the login shell sees them, and 0 for a running one that was removed."""
    # source: seen: qstat -x -t -f of elements that ended with exit codes, with signals, and by qdel
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
    # source: mom_start.c of Torque, scan_for_terminated: 256 and the signal
    code = element.exit_code if element.signal is None else 256 + element.signal
    return {"job_state": "C", "exit_status": "271" if element.state == "cancelled" else str(code)}


def _show(job: engine.Job, id: str, attributes: dict[str, str], name: str | None = None) -> str:
    """Give the full form of a job. Long values are broken at commas and go on behind a tab."""
    # source: seen: qstat -x -f -t '4[]'
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
    found, _ = getopt.getopt(argv, "xu:N:")
    options = dict(found)
    if "-x" in options and faults.get("no_history"):
        # source: seen: qselect -x without history; qselect.c, main; pbs_messages.c, msg_job_history_notset
        _fail(f"qselect: {NO_HISTORY}", 0)
    if faults.get("nonsense"):
        # no source: what is something else altogether
        print("Have a nice day!")
        return
    jobs = [job for job in engine.jobs(name=options.get("-N"), gone=True) if "-x" in options or not _is_finished(job)]
    text = "".join(f"{_show_id(job)}\n" for job in jobs)
    # source: seen: qselect -x
    sys.stdout.write(text[: len(text) // 2] if faults.get("garbage") else text)


def qdel(argv: list[str]) -> None:
    """Remove jobs and elements."""
    _change(argv, "qdel", engine.cancel)


def qrls(argv: list[str]) -> None:
    """Release jobs; Torque also elements."""
    _change(argv, "qrls", engine.release)


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
            # source: err_handling.c, prt_job_err; seen: qdel 4711
            print(f"{program}: {problem[0]}", file=sys.stderr)
            code = problem[1]
    sys.exit(code)


def _find_refusal(match: re.Match[str], program: str) -> tuple[str, int] | None:
    """Say why a job cannot be changed."""
    job = _find_job(int(match[1]))
    if job is None or (match[2] is not None) != job.extra["array"]:
        # source: seen: qdel 4711; pbs_error_db.h of Torque, PBSE_UNKJOBID
        return f"Unknown Job Id{' Error' if _flavour() == 'torque' else ''} {match[0]}", UNKNOWN
    if engine.faults().get("denied"):
        # source: pbs_messages.c, msg_perm; pbs_error.h, PBSE_PERM; the same in Torque
        return f"Unauthorized Request  {match[0]}", 159
    over = [index for index, each in job.elements.items() if each.state in ("done", "cancelled")]
    if _flavour() == "torque":
        # source: pbs_error_db.h of Torque, PBSE_BADSTATE
        chosen = [int(match[3])] if match[3] else list(job.elements)
        return ("Request invalid for state of job " + match[0], 170) if set(chosen) <= set(over) else None
    if _is_finished(job):
        # source: seen: qdel 9 of a job that is over
        return f"Job has finished {match[0]}", FINISHED
    if match[3]:
        if int(match[3]) not in job.elements or program != "qdel":
            # source: seen: qdel '4[9]'
            return f"Invalid request {match[0]}", 156
        if int(match[3]) in over:
            # source: pbs_messages.c, msg_nohistarrayjob
            return f"Request invalid for finished array subjob {match[0]}", 55
    return None


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "qdel": qdel,
    "qrls": qrls,
    "qselect": qselect,
    "qstat": qstat,
    "qsub": qsub,
}
