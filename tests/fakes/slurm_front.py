"""The commands of Slurm 22.05 over the fake engine: texts, columns and exit codes as seen on a real one."""

from __future__ import annotations

import getopt
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import engine

HOST = "node1"
LARGEST_INDEX = 1000
PARTITIONS = ("main", "short")
LARGEST_MEMORY = 10**6
"""MB of the largest node."""

DOWN = "Unable to contact slurm controller (connect failure)"
SUBMIT_OPTIONS = (
    *("account=", "array=", "chdir=", "constraint=", "cpus-per-task=", "exclude=", "export=", "hold", "job-name="),
    *("mem=", "no-requeue", "open-mode=", "output=", "parsable", "partition=", "requeue", "time=", "tmp="),
)

END_STATES = {"done": "COMPLETED", "cancelled": "CANCELLED"}
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
        return complain(f"sbatch: unrecognized option '--{error.opt}'\nTry \"sbatch --help\" for more information", 255)
    with open(rest[0], encoding="utf-8") as file:  # noqa: PTH123
        text = file.read()
    if not text.startswith("#!"):
        return complain("sbatch: error: This does not look like a batch script.  The first")
    options = {**read_directives(text), **dict(given)}
    if "refuse" in faults:
        return complain(faults["refuse"])
    problem = DOWN if faults.get("down") else find_problem(options)
    if problem:
        return complain(f"sbatch: error: Batch job submission failed: {problem}")
    number = queue(options, text)
    if faults.get("crash_after_submit"):
        os._exit(139)
    time.sleep(faults.get("late_submit", 0))
    print(number)
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
    first, last, _ = read_array(options)
    if options.get("--partition", "main") not in PARTITIONS:
        return "Invalid partition name specified"
    if first != 0 or last > LARGEST_INDEX:
        return "Invalid job array specification"
    if int(options.get("--mem", "0M").rstrip("M")) > engine.faults().get("largest_memory", LARGEST_MEMORY):
        return "Requested node configuration is not available"
    return None


def read_array(options: dict[str, str]) -> tuple[int, int, int | None]:
    """Give first index, last index, throttle."""
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
        index_variable="SLURM_ARRAY_TASK_ID",
        output=read_output(options["--output"]),
        extra={"options": options},
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
        return complain(f"slurm_load_jobs error: {DOWN}")
    given, _ = getopt.getopt(list(words), "hrt:j:u:o:O:", ["name="])
    options = dict(given)
    ids = [int(word) for word in options["-j"].split(",")] if "-j" in options else None
    found = engine.jobs(ids, name=options.get("--name"))
    if ids is not None and len(ids) == 1 and not found:
        return complain("slurm_load_jobs error: Invalid job id specified")
    if "-o" in options:
        write("".join(f"{job.id}\n" for job in found))
    else:
        columns = [word.split(":") for word in options["-O"].split(",")]
        write("".join(build_lines(found, [(name, int(width)) for name, width in columns])))
    return 0


