"""Run functions in child processes of this one, some at the same time.

A fork is cheap where a new program is not: ROOT is imported once.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from airflow_provider_caf.core.errors import CafError, InputError

Task = Callable[[], Any]


def run_forked(
    tasks: Sequence[Task], processes: int, what: str, *, note: Callable[[int], None] | None = None
) -> list[Any]:
    """Run functions, each in a child process, and return their answers in order.

    :param tasks: they return what JSON can say.
    :param processes: how many run at the same time.
    :param what: what one is to the reader, such as `a merge`.
    :param note: gets the number of each function that has ended.
    :raises InputError: as the first function (in their order) that raised it.
    :raises CafError: if another one failed, or a child crashed.
    """
    note = note or (lambda number: None)
    if processes <= 1:
        results = []
        for number, task in enumerate(tasks):
            results.append(task())
            note(number)
        return results
    answers: dict[int, dict[str, Any]] = {}
    running: dict[int, tuple[int, int]] = {}
    waiting = list(enumerate(tasks))
    while waiting or running:
        while waiting and len(running) < processes:
            number, task = waiting.pop(0)
            pid, pipe = _start(task)
            running[pid] = (number, pipe)
        pid, status = os.wait()
        if pid not in running:
            continue
        number, pipe = running.pop(pid)
        answers[number] = _read_answer(pipe, status, what)
        if "error" in answers[number]:
            waiting.clear()
        else:
            note(number)
    ordered = [answers[number] for number in sorted(answers)]
    for answer in ordered:
        if "error" in answer:
            raise (InputError if answer["is_input"] else CafError)(answer["error"], hint=answer["hint"])
    return [answer["answer"] for answer in ordered]


def _start(task: Task) -> tuple[int, int]:
    # A temporary file without name rather than a pipe: an answer may be larger than a pipe takes.
    answer = os.memfd_create("answer") if hasattr(os, "memfd_create") else _open_nameless()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid, answer
    try:
        value = _run(task)
        os.write(answer, json.dumps(value).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Neither the parent's clean-up nor ROOT's may run twice.
        os._exit(0)


def _open_nameless() -> int:
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _run(task: Task) -> dict[str, Any]:
    try:
        return {"answer": task()}
    except CafError as error:
        return {"error": error.what, "hint": error.hint, "is_input": isinstance(error, InputError)}
    except BaseException as error:  # noqa: BLE001 - the child ends here: what went wrong is told to the parent
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "hint": None, "is_input": False}


def _read_answer(pipe: int, status: int, what: str) -> dict[str, Any]:
    try:
        text = os.pread(pipe, os.fstat(pipe).st_size, 0)
    finally:
        os.close(pipe)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        hint = "Its Python lines are in the log above, if it crashed."
        return {"error": f"The process of {what} died of signal {-code}.", "hint": hint, "is_input": False}
    answer: dict[str, Any] = json.loads(text)
    return answer
