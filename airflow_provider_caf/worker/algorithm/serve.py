"""Serve one algorithm to the process that carries out its strategy: `algorithm --in-fd N --out-fd M`.

Requests and answers are frames: four bytes of length, big end first, and a JSON text. They have file
descriptors of their own, so that nothing an algorithm prints can come between. One process serves many
executions: ROOT is imported once, and each file is opened once. What an algorithm raises is an answer, and
the process goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_caf.core.algorithm_requests import BoundariesRequest, CloseRequest, ExecuteRequest, OpenRequest
from airflow_provider_caf.core.atomic import write_all
from airflow_provider_caf.core.errors import CafError, DefinitionError
from airflow_provider_caf.core.iov import ExpRun, IoV
from airflow_provider_caf.core.json_form import build_json
from airflow_provider_caf.core.payloads import build_payload_file_name
from airflow_provider_caf.core.results import ResultCode
from airflow_provider_caf.worker.algorithm.algorithm import Algorithm, make_algorithm, set_attributes
from airflow_provider_caf.worker.collect.collected import CollectedData, read_index
from airflow_provider_caf.worker.constants import ConstantsReader
from airflow_provider_caf.worker.root import crash_plainly
from airflow_provider_caf.worker.tracebacks import call_user
from airflow_provider_caf.worker.user_code import build_plain_value, load_user_code, read_paths

_LENGTH = struct.Struct(">I")


def main(argv: Sequence[str]) -> int:
    """Serve until the other side asks to close, or is gone."""
    parser = argparse.ArgumentParser(prog="algorithm", description="Serve an algorithm over two pipes.")
    parser.add_argument("--in-fd", type=int, required=True, help="where requests come from")
    parser.add_argument("--out-fd", type=int, required=True, help="where answers go")
    parser.add_argument("--life-fd", type=int, help="a pipe that closes when this process shall end")
    arguments = parser.parse_args(argv)
    for descriptor in (arguments.in_fd, arguments.out_fd):
        os.set_inheritable(descriptor, False)
    if arguments.life_fd is not None:
        die_with(arguments.life_fd)
    _write_lines_at_once()
    service = AlgorithmService()
    while True:
        request = read_frame(arguments.in_fd)
        if request is None:
            return 0
        answer = service.answer(request)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        write_frame(arguments.out_fd, answer)
        if request.get("do") == "close":
            # ROOT's clean-up at exit is skipped: all is written, and a crash there would look like a failure.
            os._exit(0)


def read_runs(algorithm: Algorithm) -> tuple[ExpRun, ...]:
    """Ask an algorithm which runs were collected.

    :raises DefinitionError: if it gives something else than runs.
    """
    given = algorithm.find_collected_runs()
    try:
        return tuple(sorted({ExpRun.from_json(tuple(run)) for run in given}))
    except TypeError as error:
        raise DefinitionError(
            f"find_collected_runs() of the {algorithm._session.what} gave {given!r}.", hint="It gives runs."
        ) from error


class AlgorithmService:
    """Do what the requests ask for, with one algorithm."""

    def __init__(self) -> None:
        self._algorithm: Algorithm | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a request; an error becomes an answer too."""
        actions: dict[Any, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "open": self.open,
            "execute": self.execute,
            "boundaries": self.find_boundaries,
            "close": self.close,
        }
        try:
            words = dict(request)
            do = words.pop("do", None)
            if do not in actions:
                what = f"There is no request {do!r}." if "do" in request else "The request has no 'do'."
                raise DefinitionError(what, hint=f"Use {', '.join(actions)}.")
            return {"ok": True, **actions[do](words), "memory_kb": measure_memory()}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything; it is answered
            # The log may be on the disk that is full.
            with contextlib.suppress(OSError):
                traceback.print_exc()
            return {"ok": False, "error": describe_error(error), "memory_kb": measure_memory()}

    def open(self, words: dict[str, Any]) -> dict[str, Any]:
        """Make the algorithm and look at the collected data."""
        request = OpenRequest.from_json(words)
        if self._algorithm is not None:
            self._algorithm._session.data.close()
        crash_plainly()
        algorithm = make_algorithm(request.algorithm, dict(request.settings or {}), request.prefix)
        session = algorithm._session
        algorithm.iteration = request.iteration
        algorithm.cpus = request.cpus
        files = {part.file: None for path in request.indexes for part in read_index(path).values()}
        algorithm.input_files = tuple(files)
        algorithm.output_files = dict(request.output_files)
        session.constants = ConstantsReader(request.database_chain)
        if request.data_input is not None:
            given = load_user_code(request.data_input, "data_input")(algorithm)
            what = f"data_input {request.data_input!r}"
            algorithm.input_files = read_paths(given, what, "It gives a list of paths.")
        if request.pre_algorithm is not None:
            # Before any file is opened: the function may change them.
            load_user_code(request.pre_algorithm, "pre_algorithm")(algorithm)
        session.data = CollectedData(
            request.indexes, algorithm.prefix, what=session.what, scratch=request.output_folder
        )
        algorithm.open_collected()
        # Without collections the runs are those that other calibrations have seen.
        algorithm.collected_runs = read_runs(algorithm) if request.indexes else request.runs
        self._algorithm = algorithm
        return {
            "runs": build_json(algorithm.collected_runs),
            "prefix": algorithm.prefix,
            "granularity": session.data.granularity,
        }

    def execute(self, words: dict[str, Any]) -> dict[str, Any]:
        """Run the algorithm once."""
        algorithm = self._get_algorithm()
        request = ExecuteRequest.from_json(words)
        session = algorithm._session
        algorithm.runs = tuple(sorted(request.runs))
        algorithm.iov = request.iov
        algorithm.input = request.input
        set_attributes(algorithm, dict(request.settings or {}))
        algorithm.output = {}
        session.begin(Path(request.staging))
        try:
            with call_user():
                code = check_code(algorithm.calibrate(), session.what)
            output = build_plain_value(algorithm.output, f"output of the {session.what}")
        finally:
            session.finish()
        payloads = [
            {**payload.to_json(), "file": build_payload_file_name(payload.name, payload.revision)}
            for payload in session.payloads
        ]
        return {"code": int(code), "output": output, "payloads": payloads, **session.build_shown()}

    def find_boundaries(self, words: dict[str, Any]) -> dict[str, Any]:
        """Ask the algorithm for each run whether a payload begins with it."""
        algorithm = self._get_algorithm()
        request = BoundariesRequest.from_json(words)
        runs = request.runs
        set_attributes(algorithm, dict(request.settings or {}))
        boundaries = []
        algorithm.output = {}
        algorithm.runs = runs
        try:
            algorithm.prepare_boundaries(runs)
            for run in runs:
                algorithm.runs = (run,)
                algorithm.iov = IoV.spanning((run,))
                if algorithm.is_boundary_required(run):
                    boundaries.append(run)
                algorithm._session.finish()
        finally:
            algorithm._session.finish()
        return {"boundaries": build_json(boundaries)}

    def close(self, words: dict[str, Any]) -> dict[str, Any]:
        """Close the files."""
        CloseRequest.from_json(words)
        if self._algorithm is not None:
            self._algorithm._session.finish()
            self._algorithm._session.data.close()
            self._algorithm.close_collected()
        return {}

    def _get_algorithm(self) -> Algorithm:
        if self._algorithm is None:
            raise DefinitionError("No algorithm is open.", hint="Send the request 'open' first.")
        return self._algorithm