def build_lines(jobs: Sequence[engine.Job], columns: Sequence[tuple[str, int]]) -> Iterator[str]:
    """Give one line per element, fields cut or filled up to their widths."""
    for job in jobs:
        for index, element in job.elements.items():
            state, reason = find_state(job, index, element)
            values = {
                "ArrayJobID": str(job.id),
                "ArrayTaskID": str(index),
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
        return "COMPLETING", "None"
    if element.state == "held":
        # What holds a job here is a person or the controller, never a file.
        words = element.reason or ""
        return "PENDING", words if words.startswith("JobHeld") or words.endswith("held") else "JobHeldAdmin"
    if element.state in LIVE_STATES:
        return LIVE_STATES[element.state], element.reason or ("Resources" if element.state == "queued" else "None")
    if element.state == "done" and element.signal is not None:
        return "FAILED", "JobLaunchFailure"
    if element.state == "done" and element.exit_code != 0:
        return "FAILED", "NonZeroExitCode"
    return END_STATES[element.state], element.reason or "None"


def write(text: str) -> None:
    """Print an answer, or what a fault makes of it."""
    faults = engine.faults()
    if faults.get("nonsense"):
        text = "<html><body>Service unavailable</body></html>\n"
    elif faults.get("garbage"):
        text = text[: len(text) * 2 // 3 - 1]
    sys.stdout.write(text)


def sacct(words: Sequence[str]) -> int:
    """List the history."""
    faults = engine.faults()
    if faults.get("no_history"):
        return complain("Slurm accounting storage is disabled")
    if faults.get("down"):
        return complain(
            "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to "
            "host:dbd:6819: Connection refused\nsacct: error: Sending PersistInit msg: Connection refused\n"
            "sacct: error: Problem talking to the database: Connection refused"
        )
    given, _ = getopt.getopt(list(words), "XnPj:u:S:o:", ["name="])
    options = dict(given)
    ids = [int(word) for word in options["-j"].split(",")] if "-j" in options else None
    latest = time.time() - faults.get("history_lag", 0)
    lines: list[str] = []
    for job in engine.jobs(ids, name=options.get("--name"), gone=True):
        if job.submitted <= latest:
            lines.extend(build_history(job, options["-o"].split(","), latest))
    write("".join(lines))
    return 0


def build_history(job: engine.Job, columns: Sequence[str], latest: float) -> Iterator[str]:
    """Give one line for each element that has started, and one for all that wait or were cancelled waiting."""
    groups: dict[str, list[int]] = {}
    for index, element in job.elements.items():
        state, _ = find_state(job, index, element)
        if element.state in END_STATES and (element.ended or 0) > latest:
            state = "RUNNING"
        shown = f"CANCELLED by {os.getuid()}" if state == "CANCELLED" else state
        if element.starts:
            code, number = element.exit_code or 0, element.signal or 0
            values = {
                "JobID": f"{job.id}_{index}",
                "State": shown,
                "ExitCode": "0:0" if state in ("CANCELLED", "RUNNING") else f"{code}:{number}",
                "NodeList": element.host or HOST,
            }
            yield "|".join(values[name] for name in columns) + "\n"
        else:
            groups.setdefault(shown, []).append(index)
    for shown, indices in groups.items():
        listed = ",".join(map(str, indices)) + (f"%{job.throttle}" if job.throttle else "")
        values = {"JobID": f"{job.id}_[{listed}]", "State": shown, "ExitCode": "0:0", "NodeList": "None assigned"}
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
        return complain(f"scancel: error: Kill job error on job id {words[0]}: {DOWN}", 8)
    for word in words:
        number, indices = read_target(word)
        for job in engine.jobs([number]):
            waiting = [index for index in indices or () if is_queued(job, index)]
            engine.cancel(number, indices)
            for index in waiting:
                engine.change(number, index, in_queue=False, in_history=False)
    return 0


def is_queued(job: engine.Job, index: int) -> bool:
    """Tell whether an element waits in the common record of its array."""
    element = job.elements.get(index)
    return element is not None and element.state == "queued" and element.starts == 0


def scontrol(words: Sequence[str]) -> int:
    """Hold or release."""
    if words == ["show", "config"]:
        print("Configuration data as of 2026-11-21T00:05:13\nMinJobAge               = 300 sec\nMpiDefault = none")
        return 0
    action, target = words[0], words[1]
    shown = target.replace("[", "").replace("]", "")
    if engine.faults().get("down"):
        text = f"Unexpected message received for job {shown}\nslurm_suspend error: Unexpected message received"
        return complain(text)
    number, indices = read_target(target)
    found = engine.jobs([number])
    if not found:
        return complain(f"{shown}: Invalid job id specified")
    chosen = list(found[0].elements) if indices is None else indices
    elements: dict[int, Any] = {index: found[0].elements.get(index) for index in chosen}
    over = [str(index) for index, each in elements.items() if each is None or each.state in END_STATES]
    if action == "hold":
        # What runs goes on, as on a real one.
        engine.hold(
            number, [index for index, each in elements.items() if each and each.state == "queued"], "JobHeldUser"
        )
    else:
        engine.release(number, chosen)
    return complain(f"{number}_{','.join(over)}: Job has already finished") if over else 0
