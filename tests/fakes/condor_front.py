"""The face of HTCondor on the fake batch system: `condor_submit`, `_q`, `_history`, `_rm`, `_hold`, `_release`.

Texts and exit codes are those of captured outputs of HTCondor 23.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import engine

HERE = Path(__file__).resolve().parent
USER = "caf"
ADDRESS = "<127.0.0.1:45903?addrs=127.0.0.1-45903&alias=127-0-0-1.localdomain>"
STATUS = {"queued": 1, "running": 2, "cancelled": 3, "done": 4, "held": 5, "transferring": 6}
CONCURRENCY_LIMIT_DEFAULT = 2_308_032
OVER = ("done", "cancelled")
STAYS = re.compile(r"EnteredCurrentStatus < (\d+)")
HOLD_CODES = (
    ("Transfer input files failure", 13),
    ("Transfer output files failure", 12),
    ("submitted on hold", 15),
    ("memory", 34),
    ("Failed to execute", 6),
    ("Failed to open", 7),
)
QUEUE = re.compile(r"queue(?:\s+(?P<count>\d+)|\s+(?P<variable>\w+)\s+from\s+(?P<table>.+))?", re.IGNORECASE)
ID = re.compile(r"(\d+)(?:\.(\d+))?")


def main(program: str) -> None:
    """Do what a command does."""
    engine.log_command([program, *sys.argv[1:]])
    faults = engine.faults()
    time.sleep(faults.get("frozen", 0))
    if faults.get("down") and program != "condor_history":
        _be_down(program)
    COMMANDS[program](sys.argv[1:])


def _be_down(program: str) -> NoReturn:
    connect = f"CEDAR:6001:Failed to connect to {ADDRESS}"
    if program == "condor_submit":
        sys.stdout.write("Submitting job(s)")
        _fail(f"\nERROR: Failed to connect to local queue manager\n{connect}")
    if program == "condor_q":
        _fail(f"\n-- Failed to fetch ads from: {ADDRESS} : 127-0-0-1.localdomain\n{connect}")
    _fail(f"{program}: (null)")


def _fail(text: str, code: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def condor_submit(argv: list[str]) -> None:
    """Queue a cluster."""
    faults = engine.faults()
    file = Path(argv[-1])
    if not file.is_file():
        _fail(f"\nERROR: Failed to open command file ({file}) (No such file or directory)")
    if faults.get("refuse"):
        sys.stdout.write("Submitting job(s)")
        _fail(f"\n{faults['refuse']}")
    values, count, rows = _read_submit_file(file)
    time.sleep(faults.get("slow_submit", 0))
    largest = faults.get("largest_memory")
    if largest is not None and int(values.get("request_memory", "0").removesuffix("MB")) > largest:
        # A SUBMIT_REQUIREMENT of a site; the text is the site's own.
        sys.stdout.write("Submitting job(s)")
        _fail("\nERROR: Failed to commit job submission into the queue.\nERROR: too much memory was asked for")
    cluster = _queue(values, count, rows)
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        os._exit(139)
    if "-terse" in argv:
        print(f"{cluster}.0 - {cluster}.{count - 1}")
    else:
        print(f"Submitting job(s){'.' * count}\n{count} job(s) submitted to cluster {cluster}.")


def _read_submit_file(file: Path) -> tuple[dict[str, str], int, list[str]]:
    values: dict[str, str] = {}
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        queue = QUEUE.fullmatch(line.strip())
        if queue is not None:
            if queue["table"] is None:
                return values, int(queue["count"] or 1), []
            rows = [_expand(row, {}) for row in Path(_expand(queue["table"], {})).read_text().splitlines()]
            return values | {"@variable": queue["variable"].lower()}, len(rows), rows
        name, mark, value = line.partition("=")
        if not mark and line.strip() and not line.startswith("#"):
            sys.stdout.write("Submitting job(s)")
            _fail(f"\nERROR: on Line {number} of submit file: {line}\n\nERROR: Failed to parse command file.")
        values[name.strip().lower()] = _expand(value.strip(), values)
    sys.stdout.write("Submitting job(s)")
    _fail("\nERROR: no 'queue' statement in the submit file")


def _expand(text: str, values: Mapping[str, str]) -> str:
    if "$$" in text:
        # What the real one makes of it is worse.
        _fail(f"ERROR: {text!r} has two $ in a row")
    own = values.get("requirements", "")
    return re.sub(r"\$\(requirements\)", lambda _: own, text).replace("$(DOLLAR)", "$")


def _queue(values: dict[str, str], count: int, rows: list[str]) -> int:
    folder = Path(values.get("initialdir") or Path.cwd())
    executable = values.get("executable")
    if executable is None:
        _fail("ERROR: No 'executable' parameter was provided")
    if not folder.is_dir():
        _fail(f"ERROR: No such directory: {folder}")
    if values.get("requirements", "").count("(") != values.get("requirements", "").count(")"):
        _fail(f"ERROR: Parse error in expression: \n\tRequirements = {values['requirements']}\n\t")
    travels = values.get("should_transfer_files", "").lower() == "yes"
    argv = [executable]
    if travels:
        argv = [sys.executable, str(HERE / "condor_starter.py"), str(_write_order(values, executable, folder, rows))]
    limit = values.get("max_materialize")
    return engine.submit(
        values.get("my.cafname", "").strip('"') or values.get("batch_name", ""),
        argv,
        count,
        throttle=int(limit) if limit else _read_throttle(values.get("concurrency_limits")),
        cwd="/" if travels else str(folder),
        index_argument=True,
        user=USER,
        extra={"leave_in_queue": values.get("leave_in_queue"), "limit": int(limit) if limit else None},
        held="submitted on hold at user's request" if values.get("hold", "").lower() == "true" else None,
    )


def _read_throttle(limit: str | None) -> int | None:
    """Give how many may run at once by a limit that the pool does not know: each takes a part of the default."""
    return None if limit is None else CONCURRENCY_LIMIT_DEFAULT // int(limit.partition(":")[2])


def _write_order(values: Mapping[str, str], executable: str, folder: Path, rows: list[str]) -> Path:
    """Write down what the starter of each process has to carry."""
    variable = f"$({values['@variable']})"
    names = [values["transfer_input_files"].replace(variable, row) for row in rows]
    order = {
        "executable": executable,
        "folder": str(folder),
        "inputs": [_split(each) for each in names],
        "outputs": _split(values["transfer_output_files"]),
        "keeps_paths": values.get("preserve_relative_paths", "").lower() == "true",
    }
    path = engine.find_home() / f"order.{os.getpid()}.{time.time_ns()}.json"
    path.write_text(json.dumps(order))
    return path


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def condor_q(argv: list[str]) -> None:
    """Show what is in the queue."""
    if "-factory" in argv:
        _print_values([{"ClusterId": job.id} for job in _find(argv) if job.extra["limit"] and any(_show(job))])
        return
    _print(argv, [ad for job in _find(argv) for ad in _show(job)], empty="")


def condor_history(argv: list[str]) -> None:
    """Show what has left the queue, newest first."""
    faults = engine.faults()
    if faults.get("no_history"):
        if "-json" in argv:
            print("[")
        _fail(
            "Error: No passed search file and configuration key HISTORY is unset.\n\nExtra Info: The variable HISTORY "
            "is not defined in your config file. If you want Condor to keep a history of information, you must define "
            "HISTORY in your config file"
        )
    ads = [ad for job in _find(argv, gone=True) for ad in _remember(job, faults.get("history_lag", 0))]
    limit = int(argv[argv.index("-limit") + 1]) if "-limit" in argv else len(ads)
    _print(argv, ads[::-1][:limit], empty="[\n]\n")


def _find(argv: list[str], *, gone: bool = False) -> list[engine.Job]:
    words = iter(argv)
    ids: list[int] = []
    name = None
    for word in words:
        if word == "-constraint":
            name = _read_name(next(words))
        elif word in ("-attributes", "-af", "-limit", "-scanlimit"):
            next(words)
        elif word.isdecimal():
            ids.append(int(word))
    return engine.jobs(ids or None, name, gone=gone)


def _read_name(constraint: str) -> str:
    match = re.fullmatch(r'CafName =\?= "([^"]*)"', constraint)
    if match is None:
        _fail(f'\n-- Parse error in constraint expression "{constraint}"')
    return match[1]


def _show(job: engine.Job) -> Iterator[dict[str, Any]]:
    """Give the records of those that are in the queue and exist."""
    shown = {index: each for index, each in job.elements.items() if each.in_queue and _stays(job, each)}
    if job.extra["limit"]:
        waiting = [index for index in shown if shown[index].state == "queued" and not shown[index].starts]
        room = max(0, job.extra["limit"] - (len(shown) - len(waiting)))
        for index in waiting[room:]:
            del shown[index]
        following = waiting[room] if len(waiting) > room else job.count
    for index, each in shown.items():
        ad = _build_ad(job, index, each)
        if job.extra["limit"]:
            ad["JobMaterializeNextProcId"] = following
        yield ad


def _stays(job: engine.Job, element: engine.Element) -> bool:
    """Tell whether an element is in the queue still: what is removed leaves it, and so does what is done."""
    if element.state == "done" and not engine.faults().get("lose_finished"):
        stay = STAYS.search(job.extra["leave_in_queue"] or "")
        return stay is not None and time.time() - (element.ended or 0) < int(stay[1])
    return element.state not in OVER


def _remember(job: engine.Job, lag: float) -> Iterator[dict[str, Any]]:
    for index, each in job.elements.items():
        is_gone = not (each.in_queue and _stays(job, each))
        if each.state in OVER and is_gone and time.time() - (each.ended or 0) >= lag:
            yield _build_ad(job, index, each)


def _build_ad(job: engine.Job, index: int, element: engine.Element) -> dict[str, Any]:
    ad: dict[str, Any] = {"ClusterId": job.id, "ProcId": index, "JobStatus": STATUS[element.state]}
    state = engine.faults().get("state", {}).get(f"{job.id}.{index}")
    if state is not None:
        ad["JobStatus"] = int(state)
    if element.host is not None:
        ad["LastRemoteHost" if element.state in OVER else "RemoteHost"] = f"slot1_{index + 1}@{element.host}"
    if element.state == "held":
        reason = element.reason or "via condor_hold (by user caf)"
        ad["HoldReason"] = reason
        ad["HoldReasonCode"] = next((code for text, code in HOLD_CODES if text in reason), 1)
    elif element.state == "cancelled":
        ad["RemoveReason"] = element.reason or f"via condor_rm (by user {USER})"
    elif element.state == "queued":
        ad["LastRejMatchReason"] = "no match found "
    elif element.state == "done":
        ad["CompletionDate"] = int(element.ended or 0)
        ad["ExitBySignal"] = element.signal is not None
        ad.update({"ExitSignal": element.signal} if element.signal is not None else {"ExitCode": element.exit_code})
    return ad


def _print(argv: list[str], ads: list[dict[str, Any]], *, empty: str) -> None:
    if "-af" in argv:
        _print_values(ads)
        return
    faults = engine.faults()
    names = argv[argv.index("-attributes") + 1].split(",")
    records = [{key: ad[key] for key in sorted(ad) if key in names} for ad in ads]
    text = "[\n" + "\n,\n".join(json.dumps(each, indent=2) for each in records) + "\n]\n" if records else empty
    if faults.get("garbage"):
        text = text[: len(text) * 2 // 3]
    sys.stdout.write("<html>\n" if faults.get("nonsense") else text)


def _print_values(ads: Iterable[Mapping[str, Any]]) -> None:
    for ad in ads:
        print(ad["ClusterId"])


def condor_rm(argv: list[str]) -> None:
    """Remove processes or clusters."""
    _act(argv, engine.cancel, "marked for removal", "have been marked for removal", "find/remove")


def condor_hold(argv: list[str]) -> None:
    """Hold processes or clusters."""

    def hold(id: int, indices: Iterable[int] | None) -> list[int]:
        return engine.hold(id, indices, f"via condor_hold (by user {USER})")

    _act(argv, hold, "held", "have been held", "find/hold")


def condor_release(argv: list[str]) -> None:
    """Release processes or clusters."""
    _act(argv, engine.release, "released", "have been released", "find/release")


def _act(
    argv: list[str],
    action: Callable[[int, Iterable[int] | None], list[int]],
    done: str,
    done_all: str,
    verb: str,
) -> None:
    worked = False
    present = {job.id: [index for index, _ in enumerate(job.elements)] for job in engine.jobs() if any(_show(job))}
    for word in argv:
        match = ID.fullmatch(word)
        if match is None:
            _fail(f"Couldn't {verb} all of user {word}'s job(s)")
        cluster, process = int(match[1]), match[2]
        indices = None if process is None else [int(process)]
        known = cluster in present and (indices is None or _exists(cluster, indices[0]))
        if known and action(cluster, indices):
            worked = True
            print(f"Job {word} {done}" if process else f"All jobs in cluster {word} {done_all}")
        elif process is not None:
            print(f"\nJob {word} not found", file=sys.stderr)
        else:
            print(f"\nCouldn't {verb} all jobs in cluster {word}", file=sys.stderr)
    sys.exit(0 if worked else 1)


def _exists(cluster: int, process: int) -> bool:
    return any(ad["ProcId"] == process for job in engine.jobs([cluster]) for ad in _show(job))


COMMANDS = {
    "condor_submit": condor_submit,
    "condor_q": condor_q,
    "condor_history": condor_history,
    "condor_rm": condor_rm,
    "condor_hold": condor_hold,
    "condor_release": condor_release,
}
