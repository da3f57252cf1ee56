"""The face of HTCondor on the fake batch system: `condor_submit`, `_q`, `_history`, `_rm`, `_release`.

A source is a file and function of HTCondor 23.9.6, or a command whose answer was seen on that version.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import engine

HERE = Path(__file__).resolve().parent
USER = "caf"
ADDRESS = "<127.0.0.1:45903?addrs=127.0.0.1-45903&alias=127-0-0-1.localdomain>"
# source: JobStatus of proc.h; seen: condor_q -json of waiting, running, removed, held and completed jobs
STATUS = {"queued": 1, "running": 2, "cancelled": 3, "done": 4, "held": 5, "transferring": 6}
# source: param_info.in, CONCURRENCY_LIMIT_DEFAULT
CONCURRENCY_LIMIT_DEFAULT = 2_308_032
OVER = ("done", "cancelled")
REMOVED = 3
BY_USER = 1
REMOVE_REASON = f"via condor_rm (by user {USER})"
STAYS = re.compile(r"EnteredCurrentStatus < (\d+)")
# source: seen: condor_q -json of held jobs (13, 15, 6, 7); condor_holdcodes.h, CONDOR_HOLD_CODE (12, 34)
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
    """Answer as with a schedd that was killed."""
    connect = f"CEDAR:6001:Failed to connect to {ADDRESS}"
    if program == "condor_submit":
        # source: seen: condor_submit; with -terse nothing on standard output: submit.cpp, main
        _fail(f"\nERROR: Failed to connect to local queue manager\n{connect}")
    if program == "condor_q":
        # source: seen: condor_q -json
        _fail(f"\n-- Failed to fetch ads from: {ADDRESS} : 127-0-0-1.localdomain\n{connect}")
    procs, clusters = _read_targets(sys.argv[1:])
    connect = "DCSchedd::actOnJobs:6001:Failed to connect to schedd"
    if procs:
        # source: seen: condor_rm 6.0 6.1 with the schedd killed
        print("\n".join([connect, *(f"No result found for job {word}" for word in procs)]), file=sys.stderr)
    if clusters:
        # source: seen: condor_rm -totals 6 with the schedd killed
        print(f"{connect}\nCouldn't find/{WORDS[program][1]} all jobs{_name_clusters(clusters)}", file=sys.stderr)
    sys.exit(1)


def _fail(text: str, code: int = 1) -> NoReturn:
    print(text, file=sys.stderr)
    sys.exit(code)


def condor_submit(argv: list[str]) -> None:
    """Queue a cluster. With -terse nothing but its processes is printed, see `main` in submit.cpp."""
    faults = engine.faults()
    file = Path(argv[-1])
    if "-terse" not in argv:
        # no source: nobody here submits without it
        _fail("the fake condor_submit knows only: condor_submit -terse FILE")
    if not file.is_file():
        # source: seen: condor_submit missing.sub
        _fail(f"\nERROR: Failed to open command file ({file}) (No such file or directory)")
    if faults.get("refuse"):
        # no source: the text is the test's
        _fail(f"\n{faults['refuse']}")
    values, count, rows = _read_submit_file(file)
    time.sleep(faults.get("slow_submit", 0))
    largest = faults.get("largest_memory")
    if largest is not None and int(values.get("request_memory", "0").removesuffix("MB")) > largest:
        # source: seen: condor_submit with a SUBMIT_REQUIREMENT_Memory for which the site gives no reason of its own
        _fail("\nERROR: Failed to commit job submission into the queue.\nERROR: Submit requirement Memory not met.\n")
    cluster = _queue(values, count, rows)
    time.sleep(faults.get("late_submit", 0))
    if faults.get("crash_after_submit"):
        # source: seen: condor_submit without OpenSSL's legacy provider; what it had printed was not always there
        os._exit(139)
    # source: seen: condor_submit -terse
    print(f"{cluster}.0 - {cluster}.{count - 1}")


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
            # source: seen: condor_submit of a file with a line without '='
            _fail(f"\nERROR: on Line {number} of submit file: \n\nERROR: Failed to parse command file (line {number}).")
        values[name.strip().lower()] = _expand(value.strip(), values)
    number = len(file.read_text().splitlines())
    # source: seen: condor_submit of a file without it
    _fail(
        f"\nERROR: on Line {number} of submit file: no queue statement\n\n"
        f"ERROR: Failed to parse command file (line {number})."
    )


def _expand(text: str, values: Mapping[str, str]) -> str:
    if "$$" in text:
        # no source: the real one takes it, holds the job, and has been seen to crash the schedd
        _fail(f"ERROR: {text!r} has two $ in a row")
    own = values.get("requirements", "")
    return re.sub(r"\$\(requirements\)", lambda _: own, text).replace("$(DOLLAR)", "$")


def _queue(values: dict[str, str], count: int, rows: list[str]) -> int:
    folder = Path(values.get("initialdir") or Path.cwd())
    executable = values.get("executable")
    if executable is None:
        # source: seen: condor_submit badcmd.sub
        _fail("ERROR: No 'executable' parameter was provided")
    if not folder.is_dir():
        # source: submit_utils.cpp, SubmitHash::ComputeIWD
        _fail(f"ERROR: No such directory: {folder}")
    if values.get("requirements", "").count("(") != values.get("requirements", "").count(")"):
        # source: seen: condor_submit badsyntax.sub
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
        # source: seen: condor_q -json of a job with hold = true
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
        # source: queue.cpp, show_schedd_queue: with -factory the record of the cluster, not those of its processes
        _print_values([{"ClusterId": job.id} for job in _find(argv) if job.extra["limit"] and any(_show(job))])
        return
    # source: seen: condor_q -json of an id that is not there
    _print(argv, [ad for job in _find(argv) for ad in _show(job)], empty="")


def condor_history(argv: list[str]) -> None:
    """Show what has left the queue, newest first."""
    faults = engine.faults()
    if faults.get("no_history"):
        if "-json" in argv:
            # source: history.cpp, printHeader, before it looks for the file
            print("[")
        # source: history.cpp, readHistoryFromFiles
        _fail(
            "Error: No passed search file and configuration key HISTORY is unset.\n\nExtra Info: The variable HISTORY "
            "is not defined in your config file. If you want Condor to keep a history of information, you must define "
            "HISTORY in your config file"
        )
    remembered = [each for job in _find(argv, gone=True) for each in _remember(job, faults.get("history_lag", 0))]
    ads = [ad for _, ad in sorted(remembered, key=lambda each: each[0], reverse=True)]
    limit = int(argv[argv.index("-limit") + 1]) if "-limit" in argv else len(ads)
    # source: seen: condor_history -json of an id that is not there
    _print(argv, ads[:limit], empty="[\n]\n")


def _find(argv: list[str], *, gone: bool = False) -> list[engine.Job]:
    words = iter(argv)
    ids: list[str] = []
    name = None
    for word in words:
        if word == "-constraint":
            name = _read_name(next(words))
        elif word in ("-attributes", "-af", "-limit", "-scanlimit"):
            next(words)
        elif ID.fullmatch(word):
            ids.append(word)
    if not ids:
        return engine.jobs(None, name, gone=gone)
    # source: seen: condor_q 2.0 2.1 3 1.0 77, and condor_history 1.0 1.2 2: each id adds to what is shown
    found = engine.jobs([int(word.partition(".")[0]) for word in ids], gone=gone)
    for job in found:
        job.elements = {
            index: each for index, each in job.elements.items() if {str(job.id), f"{job.id}.{index}"} & set(ids)
        }
    return [job for job in found if job.elements]


def _read_name(constraint: str) -> str:
    match = re.fullmatch(rf'(?:CafName|JobBatchName) =\?= "([^"]*)"(?: && Owner =\?= "{USER}")?', constraint)
    if match is None:
        # source: seen: condor_q -constraint 'bad (('
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
    # source: seen: condor_q after condor_rm, and of completed jobs with leave_in_queue
    if element.state == "done" and not engine.faults().get("lose_finished"):
        stay = STAYS.search(job.extra["leave_in_queue"] or "")
        return stay is not None and time.time() - (element.ended or 0) < int(stay[1])
    return element.state not in OVER


def _remember(job: engine.Job, lag: float) -> Iterator[tuple[float, dict[str, Any]]]:
    """Give when elements ended, and their records."""
    # source: seen: condor_history 4, newest first
    for index, each in job.elements.items():
        is_gone = not (each.in_queue and _stays(job, each))
        if each.state in OVER and is_gone and time.time() - (each.ended or 0) >= lag:
            yield each.ended or 0.0, _build_ad(job, index, each)


def _build_ad(job: engine.Job, index: int, element: engine.Element) -> dict[str, Any]:
    """Give the record of a process. What has no value is left out, but `ExitBySignal` is there from the start."""
    # source: seen: condor_q -json and condor_history -json of jobs in all states
    ad: dict[str, Any] = {"ClusterId": job.id, "ProcId": index, "JobStatus": STATUS[element.state]}
    ad["ExitBySignal"] = element.signal is not None
    # source: seen: condor_q -json -attributes TotalSubmitProcs, and condor_history
    ad["TotalSubmitProcs"] = job.count
    if element.host is not None:
        ad["LastRemoteHost" if element.state in OVER else "RemoteHost"] = f"slot1_{index + 1}@{element.host}"
    if _is_removed(element):
        # source: schedd.cpp, actOnJobs: it is removed from now on, also while its process is still ended
        ad |= {"JobStatus": REMOVED, "RemoveReason": REMOVE_REASON}
    if element.state == "held":
        # source: schedd.cpp, actOnJobs: JA_HOLD_JOBS; seen: condor_q -json of held jobs
        reason = element.reason or "via condor_hold"
        ad["HoldReasonCode"] = next((code for text, code in HOLD_CODES if text in reason), BY_USER)
        ad["HoldReason"] = f"{reason} (by user {USER})" if ad["HoldReasonCode"] == BY_USER else reason
    elif element.state == "queued":
        ad["LastRejMatchReason"] = "no match found "
    elif element.state == "done":
        ad["CompletionDate"] = int(element.ended or 0)
    if element.wait_status is not None:
        ad.update({"ExitSignal": element.signal} if element.signal is not None else {"ExitCode": element.exit_code})
    state = engine.faults().get("state", {}).get(f"{job.id}.{index}")
    return ad if state is None else {**ad, "JobStatus": int(state)}


def _is_removed(element: engine.Element) -> bool:
    """Tell whether somebody has removed it, before or after its end."""
    return element.state == "cancelled" or element.ending is not None or element.reason == REMOVE_REASON


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
    # source: seen: condor_q -json -attributes …
    sys.stdout.write("<html>\n" if faults.get("nonsense") else text)


def _print_values(ads: Iterable[Mapping[str, Any]]) -> None:
    for ad in ads:
        # source: seen: condor_q -af
        print(ad["ClusterId"])


# source: rm.cpp, actionWord; seen: condor_rm, condor_release
WORDS = {
    "condor_rm": ("marked for removal", "remove"),
    "condor_release": ("released", "release"),
}


def _act(argv: list[str], program: str) -> None:
    """Do something to processes, then to clusters: the first ones by a list, the others by a constraint."""
    procs, clusters = _read_targets(argv)
    queue = {(ad["ClusterId"], ad["ProcId"]): ad for job in engine.jobs() for ad in _show(job)}
    codes = []
    if procs:
        answers = {word: _judge(queue.get(_read_id(word)), word, program) for word in procs}
        _do(program, (_read_id(word) for word, problem in answers.items() if problem is None))
        if "-totals" in argv:
            # source: seen: condor_rm -totals 2.0 2.77: no numbers where each job is told
            print(TOTALS.format(0, 0))
        if None not in answers.values():
            # source: seen: condor_rm 999.0; rm.cpp, main: the text of an error that is none
            print(file=sys.stderr)
        for word, problem in answers.items():
            # source: rm.cpp, printNewMessages; dc_schedd.cpp, getResultString
            print(problem or f"Job {word} {WORDS[program][0]}", file=sys.stderr if problem else sys.stdout)
        codes.append(0 if None in answers.values() else 1)
    if clusters:
        codes.append(_act_on_clusters(clusters, queue, program, "-totals" in argv))
    # source: rm.cpp, main: had_error; where one job of a list was found, it is 0
    sys.exit(max(codes))


# source: rm.cpp, doWorkByConstraint
TOTALS = "{} Succeeded, 0 Failed, 0 Not Found, 0 Bad Status, 0 Already Done, {} Permission Denied"


def _act_on_clusters(
    clusters: list[int], queue: Mapping[tuple[int, int], Mapping[str, Any]], program: str, wants_totals: bool
) -> int:
    # source: schedd.cpp, actOnJobs: the constraint leaves out what it cannot be done to; a late cluster counts as one
    is_denied = bool(engine.faults().get("denied"))
    found = [id for id, ad in queue.items() if id[0] in clusters]
    chosen = [] if is_denied else [id for id in found if _judge(queue[id], "", program) is None]
    late = [job for job in engine.jobs(clusters) if job.extra["limit"] and any(_show(job)) and not is_denied]
    _do(program, chosen)
    for job in late:
        _do(program, ((job.id, index) for index, each in job.elements.items() if each.state not in OVER))
    if wants_totals:
        # source: seen: condor_rm -totals of a cluster, also of one that is made late
        print(TOTALS.format(len(chosen) + len(late), len(found) if is_denied else 0))
    name = _name_clusters(clusters)
    if chosen or late:
        # source: seen: condor_rm of one cluster and of two; condor_release 7
        print(f"All jobs{name} have been {WORDS[program][0]}")
        return 0
    if not queue:
        # source: seen: condor_rm -totals 999 with nothing in the queue; rm.cpp, doWorkByConstraint
        print(f"{program}:0:There are no jobs in the queue", file=sys.stderr)
        return 0
    # source: rm.cpp, handleConstraints; seen: condor_rm 999, exit code 1
    print(f"\nCouldn't find/{WORDS[program][1]} all jobs{name}", file=sys.stderr)
    return 1


def _read_targets(argv: Iterable[str]) -> tuple[list[str], list[int]]:
    procs, clusters = [], []
    for word in argv:
        match = ID.fullmatch(word)
        if match is not None and match[2] is not None:
            procs.append(word)
        elif match is not None:
            clusters.append(int(match[1]))
        elif word != "-totals":
            # no source: the real one takes it for a user
            _fail(f"the fake knows no target {word}")
    return procs, clusters


def _read_id(word: str) -> tuple[int, int]:
    cluster, _, process = word.partition(".")
    return int(cluster), int(process)


def _name_clusters(clusters: list[int]) -> str:
    # source: rm.cpp, addClusterConstraint and handleConstraints
    constraint = " || ".join(f"ClusterId == {number}" for number in clusters)
    return f" in cluster {clusters[0]}" if len(clusters) == 1 else f" matching constraint ({constraint})"


def _judge(ad: Mapping[str, Any] | None, word: str, program: str) -> str | None:
    """Give why nothing is done to a process, or None."""
    # source: schedd.cpp, actOnJobs; dc_schedd.cpp, getResultString
    if ad is None:
        return f"Job {word} not found"
    if engine.faults().get("denied"):
        return f"Permission denied to {WORDS[program][1]} job {word}"
    if program == "condor_release":
        return None if ad["JobStatus"] == STATUS["held"] else f"Job {word} not held to be released"
    return f"Job {word} already marked for removal" if ad["JobStatus"] == REMOVED else None


def _do(program: str, chosen: Iterable[tuple[int, int]]) -> None:
    by_cluster: dict[int, list[int]] = {}
    for cluster, process in chosen:
        by_cluster.setdefault(cluster, []).append(process)
    for cluster, indices in by_cluster.items():
        if program == "condor_release":
            engine.release(cluster, indices)
            continue
        # source: schedd.cpp, actOnJobs: what is completed and still in the queue is removed, too
        for index in set(indices) - set(engine.cancel(cluster, indices)):
            engine.change(cluster, index, in_queue=False, reason=REMOVE_REASON)


def condor_rm(argv: list[str]) -> None:
    """Remove processes or clusters."""
    _act(argv, "condor_rm")


def condor_release(argv: list[str]) -> None:
    """Release processes or clusters."""
    _act(argv, "condor_release")


def condor_config_val(argv: list[str]) -> None:
    """Show a value of the configuration."""
    # source: seen: condor_config_val USERNAME
    print(USER if argv == ["USERNAME"] else "")


COMMANDS = {
    "condor_config_val": condor_config_val,
    "condor_submit": condor_submit,
    "condor_q": condor_q,
    "condor_history": condor_history,
    "condor_rm": condor_rm,
    "condor_release": condor_release,
}
