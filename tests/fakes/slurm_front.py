"""The commands of Slurm over the fake engine.

A source is a file and function of Slurm 22.05.8, or a command whose answer was seen on that version.
"""

from __future__ import annotations

import getopt
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import engine

HOST = "node1"
# source: read_config.h, DEFAULT_MAX_ARRAY_SIZE less one
LARGEST_INDEX = 1000
PARTITIONS = ("main", "short")
LARGEST_MEMORY = 10**6
"""MB of the largest node."""

# source: slurm_errno.c, SLURMCTLD_COMMUNICATIONS_CONNECTION_ERROR
DOWN = "Unable to contact slurm controller (connect failure)"
SUBMIT_OPTIONS = (
    *("account=", "array=", "chdir=", "constraint=", "cpus-per-task=", "exclude=", "export=", "hold", "job-name="),
    *("mem=", "no-requeue", "open-mode=", "output=", "parsable", "partition=", "requeue", "time=", "tmp="),
)

# source: slurm_protocol_defs.c, job_state_string
END_STATES = {"done": "COMPLETED", "cancelled": "CANCELLED"}
# source: slurm_protocol_defs.c, job_state_string
LIVE_STATES = {"queued": "PENDING", "running": "RUNNING", "transferring": "COMPLETING"}


def main(command: Callable[[Sequence[str]], int]) -> None:
    """Run a command."""
    engine.log_command([os.path.basename(sys.argv[0]), *sys.argv[1:]])  # noqa: PTH119 - runs on old Pythons, too
    time.sleep(engine.faults().get("frozen", 0))
    sys.exit(command(sys.argv[1:]))


def complain(text: str, code: int = 1) -> int:
    """Print a message as Slurm does, and give the exit code."""
    print(text, file=sys.stderr)
    return code


def sbatch(words: Sequence[str]) -> int:
    """Submit an array."""
    faults = engine.faults()
    time.sleep(faults.get("slow_submit", 0))
    try:
        given, rest = getopt.gnu_getopt(list(words), "", SUBMIT_OPTIONS)
    except getopt.GetoptError as error:
        # source: seen: sbatch --no-such-option
        return complain(f"sbatch: unrecognized option '--{error.opt}'\nTry \"sbatch --help\" for more information", 255)
    try:
        with open(rest[0], encoding="utf-8") as file:  # noqa: PTH123
            text = file.read()
    except OSError:
        # source: seen: sbatch missing.sh
        return complain(f"sbatch: error: Unable to open file {rest[0]}")
    if not text.startswith("#!"):
        # source: seen: sbatch /bin/true
        return complain(
            "sbatch: error: This does not look like a batch script.  The first\n"
            "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh"
        )
    options = {**read_directives(text), **dict(given)}
    if "refuse" in faults:
        # no source: the text is the test's
        return complain(faults["refuse"])
    problem = DOWN if faults.get("down") else find_problem(options)
    if problem:
        # source: sbatch.c, main; seen: sbatch with the controller down, and each of the refusals
        return complain(f"sbatch: error: Batch job submission failed: {problem}")
    number = queue(options, text)
    if faults.get("crash_after_submit"):
        # no source: a crash of the command has not been seen here
        os._exit(139)
    time.sleep(faults.get("late_submit", 0))
    # source: seen: sbatch --parsable, and without
    print(number if "--parsable" in options else f"Submitted batch job {number}")
    return 0


def read_directives(text: str) -> dict[str, str]:
    """Give the options of the `#SBATCH` lines before the first command."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            found.update(getopt.gnu_getopt(line.split()[1:], "", SUBMIT_OPTIONS)[0])
    return found


def find_problem(options: dict[str, str]) -> str | None:
    """Give why a submission is refused, or None."""
    _, last, _ = read_array(options)
    memory = int(options.get("--mem", "0M").rstrip("M"))
    # source: seen: sbatch -p nosuch, --array=0-30000, --mem=999T; the controller's own words come on a line before
    if options.get("--partition", "main") not in PARTITIONS:
        tell(f"invalid partition specified: {options['--partition']}")
        return "Invalid partition name specified"
    if last > LARGEST_INDEX:
        return "Invalid job array specification"
    if memory > engine.faults().get("largest_memory", LARGEST_MEMORY):
        tell("Memory specification can not be satisfied")
        return "Requested node configuration is not available"
    return None


def tell(text: str) -> None:
    """Print what the controller has said beside an error's number."""
    # source: seen: sbatch -p nosuch
    print(f"sbatch: error: {text}", file=sys.stderr)


