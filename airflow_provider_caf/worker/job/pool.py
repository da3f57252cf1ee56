"""The commands of the local system: start a detached pool, ask pools, end subjobs.

    pool submit ARRAY.json              starts the pool of an array, once, and prints {"id": …}
    pool lookup | query | cancel        reads requests from standard input, a JSON list of {"folder": …, …},
                                        and prints one JSON object for each of them

`submit` may be run any number of times, at the same time too: there is one pool, and every call prints its id.

Where the pool was started, its lock says whether it lives, and a signal tells it that something is to be cancelled. On
other hosts its beat says the one, and it finds the request itself, at its next beat.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

from airflow_provider_caf.worker.job.pool_files import MARK, PoolError, PoolFiles, is_here, is_of_this_boot
from airflow_provider_caf.worker.job.processes import end_processes, find_processes, read_start

TYPE_CHECKING = False  # importing typing is slow
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

_START_LIMIT = 20.0
_INTERVAL = 0.01
_ORPHAN_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for what a dead pool has left running."""

_USAGE = "usage: pool submit ARRAY.json | pool lookup|query|cancel < list.json\n"


def main(argv: Sequence[str]) -> int:
    """Run one command."""
    if len(argv) == 2 and argv[0] == "submit":
        return submit(argv[1])
    if len(argv) != 1 or argv[0] not in ("lookup", "query", "cancel"):
        sys.stderr.write(_USAGE)
        return 2
    actions: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "lookup": _look_up,
        "query": _query,
        "cancel": _cancel,
    }
    for request in json.loads(sys.stdin.read()):
        try:
            answer = actions[argv[0]](request)
        except (PoolError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer))
    return 0


def submit(array_file: str) -> int:
    """Start a pool for an array, if it has had none yet, and print its id."""
    from airflow_provider_caf.worker.job.subjob import read_array

    array = read_array(array_file)
    files = PoolFiles(array["folder"])
    try:
        files.make()
        identity = _start_once(array, files)
    except (PoolError, OSError) as error:
        sys.stderr.write(f"the pool of array {array['name']} could not be started: {error}\n")
        return 1
    print(json.dumps({"id": identity["id"]}))
    return 0


def _start_once(array: Mapping[str, Any], files: PoolFiles) -> dict[str, Any]:
    """Return the identity of the array's pool, which is started if there never was one.

    Whoever takes the lock and finds no identity starts the pool, and hands the lock on to it by the fork. A
    pool that is dead is not started again: what it has left undone is lost, and goes into another array.
    """
    deadline = time.monotonic() + _START_LIMIT
    while True:
        lock = files.take_lock()
        identity = files.read_identity()
        if identity is not None:
            return identity
        if lock is not None:
            return _detach(array, files, lock)
        if time.monotonic() > deadline:
            raise PoolError(f"{files.folder}/lock is held, but no pool has said its id")
        time.sleep(_INTERVAL)


def _detach(array: Mapping[str, Any], files: PoolFiles, lock: int) -> dict[str, Any]:
    """Start the pool as a process that has nothing to do with this one any more.

    It is in a session of its own and has no parent but init: it survives a kill of this process, its process
    group and its session. What ends a whole container or a service's control group ends it too.
    """
    from airflow_provider_caf.worker.job.pool_loop import SIGNALS

    # Blocked here already: a signal to the pool must find it listening.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            # The second fork: a session leader could get a terminal by opening one.
            if os.fork() == 0:
                _run_pool(array, files, lock, writer)
        finally:
            os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as file:
        text = file.read()
    if not text:
        raise PoolError(f"it ended at once; see {files.log_file}")
    identity: dict[str, Any] = json.loads(text)
    return identity


def _run_pool(array: Mapping[str, Any], files: PoolFiles, lock: int, writer: int) -> None:
    """Be the pool. Never returns."""
    from airflow_provider_caf.worker.job.pool_loop import Pool

    try:
        _detach_files(files.log_file, keep={lock, writer})
        os.chdir("/")
        identity = files.write_identity(array)
        pool = Pool(array, files, identity, slots=count_slots(array))
        os.write(writer, json.dumps(identity).encode())
        os.close(writer)
        pool.run()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - this process has nobody to raise to; the log gets it all
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def count_slots(array: Mapping[str, Any]) -> int:
    """Return how many elements run at a time: one per core that this process may use, unless the array limits them."""
    resources = array.get("resources") or {}
    slots = resources.get("max_processes") or len(os.sched_getaffinity(0))
    return int(min(slots, resources.get("throttle") or slots))