def check_code(value: Any, what: str) -> ResultCode:
    """Read what `calibrate` gave.

    :raises DefinitionError: if it is no result code.
    """
    # Some algorithms are C++: their enums are whole numbers of a class of their own.
    number = int(value) if hasattr(value, "__index__") and not isinstance(value, bool) else value
    if isinstance(number, bool) or number not in set(ResultCode):
        codes = ", ".join(f"ResultCode.{code.name}" for code in ResultCode)
        raise DefinitionError(
            f"calibrate() of the {what} gave {value!r}, which is no result code.",
            hint=f"Give one of {codes}.",
        )
    return ResultCode(number)


def describe_error(error: BaseException) -> dict[str, Any]:
    """Return the JSON form of an error: `kind` is our class, or `Raised` for what the user's code raised."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    kind, message, hint = "Raised", f"{type(error).__name__}: {error}", None
    if isinstance(error, CafError):
        kind, message, hint = type(error).__name__, error.what, error.hint
    return {"kind": kind, "message": message, "hint": hint, "traceback": text}


def read_frame(descriptor: int) -> dict[str, Any] | None:
    """Read one request; None when the other side is gone."""
    head = _read_bytes(descriptor, _LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    text = _read_bytes(descriptor, length)
    if len(text) < length:
        return None
    value: dict[str, Any] = json.loads(text)
    return value


def write_frame(descriptor: int, value: Mapping[str, Any]) -> None:
    """Write one answer."""
    text = json.dumps(value).encode()
    write_all(lambda rest: os.write(descriptor, rest), _LENGTH.pack(len(text)) + text)


def measure_memory() -> int:
    """Return the memory that this process has in RAM now, in kB; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _read_bytes(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def die_with(descriptor: int) -> None:
    """Let the system end this process when the other end of a pipe closes, even in the middle of a C++ fit.

    The process that started us holds that end and never writes to it: a signal on this pipe means that it
    died. SIGIO ends a process unless it is caught, and needs neither Python nor its lock to run. It does not
    depend, as PR_SET_PDEATHSIG does, on the *thread* that started us.
    """
    os.set_inheritable(descriptor, False)
    if not hasattr(os, "O_ASYNC"):
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    # Where it leads a group, what it has started is in it, and ends too.
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, -os.getpid() if os.getpgrp() == os.getpid() else os.getpid())
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC)
    poll = select.poll()
    poll.register(descriptor, 0)
    if poll.poll(0):  # it died before we listened
        os._exit(1)


def _write_lines_at_once() -> None:
    """Write what Python and C++ print line by line: a crash must not take the last lines with it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    try:
        library = ctypes.CDLL(None)
        stdout = ctypes.c_void_p.in_dll(library, "stdout")
    except (OSError, ValueError):
        return
    line_buffered = 1  # _IOLBF of glibc
    library.setvbuf(stdout, None, line_buffered, ctypes.c_size_t(0))