def read_array(options: dict[str, str]) -> tuple[int, int, int | None]:
    """Give first index, last index, throttle."""
    if "--array" not in options:
        return 0, 0, None
    match = re.fullmatch(r"(\d+)-(\d+)(?:%(\d+))?", options["--array"])
    assert match, options["--array"]
    return int(match[1]), int(match[2]), int(match[3]) if match[3] else None


def queue(options: dict[str, str], text: str) -> int:
    """Queue an array; Slurm runs a copy of the script."""
    _, last, throttle = read_array(options)
    spool = engine.find_home() / "spool"
    spool.mkdir(exist_ok=True)
    copy = spool / f"{os.getpid()}.sh"
    copy.write_text(text, encoding="utf-8")
    copy.chmod(0o700)
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "USER") if name in os.environ}
    if options.get("--export", "ALL") == "ALL":
        environment.update(os.environ)
    environment["PATH"] = os.environ["PATH"]
    return engine.submit(
        options.get("--job-name", "sbatch"),
        [str(copy)],
        last + 1,
        throttle=throttle,
        environment=environment,
        cwd=options.get("--chdir"),
        index_variable="SLURM_ARRAY_TASK_ID" if "--array" in options else None,
        output=read_output(options["--output"]),
        extra={"options": options},
        # source: seen: squeue of a job with --hold
        held="JobHeldUser" if "--hold" in options else None,
    )


def read_output(pattern: str) -> str:
    """Give the engine's form of an output pattern."""
    plain = pattern.replace("{", "{{").replace("}", "}}")
    return re.sub("%(.)", lambda match: {"%": "%", "a": "{index}", "A": "{id}"}[match[1]], plain)


def squeue(words: Sequence[str]) -> int:
    """List the queue."""
    faults = engine.faults()
    if faults.get("down"):
        # source: seen: squeue with the controller stopped
        return complain(f"slurm_load_jobs error: {DOWN}")
    given, _ = getopt.getopt(list(words), "hrt:j:u:o:O:", ["name="])
    options = dict(given)
    words = options.get("-j", "").split(",") if "-j" in options else []
    found = find_jobs(options)
    if len(words) == 1 and "_" not in words[0] and not found:
        # source: seen: squeue -j 4711; squeue.c, _print_job: of several ids those are left out that are not known
        return complain("slurm_load_jobs error: Invalid job id specified")
    if "-o" in options:
        # source: seen: squeue -r -t all -o %F
        write("".join(f"{job.id}\n" for job in found))
    else:
        columns = [word.split(":") for word in options["-O"].split(",")]
        # source: seen: squeue -t all --Format=JobArrayID:20,State:20,exit_code:20,Reason:30 -h
        write("".join(build_lines(found, [(name, int(width)) for name, width in columns])))
    return 0


def find_jobs(options: dict[str, str], *, gone: bool = False) -> list[engine.Job]:
    """Give the jobs that are asked for by id or name; of elements, these alone."""
    if "-j" not in options:
        return engine.jobs(name=options.get("--name"), gone=gone)
    targets = [read_target(word) for word in options["-j"].split(",")]
    found = engine.jobs([number for number, _ in targets], gone=gone)
    for job in found:
        own = [indices for number, indices in targets if number == job.id]
        # source: seen: squeue -r -j 3_3,5_2, also of an element and of a job that do not exist: nothing, exit code 0
        job.elements = {
            index: each
            for index, each in job.elements.items()
            if any(indices is None or (index in indices and "--array" in job.extra["options"]) for indices in own)
        }
    return [job for job in found if job.elements]


def number_element(job: engine.Job, index: int) -> str:
    """Give the id that an element alone has. The last one that starts has that of the array."""
    # source: job_mgr.c, job_array_split; seen: squeue -O JobID,ArrayJobID of arrays
    return str(job.id) if index == max(job.elements) else str(job.id * 1000 + index)