def _detach_files(log_file: str, keep: set[int]) -> None:
    """Print to a log, and close what was inherited: a pipe or lock held by the pool would keep others waiting."""
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - pathlib is slow to import
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue  # the one by which the folder was listed


def _look_up(request: Mapping[str, Any]) -> dict[str, Any]:
    files = PoolFiles(request["folder"])
    try:
        identity = files.wait_for_identity()
    except PoolError:
        if os.path.isdir(files.folder):  # noqa: PTH112
            raise
        return {}
    if identity is None:
        return {}
    if identity.get("name") != request["name"]:
        raise PoolError(f"{files.folder} has the pool of {identity.get('name')!r}, not of {request['name']!r}")
    return {"id": identity["id"]}


def _find_pool(request: Mapping[str, Any]) -> tuple[PoolFiles, dict[str, Any] | None]:
    """Return the files of the pool that a request names and its identity; None where there never was a pool."""
    files = PoolFiles(request["folder"])
    identity = files.read_identity()
    if identity is not None and identity["id"] != request["id"]:
        raise PoolError(f"the folder has pool {identity['id']}, not {request['id']}")
    return files, identity


def _is_alive(files: PoolFiles, identity: Mapping[str, Any]) -> bool:
    """Return whether a pool lives; one of another host that is silent for too long is given up."""
    if files.read_given_up() is not None:
        return False
    if is_here(identity):
        return files.is_alive()
    letters, _ = files.read_journal(identity["elements"])
    if set(letters) <= set("EC"):
        return False  # where all is over, nobody has to live
    is_silent = files.is_silent(float(identity["beat"]))
    if is_silent:
        files.give_up(f"the local pool was given up by host {os.uname().nodename}: it had been silent for too long")
    return not is_silent


def _query(request: Mapping[str, Any]) -> dict[str, Any]:
    files, identity = _find_pool(request)
    if identity is None:
        return {"gone": True}
    # Looked at before the journal is read: when it is dead, the journal has its last word.
    alive = _is_alive(files, identity)
    letters, _ = files.read_journal(identity["elements"])
    if not alive:
        letters = [letter if letter in "EC" else "L" for letter in letters]
    return {"id": identity["id"], "alive": alive, "host": identity.get("host"), "states": "".join(letters)}


def _cancel(request: Mapping[str, Any]) -> dict[str, Any]:
    files, identity = _find_pool(request)
    if identity is None:
        return {"gone": True}
    files.append_cancel(request["elements"])
    if not is_here(identity):
        return {"id": identity["id"], "alive": files.read_given_up() is None}
    # Taken for good where the pool is dead, so that no two clean up after it at the same time.
    lock = files.take_lock()
    if lock is None:
        pid = int(identity["pid"])
        # Else it is in another container of this machine, and finds the request at its next beat.
        if read_start(pid) == identity.get("start"):
            os.kill(pid, signal.SIGUSR1)
        return {"id": identity["id"], "alive": True}
    try:
        _clean_up(files, identity)
    finally:
        os.close(lock)
    return {"id": identity["id"], "alive": False}


def _clean_up(files: PoolFiles, identity: Mapping[str, Any]) -> None:
    """End what a dead pool has left running, and note what was cancelled."""
    elements = int(identity["elements"])
    letters, leaders = files.read_journal(elements)
    if is_of_this_boot(identity):
        mark = f"{MARK}={identity['id']}"
        left = end_processes(lambda: find_processes(mark, leaders), _ORPHAN_GRACE)
        if left:
            raise PoolError(f"processes {sorted(left)} of dead pool {identity['id']} cannot be ended")
    journal = files.open_journal()
    try:
        for element in sorted(files.read_cancels(elements)):
            if element < elements and letters[element] not in "EC":
                files.append_journal(journal, "C", element)
    finally:
        os.close(journal)