def build_lines(jobs: Sequence[engine.Job], columns: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Give one line per element, fields cut or filled up to their widths."""
    for job in jobs:
        for index, element in job.elements.items():
            state, reason = find_state(job, index, element)
            # source: print.c of squeue, _print_job_array_task_id, _print_job_exit_code, _print_job_batch_host
            values = {
                "JobID": number_element(job, index),
                "ArrayJobID": str(job.id),
                # source: seen: squeue -O ArrayTaskID of a plain job
                "ArrayTaskID": str(index) if "--array" in job.extra["options"] else "N/A",
                "State": state,
                "exit_code": str(element.wait_status or 0),
                "BatchHost": element.host or "n/a",
                "Reason": reason,
            }
            yield "".join(values[name][:width].ljust(width) for name, width in columns) + "\n"


def find_state(job: engine.Job, index: int, element: engine.Element) -> tuple[str, str]:
    """Give state and reason of an element in Slurm's words."""
    wanted = engine.faults().get("state", {}).get(f"{job.id}.{index}")
    if wanted:
        return wanted, element.reason or "None"
    if element.ending and element.state == "running":
        # source: slurm_protocol_defs.c, job_state_string: a flag that stands before the state
        return "COMPLETING", "None"
    words = element.reason or ""
    # source: seen: squeue of waiting arrays, with % and without
    waits_for = "JobArrayTaskLimit" if job.throttle else "Resources"
    if element.state == "held":
        # What holds a job here is a person or the controller, never a file.
        # source: seen: squeue of held jobs; slurm_protocol_defs.c, job_reason_string
        return "PENDING", words if words.startswith("JobHeld") or words.endswith("held") else "JobHeldAdmin"
    if element.state == "queued":
        # source: seen: squeue of jobs that wait, and of those that were requeued by the controller
        return "PENDING", "BeginTime" if element.starts else waits_for
    if element.state in LIVE_STATES:
        return LIVE_STATES[element.state], "None"
    if element.state == "done" and element.wait_status != 0:
        # source: seen: squeue of jobs that ended with a signal, or an exit code
        return "FAILED", "NonZeroExitCode" if element.signal is None else "JobLaunchFailure"
    # source: seen: squeue -t all after scancel: what had not started keeps the reason for which it waited
    waited = element.state == "cancelled" and not element.starts
    return END_STATES[element.state], (words or waits_for) if waited else "None"


def write(text: str) -> None:
    """Print an answer, or what a fault makes of it."""
    faults = engine.faults()
    # no source: what is cut off, or of something else
    if faults.get("nonsense"):
        text = "<html><body>Service unavailable</body></html>\n"
    elif faults.get("garbage"):
        text = text[: len(text) * 2 // 3 - 1]
    sys.stdout.write(text)


def sacct(words: Sequence[str]) -> int:
    """List the history."""
    faults = engine.faults()
    if faults.get("no_history"):
        # source: seen: sacct -j 5
        return complain("Slurm accounting storage is disabled")
    if faults.get("down"):
        # source: slurm_persist_conn.c, slurm_persist_conn_open_without_init; dbd_conn.c, _connect_dbd_conn;
        # options.c of sacct, parse_command_line
        return complain(
            "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
            "host:dbd:6819: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n"
            "sacct: error: Problem talking to the database: Connection refused"
        )
    given, _ = getopt.getopt(list(words), "XnPj:u:S:o:", ["name="])
    options = dict(given)
    latest = time.time() - faults.get("history_lag", 0)
    lines: list[str] = []
    for job in find_jobs(options, gone=True):
        if job.submitted <= latest:
            lines.extend(build_history(job, options["-o"].split(","), latest))
    # source: seen: sacct -X -n -P -j 50 -o JobID,State,ExitCode right after the submission, and later
    write("".join(lines))
    return 0


def build_history(job: engine.Job, columns: Sequence[str], latest: float) -> Iterator[str]:
    """Give one line for each element that has started, and one for all that wait or were cancelled waiting."""
    # source: seen: sacct -X -n -P -o JobID,State,ExitCode of jobs in all states
    groups: dict[str, list[int]] = {}
    for index, element in job.elements.items():
        state, _ = find_state(job, index, element)
        if element.state in END_STATES and (element.ended or 0) > latest:
            state = "RUNNING"
        # source: print.c of sacct, PRINT_STATE
        shown = f"CANCELLED by {os.getuid()}" if state == "CANCELLED" else state
        if element.starts:
            code, number = element.exit_code or 0, element.signal or 0
            # source: seen: sacct of exit codes 3, 128 and 137; print.c of sacct, PRINT_EXITCODE
            code = code - 128 if code >= 128 else code
            values = {
                # source: seen: sacct -X -n -P -o JobIDRaw,JobID,State,ExitCode,NodeList of plain jobs and arrays
                "JobIDRaw": number_element(job, index),
                "JobID": f"{job.id}_{index}" if "--array" in job.extra["options"] else str(job.id),
                "State": shown,
                "ExitCode": "0:0" if state in ("CANCELLED", "RUNNING") else f"{code}:{number}",
                "NodeList": element.host or HOST,
            }
            yield "|".join(values[name] for name in columns) + "\n"
        else:
            groups.setdefault(shown, []).append(index)
    for shown, indices in groups.items():
        listed = ",".join(map(str, indices)) + (f"%{job.throttle}" if job.throttle else "")
        # source: as_mysql_job.c, as_mysql_job_start: the word where there is no node
        # source: seen: sacct of a plain job that waits, and of an array
        name = f"{job.id}_[{listed}]" if "--array" in job.extra["options"] else str(job.id)
        values = {
            "JobIDRaw": str(job.id),
            "JobID": name,
            "State": shown,
            "ExitCode": "0:0",
            "NodeList": "None assigned",
        }
        yield "|".join(values[name] for name in columns) + "\n"


def read_target(word: str) -> tuple[int, list[int] | None]:
    """Read `5`, `5_3` or `5_[0-2,7]`."""
    match = re.fullmatch(r"(\d+)(?:_(?:(\d+)|\[([\d,-]+)\]))?", word)
    assert match, word
    if match[2] is None and match[3] is None:
        return int(match[1]), None
    indices: list[int] = []
    for part in (match[2] or match[3]).split(","):
        first, _, last = part.partition("-")
        indices.extend(range(int(first), int(last or first) + 1))
    return int(match[1]), indices


def scancel(words: Sequence[str]) -> int:
    """End jobs. Single elements that only wait leave no trace, unless they were held."""
    if engine.faults().get("down"):
        # source: seen: scancel 30 with the controller stopped; the exit code is the error's number modulo 256
        return complain(f"scancel: error: Kill job error on job id {words[0]}: {DOWN}", 8)
    for word in words:
        number, indices = read_target(word)
        if engine.faults().get("denied"):
            # source: scancel.c, _cancel_job_id; slurm_errno.c, ESLURM_ACCESS_DENIED, 2002 modulo 256
            return complain(f"scancel: error: Kill job error on job id {word}: Access/permission denied", 210)
        for job in engine.jobs([number]):
            waiting = [index for index in indices or () if is_queued(job, index)]
            engine.cancel(number, indices)
            for index in waiting:
                # source: seen: squeue -t all, scontrol show job and sacct after scancel 13_9
                engine.change(number, index, in_queue=False, in_history=False)
    # source: scancel.c, _cancel_job_id: no word and no error for what is over or not known; seen: scancel 4711
    return 0


def is_queued(job: engine.Job, index: int) -> bool:
    """Tell whether an element waits in the common record of its array."""
    element = job.elements.get(index)
    return element is not None and element.state == "queued" and element.starts == 0


def scontrol(words: Sequence[str]) -> int:
    """Hold or release."""
    if words == ["show", "config"]:
        # source: config_info.c, slurm_write_ctl_conf; stock MinJobAge
        print("Configuration data as of 2026-11-21T00:05:13\nMinJobAge               = 300 sec\nMpiDefault = none")
        return 0
    action, target = words[0], words[1]
    shown = target.replace("[", "").replace("]", "")
    if engine.faults().get("down"):
        # source: update_config.c, slurm_update_job2: it takes no answer for a wrong one; scontrol.c, _process_command
        return complain(
            f"Unexpected message received for job {shown}\nslurm_suspend error: Unexpected message received"
        )
    # source: update_job.c, scontrol_hold: the ids of a list one after the other
    return max([change(action, word) for word in re.split(r",(?![^\[]*\])", target)])


def change(action: str, target: str) -> int:
    """Hold or release a job, or elements of one."""
    number, indices = read_target(target)
    found = engine.jobs([number])
    elements = found[0].elements if found else {}
    answers: dict[str, list[int]] = {}
    for index in elements if indices is None else indices:
        answers.setdefault(judge(elements.get(index)), []).append(index)
    done = answers.get("No error", [])
    if action == "hold":
        # source: job_mgr.c, _update_job: what runs is held only when it waits again
        engine.hold(number, [index for index in done if elements[index].state == "queued"], "JobHeldUser")
    else:
        engine.release(number, done)
    if list(answers) == ["No error"]:
        # source: update_job.c, scontrol_hold: one kind of answer that is none is not told
        return 0
    # source: seen: scontrol hold '1_[0-5]' of elements that run and that are over, and '1_[0-1,9]'
    return complain("\n".join(f"{number}_{show_indices(each)}: {text}" for text, each in answers.items()))


def show_indices(indices: Sequence[int]) -> str:
    """Give `0-3,7`."""
    # source: bitstring.c, bit_fmt
    chosen = set(indices)
    starts = [index for index in sorted(chosen) if index - 1 not in chosen]
    ends = [index for index in sorted(chosen) if index + 1 not in chosen]
    return ",".join(f"{first}-{last}" if first < last else str(first) for first, last in zip(starts, ends))  # noqa: B905


def judge(element: engine.Element | None) -> str:
    """Give what the controller answers about an element."""
    # source: slurm_errno.c, ESLURM_INVALID_JOB_ID, ESLURM_ACCESS_DENIED, ESLURM_JOB_FINISHED; job_mgr.c, update_job_str
    if element is None:
        return "Invalid job id specified"
    if engine.faults().get("denied"):
        return "Access/permission denied"
    return "Job has already finished" if element.state in END_STATES or element.ending else "No error"
